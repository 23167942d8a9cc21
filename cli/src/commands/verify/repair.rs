//! The repair of a copy that differs: the driver reads what differs again, as after a gap, and the
//! service sends what the server does not have.

use std::thread;

use snapless_driver_client::DriverPort;
use snapless_service::verification::Verification;
use snapless_types::Extent;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::Verify;

use super::POLL;
use crate::error::CliError;

/// Has all read again that was found to differ, and waits until the stream describes the volume;
/// returns how many bytes were read.
pub(super) fn repair(
    port: &dyn DriverPort,
    session: SessionId,
    found: &Verification,
) -> Result<u64, CliError> {
    let extents = extents(found, port.status(session)?.length);
    for extent in &extents {
        port.verify(session, Verify::Repair(*extent))?;
    }
    while !port.status(session)?.consistent {
        thread::sleep(POLL);
    }
    Ok(extents.iter().map(Extent::len).sum())
}

/// What is read again of a volume of `length` bytes: the extents that differ, or all of it if more
/// differs than is listed.
fn extents(found: &Verification, length: u64) -> Vec<Extent> {
    let listed = found.differing.iter().filter_map(|it| Extent::new(it.offset, it.len));
    let listed: Vec<_> = listed.filter(|it| it.end() <= length).collect();
    if listed.iter().map(Extent::len).sum::<u64>() < found.differing_bytes {
        return Extent::new(0, length).into_iter().collect();
    }
    listed
}

#[cfg(test)]
mod tests {
    use snapless_driver_client::Driver;
    use snapless_service::verification::DifferingExtent;

    use super::*;
    use crate::test_driver::{SESSION, TestDriver};

    fn found(differing_bytes: u64, places: &[u64]) -> Verification {
        Verification {
            compared_seq: 9,
            read_unix_ms: None,
            same_bytes: 1 << 20,
            differing_bytes,
            unclear_bytes: 0,
            overtaken_bytes: 0,
            left_out_bytes: 0,
            damaged: false,
            differing: places.iter().map(|&offset| DifferingExtent { offset, len: 512 }).collect(),
        }
    }

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    #[test]
    fn what_differs_is_read_again_and_nothing_else() {
        let driver = TestDriver::protecting().consistent();
        let session = SessionId::parse(SESSION).unwrap();
        let port = driver.open().unwrap();
        let bytes = repair(&*port, session, &found(1024, &[65_536, 0])).unwrap();
        assert_eq!(bytes, 1024);
        let asked = [extent(65_536, 512), extent(0, 512)];
        assert_eq!(driver.verified(), asked.map(|it| (session, Verify::Repair(it))));
    }

    #[test]
    fn all_is_read_again_if_more_differs_than_is_listed() {
        const LENGTH: u64 = 1 << 20;
        assert_eq!(extents(&found(1536, &[65_536, 0]), LENGTH), [extent(0, LENGTH)]);
        assert_eq!(extents(&found(512, &[LENGTH]), LENGTH), [extent(0, LENGTH)], "no such place");
    }
}

//! A cut: the time in which writes that arrive wait, so that the images of volumes of several
//! machines, whose clocks differ, end together (rule ORDER, rules.md#order).

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, SessionRequest};
use crate::id::SessionId;

/// The longest cut, in ticks of 100 ns.
pub const CUT_LEN_MAX: u64 = 5_000_000;

/// When writes that arrive wait, and until when: ticks of 100 ns of the driver's monotonic clock,
/// as in a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutTime {
    /// Its begin.
    pub from: u64,
    /// Its end; later than its begin, by [`CUT_LEN_MAX`] at most.
    pub until: u64,
}

/// Input of [`IOCTL_CUT`](super::IOCTL_CUT).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CutRequest {
    session: SessionRequest,
    from: U64,
    until: U64,
}

impl CutRequest {
    /// A request for `session`, in this version.
    pub fn new(version: u32, session: SessionId, cut: CutTime) -> Self {
        let session = SessionRequest::new(version, session);
        Self { session, from: U64::new(cut.from), until: U64::new(cut.until) }
    }

    /// The session, and the cut asked for.
    ///
    /// # Errors
    /// As [`SessionRequest::parse`]; [`BadRequest::Cut`] for a cut that is empty or too long.
    pub fn parse(&self) -> Result<(SessionId, CutTime), BadRequest> {
        let session = self.session.parse()?;
        let (from, until) = (self.from.get(), self.until.get());
        match until.checked_sub(from) {
            Some(1..=CUT_LEN_MAX) => Ok((session, CutTime { from, until })),
            _ => Err(BadRequest::Cut),
        }
    }
}

const _: () = assert!(size_of::<CutRequest>() == 40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::ABI_VERSION;

    #[test]
    fn a_request_has_a_cut_that_is_not_empty_and_not_too_long() {
        let session = SessionId::parse("0a1b2c3d-0000-4000-8000-0123456789ab").unwrap();
        for (from, until, is_good) in [
            (7, 8, true),
            (0, CUT_LEN_MAX, true),
            (u64::MAX - 1, u64::MAX, true),
            (7, 7, false),
            (8, 7, false),
            (1, CUT_LEN_MAX + 2, false),
            (0, u64::MAX, false),
        ] {
            let cut = CutTime { from, until };
            let wanted = if is_good { Ok((session, cut)) } else { Err(BadRequest::Cut) };
            assert_eq!(CutRequest::new(ABI_VERSION, session, cut).parse(), wanted);
        }
        let request = CutRequest::new(ABI_VERSION, session, CutTime { from: 1, until: 2 });
        assert_eq!(request.as_bytes()[24..], [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}

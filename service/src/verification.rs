//! What came of a verification of the copy, in the service's report and its event.

use serde::{Deserialize, Serialize};
use snapless_wire::id::FileTime;
use snapless_wire::verified::Verified;

/// Extents that the text of an event lists.
const LISTED_MAX: usize = 8;

/// What the server has said of the last verification. The bytes are those of the volume that were
/// read, sent as hashes and compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// All hashes up to this record were compared.
    pub compared_seq: u64,
    /// When the volume was read for the last of them, in milliseconds since 1970-01-01 UTC.
    pub read_unix_ms: Option<u64>,
    /// Bytes that are the same.
    pub same_bytes: u64,
    /// Bytes that differ.
    pub differing_bytes: u64,
    /// Bytes that differ where the copy has free space or trimmed bytes: they may be anything.
    pub unclear_bytes: u64,
    /// Bytes that were written to too soon to be compared.
    pub overtaken_bytes: u64,
    /// Bytes of paging, swap and hibernation files, or that the disk could not read.
    pub left_out_bytes: u64,
    /// Damage at the server has kept hashes from being compared.
    pub damaged: bool,
    /// Extents that differ, the first ones.
    pub differing: Vec<DifferingExtent>,
}

/// An extent of the volume that differs from its copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DifferingExtent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Verification {
    /// What a server has said.
    pub fn of(verified: &Verified) -> Self {
        let differing = verified
            .extents
            .iter()
            .map(|it| DifferingExtent { offset: it.extent.offset(), len: it.extent.len() });
        Self {
            compared_seq: verified.through.get(),
            read_unix_ms: unix_ms(verified.time),
            same_bytes: verified.same,
            differing_bytes: verified.differing,
            unclear_bytes: verified.unclear,
            overtaken_bytes: verified.overtaken,
            left_out_bytes: verified.left_out,
            damaged: verified.is_damaged,
            differing: differing.collect(),
        }
    }

    /// What the event says of a copy that is not what the volume is; `None` for one of which
    /// nothing is known to differ.
    pub fn trouble(&self) -> Option<String> {
        if self.differing_bytes > 0 {
            let listed: Vec<_> = self.differing.iter().take(LISTED_MAX).collect();
            let places = listed.iter().map(|it| format!("{} bytes at {}", it.len, it.offset));
            let places = places.collect::<Vec<_>>().join(", ");
            let listed: u64 = listed.iter().map(|it| it.len).sum();
            let more = if listed < self.differing_bytes { ", and more" } else { "" };
            return Some(format!(
                "the copy differs from the volume: {places}{more}; nothing that was captured has \
                 changed them"
            ));
        }
        self.damaged.then(|| {
            "the copy cannot be compared as a whole, as what is stored is damaged: run \
             `snapless-server verify`"
                .to_owned()
        })
    }
}

/// Milliseconds since 1970-01-01 UTC; `None` before that.
pub(crate) fn unix_ms(time: FileTime) -> Option<u64> {
    u64::try_from(time.unix_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use snapless_types::{Extent, Seq};
    use snapless_wire::verified::Differing;

    use super::*;

    fn verified(differing: u64) -> Verified {
        let one = |at| Differing { extent: Extent::new(at << 16, 512).unwrap(), seq: Seq::new(1) };
        let extents = (0..differing).map(one).collect();
        Verified { differing: differing * 512, extents, ..Verified::default() }
    }

    #[test]
    fn what_differs_is_told_with_its_first_places() {
        let trouble = |count| Verification::of(&verified(count)).trouble();
        assert_eq!(trouble(0), None);
        let two = trouble(2).unwrap();
        assert!(two.contains("512 bytes at 0, 512 bytes at 65536; "), "{two}");
        let many = trouble(9).unwrap();
        assert!(many.contains("at 458752, and more") && !many.contains("524288"), "{many}");
    }

    #[test]
    fn damage_at_the_server_is_told_too() {
        let damaged = Verified { is_damaged: true, ..verified(0) };
        assert!(Verification::of(&damaged).trouble().unwrap().contains("snapless-server verify"));
    }
}

//! Versions of the driver's interface: how a program and a driver of different releases come to terms.
//!
//! A driver stays loaded until the machine restarts, so after an upgrade newer programs meet an older driver. The
//! first request on a handle is [`IOCTL_VERSION`](super::IOCTL_VERSION); from its answer the program chooses the newest
//! version that both speak ([`negotiate`]) and says it in every request that has a field for it.
//!
//! | version | what it brought |
//! | --- | --- |
//! | 1 | the first |
//! | 2 | [`StatusReply`](super::StatusReply) and [`VolumeEntry`](super::VolumeEntry) have more at their end; listing takes a [`ListRequest`](super::ListRequest) |
//! | 3 | [`StartRequest`](super::StartRequest) has the sweep's limits at its end |
//!
//! Rule: a structure changes only by growing at its end. Whoever speaks an older version sends and gets as many bytes
//! of it as that version had.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The newest version that this code speaks.
pub const ABI_VERSION: u32 = 3;
/// The oldest one.
pub const ABI_OLDEST: u32 = 1;

/// Answer to [`IOCTL_VERSION`](super::IOCTL_VERSION).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VersionReply {
    /// Oldest version the driver answers.
    pub oldest: U32,
    /// Newest version the driver answers.
    pub newest: U32,
}

impl VersionReply {
    /// What this code answers.
    pub fn of_this_code() -> Self {
        Self { oldest: U32::new(ABI_OLDEST), newest: U32::new(ABI_VERSION) }
    }
}

/// The newest version that both this code and whoever gave the answer speak; `None` if there is none.
pub fn negotiate(reply: &VersionReply) -> Option<u32> {
    let version = reply.newest.get().min(ABI_VERSION);
    (version >= reply.oldest.get() && is_spoken(version)).then_some(version)
}

/// True for a version that this code speaks.
pub fn is_spoken(version: u32) -> bool {
    (ABI_OLDEST..=ABI_VERSION).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_settle_on_the_newest_version_that_they_share() {
        let with = |oldest, newest| {
            negotiate(&VersionReply { oldest: U32::new(oldest), newest: U32::new(newest) })
        };
        assert_eq!(with(ABI_OLDEST, ABI_VERSION), Some(ABI_VERSION));
        assert_eq!(with(1, 1), Some(1), "an older driver");
        assert_eq!(with(1, ABI_VERSION + 5), Some(ABI_VERSION), "a newer driver");
        assert_eq!(with(ABI_VERSION + 1, ABI_VERSION + 5), None, "a driver that forgot us");
        assert_eq!(with(0, 0), None);
        assert_eq!(with(5, 1), None, "nonsense");
        assert_eq!(negotiate(&VersionReply::of_this_code()), Some(ABI_VERSION));
    }
}

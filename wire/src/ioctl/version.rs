//! Versions of the driver's interface, and how a program and a driver agree on one.
//!
//! A driver stays loaded until the machine restarts, so after an upgrade a newer program meets an
//! older driver. The first request on a handle is [`IOCTL_VERSION`](super::IOCTL_VERSION); from its
//! answer the program chooses the newest version that both speak ([`negotiate`]), and puts it into
//! every request that has a field for it.
//!
//! Rule: from the first release on, a structure changes only by growing at its end, with a new
//! version. Both sides then use as many bytes of it as the negotiated version has.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The newest version that this code speaks.
pub const ABI_VERSION: u32 = 5;
/// The oldest version that this code speaks. Version 4 did not say how long the volume of a session
/// is that continues. Version 3 did not say in [`IOCTL_DRAIN_FROM`] when the server's last record
/// was made, and had no write-intent log.
///
/// [`IOCTL_DRAIN_FROM`]: super::IOCTL_DRAIN_FROM
pub const ABI_OLDEST: u32 = 5;

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
    /// The answer of this code.
    pub fn of_this_code() -> Self {
        Self { oldest: U32::new(ABI_OLDEST), newest: U32::new(ABI_VERSION) }
    }
}

/// The newest version that both this code and the sender of `reply` speak; `None` if there is none.
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
        assert_eq!(with(1, ABI_VERSION + 5), Some(ABI_VERSION), "a newer driver");
        assert_eq!(with(1, 1), None, "a driver that keeps no records for the next service");
        assert_eq!(with(ABI_VERSION + 1, ABI_VERSION + 5), None, "a driver that is too new");
        assert_eq!(with(0, 0), None, "a driver that is too old");
        assert_eq!(with(5, 1), None, "nonsense");
        assert_eq!(negotiate(&VersionReply::of_this_code()), Some(ABI_VERSION));
    }
}

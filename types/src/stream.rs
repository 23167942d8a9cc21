//! The stream's numbers and the kinds of its records.

use core::fmt;

/// Declares a 64-bit number that is a type of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a plain number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A record's number in its session's stream. Starts at 1; 0 names no record.
    Seq
}
number! {
    /// An epoch: a stretch of the stream that the server acknowledges as durable as a whole. Starts
    /// at 1; 0 names no epoch.
    EpochId
}

/// The greatest number behind which the records and epochs of a session that continues may be
/// numbered: as many are left for those that come.
pub const ORIGIN_MAX: u64 = u64::MAX / 2;

crate::numbered_enum! {
    /// What a record describes.
    pub enum RecordKind: u16 {
        /// Content at t0 of a run of blocks: part of the base image.
        Block = 1 => "block",
        /// A write, as the application issued it.
        Write = 2 => "write",
        /// Content of a run of blocks read again after a gap.
        Resync = 3 => "resync",
        /// A run of blocks that the disk could not read, or sectors of the block of the record
        /// before; no payload, content unknown.
        Unreadable = 4 => "unreadable",
        /// A run of blocks that held no data at t0: part of the base image; no payload, a replica
        /// has zeros.
        Unallocated = 5 => "unallocated",
        /// A trim: the disk may forget the extent's content; no payload, a replica has zeros.
        Trim = 6 => "trim",
        /// A write of zeros, as the application issued it; no payload.
        Zero = 7 => "zero",
        /// A run of blocks whose content at t0 is a don't-care: no file has it, or a paging, swap
        /// or hibernation file; part of the base image; no payload, a replica has zeros.
        Excluded = 8 => "excluded",
        /// A run of blocks that was read again after a gap and has the content that the stream
        /// gives it already; no payload. The service makes it from a [`Self::Resync`].
        Unchanged = 9 => "unchanged",
        /// Content of a run of blocks that the stream describes already, read again to verify the
        /// copy. It changes nothing. The service replaces the bytes by their hashes.
        Check = 10 => "check",
        /// Marker: the session's t0.
        SessionStart = 16 => "session start",
        /// Marker: the record's epoch ends with this record.
        EpochEnd = 17 => "epoch end",
        /// Marker: every block of the volume has been captured once.
        BaseComplete = 18 => "base complete",
        /// Marker: from here on writes go through uncaptured; no point is restorable.
        GapBegin = 19 => "gap begin",
        /// Marker: the stream describes the volume again; points are restorable from here on.
        Consistent = 20 => "consistent",
    }
}

impl RecordKind {
    /// True for kinds that describe an extent of the volume; the others are markers.
    pub fn has_extent(self) -> bool {
        self.has_payload()
            || matches!(
                self,
                Self::Unreadable
                    | Self::Unallocated
                    | Self::Trim
                    | Self::Zero
                    | Self::Excluded
                    | Self::Unchanged
            )
    }

    /// True for kinds that give the volume content of which the bytes follow, unless they are all
    /// zeros.
    pub fn has_content(self) -> bool {
        matches!(self, Self::Block | Self::Write | Self::Resync)
    }

    /// True for kinds whose extent's bytes follow, or something in their place: zeros or hashes.
    /// The extent of the others may be longer than a payload.
    pub fn has_payload(self) -> bool {
        self.has_content() || self == Self::Check
    }
}

/// A change of an extent that carries no payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Clearing {
    /// A trim: the disk may forget the extent's content.
    Trim,
    /// A write of zeros.
    Zero,
}

impl Clearing {
    /// The kind of its record.
    pub fn kind(self) -> RecordKind {
        match self {
            Self::Trim => RecordKind::Trim,
            Self::Zero => RecordKind::Zero,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_kinds_keep_their_numbers() {
        let numbers = (1..=10).chain(16..=20);
        for (number, &kind) in numbers.zip(RecordKind::ALL) {
            assert_eq!(kind.to_wire(), number);
            assert_eq!(RecordKind::from_wire(number), Some(kind));
            assert_eq!(kind.has_extent(), number < 16);
            assert_eq!(kind.has_content(), number < 4);
            assert_eq!(kind.has_payload(), number < 4 || number == 10);
        }
        assert_eq!(RecordKind::ALL.len(), 15);
        for number in [0, 11, 15, 21, u16::MAX] {
            assert_eq!(RecordKind::from_wire(number), None);
        }
    }
}

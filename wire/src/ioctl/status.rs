//! The status of a session: its phase, its flags, its counters.

use snapless_types::{GapReason, HOLD_BUCKETS, HoldTimes, SessionCounters, session_counters};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{FileTime, SeqLe};

snapless_types::numbered_enum! {
    /// Where a session stands.
    pub enum SessionPhase: u32 {
        /// There is no session.
        None = 0 => "none",
        /// Waiting for the writes that were in flight when it began.
        Starting = 1 => "starting",
        /// The first sync runs.
        FirstSync = 2 => "first_sync",
        /// Every block is synced; writes are captured as they come.
        Live = 3 => "live",
        /// Writes go through uncaptured.
        Gap = 4 => "gap",
        /// Capturing again; dirty blocks are being re-read.
        Resync = 5 => "resync",
        /// No service drains the session: writes are captured until the queue is full, and then go
        /// through uncaptured.
        Detached = 6 => "detached",
        /// The session could not begin; stop it.
        Failed = 7 => "failed",
    }
}

snapless_types::numbered_enum! {
    /// How the write-intent log of a volume stands.
    pub enum LogPhase: u32 {
        /// There is none.
        Off = 0 => "off",
        /// Nothing would be known after a crash yet.
        Void = 1 => "void",
        /// After a crash only what it has is read.
        Live = 2 => "live",
        /// The disk has failed it: there is none until the next session, and none on the disk.
        GivenUp = 3 => "given_up",
        /// The disk has failed it, and it could not be made void: what is on the disk is not to be
        /// trusted.
        Distrusted = 4 => "distrusted",
    }
}

/// Declares [`StatusReply`] with a field for each counter.
macro_rules! status_reply {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $text:literal;)*) => {
        /// Output of [`IOCTL_STATUS`](super::IOCTL_STATUS): a session's state, and its counters
        /// since it was made.
        #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct StatusReply {
            /// [`SessionPhase`] as a number.
            pub phase: U32,
            /// Bytes of a block.
            pub block_size: U32,
            /// Bytes of the volume.
            pub length: U64,
            /// The session's t0, or when one that continues began to; 0 while starting.
            pub t0: FileTime,
            /// Last record of the stream; until the session is placed, counted from its first one.
            pub last_seq: SeqLe,
            /// Last record of the newest acknowledged epoch.
            pub acknowledged_seq: SeqLe,
            /// What the wall clock showed, read before the rest was looked at: a record that is not
            /// among the first `last_seq` ones was not captured at that instant.
            pub time: FileTime,
            /// The same of the clock that is never set, in ticks of 100 ns. No later record has an
            /// earlier one.
            pub monotonic: U64,
            /// [`StatusFlags`] as bits.
            pub flags: U32,
            /// [`GapReason`] of the present gap, or else of the last one, as a number; 0 if there
            /// was none.
            pub gap_reason: U16,
            /// 0.
            pub reserved: U16,
            /// [`Protection`](super::Protection) of the volume as a number.
            pub protection: U32,
            /// Which special files are on the volume:
            /// [`SPECIAL_FILE_PAGING`](super::SPECIAL_FILE_PAGING) and others.
            pub special_files: U32,
            /// Where the last failed read began on the volume, in bytes.
            pub read_failed_offset: U64,
            /// The `NTSTATUS` that it ended with; 0 if none has failed.
            pub read_failed_status: U32,
            /// 1 if the session continues with a state that was saved when the machine went down, 2
            /// if with its write-intent log, after a crash: it reads only what the server may lack;
            /// 0 if not.
            pub saved: U32,
            /// [`SavedState::acknowledged`](crate::state_area::SavedState::acknowledged).
            pub saved_acknowledged_seq: SeqLe,
            /// [`SavedState::captured`](crate::state_area::SavedState::captured).
            pub saved_captured_seq: SeqLe,
            /// Bytes of the regions that are read.
            pub saved_bytes: U64,
            /// [`LogPhase`] as a number.
            pub log: U32,
            /// 0.
            pub reserved_log: U32,
            /// Slots of the volume's log that were written since its driver was loaded.
            pub log_slots: U64,
            /// Requests that waited until the log had their regions.
            pub log_waits: U64,
            /// The longest time that one waited for that, in microseconds.
            pub log_longest_us: U64,
            /// [`HoldTimes::longest_us`].
            pub hold_longest_us: U64,
            /// [`HoldTimes::buckets`].
            pub hold_histogram: [U64; HOLD_BUCKETS],
            $($(#[$doc])* pub $name: U64,)*
        }

        impl StatusReply {
            /// The counters.
            pub fn counters(&self) -> SessionCounters {
                SessionCounters { $($name: self.$name.get(),)* }
            }

            /// Fills in the counters.
            pub fn set_counters(&mut self, counters: &SessionCounters) {
                $(self.$name = U64::new(counters.$name);)*
            }
        }
    };
}
session_counters!(status_reply);

impl StatusReply {
    /// How long writes were held.
    pub fn holds(&self) -> HoldTimes {
        HoldTimes {
            buckets: self.hold_histogram.map(U64::get),
            longest_us: self.hold_longest_us.get(),
        }
    }

    /// Fills in how long writes were held.
    pub fn set_holds(&mut self, holds: &HoldTimes) {
        self.hold_histogram = holds.buckets.map(U64::new);
        self.hold_longest_us = U64::new(holds.longest_us);
    }

    /// Why the present or the last gap began; `None` if there was none, or for a reason of a newer
    /// driver.
    pub fn gap_reason(&self) -> Option<GapReason> {
        GapReason::from_wire(self.gap_reason.get())
    }
}

const _: () =
    assert!(size_of::<StatusReply>() == 152 + 8 * HOLD_BUCKETS + size_of::<SessionCounters>());

/// Flags of a session: bits of [`StatusReply::flags`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
// Each flag is independent of the others.
#[allow(clippy::struct_excessive_bools)]
pub struct StatusFlags {
    /// The sweep is paused.
    pub paused: bool,
    /// The volume has grown past what the session describes: it is to be started again, as one that
    /// continues.
    pub outgrown: bool,
    /// The same of a volume that has become shorter.
    pub shrunk: bool,
    /// The base image is complete in the stream.
    pub base_complete: bool,
    /// The stream describes the volume: this is no gap.
    pub consistent: bool,
    /// The session continues one of an earlier start.
    pub continues: bool,
    /// The numbers of its records are known: it began here, or [`DrainFrom`](super::DrainFrom) has
    /// said where its stream stands.
    pub placed: bool,
    /// A verification is under way.
    pub verifying: bool,
}

impl StatusFlags {
    const PAUSED: u32 = 1 << 0;
    const OUTGROWN: u32 = 1 << 1;
    const SHRUNK: u32 = 1 << 2;
    const BASE_COMPLETE: u32 = 1 << 3;
    const CONSISTENT: u32 = 1 << 4;
    const CONTINUES: u32 = 1 << 5;
    const PLACED: u32 = 1 << 6;
    const VERIFYING: u32 = 1 << 7;

    /// The flags as bits.
    pub fn to_wire(self) -> u32 {
        [
            (self.paused, Self::PAUSED),
            (self.outgrown, Self::OUTGROWN),
            (self.shrunk, Self::SHRUNK),
            (self.base_complete, Self::BASE_COMPLETE),
            (self.consistent, Self::CONSISTENT),
            (self.continues, Self::CONTINUES),
            (self.placed, Self::PLACED),
            (self.verifying, Self::VERIFYING),
        ]
        .into_iter()
        .fold(0, |bits, (is_set, bit)| if is_set { bits | bit } else { bits })
    }

    /// The flags of these bits; bits of a newer driver are left out.
    pub fn from_wire(bits: u32) -> Self {
        let has = |bit| bits & bit != 0;
        Self {
            paused: has(Self::PAUSED),
            outgrown: has(Self::OUTGROWN),
            shrunk: has(Self::SHRUNK),
            base_complete: has(Self::BASE_COMPLETE),
            consistent: has(Self::CONSISTENT),
            continues: has(Self::CONTINUES),
            placed: has(Self::PLACED),
            verifying: has(Self::VERIFYING),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn counters_and_holds_come_back_as_they_were_set() {
        let mut counters = SessionCounters::default();
        (counters.blocks_total, counters.gaps) = (1, u64::MAX);
        let mut holds = HoldTimes::default();
        holds.add(7);
        let mut reply = StatusReply::new_zeroed();
        reply.set_counters(&counters);
        reply.set_holds(&holds);
        assert_eq!((reply.counters(), reply.holds()), (counters, holds));
    }

    #[test]
    fn a_reply_without_a_gap_has_no_reason() {
        let mut reply = StatusReply::new_zeroed();
        assert_eq!(reply.gap_reason(), None);
        reply.gap_reason = U16::new(GapReason::LengthChanged.to_wire());
        assert_eq!(reply.gap_reason(), Some(GapReason::LengthChanged));
        reply.gap_reason = U16::new(u16::MAX);
        assert_eq!(reply.gap_reason(), None, "of a newer driver");
    }

    #[test]
    fn each_flag_has_a_bit_of_its_own() {
        assert_eq!(StatusFlags::default().to_wire(), 0);
        for bit in 0..8 {
            let flags = StatusFlags::from_wire(1 << bit);
            assert_eq!(flags.to_wire(), 1 << bit);
        }
        assert_eq!(StatusFlags::from_wire(u32::MAX).to_wire(), 0b1111_1111);
    }
}

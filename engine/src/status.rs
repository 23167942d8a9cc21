//! What a session has done so far: its state and counters, where everybody can read them without its lock.
//!
//! Whoever holds the lock posts on the board what has changed before giving it up; a reader takes one number after the
//! other. Each number is right at the instant it is read; two of them may be a verb apart.

use crate::session::Phase;
use crate::sync::Number;

/// Buckets of [`HoldTimes`].
pub const HOLD_BUCKETS: usize = 32;
/// Ticks of 100 ns in a microsecond.
const TICKS_PER_US: u64 = 10;

/// How long writes were held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HoldTimes {
    /// Bucket `i` counts holds of 2^i to 2^(i+1) microseconds; the first also shorter ones, the last also
    /// longer ones.
    pub buckets: [u64; HOLD_BUCKETS],
    /// The longest, in microseconds.
    pub longest_us: u64,
}

/// Makes [`Status`] and [`Numbers`] of the same numbers.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A session's state at one instant, and its counters since it was made.
        // Each flag is of its own, in all combinations.
        #[allow(clippy::struct_excessive_bools)]
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Status {
            /// Where it stands.
            pub phase: Phase,
            /// False while no service drains it.
            pub attached: bool,
            /// True while the sweep reads nothing, because it was told so.
            pub paused: bool,
            /// True if the volume has grown past what the session can describe: the gap does not end.
            pub outgrown: bool,
            /// True if the stream describes the volume: no gap, nothing left to resync.
            pub consistent: bool,
            /// True once every block has been captured as it was at t0.
            pub base_complete: bool,
            /// How long writes were held.
            pub holds: HoldTimes,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The numbers of [`Status`], each in its place.
        #[derive(Debug, Default)]
        pub struct Numbers {
            $(pub(crate) $name: Number,)*
        }

        impl Numbers {
            fn read_into(&self, status: &mut Status) {
                $(status.$name = self.$name.get();)*
            }
        }
    };
}

numbers! {
    /// The host's clock at t0; 0 before.
    t0,
    /// Blocks of the volume.
    blocks_total,
    /// Blocks that the stream describes.
    blocks_synced,
    /// Blocks to be read for the base image, those being read included.
    blocks_unsynced,
    /// Blocks to be read again after a gap, those being read included.
    blocks_dirty,
    /// Blocks that the sweep captured.
    blocks_by_sweep,
    /// Blocks captured for a waiting write.
    blocks_by_hold,
    /// Blocks that the disk could not read.
    blocks_unreadable,
    /// Blocks that hold no data, and were not read.
    blocks_unallocated,
    /// Writes issued on their caller's thread.
    writes_captured_inline,
    /// Writes held, captured and issued.
    writes_held,
    /// Writes held now.
    writes_holding,
    /// Writes in flight below now.
    writes_in_flight,
    /// Writes that went through uncaptured.
    writes_uncaptured,
    /// Payload bytes captured.
    bytes_captured,
    /// Payload bytes drained.
    bytes_drained,
    /// Payload bytes in the queue now.
    queue_used,
    /// Payload bytes that the queue takes.
    queue_bytes,
    /// Gaps so far.
    gaps,
    /// The last record.
    last_seq,
    /// The last record of the newest acknowledged epoch.
    acknowledged_seq,
}

/// What everybody may read.
#[derive(Debug, Default)]
pub struct Board {
    pub(crate) numbers: Numbers,
    /// The phase in the lowest bits, each flag in one above: they are of one instant.
    flags: Number,
    holds: [Number; HOLD_BUCKETS],
    longest_us: Number,
}

/// Bits that the phase takes.
const PHASE_BITS: u32 = 2;

impl Board {
    /// Posts the phase and, in the order of [`Status`], the flags. Callers hold the session's lock.
    pub fn post_flags(&self, phase: Phase, flags: [bool; 5]) {
        let bits = flags.into_iter().rev().fold(0, |bits, flag| 2 * bits + u64::from(flag));
        self.flags.set((bits << PHASE_BITS) + phase as u64);
    }

    /// Posts that a write was held so long. Callers hold the session's lock.
    pub fn held(&self, ticks: u64) {
        let us = ticks / TICKS_PER_US;
        let bucket = us.max(1).ilog2() as usize;
        if let Some(count) = self.holds.get(bucket.min(HOLD_BUCKETS - 1)) {
            count.add(1);
        }
        self.longest_us.set(self.longest_us.get().max(us));
    }

    /// What was posted last.
    pub fn read(&self) -> Status {
        let flags = self.flags.get();
        let [attached, paused, outgrown, consistent, base_complete] =
            [0, 1, 2, 3, 4].map(|flag| flags >> (PHASE_BITS + flag) & 1 != 0);
        let phase = Phase::from_bits(flags);
        let buckets = self.holds.each_ref().map(Number::get);
        let holds = HoldTimes { buckets, longest_us: self.longest_us.get() };
        let mut status = Status {
            phase,
            attached,
            paused,
            outgrown,
            consistent,
            base_complete,
            holds,
            ..Status::default()
        };
        self.numbers.read_into(&mut status);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_read() {
        let board = Board::default();
        for phase in [Phase::Starting, Phase::Capturing, Phase::Uncaptured, Phase::Stopped] {
            for bits in 0_u64..32 {
                let flags = [0, 1, 2, 3, 4].map(|flag| bits >> flag & 1 != 0);
                board.post_flags(phase, flags);
                board.numbers.blocks_dirty.set(bits);
                board.numbers.last_seq.set(u64::MAX);
                let read = board.read();
                let Status { attached, paused, outgrown, consistent, base_complete, .. } = read;
                assert_eq!(read.phase, phase);
                assert_eq!([attached, paused, outgrown, consistent, base_complete], flags);
                assert_eq!((read.blocks_dirty, read.last_seq, read.gaps), (bits, u64::MAX, 0));
            }
        }
    }

    #[test]
    fn hold_times_fall_into_their_power_of_two() {
        let board = Board::default();
        for us in [0, 1, 2, 3, 4, 1000, u64::MAX / 10] {
            board.held(us * 10);
        }
        let holds = board.read().holds;
        assert_eq!(holds.buckets[..3], [2, 2, 1]);
        assert_eq!((holds.buckets[9], holds.buckets[31]), (1, 1));
        assert_eq!(holds.longest_us, u64::MAX / 10);
    }
}

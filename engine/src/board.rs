//! The board: a session's state and counters where everybody can read them without the session's lock.
//!
//! Whoever holds the lock posts what has changed before giving it up; a reader takes one number after the other.
//! Each number is right at the instant it is read; two of them may be a verb apart. Relaxed throughout: a number on
//! the board carries nothing but itself, and its writers exclude each other by the session's lock.

// Not from `crate::sync`: no number orders anything, so there is nothing here for loom to find.
use core::sync::atomic::{AtomicU64, Ordering};

use crate::session::Phase;
use crate::stats::{HOLD_BUCKETS, HoldTimes, Status};

/// A number on the board.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Posts it. Callers hold the session's lock.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Counts on. Callers hold the session's lock.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a struct with a place for each number of [`Status`], and what reads them all.
macro_rules! numbers {
    ($($name:ident),* $(,)?) => {
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

numbers!(
    t0,
    blocks_total,
    blocks_synced,
    blocks_unsynced,
    blocks_dirty,
    blocks_by_sweep,
    blocks_by_hold,
    blocks_unreadable,
    blocks_unallocated,
    writes_passed,
    writes_held,
    writes_holding,
    writes_flying,
    writes_uncaptured,
    bytes_captured,
    bytes_drained,
    queue_used,
    queue_bytes,
    gaps,
    last_seq,
    acknowledged_seq,
);

/// What everybody may read.
#[derive(Debug, Default)]
pub struct Board {
    pub(crate) numbers: Numbers,
    /// The phase, and the flags beside it.
    flags: Number,
    holds: [Number; HOLD_BUCKETS],
    longest_us: Number,
}

const ATTACHED: u64 = 1 << 8;
const PAUSED: u64 = 1 << 9;
const CONSISTENT: u64 = 1 << 10;
const BASE_COMPLETE: u64 = 1 << 11;
const OUTGROWN: u64 = 1 << 12;

impl Board {
    /// Posts the phase and the flags of a status. Callers hold the session's lock.
    pub fn post_flags(&self, status: &Status) {
        let phase = match status.phase {
            Phase::Starting => 0,
            Phase::Capturing => 1,
            Phase::Passing => 2,
            Phase::Stopped => 3,
        };
        let flags = u64::from(status.attached) * ATTACHED
            + u64::from(status.paused) * PAUSED
            + u64::from(status.outgrown) * OUTGROWN
            + u64::from(status.consistent) * CONSISTENT
            + u64::from(status.base_complete) * BASE_COMPLETE;
        self.flags.set(phase + flags);
    }

    /// Posts that a write was held so long. Callers hold the session's lock.
    pub fn held(&self, ticks: u64) {
        let us = HoldTimes::us(ticks);
        if let Some(count) = self.holds.get(HoldTimes::bucket(us)) {
            count.add(1);
        }
        self.longest_us.set(self.longest_us.get().max(us));
    }

    /// What was posted last.
    pub fn read(&self) -> Status {
        let flags = self.flags.get();
        let mut status = Status {
            phase: match flags & 3 {
                0 => Phase::Starting,
                1 => Phase::Capturing,
                2 => Phase::Passing,
                _ => Phase::Stopped,
            },
            attached: flags & ATTACHED != 0,
            paused: flags & PAUSED != 0,
            outgrown: flags & OUTGROWN != 0,
            consistent: flags & CONSISTENT != 0,
            base_complete: flags & BASE_COMPLETE != 0,
            ..Status::default()
        };
        self.numbers.read_into(&mut status);
        for (bucket, count) in status.holds.buckets.iter_mut().zip(&self.holds) {
            *bucket = count.get();
        }
        status.holds.longest_us = self.longest_us.get();
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_read() {
        let board = Board::default();
        for phase in [Phase::Starting, Phase::Capturing, Phase::Passing, Phase::Stopped] {
            for flags in 0..32 {
                let status = Status {
                    phase,
                    attached: flags & 1 != 0,
                    paused: flags & 2 != 0,
                    outgrown: flags & 16 != 0,
                    consistent: flags & 4 != 0,
                    base_complete: flags & 8 != 0,
                    ..Status::default()
                };
                board.post_flags(&status);
                board.numbers.blocks_dirty.set(flags);
                board.numbers.last_seq.set(u64::MAX);
                let read = board.read();
                assert_eq!(
                    (read.phase, read.attached, read.paused, read.consistent, read.base_complete),
                    (phase, flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 8 != 0)
                );
                assert_eq!(read.outgrown, flags & 16 != 0);
                assert_eq!((read.blocks_dirty, read.last_seq, read.gaps), (flags, u64::MAX, 0));
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

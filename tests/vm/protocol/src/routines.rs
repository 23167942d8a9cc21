//! How long DPCs and ISRs took: what the program in the guest finds in the kernel's trace, as JSON,
//! and the harness shows and judges.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What no routine of a driver may take, in nanoseconds: Microsoft's advice for DPCs.
pub const LIMIT_NANOS: u64 = 100_000;
/// Counts of a [`Histogram`].
pub const BUCKETS: usize = 11;

/// Why the processor ran a routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// An interrupt, also one that is a message (MSI).
    Interrupt,
    /// A DPC that was queued.
    Dpc,
    /// A DPC of a timer.
    TimerDpc,
    /// A DPC that a thread may run, below `DISPATCH_LEVEL`.
    ThreadedDpc,
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Interrupt => "ISR",
            Self::Dpc => "DPC",
            Self::TimerDpc => "timer DPC",
            Self::ThreadedDpc => "threaded DPC",
        })
    }
}

/// How long routines took, in powers of two of microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many took less than 1, 2, 4 … 512 microseconds and not less than half of it; the last
    /// count is of all that took longer.
    pub buckets: [u64; BUCKETS],
    /// How many took longer than [`LIMIT_NANOS`].
    pub above_limit: u64,
    /// The longest, in nanoseconds.
    pub longest_nanos: u64,
}

impl Histogram {
    /// Counts a routine's run.
    pub fn add(&mut self, nanos: u64) {
        let micros = nanos / 1000;
        let last = BUCKETS - 1;
        let bucket = (0..last).find(|&bucket| micros < 1 << bucket).unwrap_or(last);
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.above_limit = self.above_limit.saturating_add(u64::from(nanos > LIMIT_NANOS));
        self.longest_nanos = self.longest_nanos.max(nanos);
    }

    /// Counts what another one has.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count = count.saturating_add(more);
        }
        self.above_limit = self.above_limit.saturating_add(other.above_limit);
        self.longest_nanos = self.longest_nanos.max(other.longest_nanos);
    }
}

/// What a trace has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routines {
    /// Events that Windows had no room for.
    pub lost_events: u64,
    /// Buffers of events that were not read in time.
    pub lost_buffers: u64,
    /// Events that were not what they have to be.
    pub unread: u64,
    /// The images in the kernel, by file name in small letters, also those no routine of which ran.
    pub modules: BTreeMap<String, BTreeMap<Kind, Histogram>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_by_the_next_power_of_two_of_microseconds() {
        let mut found = Histogram::default();
        for nanos in [0, 999, 1000, 1999, 3999, 100_000, 100_001, 511_999, 512_000, u64::MAX] {
            found.add(nanos);
        }
        assert_eq!(found.buckets, [2, 2, 1, 0, 0, 0, 0, 2, 0, 1, 2]);
        assert_eq!((found.above_limit, found.longest_nanos), (4, u64::MAX));
        let mut twice = found;
        twice.merge(&found);
        assert_eq!(twice.buckets.iter().sum::<u64>(), 20);
        assert_eq!((twice.above_limit, twice.longest_nanos), (8, u64::MAX));
    }
}

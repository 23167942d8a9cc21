//! The status of a session: its state and counters at one instant.

use snapless_types::GapReason;

use crate::lifecycle::Phase;

/// Buckets of [`HoldTimes`].
pub const HOLD_BUCKETS: usize = 32;
/// Ticks of 100 ns in a microsecond.
const TICKS_PER_US: u64 = 10;

/// How long writes were held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HoldTimes {
    /// Bucket `i` counts holds of 2^i to 2^(i+1) microseconds; the first also shorter ones, the
    /// last also longer ones.
    pub buckets: [u64; HOLD_BUCKETS],
    /// The longest, in microseconds.
    pub longest_us: u64,
}

impl HoldTimes {
    /// Counts a write that was held so long.
    pub(crate) fn add(&mut self, ticks: u64) {
        let us = ticks / TICKS_PER_US;
        let bucket = us.max(1).ilog2() as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(HOLD_BUCKETS - 1)) {
            *count += 1;
        }
        self.longest_us = self.longest_us.max(us);
    }
}

/// A session's state at one instant, and its counters since it was made.
// Each flag is independent of the others.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// Where it stands.
    pub phase: Phase,
    /// False while no service drains it.
    pub attached: bool,
    /// True while the sweep is paused.
    pub paused: bool,
    /// True if the volume has grown past what the session can describe: the gap does not end.
    pub outgrown: bool,
    /// True if the stream describes the volume: no gap is open.
    pub consistent: bool,
    /// True once every block has been captured as it was at t0.
    pub base_complete: bool,
    /// Why the gap that is open began; if none is, why the last one did.
    pub gap_reason: Option<GapReason>,
    /// How long writes were held.
    pub holds: HoldTimes,
    /// The host's clock at t0; 0 before.
    pub t0: u64,
    /// Blocks of the volume.
    pub blocks_total: u64,
    /// Blocks that the stream describes.
    pub blocks_synced: u64,
    /// Blocks that are read, or are to be read, for the base image.
    pub blocks_unsynced: u64,
    /// Blocks that are read, or are to be read, again after a gap.
    pub blocks_dirty: u64,
    /// Blocks that the sweep captured.
    pub blocks_by_sweep: u64,
    /// Blocks captured for a held write.
    pub blocks_by_hold: u64,
    /// Blocks that the disk could not read.
    pub blocks_unreadable: u64,
    /// Blocks that held no data and were not read.
    pub blocks_unallocated: u64,
    /// Writes captured on their caller's thread.
    pub writes_captured_inline: u64,
    /// Writes that were held, then captured.
    pub writes_held: u64,
    /// Writes held now.
    pub writes_holding: u64,
    /// Writes in flight below now.
    pub writes_in_flight: u64,
    /// Writes issued uncaptured.
    pub writes_uncaptured: u64,
    /// Payload bytes captured.
    pub bytes_captured: u64,
    /// Payload bytes drained.
    pub bytes_drained: u64,
    /// Bytes of payload memory in use now.
    pub queue_used: u64,
    /// Bytes of payload memory.
    pub queue_bytes: u64,
    /// Gaps so far.
    pub gaps: u64,
    /// Number of the last record.
    pub last_seq: u64,
    /// Number of the last record of the newest acknowledged epoch.
    pub acknowledged_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_times_fall_into_their_power_of_two() {
        let mut holds = HoldTimes::default();
        for us in [0, 1, 2, 3, 4, 1000, u64::MAX / 10] {
            holds.add(us * 10);
        }
        assert_eq!(holds.buckets[..3], [2, 2, 1]);
        assert_eq!((holds.buckets[9], holds.buckets[31]), (1, 1));
        assert_eq!(holds.longest_us, u64::MAX / 10);
    }
}

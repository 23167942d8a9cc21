//! What a session has done so far: counters, and the distribution of hold times.

use crate::session::Phase;

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

impl HoldTimes {
    pub(crate) fn us(ticks: u64) -> u64 {
        ticks / TICKS_PER_US
    }

    pub(crate) fn bucket(us: u64) -> usize {
        let bucket = (u64::BITS - us.max(1).leading_zeros() - 1) as usize;
        bucket.min(HOLD_BUCKETS - 1)
    }
}

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
    /// The host's clock at t0; 0 before.
    pub t0: u64,
    /// Blocks of the volume.
    pub blocks_total: u64,
    /// Blocks that the stream describes.
    pub blocks_synced: u64,
    /// Blocks to be read for the base image, those being read included.
    pub blocks_unsynced: u64,
    /// Blocks to be read again after a gap, those being read included.
    pub blocks_dirty: u64,
    /// Blocks that the sweep captured.
    pub blocks_by_sweep: u64,
    /// Blocks captured for a waiting write.
    pub blocks_by_hold: u64,
    /// Blocks that the disk could not read.
    pub blocks_unreadable: u64,
    /// Blocks that hold no data, and were not read.
    pub blocks_unallocated: u64,
    /// Writes issued on their caller's thread.
    pub writes_passed: u64,
    /// Writes held, captured and issued.
    pub writes_held: u64,
    /// Writes held now.
    pub writes_holding: u64,
    /// Writes in flight below now.
    pub writes_flying: u64,
    /// Writes that went through uncaptured.
    pub writes_uncaptured: u64,
    /// How long writes were held.
    pub holds: HoldTimes,
    /// Payload bytes captured.
    pub bytes_captured: u64,
    /// Payload bytes drained.
    pub bytes_drained: u64,
    /// Payload bytes in the queue now.
    pub queue_used: u64,
    /// Payload bytes that the queue takes.
    pub queue_bytes: u64,
    /// Gaps so far.
    pub gaps: u64,
    /// The last record.
    pub last_seq: u64,
    /// The last record of the newest acknowledged epoch.
    pub acknowledged_seq: u64,
}

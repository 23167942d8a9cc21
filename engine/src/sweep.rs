//! The sweep: where it goes on, when it may read and how much at a time.

use snapless_tracking::config::{Config, SweepLimits};
use snapless_types::{BlockIndex, BlockRange, Geometry, Tick};

use crate::pace::Pace;

/// The state of the sweep thread.
#[derive(Debug)]
pub struct Sweep {
    /// Where it goes on.
    cursor: BlockIndex,
    pace: Pace,
    /// It reads nothing until it is resumed.
    paused: bool,
}

impl Sweep {
    /// A sweep that has read nothing.
    pub fn new(limits: SweepLimits) -> Self {
        Self { cursor: BlockIndex(0), pace: Pace::new(limits), paused: false }
    }

    /// Sets how hard the disk may be read from now on.
    pub fn set_limits(&mut self, limits: SweepLimits, now: Tick) {
        self.pace.set_limits(limits, now);
    }

    /// Sets whether the sweep reads nothing.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// True while the sweep reads nothing.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// `Err` if the sweep, with `reads` reads under way, begins none now; with the instant at which
    /// to ask again, unless it is woken.
    pub fn may_read(&self, reads: u64, now: Tick) -> Result<(), Option<Tick>> {
        if self.paused {
            return Err(None);
        }
        if let Some(due) = self.pace.due(now) {
            return Err(Some(due));
        }
        // The end of a read wakes the sweep.
        if reads < self.pace.depth(now) { Ok(()) } else { Err(None) }
    }

    /// Sets where the sweep goes on.
    pub fn go_on_at(&mut self, block: BlockIndex) {
        self.cursor = block;
    }

    /// All blocks, in the order in which they are read.
    pub fn order(&self, all: BlockRange) -> [BlockRange; 2] {
        [BlockRange::new(self.cursor, all.end), BlockRange::new(all.start, self.cursor)]
    }

    /// The longest run from `start` on that one read may cover, of the sweep or for a held write.
    pub fn longest_run(
        &self,
        start: BlockIndex,
        geometry: &Geometry,
        config: &Config,
        now: Tick,
    ) -> BlockRange {
        let longest = self.pace.read_bytes(config, now) / u64::from(geometry.block_size());
        BlockRange::new(start, BlockIndex(start.0.saturating_add(longest.max(1))))
    }

    /// Notes that the sweep reads these blocks, of so many bytes.
    pub fn begun(&mut self, blocks: BlockRange, bytes: u64, now: Tick) {
        self.cursor = blocks.end;
        self.pace.begun(bytes, now);
    }

    /// Notes that so many bytes are read to verify the copy: the cap of the rate counts them.
    pub fn verifies(&mut self, bytes: u64, now: Tick) {
        self.pace.begun(bytes, now);
    }

    /// Notes that a read of the sweep, begun at `since`, is done.
    pub fn done(&mut self, bytes: u64, since: Tick, now: Tick) {
        self.pace.done(bytes, since, now);
    }

    /// Notes that blocks are read for a held write, in one of `reads` reads at a time.
    pub fn disturbed(&mut self, reads: u64, now: Tick) {
        self.pace.disturbed(reads, now);
    }
}

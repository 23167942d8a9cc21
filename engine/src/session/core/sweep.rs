//! The sweep thread: which blocks it reads next.

use snapless_tracking::capture_queue::Region;
use snapless_tracking::claims::Reader;
use snapless_tracking::config::SweepLimits;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange};

use super::Core;
use super::read::Read;
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;
use crate::resync::{Passes, Resync};

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// What the sweep thread does next.
    pub fn sweep(&mut self) -> Step<Read> {
        match self.state.lifecycle.phase() {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing => {}
            Phase::Starting | Phase::Uncaptured => return Step::Wait(None),
        }
        let now = self.call.now;
        if let Some(until) = self.state.unused[0].sweep_waits(now) {
            return Step::Wait(Some(until));
        }
        let reads = self.state.claims[0].count_by(Reader::Sweep);
        if let Err(until) = self.state.sweep[0].may_read(reads, now) {
            return Step::Wait(until);
        }
        if let Some(due) = self.state.failing[0].due(Reader::Sweep, now) {
            return Step::Wait(Some(due));
        }
        let mut passes = Passes::new();
        let Some(blocks) = self.next_to_sweep(&mut passes) else {
            let dirty = self.shared.table.count(BlockState::Dirty);
            let Some(block) = self.state.resync.found_none(&passes, dirty) else {
                return self.verify();
            };
            self.state.sweep[0].go_on_at(block);
            return Step::Again;
        };
        self.state.resync.found();
        let blocks = match self.cut_excluded(blocks) {
            Ok(blocks) => blocks,
            Err(step) => return step,
        };
        let Some(read) = self.claim(blocks, Reader::Sweep) else {
            let may_find_room = self.state.capture_queue.has_more_to_give_up(Region::Sweep);
            return if may_find_room { Step::Again } else { Step::Wait(None) };
        };
        let bytes = read.extent().len();
        self.state.sweep[0].begun(blocks, bytes, now);
        Step::Do(read)
    }

    /// Sets whether the sweep reads nothing.
    pub fn set_paused(&mut self, paused: bool) {
        self.state.sweep[0].set_paused(paused);
        if !paused {
            self.call.wake(Worker::Sweep);
        }
    }

    /// Sets how hard the sweep may read the disk from now on.
    pub fn set_sweep_limits(&mut self, limits: SweepLimits) {
        self.state.sweep[0].set_limits(limits, self.call.now);
        // It may wait for an instant that was due at another rate.
        self.call.wake(Worker::Sweep);
    }

    /// The first run of these blocks that a read may cover: unsynced ones before dirty ones.
    pub(super) fn first_unread(&self, range: BlockRange) -> Option<BlockRange> {
        self.first_unsynced(range).or_else(|| self.first_dirty(range, &mut Passes::new()))
    }

    /// The next run in sweep order: first what the base image lacks, then what a gap left dirty.
    fn next_to_sweep(&self, passes: &mut Passes) -> Option<BlockRange> {
        let ranges = self.state.sweep[0].order(self.shared.geometry.all_blocks());
        let unsynced = ranges.into_iter().find_map(|range| self.first_unsynced(range));
        unsynced.or_else(|| ranges.into_iter().find_map(|range| self.first_dirty(range, passes)))
    }

    fn first_unsynced(&self, range: BlockRange) -> Option<BlockRange> {
        let start = self.shared.table.find(range, BlockState::Unsynced)?;
        let run = BlockRange::new(start, range.end);
        Some(self.longest_run(run, BlockState::Unsynced))
    }

    fn first_dirty(&self, range: BlockRange, passes: &mut Passes) -> Option<BlockRange> {
        let run = |start| self.longest_run(BlockRange::new(start, range.end), BlockState::Dirty);
        Resync::first_readable(range, &self.shared.table, &self.state.in_flight, passes, run)
    }

    /// The run of blocks in `state` that begins at the range's start, as long as one read may be.
    fn longest_run(&self, range: BlockRange, state: BlockState) -> BlockRange {
        let longest = self.longest_read(range.start);
        self.shared.table.run(range.intersection(&longest), state)
    }

    /// The blocks from `start` on that one read may cover.
    pub(super) fn longest_read(&self, start: BlockIndex) -> BlockRange {
        let (geometry, config) = (&self.shared.geometry, &self.shared.config);
        let longest = self.state.sweep[0].longest_run(start, geometry, config, self.call.now);
        self.state.failing[0].cut(longest)
    }
}

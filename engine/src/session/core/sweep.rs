//! The sweep thread: which blocks it reads next.

use snapless_types::BlockRange;

use super::Core;
use super::read::Read;
use crate::claims::Reader;
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;
use crate::resync::Resync;
use crate::table::BlockState;

impl<W> Core<'_, W> {
    /// What the sweep thread does next.
    pub fn sweep(&mut self) -> Step<Read> {
        match self.state.lifecycle.phase() {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing => {}
            Phase::Starting | Phase::Uncaptured => return Step::Wait(None),
        }
        let now = self.call.now;
        let reads = self.state.claims.count_by(Reader::Sweep);
        if let Err(until) = self.state.sweep.may_read(reads, now) {
            return Step::Wait(until);
        }
        let Some(blocks) = self.next_to_sweep() else {
            let only_dirty = self.is_any(BlockState::Dirty);
            self.state.resync.insist(only_dirty);
            return Step::Wait(None);
        };
        let Some(read) = self.claim(blocks, Reader::Sweep) else { return Step::Wait(None) };
        let bytes = read.extent().len();
        self.state.sweep.begun(blocks, bytes, &self.shared.config, now);
        Step::Do(read)
    }

    /// Sets whether the sweep reads nothing.
    pub fn set_paused(&mut self, paused: bool) {
        self.state.sweep.set_paused(paused);
        if !paused {
            self.call.wake(Worker::Sweep);
        }
    }

    /// The first run of these blocks that a read may cover: unsynced ones before dirty ones.
    pub(super) fn first_unread(&self, range: BlockRange) -> Option<BlockRange> {
        self.first_unsynced(range).or_else(|| self.first_dirty(range))
    }

    /// The next run in sweep order: first what the base image lacks, then what a gap left dirty.
    fn next_to_sweep(&self) -> Option<BlockRange> {
        let ranges = self.state.sweep.order(self.shared.geometry.all_blocks());
        let unsynced = ranges.into_iter().find_map(|range| self.first_unsynced(range));
        unsynced.or_else(|| ranges.into_iter().find_map(|range| self.first_dirty(range)))
    }

    fn first_unsynced(&self, range: BlockRange) -> Option<BlockRange> {
        let start = self.shared.table.find(range, BlockState::Unsynced)?;
        let run = BlockRange::new(start, range.end);
        Some(self.longest_run(run, BlockState::Unsynced))
    }

    fn first_dirty(&self, range: BlockRange) -> Option<BlockRange> {
        let run = |start| self.longest_run(BlockRange::new(start, range.end), BlockState::Dirty);
        Resync::first_readable(range, &self.shared.table, &self.state.in_flight, run)
    }

    /// The run of blocks in `state` that begins at the range's start, as long as one read may be.
    fn longest_run(&self, range: BlockRange, state: BlockState) -> BlockRange {
        let (shared, now) = (self.shared, self.call.now);
        let (geometry, config) = (&shared.geometry, &shared.config);
        let longest = self.state.sweep.longest_run(range.start, geometry, config, now);
        shared.table.run(range.intersection(&longest), state)
    }
}

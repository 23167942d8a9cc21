//! Blocks that are never read: those that hold no data at t0, and those of paging files (rule T0,
//! rules.md#t0: the image may have anything there).

use alloc::vec::Vec;

use snapless_tracking::config::CHUNK;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, Extent, GapReason, RecordKind};

use super::{Core, Read, first_of};
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;

/// Most records that one call appends.
const RECORDS_MAX: u64 = CHUNK;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Records those of the blocks that are unsynced as unallocated. Returns the block to go on
    /// with.
    pub fn skip(&mut self, blocks: BlockRange) -> BlockIndex {
        let inside = blocks.intersection(&self.shared.geometry.all_blocks());
        match self.state.lifecycle.phase() {
            Phase::Stopped => return blocks.end,
            _ if inside.is_empty() => return blocks.end,
            Phase::Starting | Phase::Uncaptured => return blocks.start,
            Phase::Capturing => {}
        }
        let reached = self.skip_to(first_of(inside), RecordKind::Unallocated);
        if reached < inside.end {
            // The sweep thread waits, if it gets no further.
            self.call.leave(Worker::Sweep);
            self.waits(Worker::Sweep);
        }
        if reached == inside.end { blocks.end } else { reached }
    }

    /// Takes the extents of paging files before t0; once.
    pub fn exclude(&mut self, extents: Vec<Extent>) {
        self.state.excluded[0].give(extents);
    }

    /// Notes whether the excluded extents are still the files'; false before t0.
    pub fn review_excluded(&mut self, are_still: bool) -> bool {
        if self.state.base.t0().is_none() {
            return false;
        }
        if are_still {
            self.state.excluded[0].confirm();
        } else if self.state.excluded[0].withdraw() && !self.state.lifecycle.is_stopped() {
            self.state.base.lose();
            self.open_gap(Some(GapReason::UrgentWrite));
        }
        self.note_progress();
        self.call.wake(Worker::Sweep);
        true
    }

    /// Decides whether a write to a paging file goes past the session.
    pub fn page_out(&mut self, extent: &Extent) -> bool {
        let passes = self.state.excluded[0].has(extent);
        if passes {
            self.state.excluded[0].rely();
            self.state.counts[0].writes_excluded += 1;
        }
        passes
    }

    /// The next of the blocks that the sweep is about to read: excluded ones are recorded instead.
    pub(super) fn cut_excluded(&mut self, blocks: BlockRange) -> Result<BlockRange, Step<Read>> {
        if self.shared.table.get(blocks.start) != BlockState::Unsynced {
            return Ok(blocks);
        }
        let longest = first_of(BlockRange::new(blocks.start, BlockIndex(u64::MAX)));
        let (run, is_excluded) = self.state.excluded[0].cut(longest, &self.shared.geometry);
        if !is_excluded {
            return Ok(blocks.intersection(&run));
        }
        let reached = self.skip_to(run, RecordKind::Excluded);
        Err(if reached == run.start { Step::Wait(None) } else { Step::Again })
    }

    /// Records blocks of the run. Returns the first one that the queue has no room for now, or that
    /// is more than one call does; the run's end if there is none.
    fn skip_to(&mut self, run: BlockRange, kind: RecordKind) -> BlockIndex {
        let reached = self.record_unread(run, kind);
        self.wake_waiting();
        self.note_progress();
        reached
    }

    fn record_unread(&mut self, run: BlockRange, kind: RecordKind) -> BlockIndex {
        // The stream has its base image already: they are zeros from now on, as they are there.
        let appended = if self.is_continued() { RecordKind::Trim } else { kind };
        let mut rest = run;
        let mut left = RECORDS_MAX;
        // A block that is being read, was read or was written to is left as it is.
        while let Some(start) = self.shared.table.find(rest, BlockState::Unsynced) {
            rest = BlockRange::new(start, run.end);
            let empty = self.shared.table.run(rest, BlockState::Unsynced);
            if left == 0 || self.append(appended, empty).is_none() {
                return start;
            }
            left -= 1;
            self.shared.table.set_run(empty, BlockState::Unsynced, BlockState::Synced);
            self.state.in_flight.synced(&empty);
            match kind {
                RecordKind::Excluded => self.state.counts[0].blocks_excluded += empty.len(),
                _ => self.state.counts[0].blocks_unallocated += empty.len(),
            }
            rest = BlockRange::new(empty.end, run.end);
        }
        run.end
    }
}

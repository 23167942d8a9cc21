//! Blocks that are never read: those that hold no data at t0, and those that no file has or that
//! are a paging file's (rule T0, rules.md#t0: the image may have anything there).

use alloc::vec::Vec;

use snapless_tracking::config::CHUNK;
use snapless_tracking::regions::RegionMap;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, Extent, GapReason, RecordKind};

use super::{Core, Read, first_of};
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;

/// Most records that one call appends.
const RECORDS_MAX: u64 = CHUNK;

/// Why blocks are not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// They hold no data.
    Unallocated,
    /// No file has them.
    Unused,
    /// A paging file has them.
    Excluded,
}

impl Unread {
    /// The record that says so.
    fn kind(self) -> RecordKind {
        match self {
            Self::Unallocated => RecordKind::Unallocated,
            Self::Unused | Self::Excluded => RecordKind::Excluded,
        }
    }
}

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
        let reached = self.skip_to(first_of(inside), Unread::Unallocated);
        if reached < inside.end {
            // The sweep thread waits, if it gets no further.
            self.call.leave(Worker::Sweep);
            self.waits(Worker::Sweep);
        }
        if reached == inside.end { blocks.end } else { reached }
    }

    /// Takes what was changed since the file system was asked which clusters are free, before t0.
    pub fn expect_unused(&mut self, noted: RegionMap) {
        self.state.unused[0].expect(noted, &self.shared.geometry);
    }

    /// Records those of the blocks that are unsynced, and not noted as changed before t0, as
    /// excluded. Returns the block to go on with; `None` if it is not known what was changed.
    pub fn unused(&mut self, blocks: BlockRange) -> Option<BlockIndex> {
        let unused = &self.state.unused[0];
        if !unused.is_expected() {
            return None;
        }
        let inside = blocks.intersection(&self.shared.geometry.all_blocks());
        match self.state.lifecycle.phase() {
            Phase::Stopped => return None,
            _ if inside.is_empty() => return Some(blocks.end),
            Phase::Starting | Phase::Uncaptured => return Some(blocks.start),
            Phase::Capturing => {}
        }
        let (run, is_changed) = unused.cut(first_of(inside), &self.shared.geometry);
        let reached = if is_changed { run.end } else { self.skip_to(run, Unread::Unused) };
        if reached < run.end {
            // There is no room: the sweep has to read meanwhile.
            self.state.unused[0].let_sweep_go();
            self.call.wake(Worker::Sweep);
        }
        Some(if reached == inside.end { blocks.end } else { reached })
    }

    /// All unused blocks are known.
    pub fn end_unused(&mut self) {
        self.state.unused[0].end();
        self.call.wake(Worker::Sweep);
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
        let reached = self.skip_to(run, Unread::Excluded);
        Err(if reached == run.start { Step::Wait(None) } else { Step::Again })
    }

    /// Records blocks of the run. Returns the first one that the queue has no room for now, or that
    /// is more than one call does; the run's end if there is none.
    fn skip_to(&mut self, run: BlockRange, why: Unread) -> BlockIndex {
        let reached = self.record_unread(run, why);
        self.wake_waiting();
        self.note_progress();
        reached
    }

    fn record_unread(&mut self, run: BlockRange, why: Unread) -> BlockIndex {
        // The stream has its base image already: they are zeros from now on, as they are there.
        let appended = if self.is_continued() { RecordKind::Trim } else { why.kind() };
        // The service says what is unused before it drains: neither a write nor a later service may
        // lack what that takes.
        let may_wait = why == Unread::Unused;
        let mut rest = run;
        let mut left = RECORDS_MAX;
        // A block that is being read, was read or was written to is left as it is.
        while let Some(start) = self.shared.table.find(rest, BlockState::Unsynced) {
            rest = BlockRange::new(start, run.end);
            let empty = self.shared.table.run(rest, BlockState::Unsynced);
            if left == 0 || (may_wait && !self.state.capture_queue.has_spare_room(0)) {
                return start;
            }
            if self.append(appended, empty).is_none() {
                return start;
            }
            left -= 1;
            self.shared.table.set_run(empty, BlockState::Unsynced, BlockState::Synced);
            self.state.in_flight.synced(&empty);
            let counts = &mut self.state.counts[0];
            match why {
                Unread::Excluded => counts.blocks_excluded += empty.len(),
                Unread::Unallocated | Unread::Unused => counts.blocks_unallocated += empty.len(),
            }
            rest = BlockRange::new(empty.end, run.end);
        }
        run.end
    }
}

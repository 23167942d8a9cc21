//! Which blocks sweep and hold read next, and what becomes of what they read.

use snapless_types::{BlockIndex, BlockRange, Extent, RecordKind};

use super::state::Core;
use super::{Phase, Step};
use crate::arena::MemorySpan;
use crate::claims::{ClaimId, Claimed, Reader};
use crate::host::Worker;
use crate::queue::{Region, Reservation};
use crate::table::BlockState;

/// Blocks to read from the disk into queue memory. To be handed back to
/// [`Session::read_done`](super::Session::read_done).
#[must_use = "blocks that are claimed and not read stop the sync"]
#[derive(Debug)]
pub struct Read {
    claim: ClaimId,
    /// The bytes of all its blocks.
    whole: Extent,
    /// The bytes to read now.
    extent: Extent,
    reservation: Reservation,
    /// The disk could not read the block at once.
    by_sector: bool,
}

impl Read {
    /// The bytes of the volume to read.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Where they go: as many bytes as the extent has.
    pub fn memory(&self) -> MemorySpan {
        let skip = self.extent.offset() - self.whole.offset();
        self.reservation.memory().part(skip, self.extent.len())
    }
}

impl<W> Core<'_, W> {
    pub(super) fn sweep(&mut self) -> Step<Read> {
        // A block that is being read counts as before; only the queue has changed.
        self.quick = true;
        let (state, now) = (&self.state, self.now);
        match state.phase {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing if !state.paused => {}
            _ => return Step::Wait(None),
        }
        if let Some(due) = state.pace.due(now) {
            return Step::Wait(Some(due));
        }
        // The end of a read wakes the sweep.
        if state.claims.count_by(Reader::Sweep) >= state.pace.depth(now) {
            return Step::Wait(None);
        }
        let Some(blocks) = self.next_to_sweep() else {
            self.state.insists = self.is_any(BlockState::Dirty);
            return Step::Wait(None);
        };
        let Some(read) = self.claim(blocks, Reader::Sweep) else { return Step::Wait(None) };
        self.state.cursor = blocks.end;
        self.state.pace.begun(&self.shared.config, read.extent.len(), now);
        Step::Do(read)
    }

    pub(super) fn resume(&mut self) {
        self.state.paused = false;
        self.wakes.add(Worker::Sweep);
    }

    pub(super) fn hold(&mut self) -> Step<Read> {
        // As for the sweep.
        self.quick = true;
        match self.state.phase {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing if self.state.claims.has_room() => {}
            _ => return Step::Wait(None),
        }
        // A trim may cover much, and nobody waits for it as for a write.
        let found = [true, false].into_iter().find_map(|writes| {
            let held = self.state.writes.held().map(|held| held.change);
            let mut held = held.filter(|change| change.kind.has_payload() == writes);
            held.find_map(|change| self.first_unread(change.blocks))
        });
        let Some(blocks) = found else { return Step::Wait(None) };
        if let Some(read) = self.claim(blocks, Reader::Hold) {
            let reads = self.state.claims.count_by(Reader::Hold);
            self.state.pace.disturbed(reads, self.now);
            return Step::Do(read);
        }
        // Only the queue has no room for it.
        self.quick = false;
        self.starve();
        // It has to know when the hold limit is due.
        self.wakes.add(Worker::Dispatch);
        Step::Wait(None)
    }

    pub(super) fn read_done(&mut self, mut read: Read, succeeded: bool) -> Option<Read> {
        if let Some(extent) = self.next_sector(&mut read, succeeded) {
            read.extent = extent;
            return Some(read);
        }
        self.end_read(read, succeeded);
        None
    }

    /// The sector to read next, if a block is, or has to be, read sector by sector.
    fn next_sector(&mut self, read: &mut Read, succeeded: bool) -> Option<Extent> {
        let claimed = self.state.claims.get_mut(read.claim)?;
        if self.state.phase == Phase::Stopped || !claimed.spoiled.is_empty() {
            return None;
        }
        let sector_size = u64::from(self.shared.geometry.sector_size());
        if !read.by_sector {
            let is_one_block = read.whole.len() <= u64::from(self.shared.geometry.block_size());
            if succeeded || !is_one_block {
                return None;
            }
            read.by_sector = true;
            return Extent::new(read.whole.offset(), sector_size);
        }
        if !succeeded {
            let at = read.extent.offset() - read.whole.offset();
            claimed.holes.add(self.shared.geometry.sectors_in(at));
        }
        let next = read.extent.end();
        (next < read.whole.end()).then(|| Extent::new(next, sector_size)).flatten()
    }

    fn end_read(&mut self, read: Read, succeeded: bool) {
        let Some(claimed) = self.state.claims.end(read.claim) else {
            rule!(false, "T0: a claim ends once");
            return self.state.queue.cancel(read.reservation);
        };
        if claimed.reader == Reader::Sweep && !read.by_sector {
            let config = &self.shared.config;
            self.state.pace.done(config, read.whole.len(), claimed.since, self.now);
        }
        if self.state.phase == Phase::Stopped || !claimed.spoiled.is_empty() {
            self.give_up(&claimed, read.reservation);
        } else if !(succeeded || read.by_sector)
            || !self.state.queue.has_room_for(claimed.holes.count())
        {
            // Somewhere in the run is a bad sector: its blocks are read one at a time. Or there is no room to say
            // which sectors of the block are bad: it is read again.
            self.state.careful = self.state.careful.hull(&claimed.blocks);
            self.give_up(&claimed, read.reservation);
        } else {
            self.commit_read(&claimed, read.whole, read.reservation);
        }
        self.wakes.add(Worker::Sweep);
        self.wake_waiting();
        self.note_progress();
    }

    fn commit_read(&mut self, claimed: &Claimed, whole: Extent, reservation: Reservation) {
        let Claimed { blocks, reader, before, holes, .. } = claimed;
        let is_written = || self.state.writes.flies_in(blocks);
        rule!(!is_written(), "T0: nothing writes to a block while it is being read");
        let sector_size = self.shared.geometry.sector_size();
        let mut holes = holes.extents(whole.offset(), sector_size.into()).peekable();
        self.numbers().blocks_unreadable.add(holes.peek().is_some().into());
        let bytes = if holes.peek() == Some(&whole) {
            self.state.queue.cancel(reservation);
            0
        } else {
            let is_base = *before == BlockState::Unsynced;
            let kind = if is_base { RecordKind::Block } else { RecordKind::Resync };
            let record = self.record(kind, Some(whole));
            self.state.queue.commit(reservation, record);
            match reader {
                Reader::Sweep => self.numbers().blocks_by_sweep.add(blocks.len()),
                Reader::Hold => self.numbers().blocks_by_hold.add(blocks.len()),
            }
            whole.len()
        };
        for hole in holes {
            let record = self.record(RecordKind::Unreadable, Some(hole));
            let told = self.state.queue.tell(record);
            rule!(told.is_some(), "LOSS: what could not be read is said not to have been");
        }
        self.shared.table.set_run(*blocks, BlockState::Reading, BlockState::Synced);
        // Once for all of them: no epoch ends between a block and its holes.
        self.recorded(*blocks, bytes);
    }

    /// Gives blocks back whose content was not captured: the spoiled ones are dirty now, the others are as
    /// they were.
    fn give_up(&mut self, claimed: &Claimed, reservation: Reservation) {
        self.state.queue.cancel(reservation);
        let Claimed { blocks, spoiled, before, .. } = *claimed;
        self.shared.table.set_run(blocks, BlockState::Reading, before);
        self.shared.table.set_run(spoiled, before, BlockState::Dirty);
        self.state.base_lost |= before == BlockState::Unsynced && !spoiled.is_empty();
    }

    fn claim(&mut self, blocks: BlockRange, reader: Reader) -> Option<Read> {
        let whole = self.shared.geometry.extent_of(&blocks)?;
        let region = match reader {
            Reader::Sweep => Region::Sweep,
            Reader::Hold => Region::Writes,
        };
        let reservation = self.state.queue.reserve(whole.len(), region)?;
        let before = self.shared.table.get(blocks.start);
        let Some(claim) = self.state.claims.begin(blocks, reader, before, self.now) else {
            self.state.queue.cancel(reservation);
            return None;
        };
        self.shared.table.set_run(blocks, before, BlockState::Reading);
        Some(Read { claim, whole, extent: whole, reservation, by_sector: false })
    }

    /// The next run in sweep order: first what the base image lacks, then what a gap left dirty.
    fn next_to_sweep(&self) -> Option<BlockRange> {
        let (all, cursor) = (self.shared.geometry.all_blocks(), self.state.cursor);
        let ranges = [BlockRange::new(cursor, all.end), BlockRange::new(all.start, cursor)];
        let unsynced = ranges.into_iter().find_map(|range| self.first_unsynced(range));
        unsynced.or_else(|| ranges.into_iter().find_map(|range| self.first_dirty(range)))
    }

    /// The first run of these blocks that nobody has read and somebody may.
    fn first_unread(&self, range: BlockRange) -> Option<BlockRange> {
        self.first_unsynced(range).or_else(|| self.first_dirty(range))
    }

    fn first_unsynced(&self, range: BlockRange) -> Option<BlockRange> {
        let start = self.shared.table.find(range, BlockState::Unsynced)?;
        Some(self.run_from(start, range.end, BlockState::Unsynced))
    }

    /// The first run of dirty blocks that no write in flight touches: reading under one would capture
    /// either content (rule LOSS).
    fn first_dirty(&self, range: BlockRange) -> Option<BlockRange> {
        if self.state.slotless > 0 {
            return None;
        }
        let is_still = |block: &BlockIndex| {
            sabotaged!(ResyncUnderWrites) || !self.state.writes.flies_in(&BlockRange::one(*block))
        };
        let mut rest = range;
        while let Some(start) = self.shared.table.find(rest, BlockState::Dirty) {
            let run = self.run_from(start, range.end, BlockState::Dirty);
            let still = run.iter().take_while(is_still).count() as u64;
            if still > 0 {
                return Some(BlockRange::new(start, BlockIndex(start.0 + still)));
            }
            rest = BlockRange::new(BlockIndex(start.0 + 1), range.end);
        }
        None
    }

    /// The run of blocks in `state` that begins at `start`, as long as one read may be.
    fn run_from(&self, start: BlockIndex, end: BlockIndex, state: BlockState) -> BlockRange {
        let careful = self.state.careful;
        let bytes = self.state.pace.read_bytes(&self.shared.config, self.now);
        let mut longest = bytes / u64::from(self.shared.geometry.block_size());
        if careful.intersects(&BlockRange::one(start)) {
            longest = 1;
        } else if careful.start > start {
            longest = longest.min(careful.start.0 - start.0);
        }
        let end = end.min(BlockIndex(start.0.saturating_add(longest.max(1))));
        self.shared.table.run(BlockRange::new(start, end), state)
    }
}

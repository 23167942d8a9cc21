//! Which blocks sweep and hold read next, and what becomes of what they read.

use super::state::Core;
use super::{Phase, Step};
use crate::arena::MemorySpan;
use crate::claims::{ClaimId, Claimed, Reader, Reason};
use crate::geometry::{BlockIndex, BlockRange, Extent};
use crate::holes::Holes;
use crate::host::Worker;
use crate::queue::{RecordKind, Region, Reservation};
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
        MemorySpan::of(self.reservation.memory(), skip, self.extent.len())
    }
}

/// A run of blocks that may be claimed.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    blocks: BlockRange,
    reason: Reason,
}

impl<W> Core<'_, W> {
    pub(super) fn sweep(&mut self) -> Step<Read> {
        // A block that is being read counts as before; only the queue has changed.
        self.quick = true;
        match self.state.phase {
            Phase::Stopped => return Step::Ended,
            Phase::Starting | Phase::Passing => return Step::Wait(None),
            Phase::Capturing => {}
        }
        if self.state.paused {
            return Step::Wait(None);
        }
        if let Some(due) = self.state.pace.due(self.now) {
            return Step::Wait(Some(due));
        }
        // The end of a read wakes the sweep.
        if self.state.claims.count_by(Reader::Sweep) >= self.state.pace.depth(self.now) {
            return Step::Wait(None);
        }
        let config = &self.shared.config;
        let Some(candidate) = self.next_to_sweep() else {
            self.state.insists = self.state.dirty > 0;
            return Step::Wait(None);
        };
        let Some(read) = self.claim(candidate, Reader::Sweep) else { return Step::Wait(None) };
        self.state.cursor = candidate.blocks.end;
        self.state.pace.begun(config, read.extent.len(), self.now);
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
            Phase::Starting | Phase::Passing => return Step::Wait(None),
            Phase::Capturing => {}
        }
        if !self.state.claims.has_room() {
            return Step::Wait(None);
        }
        // A trim may cover much, and nobody waits for it as for a write.
        let held = |clears: bool| {
            self.state.writes.held().filter(move |held| (held.kind != RecordKind::Write) == clears)
        };
        let found = held(false).chain(held(true)).find_map(|held| self.first_unread(held.blocks));
        let Some(candidate) = found else { return Step::Wait(None) };
        if let Some(read) = self.claim(candidate, Reader::Hold) {
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
        let is_wanted = self.state.phase != Phase::Stopped
            && self.state.claims.get(read.claim).is_some_and(|it| it.spoiled.is_empty());
        if is_wanted && let Some(extent) = self.next_sector(&mut read, succeeded) {
            read.extent = extent;
            return Some(read);
        }
        self.end_read(read, succeeded);
        None
    }

    /// The sector to read next, if a block is, or has to be, read sector by sector.
    fn next_sector(&mut self, read: &mut Read, succeeded: bool) -> Option<Extent> {
        let sector_size = u64::from(self.shared.geometry.sector_size());
        if !read.by_sector {
            let is_one_block = read.whole.len() <= self.shared.geometry.block_size();
            if succeeded || !is_one_block {
                return None;
            }
            read.by_sector = true;
            return Extent::new(read.whole.offset(), sector_size);
        }
        if !succeeded {
            let at = read.extent.offset() - read.whole.offset();
            self.state.claims.add_hole(read.claim, self.shared.geometry.sectors_in(at));
        }
        let next = read.extent.end();
        (next < read.whole.end()).then(|| Extent::new(next, sector_size)).flatten()
    }

    fn end_read(&mut self, read: Read, succeeded: bool) {
        let Some(claimed) = self.state.claims.end(read.claim) else {
            rule!(false, "T0: a claim ends once");
            self.state.queue.cancel(read.reservation);
            return;
        };
        if claimed.reader == Reader::Sweep && !read.by_sector {
            let config = &self.shared.config;
            self.state.pace.done(config, read.whole.len(), claimed.since, self.now);
        }
        let holes = self.state.claims.holes(read.claim);
        if self.state.phase == Phase::Stopped || !claimed.spoiled.is_empty() {
            self.state.queue.cancel(read.reservation);
            self.release_spoiled(&claimed);
        } else if !(succeeded || read.by_sector) || !self.state.queue.has_room_for(holes.count()) {
            // Somewhere in the run is a bad sector: its blocks are read one at a time. Or there is no room to say
            // which sectors of the block are bad: it is read again.
            self.state.queue.cancel(read.reservation);
            self.state.careful = self.state.careful.hull(&claimed.blocks);
            self.release_spoiled(&claimed);
        } else {
            self.commit_read(&claimed, read.whole, read.reservation, &holes);
        }
        self.wakes.add(Worker::Sweep);
        self.wake_waiting();
        self.note_progress();
    }

    fn commit_read(
        &mut self,
        claimed: &Claimed,
        whole: Extent,
        reservation: Reservation,
        holes: &Holes,
    ) {
        rule!(
            self.shared.table.all(claimed.blocks, BlockState::Reading),
            "T0: claimed blocks stay in state Reading until their claim ends"
        );
        rule!(
            !self.state.writes.flies_in(&claimed.blocks),
            "T0: nothing writes to a block while it is being read"
        );
        let stamp = self.stamp();
        let sector_size = u64::from(self.shared.geometry.sector_size());
        let hole =
            |(first, count)| Extent::new(whole.offset() + first * sector_size, count * sector_size);
        self.numbers().blocks_unreadable.add(u64::from(holes.count() > 0));
        if holes.iter().next().and_then(hole) == Some(whole) {
            self.state.queue.commit_unreadable(reservation, whole, stamp);
            return self.finish_blocks(claimed, 0);
        }
        let kind = match claimed.reason {
            Reason::Base => RecordKind::Block,
            Reason::Resync => RecordKind::Resync,
        };
        self.state.queue.commit(reservation, kind, whole, stamp);
        for hole in holes.iter().filter_map(hole) {
            let described = self.state.queue.describe(RecordKind::Unreadable, hole, stamp);
            rule!(described, "LOSS: what could not be read is said not to have been");
        }
        match claimed.reader {
            Reader::Sweep => self.numbers().blocks_by_sweep.add(claimed.blocks.len()),
            Reader::Hold => self.numbers().blocks_by_hold.add(claimed.blocks.len()),
        }
        // Once for all of them: no epoch ends between a block and its holes.
        self.finish_blocks(claimed, whole.len());
    }

    fn finish_blocks(&mut self, claimed: &Claimed, bytes: u64) {
        self.set_run(claimed.blocks, BlockState::Reading, BlockState::Synced);
        self.recorded(claimed.blocks, bytes);
    }

    /// Gives blocks back whose content was not captured: the spoiled ones are dirty now, the others are as
    /// they were.
    fn release_spoiled(&mut self, claimed: &Claimed) {
        for block in claimed.blocks.iter() {
            let spoiled = claimed.spoiled.start <= block && block < claimed.spoiled.end;
            let state = match claimed.reason {
                Reason::Base if !spoiled => BlockState::Unsynced,
                Reason::Base => {
                    self.state.base_lost = true;
                    BlockState::Dirty
                }
                Reason::Resync => BlockState::Dirty,
            };
            self.set_block(block, state);
        }
    }

    fn claim(&mut self, candidate: Candidate, reader: Reader) -> Option<Read> {
        let extent = self.extent_of(&candidate.blocks)?;
        let region = match reader {
            Reader::Sweep => Region::Sweep,
            Reader::Hold => Region::Writes,
        };
        let reservation = self.state.queue.reserve(extent.len(), region)?;
        let Candidate { blocks, reason } = candidate;
        let Some(claim) = self.state.claims.begin(blocks, reader, reason, self.now) else {
            self.state.queue.cancel(reservation);
            return None;
        };
        self.set_run(blocks, reason.state(), BlockState::Reading);
        Some(Read { claim, whole: extent, extent, reservation, by_sector: false })
    }

    /// The next run in sweep order: first what the base image lacks, then what a gap left dirty.
    fn next_to_sweep(&self) -> Option<Candidate> {
        let all = self.shared.geometry.all_blocks();
        let ahead = BlockRange::new(self.state.cursor, all.end);
        let behind = BlockRange::new(all.start, self.state.cursor);
        if self.state.unsynced > 0 {
            let find = |range| self.shared.table.find(range, BlockState::Unsynced);
            if let Some(start) = find(ahead).or_else(|| find(behind)) {
                return Some(self.run_from(start, all.end, Reason::Base));
            }
        }
        if self.state.dirty > 0 {
            return self.first_dirty(ahead).or_else(|| self.first_dirty(behind));
        }
        None
    }

    /// The first run of these blocks that nobody has read and somebody may.
    fn first_unread(&self, range: BlockRange) -> Option<Candidate> {
        if self.shared.table.all(range, BlockState::Synced) {
            return None;
        }
        if let Some(start) = self.shared.table.find(range, BlockState::Unsynced) {
            return Some(self.run_from(start, range.end, Reason::Base));
        }
        self.first_dirty(range)
    }

    /// The first run of dirty blocks that no write in flight touches: reading under one would capture
    /// either content (rule LOSS).
    fn first_dirty(&self, range: BlockRange) -> Option<Candidate> {
        if self.state.slotless > 0 {
            return None;
        }
        let mut rest = range;
        while let Some(start) = self.shared.table.find(rest, BlockState::Dirty) {
            let run = self.run_from(start, range.end, Reason::Resync).blocks;
            let still = run
                .iter()
                .take_while(|&block| {
                    sabotaged!(ResyncUnderWrites) || !self.state.writes.flies_in(&one_block(block))
                })
                .count() as u64;
            if still > 0 {
                let blocks = BlockRange::new(start, BlockIndex(start.0 + still));
                return Some(Candidate { blocks, reason: Reason::Resync });
            }
            rest = BlockRange::new(BlockIndex(start.0 + 1), range.end);
        }
        None
    }

    /// The run from `start` of blocks in its state, as long as one read may be.
    fn run_from(&self, start: BlockIndex, end: BlockIndex, reason: Reason) -> Candidate {
        let careful = self.state.careful;
        let longest = if careful.intersects(&one_block(start)) {
            1
        } else {
            let bytes = self.state.pace.read_bytes(&self.shared.config, self.now);
            let blocks = bytes / self.shared.geometry.block_size();
            let before = careful.start.0.saturating_sub(start.0);
            if before > 0 { blocks.min(before) } else { blocks }
        };
        let end = BlockIndex(end.0.min(start.0.saturating_add(longest.max(1))));
        let run = BlockRange::new(start, end);
        Candidate { blocks: self.shared.table.run(run, reason.state()), reason }
    }
}

fn one_block(block: BlockIndex) -> BlockRange {
    BlockRange::new(block, BlockIndex(block.0.saturating_add(1)))
}

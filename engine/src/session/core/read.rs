//! Blocks that are read: claimed, read whole or sector by sector, captured or given back.

use snapless_types::{BlockRange, Extent, RecordKind};

use super::Core;
use crate::arena::MemorySpan;
use crate::capture_queue::{Region, Reservation};
use crate::claims::{ClaimId, Claimed, Reader};
use crate::host::Worker;
use crate::table::BlockState;

/// Blocks to read from the disk into queue memory. To be handed back to
/// [`Session::read_done`](crate::Session::read_done).
#[must_use = "blocks that are claimed and not read stop the sync"]
#[derive(Debug)]
pub struct Read {
    claim: ClaimId,
    /// The bytes of all its blocks.
    whole: Extent,
    /// The bytes to read now.
    extent: Extent,
    reservation: Reservation,
    /// The disk could not read the block in one read.
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
    /// Claims a run of blocks in one state; `None` if the queue or the claims have no room.
    pub(super) fn claim(&mut self, blocks: BlockRange, reader: Reader) -> Option<Read> {
        let whole = self.shared.geometry.extent_of(&blocks)?;
        let region = match reader {
            Reader::Sweep => Region::Sweep,
            Reader::Hold => Region::Writes,
        };
        let reservation = self.state.capture_queue.reserve(whole.len(), region)?;
        let before = self.shared.table.get(blocks.start);
        let Some(claim) = self.state.claims.begin(blocks, reader, before, self.call.now) else {
            self.state.capture_queue.cancel(reservation);
            return None;
        };
        self.shared.table.set_run(blocks, before, BlockState::Reading);
        Some(Read { claim, whole, extent: whole, reservation, by_sector: false })
    }

    /// Takes what the host read. Returns what the same thread reads next, sector by sector.
    pub fn read_done(&mut self, mut read: Read, succeeded: bool) -> Option<Read> {
        self.state.counts[0].reads_failed += u64::from(!succeeded);
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
        if self.state.lifecycle.is_stopped() || !claimed.spoiled.is_empty() {
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
            return self.state.capture_queue.cancel(read.reservation);
        };
        if claimed.reader == Reader::Sweep && !read.by_sector {
            let (config, now) = (&self.shared.config, self.call.now);
            self.state.sweep.done(read.whole.len(), claimed.since, config, now);
        }
        if self.state.lifecycle.is_stopped() || !claimed.spoiled.is_empty() {
            self.give_back(&claimed, read.reservation);
        } else if !(succeeded || read.by_sector)
            || !self.state.capture_queue.has_room_for(claimed.holes.count())
        {
            // The run has a bad sector: its blocks are read one at a time. Or there is no room for
            // the records of the block's holes: it is read again.
            self.state.sweep.read_singly(claimed.blocks);
            self.give_back(&claimed, read.reservation);
        } else {
            self.capture_blocks(&claimed, read.whole, read.reservation);
        }
        self.call.wake(Worker::Sweep);
        self.wake_waiting();
        self.note_progress();
    }

    fn capture_blocks(&mut self, claimed: &Claimed, whole: Extent, reservation: Reservation) {
        let Claimed { blocks, reader, before, ref holes, .. } = *claimed;
        let is_written = || self.state.in_flight.touches(&blocks);
        rule!(!is_written(), "T0: no block is written to while it is read");
        let sector_size = u64::from(self.shared.geometry.sector_size());
        let mut holes = holes.extents(whole.offset(), sector_size).peekable();
        self.state.counts[0].blocks_unreadable += u64::from(holes.peek().is_some());
        let payload = if holes.peek() == Some(&whole) {
            self.state.capture_queue.cancel(reservation);
            0
        } else {
            let is_base = before == BlockState::Unsynced;
            let kind = if is_base { RecordKind::Block } else { RecordKind::Resync };
            let record = self.record(kind, Some(whole));
            self.state.capture_queue.commit(reservation, record);
            match reader {
                Reader::Sweep => self.state.counts[0].blocks_by_sweep += blocks.len(),
                Reader::Hold => self.state.counts[0].blocks_by_hold += blocks.len(),
            }
            whole.len()
        };
        for hole in holes {
            let record = self.record(RecordKind::Unreadable, Some(hole));
            let seq = self.state.capture_queue.append(record);
            rule!(seq.is_some(), "LOSS: a hole has a record");
        }
        self.shared.table.set_run(blocks, BlockState::Reading, BlockState::Synced);
        self.state.in_flight.synced(&blocks);
        // Once for all of them: no epoch ends between a block and its holes.
        self.recorded(blocks, payload);
    }

    /// Gives blocks back whose content is not captured: the spoiled ones turn dirty, the others are
    /// as they were.
    fn give_back(&mut self, claimed: &Claimed, reservation: Reservation) {
        self.state.capture_queue.cancel(reservation);
        let Claimed { blocks, spoiled, before, .. } = *claimed;
        self.shared.table.set_run(blocks, BlockState::Reading, before);
        self.shared.table.set_run(spoiled, before, BlockState::Dirty);
        if before == BlockState::Unsynced && !spoiled.is_empty() {
            self.state.base.lose();
        }
    }
}

//! Blocks that are read: claimed, read whole or sector by sector, captured or given back.

use snapless_fixed::arena::MemorySpan;
use snapless_tracking::capture_queue::{Region, Reservation};
use snapless_tracking::claims::{ClaimId, Claimed, Reader};
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockRange, Extent, RecordKind};

use super::Core;
use crate::host::Worker;

/// What became of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// All bytes are in the queue's memory.
    Done,
    /// The disk cannot read one of the sectors: the read would fail again.
    BadSector,
    /// It failed for a reason that may pass, such as a lack of memory or a device that is offline:
    /// the same blocks are read later.
    NotNow,
}

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
}

impl Read {
    /// The bytes of the volume to read.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    pub(super) fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    pub(super) fn into_reservation(self) -> Reservation {
        self.reservation
    }

    /// Where they go: as many bytes as the extent has.
    pub fn memory(&self) -> MemorySpan {
        let skip = self.extent.offset() - self.whole.offset();
        self.reservation.memory().part(skip, self.extent.len())
    }
}

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Claims a run of blocks in one state; `None` if the queue or the claims have no room.
    pub(super) fn claim(&mut self, blocks: BlockRange, reader: Reader) -> Option<Read> {
        let whole = self.shared.geometry.extent_of(&blocks)?;
        let queue = &mut self.state.capture_queue;
        if reader == Reader::Verify && !queue.has_spare_room(whole.len()) {
            return None;
        }
        let region = match reader {
            Reader::Sweep | Reader::Verify => Region::Sweep,
            Reader::Hold => Region::Holds,
        };
        let reservation = queue.reserve(whole.len(), region)?;
        let before = self.shared.table.get(blocks.start);
        let Some(claim) = self.state.claims[0].begin(blocks, reader, before, self.call.now) else {
            self.state.capture_queue.cancel(reservation);
            return None;
        };
        if reader != Reader::Verify {
            self.shared.table.set_run(blocks, before, BlockState::Reading);
        }
        Some(Read { claim, whole, extent: whole, reservation })
    }

    /// Takes what the host read. Returns what it reads next, sector by sector.
    pub fn read_done(&mut self, mut read: Read, outcome: ReadOutcome) -> Option<Read> {
        let outcome = match outcome {
            ReadOutcome::NotNow if sabotaged!(EachFailureABadSector) => ReadOutcome::BadSector,
            outcome => outcome,
        };
        if outcome != ReadOutcome::Done {
            self.note_failure(&read, outcome);
        }
        if let Some(extent) = self.next_sector(&read, outcome) {
            read.extent = extent;
            return Some(read);
        }
        self.end_read(read, outcome);
        None
    }

    #[inline(never)]
    fn note_failure(&mut self, read: &Read, outcome: ReadOutcome) {
        let state = &mut *self.state;
        state.counts[0].reads_failed += 1;
        state.counts[0].reads_put_off += u64::from(outcome == ReadOutcome::NotNow);
        let Some(claimed) = state.claims[0].get_mut(read.claim) else { return };
        let (blocks, reader, by_sector) = (claimed.blocks, claimed.reader, claimed.by_sector);
        match outcome {
            ReadOutcome::Done => {}
            // Its blocks are read again, a shorter run at a time.
            _ if reader == Reader::Verify => {}
            ReadOutcome::NotNow => state.failing[0].put_off(reader, self.call.now),
            ReadOutcome::BadSector if by_sector || blocks.len() == 1 => {}
            ReadOutcome::BadSector => {
                state.failing[0].has_bad_sector(reader, blocks);
                if reader == Reader::Sweep {
                    state.sweep[0].go_on_at(blocks.start);
                }
            }
        }
        // Rule HANG (rules.md#hang): from now on the hold limit counts for them.
        if reader != Reader::Verify && state.in_flight.note_failed_read(&blocks) {
            self.call.wake(Worker::Dispatch);
        }
    }

    /// The sector to read next, if a block is, or has to be, read sector by sector.
    fn next_sector(&mut self, read: &Read, outcome: ReadOutcome) -> Option<Extent> {
        let claimed = self.state.claims[0].get_mut(read.claim)?;
        if self.state.lifecycle.is_stopped()
            || !claimed.spoiled.is_empty()
            || claimed.reader == Reader::Verify
            || outcome == ReadOutcome::NotNow
        {
            return None;
        }
        let sector_size = u64::from(self.shared.geometry.sector_size());
        if !claimed.by_sector {
            if outcome == ReadOutcome::Done || claimed.blocks.len() > 1 {
                return None;
            }
            self.state.claims[0].read_by_sector(read.claim);
            return Extent::new(read.whole.offset(), sector_size);
        }
        if outcome != ReadOutcome::Done {
            let at = read.extent.offset() - read.whole.offset();
            claimed.holes.add(self.shared.geometry.sectors_in(at));
        }
        let next = read.extent.end();
        (next < read.whole.end()).then(|| Extent::new(next, sector_size)).flatten()
    }

    fn end_read(&mut self, read: Read, outcome: ReadOutcome) {
        let Some(claimed) = self.state.claims[0].end(read.claim) else {
            rule!(false, "T0: a claim ends once");
            return self.state.capture_queue.cancel(read.reservation);
        };
        if claimed.reader == Reader::Verify {
            return self.end_check(&claimed, read, outcome);
        }
        if claimed.reader == Reader::Sweep && !claimed.by_sector {
            self.state.sweep[0].done(read.whole.len(), claimed.since, self.call.now);
        }
        let is_read = match outcome {
            ReadOutcome::Done => true,
            // Of a run its blocks are read again, one at a time.
            ReadOutcome::BadSector => claimed.by_sector,
            ReadOutcome::NotNow => false,
        };
        if is_read
            && !self.state.lifecycle.is_stopped()
            && claimed.spoiled.is_empty()
            && self.state.capture_queue.has_room_for(claimed.holes.count())
        {
            self.capture_blocks(&claimed, read.whole, read.reservation);
            self.state.failing[0].captured(claimed.reader, &claimed.blocks);
        } else {
            self.give_back(&claimed, read.reservation);
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
            let is_base = before == BlockState::Unsynced && !self.is_continued();
            let kind = if is_base { RecordKind::Block } else { RecordKind::Resync };
            let record = self.record(kind, Some(whole));
            self.state.capture_queue.commit(reservation, record);
            match reader {
                Reader::Sweep => {
                    self.state.counts[0].blocks_by_sweep += blocks.len();
                    self.state.epochs.note_swept(whole.len());
                }
                Reader::Hold => self.state.counts[0].blocks_by_hold += blocks.len(),
                Reader::Verify => rule!(false, "T0: a check is no capture"),
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
        self.state.in_flight.read_again(&claimed.blocks);
        let Claimed { blocks, spoiled, before, .. } = *claimed;
        self.shared.table.set_run(blocks, BlockState::Reading, before);
        self.shared.table.set_run(spoiled, before, BlockState::Dirty);
        if before == BlockState::Unsynced && !spoiled.is_empty() {
            self.state.base.lose();
        }
    }
}

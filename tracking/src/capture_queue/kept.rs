//! Kept records: those that were drained and are not acknowledged. A service that comes after a
//! lost one drains them again (rule RESUME, rules.md#resume).
//!
//! They take what the queue does not use for anything else: when a write needs room, the oldest
//! ones are given up, before it waits. The sweep takes nothing from them: it waits until they are
//! acknowledged. So a first sync, however fast, loses no record that the server lacks. While no
//! service is there they are pinned: without the oldest ones, those behind them would be worth
//! nothing.
//!
//! No call frees more than [`CHUNK`] of them (rule HANG, rules.md#hang). So a long payload may find
//! room at a later try only: [`CaptureQueue::has_more_to_give_up`].

use snapless_fixed::arena::{End, MemoryRange};
use snapless_types::Seq;

use super::{CaptureQueue, Drained, Record, Region, SWEEP, WRITES, whole_granules};
use crate::config::CHUNK;

impl CaptureQueue {
    /// Takes a record back that was drained. It is kept, if there is room for it.
    #[inline]
    pub fn keep(&mut self, drained: Drained) {
        let Drained { record, memory } = drained;
        let inside = self.origin.seq_inside(record.seq).zip(self.origin.epoch_inside(record.epoch));
        // It was drained behind the origin.
        let (seq, epoch) = inside.unwrap_or((record.seq, record.epoch));
        let drained = Drained { record: Record { seq, epoch, ..record }, memory };
        let Some(after) = seq.get().checked_sub(self.oldest().get()) else {
            // It was given up meanwhile.
            return self.free(drained.memory);
        };
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        if after < self.kept.count
            && seq >= self.kept.counted_from
            && let Some(memory) = &drained.memory
        {
            *self.kept.bytes_mut(self.arena_of(memory)) += whole_granules(memory);
        }
        let index = self.index(after);
        if let Some(place) = self.records.get_mut(index) {
            rule!(place.is_none(), "BOUND: a record is handed back once");
            *place = Some(drained);
        }
        if self.is_short() {
            self.leave_room();
        }
    }

    /// No kept record is given up from now on: no service is there.
    pub fn pin(&mut self) {
        // A gap has room.
        self.make_room(0);
        self.kept.is_pinned = true;
    }

    /// Kept records may be given up again.
    pub fn unpin(&mut self) {
        self.kept.is_pinned = false;
    }

    /// Notes that the records up to this one are durable. [`CaptureQueue::free_acknowledged`] frees
    /// them.
    pub fn acknowledge(&mut self, seq: Seq) {
        let seq = if sabotaged!(KeptTooShort) { self.last_taken() } else { seq };
        self.kept.acknowledged = self.kept.acknowledged.max(seq);
    }

    /// Frees some of the acknowledged records; true if more of them wait.
    pub fn free_acknowledged(&mut self) -> bool {
        for _ in 0..CHUNK {
            if !self.has_acknowledged() {
                break;
            }
            self.free_oldest();
        }
        self.has_acknowledged()
    }

    /// True if every record after this one is there, or still to come.
    pub fn has_all_after(&self, seq: Seq) -> bool {
        // Lost ones that wait to be freed are the oldest.
        let first = self.oldest().get() + self.lost as u64;
        seq.get() + 1 >= first || sabotaged!(GivenUpForgotten)
    }

    /// The record after this one is the next to be drained, again if it was drained before. All
    /// records after this one have to be there.
    pub fn drain_after(&mut self, seq: Seq) {
        rule!(seq <= self.last_taken(), "RESUME: no record is left out");
        let before = (seq.get() + 1).saturating_sub(self.oldest().get());
        let before = usize::try_from(before).unwrap_or(usize::MAX).min(self.kept.count);
        self.len += self.kept.count - before;
        self.kept.count = before;
        self.kept.bytes = [0; 2];
        self.kept.counted_from = Seq::new(seq.get() + 1);
    }

    /// True if there may be no room in a region only because more kept records are to be given up.
    pub fn has_more_to_give_up(&self, region: Region) -> bool {
        match region {
            Region::Sweep => self.has_acknowledged(),
            Region::Writes | Region::Holds => self.to_give_up() > 0 && self.helps(WRITES),
        }
    }

    /// Bytes of payload memory of kept records.
    #[inline]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.bytes_in(SWEEP) + self.kept.bytes_in(WRITES)
    }

    /// Records that were given up before they were acknowledged.
    pub fn given_up(&self) -> u64 {
        self.kept.given_up
    }

    /// Kept records that may be given up.
    #[inline]
    pub(super) fn to_give_up(&self) -> usize {
        if self.kept.is_pinned { 0 } else { self.kept.count }
    }

    /// Gives kept records up until more descriptors than these are free; false if that many are
    /// not.
    #[inline]
    pub(super) fn make_room(&mut self, reserved: usize) -> bool {
        while self.free_records() <= reserved {
            if !self.give_up_oldest() {
                return false;
            }
        }
        true
    }

    /// Memory for a payload that finds no room beside the kept records. For the sweep only those
    /// leave that are acknowledged.
    #[inline(never)]
    pub(super) fn take_from_kept(
        &mut self,
        len: u64,
        arena: usize,
        end: End,
    ) -> Option<MemoryRange> {
        for _ in 0..CHUNK {
            let may = arena == WRITES || self.has_acknowledged() || sabotaged!(SweepTakesKept);
            if !may || !self.helps(arena) || !self.give_up_oldest() {
                return None;
            }
            if let Some(memory) = self.arena_mut(arena).take(len, end) {
                return Some(memory);
            }
        }
        None
    }

    /// Frees the oldest of all records. The memory of one that is being drained is freed when it is
    /// handed back.
    pub(super) fn free_oldest(&mut self) {
        self.steps.add(1);
        let oldest = self.records.get_mut(self.first).and_then(Option::take);
        let is_kept = self.kept.count > 0;
        self.first = self.index(1);
        self.lost = self.lost.saturating_sub(1);
        if is_kept {
            self.kept.count -= 1;
        } else {
            self.len -= 1;
        }
        let Some(Drained { record, memory: Some(memory) }) = oldest else { return };
        if is_kept && record.seq >= self.kept.counted_from {
            *self.kept.bytes_mut(self.arena_of(&memory)) -= whole_granules(&memory);
        }
        self.free(Some(memory));
    }

    /// Gives the oldest kept record up; false if there is none that may be.
    fn give_up_oldest(&mut self) -> bool {
        let may = self.to_give_up() > 0;
        if may {
            let counts = self.lost == 0 && !self.has_acknowledged();
            self.kept.given_up += u64::from(counts);
            self.free_oldest();
        }
        may
    }

    /// Gives kept records up until a quarter of everything is free, so that the next writes find
    /// room at once.
    #[inline(never)]
    fn leave_room(&mut self) {
        for _ in 0..CHUNK {
            if !self.is_short() || !self.give_up_oldest() {
                break;
            }
        }
    }

    /// True if less than a quarter is free of something that writes need and kept records have a
    /// part of.
    #[inline]
    fn is_short(&self) -> bool {
        let writes = &self.arenas[WRITES];
        self.kept.bytes_in(WRITES) > 0 && writes.used() > writes.capacity() / 4 * 3
            || self.free_records() < self.records.len() / 4
    }

    /// True if an arena may have more room without the oldest kept records.
    fn helps(&self, arena: usize) -> bool {
        self.kept.bytes_in(arena) > 0 || self.has_acknowledged()
    }

    /// Number of the oldest record that is there; of the next one if there is none.
    #[inline]
    fn oldest(&self) -> Seq {
        Seq::new(self.last_seq.get() + 1 - (self.kept.count + self.len) as u64)
    }

    /// True if the oldest kept record is acknowledged, and waits to be freed.
    pub fn has_acknowledged(&self) -> bool {
        self.kept.count > 0 && self.oldest() <= self.kept.acknowledged
    }

    /// The arena that a range of memory is in.
    #[inline]
    fn arena_of(&self, memory: &MemoryRange) -> usize {
        if memory.span().offset < self.arenas[SWEEP].capacity() { SWEEP } else { WRITES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Region::{Sweep, Writes};
    use alloc::vec::Vec;
    use snapless_fixed::arena::GRANULE as PAGE;
    use snapless_types::{EpochId, Extent, RecordKind, Tick};

    /// A queue of 16 pages for writes and 4 for the sweep.
    fn queue() -> CaptureQueue {
        CaptureQueue::new(20 * PAGE, 4 * PAGE, 4 * CHUNK + 64).unwrap()
    }

    fn commit(queue: &mut CaptureQueue, pages: u64, region: Region) -> Option<u64> {
        let reservation = queue.reserve(pages * PAGE, region)?;
        let (seq, epoch) = (Seq::default(), EpochId::new(1));
        let (kind, extent) = (RecordKind::Write, Extent::new(0, 512));
        let record =
            Record { kind, seq, time: 0, monotonic: Tick(0), epoch, extent, gap_reason: None };
        Some(queue.commit(reservation, record).get())
    }

    fn write(queue: &mut CaptureQueue, pages: u64) -> u64 {
        commit(queue, pages, Writes).expect("room for a write")
    }

    /// Drains everything; returns the records' numbers.
    fn drain(queue: &mut CaptureQueue) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(drained) = queue.pop(u64::MAX) {
            seqs.push(drained.record().seq.get());
            queue.keep(drained);
        }
        seqs
    }

    #[test]
    fn what_was_drained_is_drained_again_from_any_record_on_that_is_kept() {
        let mut queue = queue();
        for _ in 0..5 {
            write(&mut queue, 1);
        }
        assert_eq!(drain(&mut queue), [1, 2, 3, 4, 5]);
        assert_eq!((queue.used(), queue.kept_bytes()), (0, 5 * PAGE));
        for durable in [0, 3, 5] {
            assert!(queue.has_all_after(Seq::new(durable)));
        }
        queue.drain_after(Seq::new(3));
        assert_eq!(queue.last_taken().get(), 3);
        assert_eq!((queue.used(), queue.kept_bytes()), (5 * PAGE, 0), "they wait again");
        write(&mut queue, 1);
        assert_eq!(drain(&mut queue), [4, 5, 6]);
        queue.acknowledge(Seq::new(3));
        assert!(!queue.free_acknowledged());
        assert_eq!((queue.used(), queue.kept_bytes()), (0, 3 * PAGE));
        assert!(!queue.has_all_after(Seq::new(2)) && queue.has_all_after(Seq::new(3)));
        assert_eq!(queue.given_up(), 0);
    }

    #[test]
    fn the_oldest_are_given_up_when_their_room_is_needed() {
        let mut queue = queue();
        for _ in 0..12 {
            write(&mut queue, 1);
        }
        drain(&mut queue);
        assert!(queue.has_all_after(Seq::new(0)), "a quarter is free");
        write(&mut queue, 4);
        assert!(queue.has_all_after(Seq::new(0)), "free memory comes first");
        write(&mut queue, 2);
        assert!(!queue.has_all_after(Seq::new(1)) && queue.has_all_after(Seq::new(2)));
        assert_eq!((queue.given_up(), queue.used()), (2, 6 * PAGE));
        // After a drain a quarter is free again.
        drain(&mut queue);
        write(&mut queue, 4);
        assert_eq!(drain(&mut queue), [15]);
        assert!(queue.has_all_after(Seq::new(14)));
    }

    #[test]
    fn while_they_are_pinned_none_is_given_up() {
        let mut queue = queue();
        for _ in 0..12 {
            write(&mut queue, 1);
        }
        drain(&mut queue);
        queue.pin();
        write(&mut queue, 4);
        assert!(queue.reserve(PAGE, Writes).is_none() && !queue.has_more_to_give_up(Writes));
        queue.unpin();
        queue.drain_after(Seq::new(0));
        assert!(queue.reserve(PAGE, Writes).is_none(), "they wait to be drained");
        assert_eq!(drain(&mut queue).len(), 13);
        assert!(queue.reserve(PAGE, Writes).is_some());
    }

    #[test]
    fn a_record_that_is_being_drained_keeps_its_memory() {
        let mut queue = queue();
        write(&mut queue, 16);
        let drained = queue.pop(u64::MAX).unwrap();
        assert!(queue.reserve(PAGE, Writes).is_none(), "its memory is not given up");
        // To be drained again before it is handed back.
        queue.drain_after(Seq::new(0));
        assert!(queue.pop(u64::MAX).is_none());
        queue.keep(drained);
        let drained = queue.pop(u64::MAX).unwrap();
        // Lost meanwhile.
        queue.lose();
        while queue.discard() {}
        assert_eq!(queue.used(), 16 * PAGE);
        queue.keep(drained);
        assert_eq!((queue.used(), queue.kept_bytes()), (0, 0));
    }

    #[test]
    fn memory_of_the_sweep_does_not_come_from_writes() {
        let mut queue = queue();
        write(&mut queue, 1);
        drain(&mut queue);
        let reserved = queue.reserve(4 * PAGE, Sweep).unwrap();
        assert!(queue.reserve(PAGE, Sweep).is_none() && !queue.has_more_to_give_up(Sweep));
        assert_eq!(queue.given_up(), 0, "it would be of no use");
        queue.cancel(reserved);
    }

    #[test]
    fn the_sweep_waits_for_acknowledgements_and_writes_do_not() {
        let mut queue = queue();
        for _ in 0..4 {
            commit(&mut queue, 1, Sweep).unwrap();
            drain(&mut queue);
        }
        assert!(queue.reserve(PAGE, Sweep).is_none() && !queue.has_more_to_give_up(Sweep));
        assert_eq!(queue.given_up(), 0);
        queue.acknowledge(Seq::new(2));
        assert!(queue.has_more_to_give_up(Sweep));
        let reserved = queue.reserve(PAGE, Sweep).expect("room of an acknowledged record");
        queue.cancel(reserved);
        while queue.free_acknowledged() {}
        assert!(queue.has_all_after(Seq::new(2)));
        assert_eq!((queue.given_up(), queue.kept_bytes()), (0, 2 * PAGE));
        assert!(queue.reserve(3 * PAGE, Sweep).is_none());
        for _ in 0..20 {
            write(&mut queue, 1);
            drain(&mut queue);
        }
        assert!(queue.given_up() > 2, "a write needs room");
        assert!(queue.reserve(4 * PAGE, Sweep).is_some());
    }

    #[test]
    fn a_long_payload_finds_room_after_some_tries() {
        let pages = 4 * CHUNK;
        let mut queue = CaptureQueue::new(pages * PAGE, 0, 2 * pages).unwrap();
        for _ in 0..pages / 2 {
            write(&mut queue, 1);
        }
        drain(&mut queue);
        for _ in 0..pages / 4 {
            write(&mut queue, 1);
            drain(&mut queue);
        }
        let mut tries = 0;
        while queue.reserve(pages * PAGE, Writes).is_none() {
            assert!(queue.has_more_to_give_up(Writes));
            tries += 1;
        }
        assert!(tries > 1 && !queue.has_more_to_give_up(Writes), "{tries}");
    }

    #[test]
    fn a_gap_has_room_whatever_is_kept() {
        let mut queue = CaptureQueue::new(1 << 20, 0, 16).unwrap();
        while write(&mut queue, 1) < 15 {}
        drain(&mut queue);
        let gap = |queue: &mut CaptureQueue| {
            let (seq, epoch) = (Seq::default(), EpochId::new(1));
            let kind = RecordKind::GapBegin;
            let (time, monotonic) = (0, Tick(0));
            let (extent, gap_reason) = (None, None);
            queue.append(Record { kind, seq, time, monotonic, epoch, extent, gap_reason })
        };
        for _ in 0..20 {
            assert!(gap(&mut queue).is_some(), "a kept record makes room");
            drain(&mut queue);
        }
        while commit(&mut queue, 0, Writes).is_some() {}
        queue.pin();
        assert!(gap(&mut queue).is_some());
        assert!(gap(&mut queue).is_none());
    }
}

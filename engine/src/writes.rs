//! The writes that a session knows of: held ones in order of arrival, and those in flight below.
//!
//! A fixed number of slots, each free or in one of two lists. Overlap is decided here, at byte resolution: two adjacent
//! writes to one block never wait for each other (rule ORDER). A held write counts the known writes that overlap it
//! and came before it, or were let through past it; as each of them lands the count goes down, and at zero
//! nothing but its blocks keeps it. So nobody has to look for who waits for whom.

use alloc::boxed::Box;

use crate::geometry::{BlockRange, Extent};
use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::presence::Presence;
use crate::queue::RecordKind;

/// A slot's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotId(u32);

impl SlotId {
    pub(crate) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> u32 {
        self.0
    }
}

/// Where a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Free,
    Held,
    Flying,
}

/// What is known of one write.
#[derive(Debug)]
struct Slot<W> {
    place: Place,
    /// The write, while it is held.
    write: Option<W>,
    kind: RecordKind,
    extent: Extent,
    blocks: BlockRange,
    /// Writes that have to land before this held one may go.
    blockers: u32,
    /// When it arrived.
    since: Tick,
    /// It has found the queue full.
    starves: bool,
    previous: Option<SlotId>,
    next: Option<SlotId>,
}

#[derive(Clone, Copy, Default, Debug)]
struct List {
    first: Option<SlotId>,
    last: Option<SlotId>,
    len: u64,
}

/// A held write, as [`Writes::held`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct HeldWrite {
    /// Its slot.
    pub slot: SlotId,
    /// The record that it becomes.
    pub kind: RecordKind,
    /// Its bytes.
    pub extent: Extent,
    /// Its blocks.
    pub blocks: BlockRange,
    /// True if a write that overlaps it has to land first.
    pub blocked: bool,
    /// When it arrived.
    pub since: Tick,
}

/// Held writes and writes in flight.
#[derive(Debug)]
pub struct Writes<W> {
    slots: Box<[Slot<W>]>,
    /// The free slots, chained by `next`.
    free: Option<SlotId>,
    held: List,
    flying: List,
    presence: Presence,
}

impl<W> Writes<W> {
    /// Room for `count` writes, held and in flight together.
    pub fn new(count: u32) -> Result<Self, OutOfMemory> {
        let extent = Extent::new(0, 1).ok_or(OutOfMemory)?;
        let slots = boxed_slice(u64::from(count), || {
            Ok(Slot {
                place: Place::Free,
                write: None,
                kind: RecordKind::Write,
                extent,
                blocks: BlockRange::EMPTY,
                blockers: 0,
                since: Tick(0),
                starves: false,
                previous: None,
                next: None,
            })
        })?;
        let (held, flying) = (List::default(), List::default());
        let mut writes = Self { slots, free: None, held, flying, presence: Presence::new(count)? };
        for slot in (0..count).rev() {
            writes.free(SlotId(slot));
        }
        Ok(writes)
    }

    /// Bytes that room for `count` writes allocates.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<Slot<W>>(u64::from(count)) + Presence::bytes(count)
    }

    /// Appends a write to the held ones; gives it back if no slot is free.
    pub fn hold(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        blocks: BlockRange,
        now: Tick,
    ) -> Result<SlotId, W> {
        let blockers = self.overlapping(&extent, &blocks);
        let Some(id) = self.enter(Place::Held, extent, blocks) else { return Err(write) };
        if let Some(slot) = self.slot_mut(id) {
            slot.write = Some(write);
            slot.kind = kind;
            slot.blockers = blockers;
            slot.since = now;
            slot.starves = false;
        }
        Ok(id)
    }

    /// Notes a write that goes straight down and overlaps none that is known; `None` if no slot is free.
    pub fn fly(&mut self, extent: Extent, blocks: BlockRange) -> Option<SlotId> {
        rule!(
            !self.overlaps(&extent, &blocks),
            "ORDER: a write that overlaps another waits for it"
        );
        self.enter(Place::Flying, extent, blocks)
    }

    /// As [`Writes::fly`], for one that goes whatever it overlaps: held writes that came before wait for it.
    pub fn fly_past(&mut self, extent: Extent, blocks: BlockRange) -> Option<SlotId> {
        self.free?;
        if self.presence.may_meet(&blocks) {
            self.each_held_over(self.held.first, &extent, |held| held.blockers += 1);
        }
        self.enter(Place::Flying, extent, blocks)
    }

    /// Gives a held write back, to be issued; it is in flight from now on.
    pub fn release(&mut self, id: SlotId) -> Option<(W, Tick)> {
        let slot = self.slot_mut(id)?;
        rule!(slot.place == Place::Held, "HANG: only a held write is released");
        let (write, since) = (slot.write.take()?, slot.since);
        self.unlink(id);
        self.append(id, Place::Flying);
        Some((write, since))
    }

    /// Forgets a write that has completed below. Returns its blocks.
    pub fn land(&mut self, id: SlotId) -> Option<BlockRange> {
        let slot = self.slot(id)?;
        if slot.place != Place::Flying {
            rule!(false, "ORDER: a write completes once");
            return None;
        }
        // Every held write that overlaps it has counted it: those that came later when they came, those that it
        // was let through past when it went (rule ORDER).
        Some(self.forget(id, self.held.first))
    }

    /// Takes the held write that `is_it` knows back, as if it had never come.
    pub fn take_back(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let mut held = self.walk(self.held);
        let (id, _) = held.find(|(_, slot)| slot.write.as_ref().is_some_and(&is_it))?;
        drop(held);
        let slot = self.slot_mut(id)?;
        let (write, younger) = (slot.write.take(), slot.next);
        self.forget(id, younger);
        write
    }

    /// Notes that the queue is full: every held write waits for it from now on, whatever else it waits for. Else
    /// writes would starve one after the other, each with a limit of its own (rule HANG).
    pub fn starve(&mut self) {
        // Those that starve already are the oldest.
        let mut next = self.held.last;
        while let Some(slot) = next.and_then(|id| self.slot_mut(id)) {
            if slot.starves {
                return;
            }
            slot.starves = true;
            next = slot.previous;
        }
    }

    /// True if a held write waits for room in the queue.
    pub fn any_starves(&self) -> bool {
        // The oldest does if any does.
        self.held.first.and_then(|id| self.slot(id)).is_some_and(|slot| slot.starves)
    }

    /// The held writes, oldest first.
    pub fn held(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        self.walk(self.held).map(|(slot, it)| HeldWrite {
            slot,
            kind: it.kind,
            extent: it.extent,
            blocks: it.blocks,
            blocked: it.blockers > 0,
            since: it.since,
        })
    }

    /// Number of held writes.
    pub fn held_count(&self) -> u64 {
        self.held.len
    }

    /// Number of writes in flight.
    pub fn flying_count(&self) -> u64 {
        self.flying.len
    }

    /// True if a held write or one in flight shares a byte with `extent`, whose blocks are `blocks`.
    pub fn overlaps(&self, extent: &Extent, blocks: &BlockRange) -> bool {
        self.overlapping(extent, blocks) > 0
    }

    /// True if a write in flight shares a block with `blocks`.
    pub fn flies_in(&self, blocks: &BlockRange) -> bool {
        self.any_in(self.flying, blocks)
    }

    /// True if a held write shares a block with `blocks`.
    pub fn waits_in(&self, blocks: &BlockRange) -> bool {
        self.any_in(self.held, blocks)
    }

    fn any_in(&self, list: List, blocks: &BlockRange) -> bool {
        self.presence.may_meet(blocks)
            && self.walk(list).any(|(_, slot)| slot.blocks.intersects(blocks))
    }

    /// How many known writes share a byte with `extent`.
    fn overlapping(&self, extent: &Extent, blocks: &BlockRange) -> u32 {
        if !self.presence.may_meet(blocks) {
            return 0;
        }
        let known = self.walk(self.held).chain(self.walk(self.flying));
        known.map(|(_, slot)| u32::from(slot.extent.overlaps(extent))).sum()
    }

    /// Frees a slot; the held writes from `first` on that its write overlaps wait for one less.
    fn forget(&mut self, id: SlotId, first: Option<SlotId>) -> BlockRange {
        let Some(slot) = self.slot(id) else {
            return BlockRange::EMPTY;
        };
        let (extent, blocks) = (slot.extent, slot.blocks);
        self.unlink(id);
        self.free(id);
        self.presence.leave(&blocks);
        if first.is_some() && self.presence.may_meet(&blocks) {
            self.each_held_over(first, &extent, |held| {
                rule!(held.blockers > 0, "ORDER: a held write has counted whom it waits for");
                held.blockers = held.blockers.saturating_sub(1);
            });
        }
        blocks
    }

    fn each_held_over(
        &mut self,
        first: Option<SlotId>,
        extent: &Extent,
        mut change: impl FnMut(&mut Slot<W>),
    ) {
        let mut next = first;
        while let Some(slot) = next.and_then(|id| self.slot_mut(id)) {
            if slot.extent.overlaps(extent) {
                change(slot);
            }
            next = slot.next;
        }
    }

    /// Takes a free slot for a write and puts it into a list.
    fn enter(&mut self, place: Place, extent: Extent, blocks: BlockRange) -> Option<SlotId> {
        let id = self.free?;
        let slot = self.slot_mut(id)?;
        slot.extent = extent;
        slot.blocks = blocks;
        self.free = slot.next;
        self.append(id, place);
        self.presence.enter(&blocks);
        Some(id)
    }

    fn walk(&self, list: List) -> impl Iterator<Item = (SlotId, &Slot<W>)> + '_ {
        let mut next = list.first;
        core::iter::from_fn(move || {
            let id = next?;
            let slot = self.slot(id)?;
            next = slot.next;
            Some((id, slot))
        })
    }

    fn slot(&self, id: SlotId) -> Option<&Slot<W>> {
        self.slots.get(id.0 as usize)
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot<W>> {
        self.slots.get_mut(id.0 as usize)
    }

    fn free(&mut self, id: SlotId) {
        let next = self.free.replace(id);
        if let Some(slot) = self.slot_mut(id) {
            (slot.place, slot.next) = (Place::Free, next);
        }
    }

    fn list_mut(&mut self, place: Place) -> &mut List {
        if place == Place::Held { &mut self.held } else { &mut self.flying }
    }

    fn append(&mut self, id: SlotId, place: Place) {
        let list = self.list_mut(place);
        let previous = list.last.replace(id);
        list.len += 1;
        if previous.is_none() {
            list.first = Some(id);
        }
        if let Some(slot) = previous.and_then(|id| self.slot_mut(id)) {
            slot.next = Some(id);
        }
        if let Some(slot) = self.slot_mut(id) {
            (slot.place, slot.previous, slot.next) = (place, previous, None);
        }
    }

    fn unlink(&mut self, id: SlotId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (place, previous, next) = (slot.place, slot.previous, slot.next);
        if let Some(slot) = previous.and_then(|id| self.slot_mut(id)) {
            slot.next = next;
        }
        if let Some(slot) = next.and_then(|id| self.slot_mut(id)) {
            slot.previous = previous;
        }
        let list = self.list_mut(place);
        list.len -= 1;
        if previous.is_none() {
            list.first = next;
        }
        if next.is_none() {
            list.last = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BlockIndex;
    use alloc::vec::Vec;

    const KIND: RecordKind = RecordKind::Write;

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    fn hold<W>(writes: &mut Writes<W>, write: W, offset: u64, len: u64) -> SlotId {
        let held = writes.hold(write, KIND, extent(offset, len), blocks(0, 1), Tick(0));
        held.unwrap_or_else(|_| panic!("no slot is free"))
    }

    fn blocked<W>(writes: &Writes<W>) -> Vec<bool> {
        writes.held().map(|held| held.blocked).collect()
    }

    #[test]
    fn held_writes_keep_their_order_and_leave_from_the_middle() {
        let mut writes = Writes::new(4).unwrap();
        let ids: Vec<_> = (0..4)
            .map(|n| writes.hold(n, KIND, extent(n * 512, 512), blocks(0, 1), Tick(n)).unwrap())
            .collect();
        assert_eq!(writes.hold(9, KIND, extent(0, 1), blocks(0, 1), Tick(9)), Err(9));
        assert_eq!(writes.release(ids[1]).unwrap(), (1, Tick(1)));
        assert_eq!(writes.release(ids[3]).unwrap(), (3, Tick(3)));
        let held: Vec<_> = writes.held().map(|held| held.slot).collect();
        assert_eq!(held, [ids[0], ids[2]]);
        assert_eq!((writes.held_count(), writes.flying_count()), (2, 2));
        assert_eq!(writes.land(ids[3]), Some(blocks(0, 1)));
        assert!(writes.hold(5, KIND, extent(0, 1), blocks(0, 1), Tick(5)).is_ok());
    }

    #[test]
    fn overlap_is_a_matter_of_bytes_in_flight_and_of_blocks_for_readers() {
        let mut writes: Writes<()> = Writes::new(4).unwrap();
        let id = writes.fly(extent(512, 512), blocks(0, 1)).unwrap();
        assert!(writes.overlaps(&extent(1023, 1), &blocks(0, 1)));
        assert!(!writes.overlaps(&extent(0, 512), &blocks(0, 1)));
        assert!(!writes.overlaps(&extent(1024, 512), &blocks(0, 1)));
        assert!(writes.flies_in(&blocks(0, 3)));
        assert!(!writes.flies_in(&blocks(1, 3)));
        writes.land(id).unwrap();
        assert!(!writes.overlaps(&extent(512, 512), &blocks(0, 1)));
        hold(&mut writes, (), 512, 512);
        assert!(writes.overlaps(&extent(0, 513), &blocks(0, 1)), "a held write comes first too");
        assert!(!writes.flies_in(&blocks(0, 1)));
    }

    #[test]
    fn a_held_write_waits_until_each_of_its_elders_has_landed() {
        let mut writes = Writes::new(4).unwrap();
        let flying = writes.fly(extent(0, 512), blocks(0, 1)).unwrap();
        let first = hold(&mut writes, 1, 0, 1024);
        let second = hold(&mut writes, 2, 256, 1024);
        hold(&mut writes, 3, 1280, 512);
        assert_eq!(blocked(&writes), [true, true, false]);
        writes.land(flying).unwrap();
        assert_eq!(blocked(&writes), [false, true, false]);
        writes.release(first).unwrap();
        assert_eq!(blocked(&writes), [true, false], "in flight is not landed");
        writes.land(first).unwrap();
        assert_eq!(blocked(&writes), [false, false]);
        writes.release(second).unwrap();
        writes.land(second).unwrap();
        assert_eq!(blocked(&writes), [false]);
    }

    #[test]
    fn a_held_write_waits_for_one_that_was_let_through_past_it() {
        let mut writes = Writes::new(2).unwrap();
        hold(&mut writes, (), 0, 1024);
        let through = writes.fly_past(extent(1023, 1), blocks(0, 1)).unwrap();
        assert_eq!(blocked(&writes), [true]);
        assert!(writes.fly_past(extent(0, 1), blocks(0, 1)).is_none(), "no slot is free");
        writes.land(through).unwrap();
        assert_eq!(blocked(&writes), [false], "one that found no slot is not waited for");
    }

    #[test]
    fn a_write_that_is_taken_back_frees_the_younger_ones_only() {
        let mut writes = Writes::new(4).unwrap();
        hold(&mut writes, 1, 0, 512);
        hold(&mut writes, 2, 0, 1024);
        hold(&mut writes, 3, 512, 512);
        assert_eq!(blocked(&writes), [false, true, true]);
        assert_eq!(writes.take_back(|&write| write == 9), None);
        assert_eq!(writes.take_back(|&write| write == 2), Some(2));
        assert_eq!(blocked(&writes), [false, false]);
        assert_eq!((writes.held_count(), writes.flying_count()), (2, 0));
        assert_eq!(writes.take_back(|&write| write == 3), Some(3));
        assert_eq!(writes.take_back(|&write| write == 1), Some(1));
        assert!(!writes.overlaps(&extent(0, 1024), &blocks(0, 1)));
    }

    #[test]
    fn a_full_queue_starves_every_held_write_until_it_leaves() {
        let mut writes = Writes::new(3).unwrap();
        writes.starve();
        let first = hold(&mut writes, (), 0, 512);
        assert!(!writes.any_starves(), "it came later");
        writes.starve();
        let second = hold(&mut writes, (), 512, 512);
        let third = hold(&mut writes, (), 1024, 512);
        assert!(writes.any_starves());
        writes.release(first).unwrap();
        assert!(!writes.any_starves(), "those came later");
        writes.starve();
        writes.release(second).unwrap();
        assert!(writes.any_starves());
        writes.release(third).unwrap();
        assert!(!writes.any_starves());
    }
}

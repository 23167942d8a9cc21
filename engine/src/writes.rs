//! The writes that a session knows of: held ones in order of arrival, and those in flight below.
//!
//! A fixed number of slots, each free, held or in flight. Overlap is decided here, at byte resolution: two adjacent
//! writes to one block never wait for each other (rule ORDER). A held write counts the known writes that overlap it
//! and came before it, or were let through past it; as each of them lands the count goes down, and at zero
//! nothing but its blocks keeps it. So nobody has to look for who waits for whom.

use alloc::boxed::Box;

use snapless_types::{BlockRange, Extent, RecordKind};

use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::presence::Presence;

/// A slot's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotId(pub u32);

/// What a write does to the volume.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The record that it becomes.
    pub kind: RecordKind,
    /// Its bytes.
    pub extent: Extent,
    /// Its blocks.
    pub blocks: BlockRange,
}

impl Change {
    /// Bytes of its payload: none for a trim or a write of zeros.
    pub fn payload(&self) -> u64 {
        if self.kind.has_payload() { self.extent.len() } else { 0 }
    }
}

/// Where a slot is: in one of two rings, each with a head of its own, or in the chain of those that are free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Held,
    Flying,
    Free,
}

/// Heads of rings.
const HEADS: u32 = 2;

/// A slot's place and its neighbours there; for a ring's head, its last and its first slot.
#[derive(Clone, Copy, Debug)]
struct Links {
    place: Place,
    previous: u32,
    next: u32,
}

/// What is known of one write.
#[derive(Debug)]
struct Slot<W> {
    /// The write, while it is held.
    write: Option<W>,
    change: Change,
    /// Writes that have to land before this held one may go.
    blockers: u32,
    /// When it arrived.
    since: Tick,
    /// How many held writes had arrived by then.
    number: u64,
}

/// A held write, as [`Writes::held`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct HeldWrite {
    /// Its slot.
    pub slot: SlotId,
    /// What it does.
    pub change: Change,
    /// True if a write that overlaps it has to land first.
    pub blocked: bool,
    /// When it arrived.
    pub since: Tick,
}

/// Held writes and writes in flight.
#[derive(Debug)]
pub struct Writes<W> {
    slots: Box<[Slot<W>]>,
    /// The links of each slot, and after them those of the rings' heads.
    links: Box<[Links]>,
    /// How many slots there are: the index of the first head.
    room: u32,
    /// The slot that was freed last, as its memory is warm; where none is free, the index of no slot.
    free: u32,
    /// Slots in each ring.
    counts: [u64; HEADS as usize],
    presence: Presence,
    /// Held writes that have arrived.
    arrived: u64,
    /// Those of them that had arrived when the queue was last found full.
    starved: u64,
}

impl<W> Writes<W> {
    /// Room for `count` writes, held and in flight together.
    pub fn new(count: u32) -> Result<Self, OutOfMemory> {
        let extent = Extent::new(0, 1).ok_or(OutOfMemory)?;
        let change = Change { kind: RecordKind::Write, extent, blocks: BlockRange::EMPTY };
        let slots = boxed_slice(u64::from(count), || {
            Ok(Slot { write: None, change, blockers: 0, since: Tick(0), number: 0 })
        })?;
        let mut ids = 0..count + HEADS;
        let links = boxed_slice(u64::from(count + HEADS), || {
            let id = ids.next().ok_or(OutOfMemory)?;
            let next = if id < count { id + 1 } else { id };
            Ok(Links { place: Place::Free, previous: id, next })
        })?;
        let (counts, presence) = ([0; 2], Presence::new(count)?);
        Ok(Self { slots, links, room: count, free: 0, counts, presence, arrived: 0, starved: 0 })
    }

    /// Bytes that room for `count` writes allocates.
    pub fn bytes(count: u32) -> u64 {
        let links = slice_bytes::<Links>(u64::from(count + HEADS));
        slice_bytes::<Slot<W>>(u64::from(count)) + links + Presence::bytes(count)
    }

    /// Appends a write to the held ones; gives it back if no slot is free.
    pub fn hold(&mut self, write: W, change: &Change, now: Tick) -> Result<SlotId, W> {
        let blockers = self.overlapping(change);
        let Some(id) = self.enter(Place::Held, change) else { return Err(write) };
        self.arrived += 1;
        let number = self.arrived;
        if let Some(slot) = self.slot_mut(id) {
            (slot.write, slot.blockers) = (Some(write), blockers);
            (slot.since, slot.number) = (now, number);
        }
        Ok(id)
    }

    /// Notes a write that goes straight down and overlaps none that is known; `None` if no slot is free.
    pub fn fly(&mut self, change: &Change) -> Option<SlotId> {
        rule!(!self.overlaps(change), "ORDER: a write that overlaps another waits for it");
        self.enter(Place::Flying, change)
    }

    /// As [`Writes::fly`], for one that goes whatever it overlaps: held writes that came before wait for it.
    pub fn fly_past(&mut self, change: &Change) -> Option<SlotId> {
        self.slot_mut(SlotId(self.free))?;
        let first = self.first(Place::Held);
        self.each_held_over(first, change, |held| held.blockers += 1);
        self.enter(Place::Flying, change)
    }

    /// Gives a held write back, to be issued; it is in flight from now on.
    pub fn release(&mut self, id: SlotId) -> Option<(W, Tick)> {
        let slot = self.slot_mut(id)?;
        let (write, since) = (slot.write.take()?, slot.since);
        self.unlink(id);
        self.append(id, Place::Flying);
        Some((write, since))
    }

    /// Forgets a write that has completed below. Returns its blocks.
    pub fn land(&mut self, id: SlotId) -> Option<BlockRange> {
        let change = self.slot_mut(id)?.change;
        if self.links(id.0).place != Place::Flying {
            rule!(false, "ORDER: a write completes once");
            return None;
        }
        // Every held write that overlaps it has counted it: those that came later when they came, those that it
        // was let through past when it went (rule ORDER).
        let first = self.first(Place::Held);
        self.forget(id, &change, first);
        Some(change.blocks)
    }

    /// Takes the held write that `is_it` knows back, as if it had never come.
    pub fn cancel_held(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let is_it = |slot: &Slot<W>| slot.write.as_ref().is_some_and(&is_it);
        let (id, _) = self.walk(Place::Held).find(|(_, slot)| is_it(slot))?;
        let slot = self.slot_mut(id)?;
        let (write, change) = (slot.write.take(), slot.change);
        let younger = self.links(id.0).next;
        self.forget(id, &change, younger);
        write
    }

    /// Notes that the queue is full: every held write waits for it from now on, whatever else it waits for. Else
    /// writes would starve one after the other, each with a limit of its own (rule HANG).
    pub fn starve(&mut self) {
        self.starved = self.arrived;
    }

    /// True if a held write waits for room in the queue.
    pub fn any_starves(&self) -> bool {
        // The oldest does if any does.
        self.walk(Place::Held).next().is_some_and(|(_, slot)| slot.number <= self.starved)
    }

    /// The held writes, oldest first.
    pub fn held(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        self.walk(Place::Held).map(|(slot, it)| HeldWrite {
            slot,
            change: it.change,
            blocked: it.blockers > 0,
            since: it.since,
        })
    }

    /// Number of held writes.
    pub fn held_count(&self) -> u64 {
        self.counts[Place::Held as usize]
    }

    /// Number of writes in flight.
    pub fn flying_count(&self) -> u64 {
        self.counts[Place::Flying as usize]
    }

    /// True if a held write or one in flight shares a byte with this one.
    pub fn overlaps(&self, change: &Change) -> bool {
        self.overlapping(change) > 0
    }

    /// True if a write in flight shares a block with `blocks`.
    pub fn flies_in(&self, blocks: &BlockRange) -> bool {
        self.any_in(Place::Flying, blocks)
    }

    /// True if a held write shares a block with `blocks`.
    pub fn waits_in(&self, blocks: &BlockRange) -> bool {
        self.any_in(Place::Held, blocks)
    }

    fn any_in(&self, place: Place, blocks: &BlockRange) -> bool {
        self.presence.may_meet(blocks)
            && self.walk(place).any(|(_, slot)| slot.change.blocks.intersects(blocks))
    }

    /// How many known writes share a byte with this one.
    fn overlapping(&self, change: &Change) -> u32 {
        if !self.presence.may_meet(&change.blocks) {
            return 0;
        }
        let known = self.walk(Place::Held).chain(self.walk(Place::Flying));
        known.map(|(_, slot)| u32::from(slot.change.extent.overlaps(&change.extent))).sum()
    }

    /// Frees a slot; the held writes from `first` on that its write overlaps wait for one less.
    fn forget(&mut self, id: SlotId, change: &Change, first: u32) {
        self.unlink(id);
        if let Some(links) = self.links.get_mut(id.0 as usize) {
            (links.place, links.next) = (Place::Free, self.free);
            self.free = id.0;
        }
        self.presence.leave(&change.blocks);
        self.each_held_over(first, change, |held| {
            rule!(held.blockers > 0, "ORDER: a held write has counted whom it waits for");
            held.blockers = held.blockers.saturating_sub(1);
        });
    }

    /// Calls `tell` for each held write from `first` on that shares a byte with this one.
    fn each_held_over(&mut self, first: u32, change: &Change, tell: impl Fn(&mut Slot<W>)) {
        if self.held_count() == 0 || !self.presence.may_meet(&change.blocks) {
            return;
        }
        let mut next = first;
        while let Some(slot) = self.slot_mut(SlotId(next)) {
            if slot.change.extent.overlaps(&change.extent) {
                tell(slot);
            }
            next = self.links(next).next;
        }
    }

    /// Takes a free slot for a write.
    fn enter(&mut self, place: Place, change: &Change) -> Option<SlotId> {
        let id = SlotId(self.free);
        self.slot_mut(id)?.change = *change;
        self.free = self.links(id.0).next;
        self.append(id, place);
        self.presence.enter(&change.blocks);
        Some(id)
    }

    fn walk(&self, place: Place) -> impl Iterator<Item = (SlotId, &Slot<W>)> + '_ {
        let mut next = self.first(place);
        // A head is no slot: there the walk ends.
        core::iter::from_fn(move || {
            let id = next;
            let slot = self.slots.get(id as usize)?;
            next = self.links(id).next;
            Some((SlotId(id), slot))
        })
    }

    fn first(&self, place: Place) -> u32 {
        self.links(self.head(place)).next
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot<W>> {
        self.slots.get_mut(id.0 as usize)
    }

    fn head(&self, place: Place) -> u32 {
        self.room + place as u32
    }

    /// The links of a slot or of a head.
    fn links(&self, id: u32) -> Links {
        let nowhere = Links { place: Place::Free, previous: u32::MAX, next: u32::MAX };
        self.links.get(id as usize).copied().unwrap_or(nowhere)
    }

    fn unlink(&mut self, id: SlotId) {
        let Links { place, previous, next } = self.links(id.0);
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count -= 1;
        }
        self.join(previous, next);
    }

    fn append(&mut self, id: SlotId, place: Place) {
        let head = self.head(place);
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count += 1;
        }
        self.join(self.links(head).previous, id.0);
        self.join(id.0, head);
        if let Some(links) = self.links.get_mut(id.0 as usize) {
            links.place = place;
        }
    }

    fn join(&mut self, previous: u32, next: u32) {
        if let Some(links) = self.links.get_mut(previous as usize) {
            links.next = next;
        }
        if let Some(links) = self.links.get_mut(next as usize) {
            links.previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use snapless_types::BlockIndex;

    fn change(offset: u64, len: u64) -> Change {
        let extent = Extent::new(offset, len).unwrap();
        Change { kind: RecordKind::Write, extent, blocks: blocks(0, 1) }
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    fn hold<W>(writes: &mut Writes<W>, write: W, offset: u64, len: u64) -> SlotId {
        let held = writes.hold(write, &change(offset, len), Tick(0));
        held.unwrap_or_else(|_| panic!("no slot is free"))
    }

    fn blocked<W>(writes: &Writes<W>) -> Vec<bool> {
        writes.held().map(|held| held.blocked).collect()
    }

    #[test]
    fn held_writes_keep_their_order_and_leave_from_the_middle() {
        let mut writes = Writes::new(4).unwrap();
        let ids: Vec<_> =
            (0..4).map(|n| writes.hold(n, &change(n * 512, 512), Tick(n)).unwrap()).collect();
        assert_eq!(writes.hold(9, &change(0, 1), Tick(9)), Err(9));
        assert_eq!(writes.release(ids[1]).unwrap(), (1, Tick(1)));
        assert_eq!(writes.release(ids[3]).unwrap(), (3, Tick(3)));
        let held: Vec<_> = writes.held().map(|held| held.slot).collect();
        assert_eq!(held, [ids[0], ids[2]]);
        assert_eq!((writes.held_count(), writes.flying_count()), (2, 2));
        assert_eq!(writes.land(ids[3]), Some(blocks(0, 1)));
        assert!(writes.hold(5, &change(0, 1), Tick(5)).is_ok());
    }

    #[test]
    fn overlap_is_a_matter_of_bytes_in_flight_and_of_blocks_for_readers() {
        let mut writes: Writes<()> = Writes::new(4).unwrap();
        let id = writes.fly(&change(512, 512)).unwrap();
        assert!(writes.overlaps(&change(1023, 1)));
        assert!(!writes.overlaps(&change(0, 512)));
        assert!(!writes.overlaps(&change(1024, 512)));
        assert!(writes.flies_in(&blocks(0, 3)));
        assert!(!writes.flies_in(&blocks(1, 3)));
        writes.land(id).unwrap();
        assert!(!writes.overlaps(&change(512, 512)));
        hold(&mut writes, (), 512, 512);
        assert!(writes.overlaps(&change(0, 513)), "a held write comes first too");
        assert!(!writes.flies_in(&blocks(0, 1)));
    }

    #[test]
    fn a_held_write_waits_until_each_of_its_elders_has_landed() {
        let mut writes = Writes::new(4).unwrap();
        let flying = writes.fly(&change(0, 512)).unwrap();
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
        let through = writes.fly_past(&change(1023, 1)).unwrap();
        assert_eq!(blocked(&writes), [true]);
        assert!(writes.fly_past(&change(0, 1)).is_none(), "no slot is free");
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
        assert_eq!(writes.cancel_held(|&write| write == 9), None);
        assert_eq!(writes.cancel_held(|&write| write == 2), Some(2));
        assert_eq!(blocked(&writes), [false, false]);
        assert_eq!((writes.held_count(), writes.flying_count()), (2, 0));
        assert_eq!(writes.cancel_held(|&write| write == 3), Some(3));
        assert_eq!(writes.cancel_held(|&write| write == 1), Some(1));
        assert!(!writes.overlaps(&change(0, 1024)));
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

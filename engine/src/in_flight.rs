//! The writes that a session tracks: held ones in order of arrival, and those in flight below.
//!
//! Each has a slot, of a fixed number. Overlap is decided here, at byte resolution: two adjacent
//! writes to one block never wait for each other (rule ORDER, rules.md#order). A held write counts
//! the tracked writes that overlap it and arrived before it or were issued past it. Each of them
//! decrements the count when it completes, and at zero only the write's blocks keep it. So no write
//! is searched for another that waits for it.

use snapless_types::{BlockRange, Extent, RecordKind};

use crate::host::Tick;
use crate::memory::OutOfMemory;
use crate::presence::Presence;
use crate::slots::{Place, SlotId, Slots};

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

/// How many writes had been held when a write was held, itself included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Arrival(pub u64);

/// One tracked write.
#[derive(Debug)]
struct Tracked<W> {
    /// The write, while it is held.
    write: Option<W>,
    change: Change,
    /// Writes that have to complete before this held one may be issued.
    blockers: u32,
    since: Tick,
    arrival: Arrival,
}

/// A held write, as [`InFlight::held`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct HeldWrite {
    /// Its slot.
    pub slot: SlotId,
    /// What it does.
    pub change: Change,
    /// True if a write that overlaps it has to complete first.
    pub blocked: bool,
    /// When it arrived.
    pub since: Tick,
}

/// Held writes and writes in flight.
#[derive(Debug)]
pub struct InFlight<W> {
    slots: Slots<Tracked<W>>,
    presence: Presence,
    /// Of the newest write that was held.
    arrived: Arrival,
    /// Writes in flight that found no slot.
    untracked: u64,
}

impl<W> InFlight<W> {
    /// The slot of writes in flight that found none.
    pub const UNTRACKED: SlotId = SlotId(u32::MAX);

    /// Slots for `count` writes, held and in flight together.
    pub fn new(count: u32) -> Result<Self, OutOfMemory> {
        let extent = Extent::new(0, 1).ok_or(OutOfMemory)?;
        let change = Change { kind: RecordKind::Write, extent, blocks: BlockRange::EMPTY };
        let free = || {
            let arrival = Arrival::default();
            Ok(Tracked { write: None, change, blockers: 0, since: Tick(0), arrival })
        };
        let (slots, presence) = (Slots::new(count, free)?, Presence::new(count)?);
        Ok(Self { slots, presence, arrived: Arrival::default(), untracked: 0 })
    }

    /// Bytes that slots for `count` writes allocate.
    pub fn bytes(count: u32) -> u64 {
        Slots::<Tracked<W>>::bytes(count) + Presence::bytes(count)
    }

    /// Appends a write to the held ones; gives it back if no slot is free.
    pub fn hold(&mut self, write: W, change: &Change, now: Tick) -> Result<SlotId, W> {
        let blockers = self.overlapping(change);
        let Some(id) = self.track(Place::Held, change) else { return Err(write) };
        self.arrived.0 += 1;
        let arrival = self.arrived;
        if let Some(tracked) = self.slots.get_mut(id) {
            (tracked.write, tracked.blockers) = (Some(write), blockers);
            (tracked.since, tracked.arrival) = (now, arrival);
        }
        Ok(id)
    }

    /// Inserts a write that overlaps no tracked one; `None` if no slot is free.
    #[inline]
    pub fn insert(&mut self, change: &Change) -> Option<SlotId> {
        rule!(!self.overlaps(change), "ORDER: a write that overlaps another waits for it");
        self.track(Place::InFlight, change)
    }

    /// Inserts a write that is issued whatever it overlaps: held writes that came before wait for
    /// it. If no slot is free, it is only counted, as [`InFlight::UNTRACKED`].
    pub fn insert_past_held(&mut self, change: &Change) -> SlotId {
        if self.slots.is_full() {
            self.untracked += 1;
            return Self::UNTRACKED;
        }
        let first = self.slots.first(Place::Held);
        self.for_held_over(first, change, |held| held.blockers += 1);
        self.track(Place::InFlight, change).unwrap_or(Self::UNTRACKED)
    }

    /// Gives a held write back, to be issued, and when it arrived; from now on it is in flight.
    pub fn release(&mut self, id: SlotId) -> Option<(W, Tick)> {
        let tracked = self.slots.get_mut(id)?;
        let (write, since) = (tracked.write.take()?, tracked.since);
        self.slots.move_to(id, Place::InFlight);
        Some((write, since))
    }

    /// Removes a write that has completed below. Returns its blocks, unless it was not tracked.
    pub fn remove(&mut self, id: SlotId) -> Option<BlockRange> {
        if id == Self::UNTRACKED {
            self.untracked = self.untracked.saturating_sub(1);
            return None;
        }
        let change = self.slots.get_mut(id)?.change;
        if self.slots.place(id) != Place::InFlight {
            rule!(false, "ORDER: a write completes once");
            return None;
        }
        // Every held write that overlaps it has counted it: later ones when they were held, earlier
        // ones when it was issued past them (rule ORDER, rules.md#order).
        let first = self.slots.first(Place::Held);
        self.untrack(id, &change, first);
        Some(change.blocks)
    }

    /// Removes the oldest held write that `is_it` accepts, and gives it back.
    pub fn cancel_held(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let is_it = |tracked: &Tracked<W>| tracked.write.as_ref().is_some_and(&is_it);
        let (id, _) = self.slots.iter(Place::Held).find(|(_, tracked)| is_it(tracked))?;
        let tracked = self.slots.get_mut(id)?;
        let (write, change) = (tracked.write.take(), tracked.change);
        let younger = self.slots.next(id);
        self.untrack(id, &change, younger);
        write
    }

    /// The held writes, oldest first.
    pub fn held(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        self.slots.iter(Place::Held).map(|(slot, it)| HeldWrite {
            slot,
            change: it.change,
            blocked: it.blockers > 0,
            since: it.since,
        })
    }

    /// The oldest held write that waits for no other and whose blocks `may_go` accepts.
    pub fn first_unblocked(&self, may_go: impl Fn(BlockRange) -> bool) -> Option<HeldWrite> {
        self.held().find(|held| !held.blocked && may_go(held.change.blocks))
    }

    /// The arrival of the oldest held write.
    pub fn oldest_held(&self) -> Option<Arrival> {
        self.slots.iter(Place::Held).next().map(|(_, tracked)| tracked.arrival)
    }

    /// The arrival of the newest write that was held.
    pub fn last_held(&self) -> Arrival {
        self.arrived
    }

    /// Number of held writes.
    pub fn held_count(&self) -> u64 {
        self.slots.count(Place::Held)
    }

    /// Number of writes in flight, tracked or not.
    pub fn count(&self) -> u64 {
        self.slots.count(Place::InFlight) + self.untracked
    }

    /// True if a write is in flight whose place is not known.
    pub fn has_untracked(&self) -> bool {
        self.untracked > 0
    }

    /// True if no slot is free.
    pub fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    /// True if a held write or one in flight shares a byte with this one.
    #[inline]
    pub fn overlaps(&self, change: &Change) -> bool {
        self.overlapping(change) > 0
    }

    /// True if a tracked write in flight shares a block with `blocks`.
    pub fn touches(&self, blocks: &BlockRange) -> bool {
        self.is_any_in(Place::InFlight, blocks)
    }

    /// True if a held write shares a block with `blocks`.
    pub fn holds(&self, blocks: &BlockRange) -> bool {
        self.is_any_in(Place::Held, blocks)
    }

    fn is_any_in(&self, place: Place, blocks: &BlockRange) -> bool {
        self.presence.may_meet(blocks)
            && self.slots.iter(place).any(|(_, it)| it.change.blocks.intersects(blocks))
    }

    /// Number of tracked writes that share a byte with this one.
    #[inline]
    fn overlapping(&self, change: &Change) -> u32 {
        if !self.presence.may_meet(&change.blocks) {
            return 0;
        }
        let tracked = self.slots.iter(Place::Held).chain(self.slots.iter(Place::InFlight));
        tracked.map(|(_, it)| u32::from(it.change.extent.overlaps(&change.extent))).sum()
    }

    /// Takes a slot for a write.
    #[inline]
    fn track(&mut self, place: Place, change: &Change) -> Option<SlotId> {
        let id = self.slots.take(place)?;
        self.slots.get_mut(id)?.change = *change;
        self.presence.enter(&change.blocks);
        Some(id)
    }

    /// Frees a slot; the held writes from `first` on that its write overlaps wait for one less.
    fn untrack(&mut self, id: SlotId, change: &Change, first: SlotId) {
        self.slots.free(id);
        self.presence.leave(&change.blocks);
        self.for_held_over(first, change, |held| {
            rule!(held.blockers > 0, "ORDER: a held write has counted those that it waits for");
            held.blockers = held.blockers.saturating_sub(1);
        });
    }

    /// Calls `f` for each held write from `first` on that shares a byte with this one.
    fn for_held_over(&mut self, first: SlotId, change: &Change, f: impl Fn(&mut Tracked<W>)) {
        if self.held_count() == 0 || !self.presence.may_meet(&change.blocks) {
            return;
        }
        let mut next = first;
        while let Some(tracked) = self.slots.get_mut(next) {
            if tracked.change.extent.overlaps(&change.extent) {
                f(tracked);
            }
            next = self.slots.next(next);
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

    fn hold<W>(writes: &mut InFlight<W>, write: W, offset: u64, len: u64) -> SlotId {
        let held = writes.hold(write, &change(offset, len), Tick(0));
        held.unwrap_or_else(|_| panic!("no slot is free"))
    }

    fn blocked<W>(writes: &InFlight<W>) -> Vec<bool> {
        writes.held().map(|held| held.blocked).collect()
    }

    #[test]
    fn held_writes_keep_their_order_and_leave_from_the_middle() {
        let mut writes = InFlight::new(4).unwrap();
        let ids: Vec<_> =
            (0..4).map(|n| writes.hold(n, &change(n * 512, 512), Tick(n)).unwrap()).collect();
        assert!(writes.is_full());
        assert_eq!(writes.hold(9, &change(0, 1), Tick(9)), Err(9));
        assert_eq!(writes.release(ids[1]).unwrap(), (1, Tick(1)));
        assert_eq!(writes.release(ids[3]).unwrap(), (3, Tick(3)));
        let held: Vec<_> = writes.held().map(|held| held.slot).collect();
        assert_eq!(held, [ids[0], ids[2]]);
        assert_eq!((writes.held_count(), writes.count()), (2, 2));
        assert_eq!(writes.remove(ids[3]), Some(blocks(0, 1)));
        assert!(!writes.is_full() && writes.hold(5, &change(0, 1), Tick(5)).is_ok());
    }

    #[test]
    fn writes_overlap_by_bytes_and_touch_blocks() {
        let mut writes: InFlight<()> = InFlight::new(4).unwrap();
        let id = writes.insert(&change(512, 512)).unwrap();
        assert!(writes.overlaps(&change(1023, 1)));
        assert!(!writes.overlaps(&change(0, 512)));
        assert!(!writes.overlaps(&change(1024, 512)));
        assert!(writes.touches(&blocks(0, 3)));
        assert!(!writes.touches(&blocks(1, 3)));
        writes.remove(id).unwrap();
        assert!(!writes.overlaps(&change(512, 512)));
        hold(&mut writes, (), 512, 512);
        assert!(writes.overlaps(&change(0, 513)), "a held write comes first too");
        assert!(!writes.touches(&blocks(0, 1)) && writes.holds(&blocks(0, 1)));
    }

    #[test]
    fn a_held_write_waits_for_one_that_was_issued_past_it_and_has_a_slot() {
        let mut writes = InFlight::new(2).unwrap();
        hold(&mut writes, (), 0, 1024);
        let past = writes.insert_past_held(&change(1023, 1));
        assert_eq!(blocked(&writes), [true]);
        let untracked = writes.insert_past_held(&change(0, 1));
        assert_eq!((untracked, writes.count()), (InFlight::<()>::UNTRACKED, 2));
        assert!(writes.has_untracked());
        writes.remove(past).unwrap();
        assert_eq!(blocked(&writes), [false], "one that found no slot is not waited for");
        assert_eq!((writes.remove(untracked), writes.count()), (None, 0));
        assert!(!writes.has_untracked());
    }
}

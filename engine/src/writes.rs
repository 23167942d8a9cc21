//! The writes that a session knows of: held ones in order of arrival, and those in flight below.
//!
//! A fixed number of slots, each in one of two lists. Overlap is decided here, at byte resolution: two
//! adjacent writes to one block never wait for each other (rule ORDER).

use alloc::boxed::Box;

use crate::geometry::{BlockRange, Extent};
use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
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

#[derive(Debug)]
enum SlotState<W> {
    Free,
    Held(W),
    Flying,
}

/// What is known of one write.
#[derive(Debug)]
struct Slot<W> {
    state: SlotState<W>,
    kind: RecordKind,
    extent: Extent,
    blocks: BlockRange,
    /// When it arrived.
    since: Tick,
    /// When it first found the queue full.
    starved_since: Option<Tick>,
    previous: Option<SlotId>,
    next: Option<SlotId>,
}

#[derive(Clone, Copy, Default, Debug)]
struct List {
    first: Option<SlotId>,
    last: Option<SlotId>,
    len: u64,
}

/// A held write, as the lists' iterators show it.
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
    /// When it arrived.
    pub since: Tick,
    /// When it first found the queue full.
    pub starved_since: Option<Tick>,
}

/// Held writes and writes in flight.
#[derive(Debug)]
pub struct Writes<W> {
    slots: Box<[Slot<W>]>,
    free: List,
    held: List,
    flying: List,
    /// Held writes that found the queue full.
    starved: u64,
}

impl<W> Writes<W> {
    /// Room for `count` writes, held and in flight together.
    pub fn new(count: u32) -> Result<Self, OutOfMemory> {
        let nothing = Extent::new(0, 1).ok_or(OutOfMemory)?;
        let none = BlockRange::new(crate::geometry::BlockIndex(0), crate::geometry::BlockIndex(0));
        let slots = boxed_slice(u64::from(count), || Slot {
            state: SlotState::Free,
            kind: RecordKind::Write,
            extent: nothing,
            blocks: none,
            since: Tick(0),
            starved_since: None,
            previous: None,
            next: None,
        })?;
        let mut writes = Self {
            slots,
            free: List::default(),
            held: List::default(),
            flying: List::default(),
            starved: 0,
        };
        for slot in 0..count {
            let mut free = writes.free;
            writes.append(&mut free, SlotId(slot));
            writes.free = free;
        }
        Ok(writes)
    }

    /// Bytes that room for `count` writes allocates.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<Slot<W>>(u64::from(count))
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
        let Some(id) = self.take_free() else { return Err(write) };
        if let Some(slot) = self.slot_mut(id) {
            slot.state = SlotState::Held(write);
            slot.kind = kind;
            slot.extent = extent;
            slot.blocks = blocks;
            slot.since = now;
            slot.starved_since = None;
        }
        let mut held = self.held;
        self.append(&mut held, id);
        self.held = held;
        Ok(id)
    }

    /// Notes a write that goes straight down; `None` if no slot is free.
    pub fn fly(&mut self, extent: Extent, blocks: BlockRange) -> Option<SlotId> {
        let id = self.take_free()?;
        let slot = self.slot_mut(id)?;
        slot.state = SlotState::Flying;
        slot.extent = extent;
        slot.blocks = blocks;
        let mut flying = self.flying;
        self.append(&mut flying, id);
        self.flying = flying;
        Some(id)
    }

    /// A held write.
    pub fn held_write(&self, id: SlotId) -> Option<&W> {
        match &self.slot(id)?.state {
            SlotState::Held(write) => Some(write),
            SlotState::Free | SlotState::Flying => None,
        }
    }

    /// Turns a held write into one in flight and hands it out, with the time of its arrival.
    pub fn release(&mut self, id: SlotId) -> Option<(W, Tick)> {
        let slot = self.slot_mut(id)?;
        let SlotState::Held(write) = core::mem::replace(&mut slot.state, SlotState::Flying) else {
            rule!(false, "HANG: only a held write is released");
            return None;
        };
        let since = slot.since;
        if slot.starved_since.take().is_some() {
            self.starved -= 1;
        }
        let (mut held, mut flying) = (self.held, self.flying);
        self.unlink(&mut held, id);
        self.append(&mut flying, id);
        (self.held, self.flying) = (held, flying);
        Some((write, since))
    }

    /// Forgets a write that has completed below. Returns its blocks.
    pub fn land(&mut self, id: SlotId) -> Option<BlockRange> {
        let slot = self.slot_mut(id)?;
        if !matches!(slot.state, SlotState::Flying) {
            rule!(false, "ORDER: a write completes once");
            return None;
        }
        slot.state = SlotState::Free;
        let blocks = slot.blocks;
        let (mut flying, mut free) = (self.flying, self.free);
        self.unlink(&mut flying, id);
        self.append(&mut free, id);
        (self.flying, self.free) = (flying, free);
        Some(blocks)
    }

    /// Notes that the queue was full at `now`: every held write waits for it from now on, whatever else it
    /// waits for. Else writes would starve one after the other, each with a limit of its own (rule HANG).
    pub fn starve(&mut self, now: Tick) {
        let mut next = self.held.first;
        while let Some(slot) = next.and_then(|id| self.slot_mut(id)) {
            next = slot.next;
            if slot.starved_since.is_none() {
                slot.starved_since = Some(now);
                self.starved += 1;
            }
        }
    }

    /// The held writes, oldest first.
    pub fn held(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        self.walk(self.held).map(|(slot, it)| HeldWrite {
            slot,
            kind: it.kind,
            extent: it.extent,
            blocks: it.blocks,
            since: it.since,
            starved_since: it.starved_since,
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

    /// Number of held writes that found the queue full.
    pub fn starved_count(&self) -> u64 {
        self.starved
    }

    /// True if a write in flight shares a byte with `extent`.
    pub fn flies_over(&self, extent: &Extent) -> bool {
        self.walk(self.flying).any(|(_, slot)| slot.extent.overlaps(extent))
    }

    /// True if a held write shares a byte with `extent`.
    pub fn holds_over(&self, extent: &Extent) -> bool {
        self.walk(self.held).any(|(_, slot)| slot.extent.overlaps(extent))
    }

    /// True if a held write that arrived before `id` shares a byte with `extent`.
    pub fn holds_over_before(&self, id: SlotId, extent: &Extent) -> bool {
        self.walk(self.held)
            .take_while(|(slot, _)| *slot != id)
            .any(|(_, slot)| slot.extent.overlaps(extent))
    }

    /// True if a write in flight shares a block with `blocks`.
    pub fn flies_in(&self, blocks: &BlockRange) -> bool {
        self.walk(self.flying).any(|(_, slot)| slot.blocks.intersects(blocks))
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
        self.slots.get(usize::try_from(id.0).ok()?)
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot<W>> {
        self.slots.get_mut(usize::try_from(id.0).ok()?)
    }

    fn take_free(&mut self) -> Option<SlotId> {
        let mut free = self.free;
        let id = free.first?;
        self.unlink(&mut free, id);
        self.free = free;
        Some(id)
    }

    fn append(&mut self, list: &mut List, id: SlotId) {
        let previous = list.last.replace(id);
        if let Some(slot) = self.slot_mut(id) {
            slot.previous = previous;
            slot.next = None;
        }
        match previous.and_then(|previous| self.slot_mut(previous)) {
            Some(slot) => slot.next = Some(id),
            None => list.first = Some(id),
        }
        list.len += 1;
    }

    fn unlink(&mut self, list: &mut List, id: SlotId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (previous, next) = (slot.previous.take(), slot.next.take());
        match previous.and_then(|id| self.slot_mut(id)) {
            Some(slot) => slot.next = next,
            None => list.first = next,
        }
        match next.and_then(|id| self.slot_mut(id)) {
            Some(slot) => slot.previous = previous,
            None => list.last = previous,
        }
        list.len -= 1;
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
        assert!(writes.flies_over(&extent(1023, 1)));
        assert!(!writes.flies_over(&extent(0, 512)));
        assert!(!writes.flies_over(&extent(1024, 512)));
        assert!(writes.flies_in(&blocks(0, 3)));
        assert!(!writes.flies_in(&blocks(1, 3)));
        writes.land(id).unwrap();
        assert!(!writes.flies_over(&extent(512, 512)));
    }

    #[test]
    fn a_held_write_waits_for_its_elders_only() {
        let mut writes = Writes::new(4).unwrap();
        let first = writes.hold((), KIND, extent(0, 1024), blocks(0, 1), Tick(0)).unwrap();
        let second = writes.hold((), KIND, extent(512, 1024), blocks(0, 1), Tick(1)).unwrap();
        assert!(!writes.holds_over_before(first, &extent(0, 1024)));
        assert!(writes.holds_over_before(second, &extent(512, 1024)));
        assert!(writes.holds_over(&extent(1500, 1)));
    }

    #[test]
    fn a_full_queue_starves_every_held_write_until_it_leaves() {
        let mut writes = Writes::new(2).unwrap();
        let id = writes.hold((), KIND, extent(0, 512), blocks(0, 1), Tick(0)).unwrap();
        writes.starve(Tick(3));
        let later = writes.hold((), KIND, extent(512, 512), blocks(0, 1), Tick(4)).unwrap();
        assert_eq!(writes.starved_count(), 1);
        writes.starve(Tick(5));
        assert_eq!(writes.starved_count(), 2);
        let since: Vec<_> = writes.held().map(|held| held.starved_since).collect();
        assert_eq!(since, [Some(Tick(3)), Some(Tick(5))]);
        writes.release(id).unwrap();
        writes.release(later).unwrap();
        writes.starve(Tick(6));
        assert_eq!(writes.starved_count(), 0);
    }
}

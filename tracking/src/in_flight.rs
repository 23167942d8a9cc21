//! The writes that a session tracks: held ones in order of arrival, and those in flight below.
//!
//! Each has a slot, of a fixed number. Overlap is decided here, at byte resolution: two adjacent
//! writes to one block never wait for each other (rule ORDER, rules.md#order). A held write counts
//! the tracked writes that overlap it and arrived before it or were issued past it. Each of them
//! decrements the count when it completes, and at zero only the write's blocks keep it. So no write
//! is searched for another that waits for it.
//!
//! What a verb costs does not depend on how many writes there are, only on those that it is about:
//! overlaps are looked up in the [`Grid`], and a held write that may be ready is a candidate. It is
//! one when it is held or no write blocks it any more. Found not to be ready, it watches a block
//! that is not synced, and is a candidate again once that block is.

mod reads;
mod ready;
mod waiting;

use alloc::boxed::Box;

use snapless_fixed::arena::MemoryRange;
use snapless_fixed::grid::Grid;
use snapless_fixed::memory::{OutOfMemory, boxed, slice_bytes};
use snapless_fixed::regions::{RegionSpan, Regions};
use snapless_fixed::ring::Ring;
use snapless_fixed::slots::{Place, SlotId, Slots};
use snapless_types::{BlockIndex, BlockRange, Extent, RecordKind, Tick};

use crate::waiting::Fifo;

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
    /// The write, while it is held, or waits for room for its next part.
    write: Option<W>,
    /// The queue memory that the disk transfers it from, while it is in flight and captured.
    payload: Option<MemoryRange>,
    change: Change,
    /// Writes that have to complete before this held one may be issued.
    blockers: u32,
    /// A block that is not synced, if this held write is neither blocked nor a candidate.
    watched: BlockIndex,
    /// Where the next part begins that waits for room.
    from: u64,
    since: Tick,
    arrival: Arrival,
    /// A read of one of its blocks failed while it was held.
    read_failed: bool,
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
    /// Where its next part begins, if it is in flight and that waits for room.
    pub part: Option<u64>,
    /// When it arrived.
    pub since: Tick,
    /// True if a read of one of its blocks failed.
    pub read_failed: bool,
}

/// Held writes and writes in flight, and those that wait for a slot.
#[derive(Debug)]
pub struct InFlight<W, Q> {
    slots: Slots<Tracked<W>>,
    /// All of them by place.
    grid: Grid,
    /// The held ones, in order of arrival.
    held: Ring,
    /// Those of them that no other blocks and that may be ready; before them the writes in flight
    /// whose next part waits for room.
    candidates: Ring,
    /// Those without a payload and those with one that may have blocks to be read.
    unread: Box<[[Ring; 2]; 1]>,
    /// Held writes whose `read_failed` is set.
    failed_reads: u64,
    /// Of the newest write that was held.
    arrived: Arrival,
    /// Writes in flight that found no slot.
    untracked: Regions,
    /// Held writes that found no slot: there are none while a usual slot is free.
    waiting: Q,
    /// How many they are.
    waiting_count: u64,
    /// Bytes of a block.
    block_size: u64,
}

impl<W, Q: Fifo<W>> InFlight<W, Q> {
    /// In the slot of a write that found none; its other bits are the write's regions.
    const UNTRACKED: u32 = 1 << RegionSpan::BITS;

    /// Slots for `count` writes, held and in flight together, the last `reserved` of them for
    /// urgent ones, on a volume of so many blocks of so many bytes. `waiting` is empty.
    // Out of line, as the other parts of a session.
    #[inline(never)]
    pub fn new(
        count: u32,
        reserved: u32,
        block_count: u64,
        block_size: u64,
        waiting: Q,
    ) -> Result<Self, OutOfMemory> {
        let extent = Extent::new(0, 1).ok_or(OutOfMemory)?;
        let change = Change { kind: RecordKind::Write, extent, blocks: BlockRange::EMPTY };
        let free = || {
            let (watched, arrival) = (BlockIndex(0), Arrival::default());
            let (since, read_failed) = (Tick(0), false);
            let (write, payload, blockers, from) = (None, None, 0, 0);
            Ok(Tracked {
                write,
                payload,
                change,
                blockers,
                watched,
                from,
                since,
                arrival,
                read_failed,
            })
        };
        Ok(Self {
            slots: Slots::new(count, reserved, free)?,
            grid: Grid::new(count)?,
            held: Ring::new(count)?,
            candidates: Ring::new(count)?,
            unread: boxed(|| Ok([Ring::new(count)?, Ring::new(count)?]))?,
            failed_reads: 0,
            arrived: Arrival::default(),
            untracked: Regions::new(block_count)?,
            waiting,
            waiting_count: 0,
            block_size,
        })
    }

    /// Bytes that slots for `count` writes allocate.
    pub fn bytes(count: u32, block_count: u64) -> u64 {
        Slots::<Tracked<W>>::bytes(count)
            + Grid::bytes(count)
            + 4 * Ring::bytes(count)
            + slice_bytes::<[Ring; 2]>(1)
            + Regions::bytes(block_count)
    }

    /// Appends a write to the held ones. If no slot is free it waits for one, behind those that
    /// wait already, and has none yet.
    pub fn hold(&mut self, write: W, change: &Change, now: Tick) -> Option<SlotId> {
        if self.slots.is_full() {
            self.wait(write, change, now);
            return None;
        }
        let mut blockers = 0;
        self.grid.each(&change.extent, |id| {
            blockers += u32::from(overlaps(&self.slots, id, change));
        });
        let id = self.track(Place::Held, change)?;
        self.arrived.0 += 1;
        let arrival = self.arrived;
        if let Some(tracked) = self.slots.get_mut(id) {
            (tracked.write, tracked.blockers) = (Some(write), blockers);
            (tracked.since, tracked.arrival, tracked.read_failed) = (now, arrival, false);
        }
        self.held.append(id.0);
        self.unread[0][usize::from(change.kind.has_payload())].append(id.0);
        if blockers == 0 {
            self.candidates.append(id.0);
        }
        Some(id)
    }

    /// Inserts a write that overlaps no tracked one; `None` if no slot is free.
    #[inline]
    pub fn insert(&mut self, change: &Change) -> Option<SlotId> {
        rule!(!self.overlaps(change), "ORDER: a write that overlaps another waits for it");
        self.track(Place::InFlight, change)
    }

    /// As [`InFlight::insert`], for an urgent write that found no usual slot.
    pub fn insert_reserved(&mut self, change: &Change) -> Option<SlotId> {
        let (id, tracked) = self.slots.take_reserved(Place::InFlight)?;
        tracked.change = *change;
        self.grid.enter(id, &change.extent);
        Some(id)
    }

    /// Inserts a write that is issued whatever it overlaps: held writes that came before wait for
    /// it. If no slot is free, only its regions are known.
    pub fn insert_past_held(&mut self, change: &Change) -> SlotId {
        if self.slots.is_full() {
            let RegionSpan(span) = self.untracked.enter(&change.blocks);
            return SlotId(Self::UNTRACKED | span);
        }
        let Self { slots, grid, candidates, .. } = self;
        grid.each(&change.extent, |id| {
            if slots.place(id) == Place::Held
                && overlaps(slots, id, change)
                && let Some(held) = slots.get_mut(id)
            {
                held.blockers += 1;
                candidates.remove(id.0);
            }
        });
        self.track(Place::InFlight, change).unwrap_or(SlotId(Self::UNTRACKED))
    }

    /// Gives a held write back, to be issued, and when it arrived; from now on it is in flight.
    pub fn release(&mut self, id: SlotId) -> Option<(W, Tick)> {
        let tracked = self.slots.get_mut(id)?;
        let (write, since) = (tracked.write.take()?, tracked.since);
        self.leaves_held(id);
        self.slots.move_to(id, Place::InFlight);
        Some((write, since))
    }

    /// Keeps the queue memory that the disk transfers a write in flight from.
    #[inline]
    pub fn keep_payload(&mut self, id: SlotId, payload: MemoryRange) {
        if let Some(tracked) = self.slots.get_mut(id) {
            rule!(tracked.payload.is_none(), "BOUND: a write in flight has one payload");
            tracked.payload = Some(payload);
        }
    }

    /// Takes that memory from a write that has completed below.
    #[inline]
    pub fn take_payload(&mut self, id: SlotId) -> Option<MemoryRange> {
        self.slots.get_mut(id)?.payload.take()
    }

    /// Removes a write that has completed below, and returns its blocks. `None` if it was not
    /// tracked: those who issued it have its blocks read again.
    pub fn remove(&mut self, id: SlotId) -> Option<BlockRange> {
        if id.0 & Self::UNTRACKED != 0 {
            self.untracked.leave(RegionSpan(id.0 & !Self::UNTRACKED));
            return None;
        }
        if self.slots.place(id) != Place::InFlight {
            rule!(false, "ORDER: a write completes once");
            return None;
        }
        let change = self.slots.get(id)?.change;
        // Every held write that overlaps it has counted it: later ones when they were held, earlier
        // ones when it was issued past them (rule ORDER, rules.md#order).
        self.untrack(id, &change, Arrival::default());
        Some(change.blocks)
    }

    /// The held writes that have a slot, oldest first.
    pub fn held(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        self.held.iter().filter_map(|id| self.held_write(id))
    }

    /// The oldest held write that waits for no other and whose blocks `may_go` accepts.
    pub fn first_unblocked(&self, may_go: impl Fn(BlockRange) -> bool) -> Option<HeldWrite> {
        self.held().find(|held| !held.blocked && may_go(held.change.blocks))
    }

    /// The arrival of the oldest held write, or of one whose next part waits for room.
    #[inline]
    pub fn oldest_held(&self) -> Option<Arrival> {
        let is_part = |id: &u32| self.slots.place(SlotId(*id)) == Place::InFlight;
        let oldest = self.candidates.first().filter(is_part).or_else(|| self.held.first())?;
        self.slots.get(SlotId(oldest)).map(|tracked| tracked.arrival)
    }

    /// True if a write with a slot is held.
    #[inline]
    pub fn is_any_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Number of held writes, those that wait for a slot included.
    pub fn held_count(&self) -> u64 {
        self.slots.count(Place::Held) + self.waiting_count
    }

    /// Number of writes in flight, tracked or not.
    pub fn count(&self) -> u64 {
        self.slots.count(Place::InFlight) + self.untracked.writes()
    }

    /// True if no usual slot is free.
    pub fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    /// True if no slot is free, not even for an urgent write.
    pub fn is_exhausted(&self) -> bool {
        self.slots.is_exhausted()
    }

    /// True if a held write or one in flight shares a byte with this one.
    #[inline]
    pub fn overlaps(&self, change: &Change) -> bool {
        self.grid.any(&change.extent, |id| overlaps(&self.slots, id, change))
    }

    /// True if a write in flight may share a byte with this extent, which is in `blocks`.
    pub fn may_write(&self, extent: &Extent, blocks: &BlockRange) -> bool {
        let in_flight = |id| {
            self.slots.place(id) == Place::InFlight
                && self.slots.get(id).is_some_and(|it| it.change.extent.overlaps(extent))
        };
        self.grid.any(extent, in_flight) || self.untracked.may_meet(blocks)
    }

    /// True if a tracked write in flight shares a block with `blocks`.
    pub fn touches(&self, blocks: &BlockRange) -> bool {
        self.is_any_in(Place::InFlight, blocks)
    }

    /// True if a write in flight may share a block with `blocks`.
    pub fn may_touch(&self, blocks: &BlockRange) -> bool {
        self.touches(blocks) || self.untracked.may_meet(blocks)
    }

    /// True if a held write shares a block with `blocks`.
    pub fn holds(&self, blocks: &BlockRange) -> bool {
        self.is_any_in(Place::Held, blocks)
    }

    /// Buckets, nodes and slots that were looked at so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.grid.steps()
    }

    fn held_write(&self, id: u32) -> Option<HeldWrite> {
        let it = self.slots.get(SlotId(id))?;
        let slot = SlotId(id);
        let part = (self.slots.place(slot) == Place::InFlight).then_some(it.from);
        let (change, blocked) = (it.change, it.blockers > 0);
        let (since, read_failed) = (it.since, it.read_failed);
        Some(HeldWrite { slot, change, blocked, part, since, read_failed })
    }

    /// A held write is about to be held no more.
    fn leaves_held(&mut self, id: SlotId) {
        let [[without, with]] = &mut *self.unread;
        for ring in [&mut self.held, &mut self.candidates, without, with] {
            ring.remove(id.0);
        }
        if let Some(tracked) = self.slots.get_mut(id) {
            self.failed_reads -= u64::from(core::mem::take(&mut tracked.read_failed));
        }
    }

    fn is_any_in(&self, place: Place, blocks: &BlockRange) -> bool {
        let Some(extent) = self.extent_of(blocks) else { return false };
        self.slots.count(place) > 0
            && self.grid.any(&extent, |id| {
                self.slots.place(id) == place
                    && self.slots.get(id).is_some_and(|it| it.change.blocks.intersects(blocks))
            })
    }

    /// The bytes of these blocks.
    fn extent_of(&self, blocks: &BlockRange) -> Option<Extent> {
        Extent::new(blocks.start.0 * self.block_size, blocks.len() * self.block_size)
    }

    /// Takes a slot for a write.
    #[inline]
    fn track(&mut self, place: Place, change: &Change) -> Option<SlotId> {
        let (id, tracked) = self.slots.take(place)?;
        tracked.change = *change;
        self.grid.enter(id, &change.extent);
        Some(id)
    }

    /// Frees a slot; the held writes that its write overlaps and that arrived after `arrival` wait
    /// for one less.
    #[inline]
    fn untrack(&mut self, id: SlotId, change: &Change, arrival: Arrival) {
        self.slots.move_to(id, Place::Free);
        self.grid.leave(id, &change.extent);
        if !self.held.is_empty() {
            self.unblock(change, arrival);
        }
    }

    #[inline(never)]
    fn unblock(&mut self, change: &Change, arrival: Arrival) {
        let Self { slots, grid, candidates, .. } = self;
        grid.each(&change.extent, |id| {
            if slots.place(id) == Place::Held
                && overlaps(slots, id, change)
                && let Some(held) = slots.get_mut(id)
                && held.arrival > arrival
            {
                rule!(held.blockers > 0, "ORDER: a held write has counted those it waits for");
                held.blockers = held.blockers.saturating_sub(1);
                if held.blockers == 0 {
                    candidates.append(id.0);
                }
            }
        });
    }
}

/// True if a slot's write shares a byte with this one.
fn overlaps<W>(slots: &Slots<Tracked<W>>, id: SlotId, change: &Change) -> bool {
    slots.get(id).is_some_and(|it| it.change.extent.overlaps(&change.extent))
}

#[cfg(test)]
mod tests;

//! A fixed number of slots, each held, in flight or free.
//!
//! Taking, moving and freeing a slot takes the same few steps however many there are, and allocates
//! nothing (rule BOUND, rules.md#bound). The session's writes are kept here.

use alloc::boxed::Box;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// A slot's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotId(pub u32);

/// What a slot's write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Held.
    Held,
    /// In flight.
    InFlight,
    /// Not there: the slot is free.
    Free,
}

/// A slot.
#[derive(Debug)]
struct Slot<T> {
    place: Place,
    /// The free slot that is taken after this one, if this one is free.
    next_free: u32,
    value: T,
}

/// Slots with a `T` each.
#[derive(Debug)]
pub struct Slots<T> {
    all: Box<[Slot<T>]>,
    /// The slot that was freed last, as its memory is warm; the index of no slot if none is free.
    free: u32,
    /// Held slots, and those in flight.
    counts: [u64; 2],
}

impl<T> Slots<T> {
    /// `count` free slots, with values made by `make`.
    pub fn new(
        count: u32,
        mut make: impl FnMut() -> Result<T, OutOfMemory>,
    ) -> Result<Self, OutOfMemory> {
        let mut next_free = 0;
        let all = boxed_slice(u64::from(count), || {
            next_free += 1;
            Ok(Slot { place: Place::Free, next_free, value: make()? })
        })?;
        Ok(Self { all, free: 0, counts: [0; 2] })
    }

    /// Bytes that `count` slots allocate.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<Slot<T>>(u64::from(count))
    }

    /// Takes a free slot; `None` if there is none.
    #[inline]
    pub fn take(&mut self, place: Place) -> Option<(SlotId, &mut T)> {
        let id = self.free;
        let slot = self.all.get_mut(id as usize)?;
        slot.place = place;
        self.free = slot.next_free;
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count += 1;
        }
        Some((SlotId(id), &mut slot.value))
    }

    /// Turns a held slot into one in flight, or frees a slot.
    #[inline]
    pub fn move_to(&mut self, id: SlotId, place: Place) {
        let Some(slot) = self.all.get_mut(id.0 as usize) else { return };
        let before = core::mem::replace(&mut slot.place, place);
        if place == Place::Free {
            slot.next_free = self.free;
            self.free = id.0;
        }
        self.recount(before, 1_u64.wrapping_neg());
        self.recount(place, 1);
    }

    /// True if no slot is free.
    pub fn is_full(&self) -> bool {
        self.free as usize >= self.all.len()
    }

    /// What a slot's write is.
    pub fn place(&self, id: SlotId) -> Place {
        self.all.get(id.0 as usize).map_or(Place::Free, |slot| slot.place)
    }

    /// A slot's value; `None` if there is no such slot.
    pub fn get(&self, id: SlotId) -> Option<&T> {
        self.all.get(id.0 as usize).map(|slot| &slot.value)
    }

    /// A slot's value, to be changed; `None` if there is no such slot.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.all.get_mut(id.0 as usize).map(|slot| &mut slot.value)
    }

    /// Number of slots whose write is this.
    pub fn count(&self, place: Place) -> u64 {
        self.counts.get(place as usize).copied().unwrap_or(0)
    }

    fn recount(&mut self, place: Place, change: u64) {
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count = count.wrapping_add(change);
        }
    }
}

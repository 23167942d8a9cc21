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
    /// Of the usual slots and of the reserved ones: the one that was freed last, as its memory is
    /// warm; the index of no slot if none is free.
    free: [u32; 2],
    /// The first reserved slot.
    reserved_from: u32,
    /// Held slots, and those in flight.
    counts: [u64; 2],
}

impl<T> Slots<T> {
    /// `count` free slots, the last `reserved` of them reserved, with values made by `make`.
    pub fn new(
        count: u32,
        reserved: u32,
        mut make: impl FnMut() -> Result<T, OutOfMemory>,
    ) -> Result<Self, OutOfMemory> {
        let reserved_from = count.saturating_sub(reserved);
        let mut next = 0;
        let all = boxed_slice(u64::from(count), || {
            next += 1;
            let next_free = if next == reserved_from { count } else { next };
            Ok(Slot { place: Place::Free, next_free, value: make()? })
        })?;
        let usual = if reserved_from > 0 { 0 } else { count };
        Ok(Self { all, free: [usual, reserved_from], reserved_from, counts: [0; 2] })
    }

    /// Bytes that `count` slots allocate.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<Slot<T>>(u64::from(count))
    }

    /// Takes a free slot that is not reserved; `None` if there is none.
    #[inline]
    pub fn take(&mut self, place: Place) -> Option<(SlotId, &mut T)> {
        self.take_from(0, place)
    }

    /// Takes a free reserved slot; `None` if there is none.
    pub fn take_reserved(&mut self, place: Place) -> Option<(SlotId, &mut T)> {
        self.take_from(1, place)
    }

    #[inline]
    fn take_from(&mut self, list: usize, place: Place) -> Option<(SlotId, &mut T)> {
        let [usual, reserved] = &mut self.free;
        let free = if list == 0 { usual } else { reserved };
        let id = *free;
        let slot = self.all.get_mut(id as usize)?;
        slot.place = place;
        *free = slot.next_free;
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
            let [usual, reserved] = &mut self.free;
            let free = if id.0 < self.reserved_from { usual } else { reserved };
            slot.next_free = core::mem::replace(free, id.0);
        }
        self.recount(before, 1_u64.wrapping_neg());
        self.recount(place, 1);
    }

    /// True if no slot is free but reserved ones.
    #[inline]
    pub fn is_full(&self) -> bool {
        let [usual, _] = self.free;
        usual as usize >= self.all.len()
    }

    /// True if no slot is free.
    pub fn is_exhausted(&self) -> bool {
        self.free.iter().all(|&free| free as usize >= self.all.len())
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

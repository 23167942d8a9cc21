//! A fixed number of slots, each held, in flight or free: two rings in order of arrival and a chain
//! of free ones.
//!
//! Taking, moving and freeing a slot takes the same few steps however many there are, and allocates
//! nothing (rule BOUND, rules.md#bound). [`InFlight`](crate::in_flight::InFlight) keeps its writes
//! here.

use alloc::boxed::Box;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// A slot's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotId(pub u32);

/// Where a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the ring of held writes.
    Held,
    /// In the ring of writes in flight.
    InFlight,
    /// In the chain of free slots.
    Free,
}

/// Rings; each has a head.
const RINGS: u32 = 2;

/// A slot's place and its neighbours there; for a ring's head, the ring's last and first slot.
#[derive(Clone, Copy, Debug)]
struct Links {
    place: Place,
    previous: u32,
    next: u32,
}

/// Slots with a `T` each.
#[derive(Debug)]
pub struct Slots<T> {
    values: Box<[T]>,
    /// The links of each slot, and after them those of the rings' heads.
    links: Box<[Links]>,
    /// Number of slots: the index of the first head.
    room: u32,
    /// The slot that was freed last, as its memory is warm; the index of no slot if none is free.
    free: u32,
    /// Slots in each ring.
    counts: [u64; RINGS as usize],
}

impl<T> Slots<T> {
    /// `count` free slots, with values made by `make`.
    pub fn new(
        count: u32,
        make: impl FnMut() -> Result<T, OutOfMemory>,
    ) -> Result<Self, OutOfMemory> {
        let values = boxed_slice(u64::from(count), make)?;
        let mut ids = 0..count + RINGS;
        let links = boxed_slice(u64::from(count + RINGS), || {
            let id = ids.next().ok_or(OutOfMemory)?;
            let next = if id < count { id + 1 } else { id };
            Ok(Links { place: Place::Free, previous: id, next })
        })?;
        Ok(Self { values, links, room: count, free: 0, counts: [0; RINGS as usize] })
    }

    /// Bytes that `count` slots allocate.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<T>(u64::from(count)) + slice_bytes::<Links>(u64::from(count + RINGS))
    }

    /// Appends a free slot to a ring; `None` if there is none.
    pub fn take(&mut self, place: Place) -> Option<SlotId> {
        if self.is_full() {
            return None;
        }
        let id = SlotId(self.free);
        self.free = self.links(id.0).next;
        self.append(id, place);
        Some(id)
    }

    /// Moves a slot to the end of another ring.
    pub fn move_to(&mut self, id: SlotId, place: Place) {
        self.unlink(id);
        self.append(id, place);
    }

    /// Frees a slot.
    pub fn free(&mut self, id: SlotId) {
        self.unlink(id);
        if let Some(links) = self.links.get_mut(id.0 as usize) {
            (links.place, links.next) = (Place::Free, self.free);
            self.free = id.0;
        }
    }

    /// True if no slot is free.
    pub fn is_full(&self) -> bool {
        self.free >= self.room
    }

    /// Where a slot is.
    pub fn place(&self, id: SlotId) -> Place {
        self.links(id.0).place
    }

    /// A slot's value; `None` if there is no such slot.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.values.get_mut(id.0 as usize)
    }

    /// The slots of a ring, oldest first.
    pub fn iter(&self, place: Place) -> impl Iterator<Item = (SlotId, &T)> + '_ {
        let mut next = self.first(place);
        // A head is no slot: there the ring ends.
        core::iter::from_fn(move || {
            let id = next;
            let value = self.values.get(id.0 as usize)?;
            next = self.next(id);
            Some((id, value))
        })
    }

    /// The oldest slot of a ring; the id of no slot if the ring is empty.
    pub fn first(&self, place: Place) -> SlotId {
        SlotId(self.links(self.head(place)).next)
    }

    /// The slot after this one; the id of no slot if this one is the last of its ring.
    pub fn next(&self, id: SlotId) -> SlotId {
        SlotId(self.links(id.0).next)
    }

    /// Number of slots in a ring.
    pub fn count(&self, place: Place) -> u64 {
        self.counts.get(place as usize).copied().unwrap_or(0)
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

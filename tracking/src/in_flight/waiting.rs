//! Writes that wait for a slot, and held ones that are cancelled, with a slot or without.

use snapless_fixed::slots::Place;
use snapless_types::Tick;

use super::{Arrival, Change, InFlight};
use crate::waiting::{Fifo, Waiter};

impl<W, Q: Fifo<W>> InFlight<W, Q> {
    #[inline(never)]
    pub(super) fn wait(&mut self, write: W, change: &Change, since: Tick) {
        let Change { kind, extent, .. } = *change;
        self.waiting.push(Waiter { write, kind, extent, since });
        self.waiting_count += 1;
    }

    /// Takes the oldest write that waits for a slot, if one is free now: it is to be held.
    pub fn admit(&mut self) -> Option<Waiter<W>> {
        if self.slots.is_full() || sabotaged!(WaiterForgotten) { None } else { self.pop_waiting() }
    }

    /// Takes the oldest write that waits for a slot.
    pub fn pop_waiting(&mut self) -> Option<Waiter<W>> {
        let waiter = self.waiting.pop()?;
        self.waiting_count -= 1;
        Some(waiter)
    }

    /// True if a write waits for a slot.
    #[inline]
    pub fn is_any_waiting(&self) -> bool {
        self.waiting_count > 0
    }

    /// As [`InFlight::oldest_held`], or the arrival of the oldest write that waits for a slot.
    #[inline]
    pub fn oldest_waiting(&self) -> Option<Arrival> {
        let next = || self.is_any_waiting().then_some(Arrival(self.arrived.0 + 1));
        self.oldest_held().or_else(next)
    }

    /// The arrival of the newest write that was held: those that wait for a slot count on from the
    /// last one that has had it.
    pub fn last_held(&self) -> Arrival {
        Arrival(self.arrived.0 + self.waiting_count)
    }

    /// Makes a write cancellable that is to be held; false if it has been cancelled before.
    pub fn prepare(&self, write: &mut W, change: &Change) -> bool {
        self.waiting.prepare(write, &change.extent)
    }

    /// Removes the held write with this key, and gives it back.
    pub fn cancel_held(&mut self, key: &Q::Key) -> Option<W> {
        let Self { slots, grid, waiting, .. } = self;
        let mut found = None;
        grid.any(&waiting.extent(key), |id| {
            let held = slots.get(id).filter(|_| slots.place(id) == Place::Held);
            let write = held.and_then(|held| held.write.as_ref());
            found = write.is_some_and(|write| waiting.is(write, key)).then_some(id);
            found.is_some()
        });
        let Some(id) = found else {
            let write = waiting.take(key)?;
            self.waiting_count -= 1;
            return Some(write);
        };
        let tracked = self.slots.get_mut(id)?;
        let (write, change, arrival) = (tracked.write.take(), tracked.change, tracked.arrival);
        self.leaves_held(id);
        // Only younger ones have counted it.
        self.untrack(id, &change, arrival);
        write
    }
}

//! What leaves the queue, and what the server's acknowledgement sets free.

use super::state::Core;
use super::{Phase, Step};
use crate::arena::MemoryRange;
use crate::host::Worker;
use crate::queue::{Queued, Record};

/// A record on its way out. To be handed back to [`Session::drained`](super::Session::drained).
#[must_use = "a record that is not handed back keeps its queue memory"]
#[derive(Debug)]
pub struct Drained(Queued);

impl Drained {
    /// The record's header.
    pub fn record(&self) -> Record {
        self.0.record
    }

    /// Where its payload is, if it has one.
    pub fn memory(&self) -> Option<&MemoryRange> {
        self.0.memory.as_ref()
    }
}

impl<W> Core<'_, W> {
    pub(super) fn drain(&mut self, payload_room: u64) -> Step<Drained> {
        if self.state.phase == Phase::Stopped {
            return Step::Ended;
        }
        // It changes nothing that anybody can read.
        self.quick = true;
        match self.state.queue.pop(payload_room) {
            Some(queued) => Step::Do(Drained(queued)),
            None => Step::Wait(None),
        }
    }

    pub(super) fn drained(&mut self, drained: Drained) {
        if let Some(memory) = drained.0.memory {
            self.numbers().bytes_drained.add(memory.len());
            self.state.queue.give_back(memory);
        }
        // Where there is nothing to make good, no phase and no flag changes.
        self.quick = self.state.phase == Phase::Capturing
            && self.state.consistent
            && self.state.base_complete_seq.is_some();
        self.close_epoch_if_due();
        self.wake_waiting();
        self.note_progress();
    }

    pub(super) fn acknowledge(&mut self, epoch: u64) {
        if self.state.epochs.acknowledge(epoch) {
            // The open epoch may have waited for room to be closed.
            self.wakes.add(Worker::Dispatch);
        }
    }
}

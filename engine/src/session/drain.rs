//! What leaves the queue, and what the server's acknowledgement sets free.

use super::state::Core;
use super::{Phase, Step};
use crate::host::Worker;
use crate::queue::Drained;

impl<W> Core<'_, W> {
    pub(super) fn drain(&mut self, payload_room: u64) -> Step<Drained> {
        if self.state.phase == Phase::Stopped {
            return Step::Ended;
        }
        // It changes nothing that anybody can read.
        self.quick = true;
        match self.state.queue.pop(payload_room) {
            Some(drained) => Step::Do(drained),
            None => Step::Wait(None),
        }
    }

    pub(super) fn drained(&mut self, drained: Drained) {
        self.numbers().bytes_drained.add(drained.memory().map_or(0, |memory| memory.len));
        self.state.queue.give_back(drained);
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

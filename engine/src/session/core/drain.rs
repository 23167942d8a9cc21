//! The drain thread: what leaves the queue.

use snapless_tracking::capture_queue::Drained;
use snapless_tracking::waiting::Fifo;

use super::Core;
use crate::host::{Step, Worker};

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// True if the drain thread has a record to take.
    pub fn has_records(&mut self) -> bool {
        // A service that comes says first where it goes on.
        let is_attached = self.state.lifecycle.is_attached();
        let has_records = is_attached && !self.state.capture_queue.is_empty();
        if !has_records {
            self.waits(Worker::Drain);
        }
        has_records
    }

    /// The next record, if its payload has at most `payload_room` bytes.
    pub fn drain(&mut self, payload_room: u64) -> Step<Drained> {
        if self.state.lifecycle.is_stopped() {
            return Step::Ended;
        }
        if !self.state.lifecycle.is_attached() {
            return Step::Wait(None);
        }
        match self.state.capture_queue.pop(payload_room) {
            Some(drained) => {
                self.note_if_queue_is_empty();
                Step::Do(drained)
            }
            None => Step::Wait(None),
        }
    }

    /// Takes a drained record back.
    pub fn drained(&mut self, drained: Drained) {
        self.state.counts[0].bytes_drained += drained.memory().map_or(0, |memory| memory.len);
        self.state.capture_queue.keep(drained);
        if !self.state.capture_queue.is_empty() {
            // It may be the next to be drained, again.
            self.call.wake(Worker::Drain);
        } else if self.state.verification[0].is_under_way() {
            // It may wait for the end of the epoch.
            self.call.wake(Worker::Sweep);
        }
        self.close_epoch_if_due();
        self.wake_waiting();
        self.note_progress();
    }
}

//! The hold thread: which blocks are read for held writes.

use super::Core;
use super::read::Read;
use crate::claims::Reader;
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;

impl<W> Core<'_, W> {
    /// What the hold thread does next.
    pub fn hold(&mut self) -> Step<Read> {
        match self.state.lifecycle.phase() {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing if self.state.claims.has_room() => {}
            _ => return Step::Wait(None),
        }
        // A trim may cover much, and no application waits for it as for a write.
        let found = [true, false].into_iter().find_map(|writes| {
            let held = self.state.in_flight.held().map(|held| held.change);
            let mut held = held.filter(|change| change.kind.has_payload() == writes);
            held.find_map(|change| self.first_unread(change.blocks))
        });
        let Some(blocks) = found else { return Step::Wait(None) };
        let Some(read) = self.claim(blocks, Reader::Hold) else {
            // There is room for the claim, so the queue has none.
            self.queue_is_full();
            // It has to know when the hold limit is due.
            self.call.wake(Worker::Dispatch);
            return Step::Wait(None);
        };
        let reads = self.state.claims.count_by(Reader::Hold);
        self.state.sweep.disturbed(reads, self.call.now);
        Step::Do(read)
    }
}

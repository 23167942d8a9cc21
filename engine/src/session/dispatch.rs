//! Which held write goes next, when an epoch closes, when a hold has lasted too long.

use snapless_types::{Overflow, RecordKind};

use super::state::Core;
use super::{Phase, Step, Submission};
use crate::host::{Tick, Worker};
use crate::table::BlockState;
use crate::writes::HeldWrite;

impl<W> Core<'_, W> {
    pub(super) fn dispatch(&mut self) -> Step<Submission<W>> {
        self.close_epoch_if_due();
        self.end_holds_past_the_limit();
        let next = match self.state.phase {
            Phase::Starting => None,
            Phase::Capturing => self.next_ready(),
            Phase::Uncaptured | Phase::Stopped => {
                let oldest = self.state.writes.held().next();
                oldest.and_then(|held| self.pass_held(&held))
            }
        };
        match next {
            Some(submission) => Step::Do(submission),
            None if self.state.phase == Phase::Stopped => Step::Ended,
            None => {
                self.end_gap_if_drained();
                Step::Wait(self.deadline())
            }
        }
    }

    /// Closes the open epoch if it is old or large enough and the next can be opened.
    pub(super) fn close_epoch_if_due(&mut self) {
        let Some(since) = self.state.epoch_since else { return };
        let config = &self.shared.config;
        let due = self.now.since(since) >= config.epoch_age
            || self.state.epoch_bytes >= config.epoch_bytes;
        if !due || !self.state.epochs.can_close() {
            return;
        }
        let record = self.record(RecordKind::EpochEnd, None);
        if let Some(seq) = self.state.queue.tell(record) {
            self.state.epochs.close(seq);
            self.state.epoch_since = None;
            self.state.epoch_bytes = 0;
            self.wakes.add(Worker::Drain);
        }
    }

    /// The oldest held write that may be issued, captured if it can be.
    fn next_ready(&mut self) -> Option<Submission<W>> {
        let Some(ready) = self.first_unblocked(BlockState::Synced) else {
            return self.next_late();
        };
        if self.is_too_long(&ready.change) {
            return self.pass_held(&ready);
        }
        let Some(reservation) = self.reserve(&ready.change) else {
            self.starve();
            return None;
        };
        self.go_held(&ready, reservation)
    }

    /// A held write whose blocks stay dirty past the hold limit, because writes that must not wait keep them from
    /// being read: it goes as those do (rule HANG). The gap that it adds to is there already.
    fn next_late(&mut self) -> Option<Submission<W>> {
        if self.state.consistent {
            return None;
        }
        let oldest = self.first_unblocked(BlockState::Dirty)?;
        let is_late = self.now >= oldest.since.after(self.shared.config.hold_limit);
        if is_late { self.pass_held(&oldest) } else { None }
    }

    /// The oldest held write that waits for no other and whose blocks are all in this state.
    fn first_unblocked(&self, state: BlockState) -> Option<HeldWrite> {
        let is_in = |held: &HeldWrite| self.shared.table.all(held.change.blocks, state);
        self.state.writes.held().find(|held| !held.blocked && is_in(held))
    }

    /// When [`Core::next_late`] has to look again.
    fn late_deadline(&self) -> Option<Tick> {
        if self.state.phase != Phase::Capturing || self.state.consistent {
            return None;
        }
        let (table, limit) = (&self.shared.table, self.shared.config.hold_limit);
        let is_dirty = |it: &HeldWrite| table.find(it.change.blocks, BlockState::Dirty).is_some();
        let due = self.state.writes.held().filter(is_dirty).map(|held| held.since.after(limit));
        // One that is late already waits for something that wakes the dispatch thread.
        due.filter(|&due| due > self.now).min()
    }

    /// Rule HANG: once the queue has been full past the limit, a write that waits for room, and all others with it,
    /// go. Not each write's own wait counts: a slow server would make all of them wait almost as long, for ever.
    fn end_holds_past_the_limit(&mut self) {
        let is_past = self.hold_deadline().is_some_and(|deadline| deadline <= self.now);
        if is_past && !sabotaged!(HoldLimitForgotten) {
            self.begin_gap();
        }
    }

    /// Notes that the queue has no room for what a held write needs.
    pub(super) fn starve(&mut self) {
        if self.has_open_gap() {
            return self.begin_gap();
        }
        self.state.writes.starve();
        self.state.full_since.get_or_insert(self.now);
        self.end_holds_past_the_limit();
    }

    /// True if nobody gains by waiting for room in the queue: the stream does not describe the volume in any case,
    /// and what goes through is read later.
    pub(super) fn has_open_gap(&self) -> bool {
        !self.state.consistent && self.shared.config.overflow == Overflow::Gap
    }

    fn hold_deadline(&self) -> Option<Tick> {
        if self.state.phase != Phase::Capturing || self.shared.config.overflow == Overflow::Hold {
            return None;
        }
        let full_since = self.state.full_since.filter(|_| self.state.writes.any_starves())?;
        Some(full_since.after(self.shared.config.hold_limit))
    }

    fn deadline(&self) -> Option<Tick> {
        let epoch = self
            .state
            .epoch_since
            .filter(|_| self.state.epochs.can_close())
            .map(|since| since.after(self.shared.config.epoch_age))
            // One that is due already waits for room in the queue; what makes room closes it.
            .filter(|&due| due > self.now);
        [epoch, self.hold_deadline(), self.late_deadline()].into_iter().flatten().min()
    }
}

//! The dispatch thread: which held write goes next, and when it looks again. When no write goes, it
//! does what other verbs left to do.

use snapless_fixed::slots::SlotId;
use snapless_tracking::config::HIGH_MARK;
use snapless_tracking::in_flight::{Change, HeldWrite};
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockRange, GapReason, Tick};

use super::Core;
use crate::cut::CutRefused;
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;
use crate::submission::Submission;

/// Most held writes whose blocks one call looks at while it holds the lock that writes wait for.
const CANDIDATES_MAX: u32 = 64;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// What the dispatch thread does next.
    pub fn dispatch(&mut self) -> Step<Submission<W>> {
        let more_to_tidy = !self.state.lifecycle.is_stopped() && self.tidy();
        self.close_epoch_if_due();
        let mut next = None;
        if self.state.lifecycle.is_capturing() {
            next = self.next_ready();
            if next.is_none() {
                self.end_holds_past_the_limit();
            }
        }
        if matches!(self.state.lifecycle.phase(), Phase::Uncaptured | Phase::Stopped) {
            // A gap is open, or nothing is captured any more.
            next = next.or_else(|| self.next_uncaptured());
        }
        match next {
            Some(submission) => Step::Do(submission),
            None if self.state.lifecycle.is_stopped() => Step::Ended,
            None if more_to_tidy => Step::Again,
            None => {
                self.resume_capturing_if_drained();
                Step::Wait(self.deadline())
            }
        }
    }

    /// The oldest held write, uncaptured; before it one whose next part waits for room.
    fn next_uncaptured(&mut self) -> Option<Submission<W>> {
        if let Some(HeldWrite { slot, change, .. }) = self.state.in_flight.waiting_part() {
            let write = self.state.in_flight.take_part(slot)?;
            return Some(self.issue_part_uncaptured(write, slot, &change, None));
        }
        let oldest = self.state.in_flight.held().next();
        match oldest {
            Some(oldest) => self.issue_held_uncaptured(&oldest, None),
            None => self.issue_waiting_uncaptured(),
        }
    }

    /// The oldest held write that may be issued, captured if it can be.
    fn next_ready(&mut self) -> Option<Submission<W>> {
        let Some(ready) = self.first_ready() else {
            return self.next_late().or_else(|| self.next_past_failed_reads());
        };
        if let Some(from) = ready.part {
            let write = self.state.in_flight.take_part(ready.slot)?;
            return match self.next_part(write, ready.slot, ready.change, from) {
                Submission::Held => None,
                next => Some(next),
            };
        }
        if self.is_too_long(&ready.change) {
            return self.first_part(&ready);
        }
        let Some(reservation) = self.reserve(&ready.change) else {
            self.queue_is_full();
            return None;
        };
        self.capture_held(&ready, reservation)
    }

    /// The first held write that no other blocks and whose blocks are synced. A candidate that is
    /// not ready watches a block of its own, so it is not looked at again for nothing.
    fn first_ready(&mut self) -> Option<HeldWrite> {
        for _ in 0..CANDIDATES_MAX {
            let (state, now) = (&self.state, self.call.now);
            let candidate = state.in_flight.candidate();
            // None behind one that waits for the end of a cut goes on ahead of it.
            let goes = |held: &HeldWrite| !state.cut.keeps(held.since, now);
            let Some(held) = candidate.filter(goes) else {
                if self.state.capture_queue.is_at_most(HIGH_MARK) {
                    self.state.backpressure.no_write_lacks_room();
                }
                return None;
            };
            if held.part.is_some() || !self.watch_if_unsynced(&held.change, held.slot) {
                return Some(held);
            }
        }
        self.call.wake(Worker::Dispatch);
        None
    }

    /// Lets a held write that no other blocks watch a block of it that is not synced; false if
    /// there is none.
    pub(super) fn watch_if_unsynced(&mut self, change: &Change, slot: SlotId) -> bool {
        let synced = self.shared.table.run(change.blocks, BlockState::Synced);
        let is_ready = synced.end == change.blocks.end;
        if !is_ready {
            self.state.in_flight.watch(slot, synced.end);
        }
        !is_ready
    }

    /// A held write that the resync has kept as long as it may.
    fn next_late(&mut self) -> Option<Submission<W>> {
        let state = &self.state;
        if !state.gap.is_open() {
            return None;
        }
        let late = state.resync.late(self.kept_by_resync(), &state.in_flight, self.call.now)?;
        self.issue_held_uncaptured(&late, None)
    }

    /// True for blocks of which the resync keeps writes: one is dirty, or is read because it was.
    /// What the base image still needs is captured first, for which only the disk is waited.
    fn kept_by_resync(&self) -> impl Fn(BlockRange) -> bool {
        let (state, table) = (&*self.state, &self.shared.table);
        let base_is_open = state.base.is_open();
        move |blocks| {
            let has = |before| {
                table.find(blocks, before).is_some() || state.claims[0].read(&blocks, before)
            };
            has(BlockState::Dirty) && !(base_is_open && has(BlockState::Unsynced))
        }
    }

    /// Rule HANG (rules.md#hang): once the queue has been full past the limit, the held writes go.
    fn end_holds_past_the_limit(&mut self) {
        let (state, now) = (&self.state, self.call.now);
        if state.lifecycle.is_capturing()
            && state.backpressure.is_past_limit(state.in_flight.oldest_waiting(), now)
        {
            self.stop_capturing(GapReason::QueueFull);
        }
    }

    /// See [`Session::cut`](crate::Session::cut). The dispatch thread is woken for the first write
    /// that waits.
    pub fn set_cut(&mut self, from: Tick, until: Tick, now: Tick) -> Result<(), CutRefused> {
        self.state.cut.set(from, until, now)
    }

    fn deadline(&self) -> Option<Tick> {
        let (state, now) = (&self.state, self.call.now);
        let epoch = state.epochs.deadline(now);
        if !state.lifecycle.is_capturing() {
            return epoch;
        }
        let hold = state.backpressure.deadline(state.in_flight.oldest_waiting());
        let late = || state.resync.deadline(self.kept_by_resync(), &state.in_flight, now);
        let late = if state.gap.is_open() { late() } else { None };
        let cut = state.cut.end(now).filter(|_| state.in_flight.is_any_held());
        [epoch, hold, late, cut, self.failed_reads_deadline()].into_iter().flatten().min()
    }
}

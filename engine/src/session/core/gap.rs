//! Gaps: when blocks turn dirty, when capturing stops and resumes, when the stream describes the
//! volume again.

use snapless_tracking::config::LOW_MARK;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockRange, GapReason, RecordKind};

use super::Core;
use crate::host::Worker;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// The disk's content of these blocks differs, or is about to differ, from what the stream has
    /// (rules LOSS and TRUTH, rules.md#loss, rules.md#truth). A gap begins for this reason; `None`
    /// where one is open in any case.
    pub(super) fn mark_dirty(&mut self, blocks: BlockRange, reason: Option<GapReason>) {
        let is_stopped = self.state.lifecycle.is_stopped();
        if is_stopped || blocks.is_empty() || sabotaged!(GapForgotten) {
            return;
        }
        let table = &self.shared.table;
        if table.turn(blocks, BlockState::Unsynced, BlockState::Dirty) > 0 {
            self.state.base.lose();
        }
        // The claim of a block that is being read is spoiled below and leaves it dirty.
        table.turn(blocks, BlockState::Synced, BlockState::Dirty);
        self.state.claims[0].spoil(&blocks);
        self.open_gap(reason);
    }

    /// Has blocks read again of which the stream has something else than the volume, and not since
    /// now: it is not known how. False if it cannot be done now.
    pub fn repair(&mut self, blocks: BlockRange) -> bool {
        // T0: the base image of a block that is marked would be lost.
        let may_repair = self.state.lifecycle.is_capturing()
            && !self.state.base.is_open()
            && !self.is_any(BlockState::Unsynced);
        if may_repair {
            self.mark_dirty(blocks, Some(GapReason::Repair));
            self.call.wake(Worker::Sweep);
        }
        may_repair
    }

    /// The stream does not describe the volume any more.
    pub(super) fn open_gap(&mut self, reason: Option<GapReason>) {
        if !self.state.gap.open(reason) {
            return;
        }
        self.state.counts[0].gaps += 1;
        // What is read to verify the copy would be of before the gap.
        self.state.claims[0].spoil_verifying(&self.shared.geometry.all_blocks());
        // Before t0 there is no stream yet; `begin` appends it.
        if self.state.base.t0().is_some() {
            self.append_gap(reason);
        }
    }

    /// Writes are issued uncaptured from now on: a gap begins, if none is open.
    pub(super) fn stop_capturing(&mut self, reason: GapReason) {
        self.state.lifecycle.stop_capturing();
        self.open_gap(Some(reason));
        // Every held write is issued uncaptured.
        self.call.wake_all();
        // What fills the queue may have left it already.
        self.resume_capturing_if_drained();
    }

    /// Writes are captured again once the service has taken most of what was queued.
    pub(super) fn resume_capturing_if_drained(&mut self) {
        let state = &mut *self.state;
        if state.lifecycle.may_resume()
            // LOSS: no block is recorded before those of the last loss are known.
            && !state.epochs.is_losing()
            && state.capture_queue.is_at_most(LOW_MARK)
            // Held writes of the gap have to be issued first, or they would be held again.
            && state.in_flight.held_count() == 0
        {
            state.lifecycle.resume_capturing();
            state.resync.insist(false);
            state.backpressure.queue_has_room(None);
            self.note_progress();
            self.call.wake_all();
        }
    }

    /// Appends a marker when the base image is complete, and when a gap is made good.
    pub(super) fn note_progress(&mut self) {
        if !self.state.lifecycle.is_capturing() || self.is_any(BlockState::Unsynced) {
            return;
        }
        let is_read = self.state.claims[0].blocks_that_were(BlockState::Unsynced) > 0;
        if self.state.base.is_open()
            && self.state.excluded[0].is_decided()
            && (sabotaged!(BaseCompleteTooEarly) || !is_read)
            && let Some(seq) = self.append(RecordKind::BaseComplete, BlockRange::EMPTY)
        {
            self.state.base.complete(seq);
            self.wake_verification();
        }
        if self.state.gap.is_open()
            // LOSS: what lies past the table changes and is not captured.
            && (sabotaged!(LengthForgotten) || !self.state.gap.is_resized())
            && !self.is_any(BlockState::Dirty)
            && !self.is_any(BlockState::Reading)
            && !self.state.base.is_open()
            && self.append(RecordKind::Consistent, BlockRange::EMPTY).is_some()
        {
            self.state.gap.close();
            self.state.resync.insist(false);
            self.wake_verification();
        }
    }

    /// The stream describes the volume.
    fn wake_verification(&mut self) {
        if self.state.verification[0].is_under_way() {
            self.call.wake(Worker::Sweep);
        }
    }
}

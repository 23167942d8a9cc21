//! When capturing ends and begins again; what is lost with the service.

use super::Phase;
use super::state::Core;
use crate::claims::Reason;
use crate::config::LOW_MARK;
use crate::geometry::BlockRange;
use crate::queue::RecordKind;
use crate::table::BlockState;

impl<W> Core<'_, W> {
    pub(super) fn begin(&mut self) {
        rule!(self.state.phase != Phase::Capturing, "T0: a session begins once");
        if self.state.phase != Phase::Starting {
            return;
        }
        self.state.t0 = Some(self.clock);
        self.mark(RecordKind::SessionStart);
        if !self.state.consistent {
            self.mark(RecordKind::GapBegin);
        }
        self.state.phase = if self.state.attached { Phase::Capturing } else { Phase::Passing };
        self.wake_all();
    }

    pub(super) fn begin_gap(&mut self) {
        rule!(self.state.phase == Phase::Capturing, "LOSS: a gap begins while writes are captured");
        self.state.phase = Phase::Passing;
        self.lose_consistency();
        // Every held write is released uncaptured.
        self.wake_all();
        // What fills the queue may have left it already.
        self.end_gap_if_drained();
    }

    /// Capturing begins again once the service has taken most of what was queued.
    pub(super) fn end_gap_if_drained(&mut self) {
        let low = self.state.queue.is_at_most(LOW_MARK);
        if self.state.phase == Phase::Passing && self.state.attached && low
            // Held writes of the gap have to leave first, or they would be held again.
            && self.state.writes.held_count() == 0
        {
            self.state.phase = Phase::Capturing;
            self.state.insists = false;
            self.state.full_since = None;
            self.note_progress();
            self.wake_all();
        }
    }

    /// Notes that the disk's content of these blocks is, or is about to be, unlike what the stream says
    /// (rules LOSS and TRUTH).
    pub(super) fn soil(&mut self, blocks: BlockRange) {
        if self.state.phase == Phase::Stopped || blocks.is_empty() || sabotaged!(GapForgotten) {
            return;
        }
        for block in blocks.iter() {
            match self.shared.table.get(block) {
                BlockState::Unsynced => {
                    self.state.base_lost = true;
                    self.set_block(block, BlockState::Dirty);
                }
                BlockState::Synced => self.set_block(block, BlockState::Dirty),
                // Its claim is spoiled below and leaves it dirty.
                BlockState::Reading | BlockState::Dirty => {}
            }
        }
        self.state.claims.spoil(&blocks);
        self.lose_consistency();
    }

    pub(super) fn detach(&mut self) {
        if !self.state.attached || self.state.phase == Phase::Stopped {
            return;
        }
        self.state.attached = false;
        self.state.generation += 1;
        self.state.queue.clear();
        let base_safe = self
            .state
            .base_complete_seq
            .is_some_and(|seq| seq <= self.state.epochs.acknowledged_seq());
        if !base_safe && self.state.t0.is_some() {
            self.state.base_lost = true;
        }
        let (table, dirty) = (&self.shared.table, &mut self.state.dirty);
        self.state.epochs.lose(|run| {
            for block in run.iter() {
                // What is being read is spoiled below.
                if table.get(block) == BlockState::Synced {
                    table.set(block, BlockState::Dirty);
                    *dirty += 1;
                }
            }
        });
        self.state.claims.spoil(&self.shared.geometry.all_blocks());
        self.state.epoch_since = None;
        self.state.epoch_bytes = 0;
        if self.state.phase != Phase::Starting {
            self.state.phase = Phase::Passing;
        }
        // What the server gets next begins with this gap, even if there was one already.
        self.state.consistent = true;
        self.lose_consistency();
        self.wake_all();
    }

    pub(super) fn attach(&mut self) -> bool {
        if self.state.attached || self.state.phase == Phase::Stopped {
            return false;
        }
        self.state.attached = true;
        self.end_gap_if_drained();
        self.wake_all();
        true
    }

    pub(super) fn grow(&mut self, length: u64) {
        if length <= self.shared.geometry.length() || self.state.phase == Phase::Stopped {
            return;
        }
        self.state.outgrown = true;
        if self.state.phase == Phase::Starting {
            // T0: the base image would be a part of the volume.
            return self.stop();
        }
        self.lose_consistency();
    }

    pub(super) fn stop(&mut self) {
        self.state.phase = Phase::Stopped;
        self.state.queue.clear();
        self.wake_all();
    }

    /// Says so in the stream when the base image is complete, and when a gap is made good.
    pub(super) fn note_progress(&mut self) {
        let state = &self.state;
        if state.phase != Phase::Capturing || state.unsynced > 0 {
            return;
        }
        let base_done = sabotaged!(BaseCompleteTooEarly) || !state.claims.any_for(Reason::Base);
        if base_done && state.base_complete_seq.is_none() && !state.base_lost {
            self.state.base_complete_seq = self.mark(RecordKind::BaseComplete);
        }
        let state = &self.state;
        let whole = state.dirty == 0 && state.reading == 0;
        if whole
            && !state.consistent
            // LOSS: what lies past the table changes, and nobody captures it.
            && !state.outgrown
            && (state.base_complete_seq.is_some() || state.base_lost)
            && self.mark(RecordKind::Consistent).is_some()
        {
            self.state.consistent = true;
            self.state.insists = false;
        }
    }

    fn lose_consistency(&mut self) {
        if !self.state.consistent {
            return;
        }
        self.state.consistent = false;
        self.numbers().gaps.add(1);
        // Before t0 there is no stream yet; `begin` says it.
        if self.state.t0.is_some() {
            let marked = self.mark(RecordKind::GapBegin);
            rule!(marked.is_some(), "LOSS: there is always room to say that a gap has begun");
        }
    }

    /// Puts a marker into the stream and returns its number; `None` if there is no room for it now.
    fn mark(&mut self, kind: RecordKind) -> Option<u64> {
        let stamp = self.stamp();
        if !self.state.queue.mark(kind, stamp) {
            return None;
        }
        let seq = self.state.queue.last_seq();
        self.recorded(BlockRange::EMPTY, 0);
        Some(seq)
    }
}

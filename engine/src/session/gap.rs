//! When capturing ends and begins again; what is lost with the service.

use snapless_types::{BlockRange, RecordKind};

use super::Phase;
use super::state::Core;
use crate::config::LOW_MARK;
use crate::table::BlockState;

impl<W> Core<'_, W> {
    pub(super) fn begin(&mut self) {
        rule!(self.state.phase != Phase::Capturing, "T0: a session begins once");
        if self.state.phase != Phase::Starting {
            return;
        }
        self.state.t0 = Some(self.clock);
        self.tell(RecordKind::SessionStart, BlockRange::EMPTY);
        if !self.state.consistent {
            self.tell(RecordKind::GapBegin, BlockRange::EMPTY);
        }
        self.state.phase = if self.state.attached { Phase::Capturing } else { Phase::Uncaptured };
        self.wake_all();
    }

    pub(super) fn begin_gap(&mut self) {
        rule!(self.state.phase == Phase::Capturing, "LOSS: a gap begins while writes are captured");
        self.state.phase = Phase::Uncaptured;
        self.lose_consistency();
        // Every held write is released uncaptured.
        self.wake_all();
        // What fills the queue may have left it already.
        self.end_gap_if_drained();
    }

    /// Capturing begins again once the service has taken most of what was queued.
    pub(super) fn end_gap_if_drained(&mut self) {
        let low = self.state.queue.is_at_most(LOW_MARK);
        if self.state.phase == Phase::Uncaptured && self.state.attached && low
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
        let table = &self.shared.table;
        for block in blocks.iter() {
            let state = table.get(block);
            self.state.base_lost |= state == BlockState::Unsynced;
            // The claim of one that is being read is spoiled below and leaves it dirty.
            if matches!(state, BlockState::Unsynced | BlockState::Synced) {
                table.set(block, BlockState::Dirty);
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
        let acknowledged = self.state.epochs.acknowledged_seq();
        let base_safe = self.state.base_complete_seq.is_some_and(|seq| seq <= acknowledged);
        self.state.base_lost |= !base_safe && self.state.t0.is_some();
        let table = &self.shared.table;
        self.state.epochs.lose(|run| {
            // What is being read is spoiled below.
            for block in run.iter().filter(|&block| table.get(block) == BlockState::Synced) {
                table.set(block, BlockState::Dirty);
            }
        });
        self.state.claims.spoil(&self.shared.geometry.all_blocks());
        self.state.epoch_since = None;
        self.state.epoch_bytes = 0;
        if self.state.phase != Phase::Starting {
            self.state.phase = Phase::Uncaptured;
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
        if self.state.phase != Phase::Capturing || self.is_any(BlockState::Unsynced) {
            return;
        }
        let still_read = self.state.claims.blocks_that_were(BlockState::Unsynced) > 0;
        let base_done = sabotaged!(BaseCompleteTooEarly) || !still_read;
        if base_done && self.state.base_complete_seq.is_none() && !self.state.base_lost {
            self.state.base_complete_seq = self.tell(RecordKind::BaseComplete, BlockRange::EMPTY);
        }
        let state = &self.state;
        if !state.consistent
            // LOSS: what lies past the table changes, and nobody captures it.
            && !state.outgrown
            && !self.is_any(BlockState::Dirty)
            && !self.is_any(BlockState::Reading)
            && (state.base_complete_seq.is_some() || state.base_lost)
            && self.tell(RecordKind::Consistent, BlockRange::EMPTY).is_some()
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
            let told = self.tell(RecordKind::GapBegin, BlockRange::EMPTY);
            rule!(told.is_some(), "LOSS: there is always room to say that a gap has begun");
        }
    }
}

//! Events from outside: t0, loss and return of the service, growth of the volume, stop.

use snapless_types::{BlockRange, GapReason, RecordKind};

use super::Core;
use crate::lifecycle::Phase;
use crate::table::BlockState;

impl<W> Core<'_, W> {
    /// Stamps t0.
    pub fn begin(&mut self) {
        if !self.state.lifecycle.begin() {
            return;
        }
        self.state.base.begin(self.call.clock);
        self.append(RecordKind::SessionStart, BlockRange::EMPTY);
        if self.state.gap.is_open() {
            self.append_gap(self.state.gap.reason());
        }
        self.call.wake_all();
    }

    /// The service is lost: the blocks whose records it has not acknowledged turn dirty.
    pub fn detach(&mut self) {
        let state = &mut *self.state;
        if !state.lifecycle.detach() {
            return;
        }
        state.base.lose_service(state.epochs.acknowledged_seq());
        state.capture_queue.clear();
        let table = &self.shared.table;
        state.epochs.lose(|run| {
            // The claims of blocks that are being read are spoiled below.
            for block in run.iter().filter(|&block| table.get(block) == BlockState::Synced) {
                table.set(block, BlockState::Dirty);
            }
        });
        state.claims.spoil(&self.shared.geometry.all_blocks());
        // The records for the next service begin with this gap, even if one was open already.
        state.gap.close();
        self.open_gap(Some(GapReason::ServiceLost));
        self.call.wake_all();
    }

    /// A service is there again; false if there is one already, or the session is stopped.
    pub fn attach(&mut self) -> bool {
        let is_new = self.state.lifecycle.attach();
        if is_new {
            self.resume_capturing_if_drained();
            self.call.wake_all();
        }
        is_new
    }

    /// The volume has `length` bytes now.
    pub fn grow(&mut self, length: u64) {
        if length <= self.shared.geometry.length() || self.state.lifecycle.is_stopped() {
            return;
        }
        self.state.gap.outgrow();
        if self.state.lifecycle.phase() == Phase::Starting {
            // T0: the base image would be a part of the volume.
            return self.stop();
        }
        self.open_gap(Some(GapReason::Outgrown));
    }

    /// Ends the session.
    pub fn stop(&mut self) {
        self.state.lifecycle.stop();
        self.state.capture_queue.clear();
        self.call.wake_all();
    }
}

//! The status of a session: its counters, and what its owners say.

use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::BlockRange;

use super::Core;
use crate::status::Status;

/// Held writes of which is told where they are.
const HELD_TOLD: usize = 64;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// State and counters.
    // Out of line: verbs run on the stack of the thread that writes.
    #[inline(never)]
    pub fn status(&mut self) -> Status {
        let monotonic = self.state.capture_queue.observe(self.call.now);
        let (state, shared) = (&self.state, self.shared);
        let to_read =
            |before| shared.table.count(before) + state.claims[0].blocks_that_were(before);
        let outside = |seq| state.capture_queue.origin().seq_outside(seq).get();
        let mut counts = state.counts[0];
        state.verification[0].report(&mut counts);
        Status {
            phase: state.lifecycle.phase(),
            attached: state.lifecycle.is_attached(),
            paused: state.sweep[0].is_paused(),
            resized: state.gap.is_resized(),
            consistent: !state.gap.is_open(),
            losing: state.epochs.is_losing(),
            base_complete: state.base.is_complete(),
            gap_reason: state.gap.reason(),
            t0: state.base.t0().unwrap_or(0),
            blocks_total: shared.geometry.block_count(),
            blocks_synced: shared.table.count(BlockState::Synced),
            blocks_unsynced: to_read(BlockState::Unsynced),
            blocks_dirty: to_read(BlockState::Dirty),
            writes_holding: state.in_flight.held_count(),
            writes_in_flight: state.in_flight.count(),
            queue_used: state.capture_queue.used(),
            queue_with_disk: state.capture_queue.with_disk(),
            queue_kept: state.capture_queue.kept_bytes(),
            records_given_up: state.capture_queue.given_up(),
            queue_bytes: state.capture_queue.capacity(),
            last_seq: outside(state.capture_queue.last_seq()),
            time: self.call.clock,
            monotonic,
            acknowledged_seq: outside(state.epochs.acknowledged_seq()),
            continues: state.continues.is_some(),
            placed: state.capture_queue.origin().is_placed(),
            ..counts
        }
    }

    /// The blocks of held writes, oldest first; of so many at most that nothing waits for long.
    pub fn held_blocks(&self) -> impl Iterator<Item = BlockRange> + '_ {
        self.state.in_flight.held().map(|held| held.change.blocks).take(HELD_TOLD)
    }

    /// Words of the table and of the epochs' bitmaps, and descriptors, that were examined so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        let state = &self.state;
        let queue = state.capture_queue.steps();
        self.shared.table.steps() + state.epochs.steps() + state.in_flight.steps() + queue
    }
}

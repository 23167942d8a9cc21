//! Blocks that hold no data at t0: recorded as unallocated, never read (rule T0, rules.md#t0: the
//! image may have anything there).

use snapless_tracking::config::CHUNK;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, RecordKind};

use super::Core;
use crate::host::Worker;
use crate::lifecycle::Phase;

/// Most blocks that one call examines while it holds the lock that writes wait for.
const BLOCKS_MAX: u64 = 64 * CHUNK;
/// Most records that one call appends.
const RECORDS_MAX: u64 = CHUNK;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Records those of the blocks that are unsynced as unallocated. Returns the block to go on
    /// with.
    pub fn skip(&mut self, blocks: BlockRange) -> BlockIndex {
        let inside = blocks.intersection(&self.shared.geometry.all_blocks());
        match self.state.lifecycle.phase() {
            Phase::Stopped => return blocks.end,
            _ if inside.is_empty() => return blocks.end,
            Phase::Starting | Phase::Uncaptured => return blocks.start,
            Phase::Capturing => {}
        }
        let end = BlockIndex(inside.end.0.min(inside.start.0.saturating_add(BLOCKS_MAX)));
        let reached = self.skip_to(BlockRange::new(inside.start, end));
        self.wake_waiting();
        self.note_progress();
        if reached < inside.end {
            // The sweep thread waits, if it gets no further.
            self.call.leave(Worker::Sweep);
            self.waits(Worker::Sweep);
        }
        if reached == inside.end { blocks.end } else { reached }
    }

    /// The first block of the run that the queue has no room for now, or that is more than one call
    /// does; the run's end if there is none.
    fn skip_to(&mut self, run: BlockRange) -> BlockIndex {
        let mut rest = run;
        let mut left = RECORDS_MAX;
        // A block that is being read, was read or was written to is left as it is.
        while let Some(start) = self.shared.table.find(rest, BlockState::Unsynced) {
            rest = BlockRange::new(start, run.end);
            let empty = self.shared.table.run(rest, BlockState::Unsynced);
            if left == 0 || self.append(RecordKind::Unallocated, empty).is_none() {
                return start;
            }
            left -= 1;
            self.shared.table.set_run(empty, BlockState::Unsynced, BlockState::Synced);
            self.state.in_flight.synced(&empty);
            self.state.counts[0].blocks_unallocated += empty.len();
            rest = BlockRange::new(empty.end, run.end);
        }
        run.end
    }
}

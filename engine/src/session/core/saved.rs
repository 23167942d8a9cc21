//! A state that is kept while the machine is off: what the server may lack when it goes down, and
//! what is known when it comes up again (rule RESUME, rules.md#resume).

use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, Extent};

use super::{Core, first_of};
use crate::lifecycle::Phase;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// The server has what the disk has in these blocks of a session that continues and has not
    /// begun. Returns the block to go on with.
    pub fn know(&mut self, blocks: BlockRange) -> BlockIndex {
        if self.state.lifecycle.phase() != Phase::Starting || !self.is_continued() {
            return blocks.end;
        }
        let known = first_of(blocks);
        // A write that could not wait has left its blocks dirty.
        self.shared.table.turn(known, BlockState::Unsynced, BlockState::Synced);
        self.state.in_flight.synced(&known);
        known.end
    }

    /// True if the server may lack what the disk has in these blocks, or will have.
    pub fn lacks(&self, blocks: BlockRange) -> bool {
        let Some(extent) = self.shared.geometry.extent_of(&blocks) else { return false };
        let state = &self.state;
        !self.shared.table.all(blocks, BlockState::Synced)
            || state.epochs.has_touched(blocks)
            || state.in_flight.may_touch(&blocks)
            // A don't-care, which is not read after the restart either.
            || state.excluded[0].overlaps(&extent)
    }

    /// True if a write in flight may change a byte of this extent.
    pub fn may_write(&self, extent: &Extent) -> bool {
        let blocks = self.shared.geometry.blocks_of(extent);
        // What is past the end is not tracked.
        blocks.is_none_or(|blocks| self.state.in_flight.may_write(extent, &blocks))
    }
}

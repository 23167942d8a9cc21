//! Which held write may be ready to be issued, and which part of a long write comes next.

use snapless_fixed::slots::{Place, SlotId};
use snapless_types::{BlockIndex, BlockRange};

use super::{HeldWrite, InFlight, Tracked};
use crate::waiting::Fifo;

impl<W, Q: Fifo<W>> InFlight<W, Q> {
    /// The first write whose next part waits for room, or the first held one that no other blocks
    /// and that may be ready. The caller issues it, or finds a block of it that
    /// is not synced and lets it [`InFlight::watch`] that.
    pub fn candidate(&self) -> Option<HeldWrite> {
        self.candidates.first().and_then(|id| self.held_write(id))
    }

    /// Notes that a candidate is not ready before this block is synced.
    pub fn watch(&mut self, id: SlotId, block: BlockIndex) {
        self.candidates.remove(id.0);
        if let Some(tracked) = self.slots.get_mut(id) {
            tracked.watched = block;
        }
    }

    /// Notes that these blocks are synced: the held writes that watch one of them may be ready.
    pub fn synced(&mut self, blocks: &BlockRange) {
        if self.held.is_empty() {
            return;
        }
        let Some(extent) = self.extent_of(blocks) else { return };
        let Self { slots, grid, candidates, .. } = self;
        grid.each(&extent, |id| {
            let watches = |held: &Tracked<W>| {
                held.blockers == 0 && blocks.intersects(&BlockRange::one(held.watched))
            };
            if slots.place(id) == Place::Held
                && slots.get(id).is_some_and(watches)
                && !candidates.contains(id.0)
            {
                candidates.append(id.0);
            }
        });
    }

    /// Keeps a write in flight whose next part, which begins at `from`, waits for room.
    pub fn keep_part(&mut self, id: SlotId, write: W, from: u64) {
        if let Some(tracked) = self.slots.get_mut(id) {
            (tracked.write, tracked.from) = (Some(write), from);
            self.candidates.prepend(id.0);
        }
    }

    /// The first write in flight whose next part waits for room.
    pub fn waiting_part(&self) -> Option<HeldWrite> {
        self.candidate().filter(|candidate| candidate.part.is_some())
    }

    /// Gives a write in flight back whose next part waited for room.
    pub fn take_part(&mut self, id: SlotId) -> Option<W> {
        self.candidates.remove(id.0);
        self.slots.get_mut(id)?.write.take()
    }
}

//! Which blocks are to be read for held writes, and which of those reads failed.

use snapless_fixed::slots::{Place, SlotId};
use snapless_types::BlockRange;

use super::InFlight;
use crate::waiting::Fifo;

impl<W, Q: Fifo<W>> InFlight<W, Q> {
    /// The blocks of the first held write, with a payload or without, that may have blocks to be
    /// read.
    pub fn unread(&self, payload: bool) -> Option<BlockRange> {
        let id = self.unread[0][usize::from(payload)].first()?;
        self.slots.get(SlotId(id)).map(|tracked| tracked.change.blocks)
    }

    /// Notes that the write whose blocks [`InFlight::unread`] returned has none to be read.
    pub fn pass_unread(&mut self, payload: bool) {
        let ring = &mut self.unread[0][usize::from(payload)];
        if let Some(id) = ring.first() {
            ring.remove(id);
        }
    }

    /// Notes that these blocks are to be read again.
    pub fn read_again(&mut self, blocks: &BlockRange) {
        let Some(extent) = self.extent_of(blocks) else { return };
        let Self { slots, grid, unread, .. } = self;
        grid.each(&extent, |id| {
            if slots.place(id) == Place::Held
                && let Some(held) = slots.get(id)
                && held.change.blocks.intersects(blocks)
            {
                let ring = &mut unread[0][usize::from(held.change.kind.has_payload())];
                if !ring.contains(id.0) {
                    ring.append(id.0);
                }
            }
        });
    }

    /// Notes that blocks of any held write may be to be read.
    pub fn read_any_again(&mut self) {
        let Self { slots, held, unread, .. } = self;
        for id in held.iter() {
            let payload = slots.get(SlotId(id)).is_some_and(|it| it.change.kind.has_payload());
            let ring = &mut unread[0][usize::from(payload)];
            if !ring.contains(id) {
                ring.append(id);
            }
        }
    }

    /// Notes that a read failed that a held write waits for.
    pub fn note_read_failed(&mut self, slot: SlotId) {
        if let Some(held) = self.slots.get_mut(slot) {
            self.failed_reads += u64::from(!held.read_failed);
            held.read_failed = true;
        }
    }

    /// Notes that a read of these blocks failed; true if a held write waits for one of them.
    pub fn note_failed_read(&mut self, blocks: &BlockRange) -> bool {
        let Some(extent) = self.extent_of(blocks) else { return false };
        let Self { slots, grid, failed_reads, .. } = self;
        let mut waits = false;
        grid.each(&extent, |id| {
            if slots.place(id) == Place::Held
                && let Some(held) = slots.get_mut(id)
                && held.change.blocks.intersects(blocks)
            {
                waits = true;
                *failed_reads += u64::from(!held.read_failed);
                held.read_failed = true;
            }
        });
        waits
    }

    /// True if a read failed that a held write waits for.
    pub fn has_failed_reads(&self) -> bool {
        self.failed_reads > 0
    }
}

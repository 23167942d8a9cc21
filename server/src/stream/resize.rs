//! The volume's length changes: the session continues, and the marker of that gap says how long the
//! volume is now.
//!
//! What the stream gives of the bytes that were there before and are there after stays. Past them
//! nothing is known: what a shorter volume has lost does not come back when it grows again. The gap
//! ends only when all blocks are known (rule LOSS, rules.md#loss).

use snapless_types::{BlockIndex, BlockRange, Geometry, Seq};
use snapless_wire::record::RecordHeader;

use super::{StreamState, Violation};
use crate::bitmap::BLOCKS_MAX;
use crate::timeline::RESIZES_MAX;

impl StreamState {
    /// The next connection is about a volume of `length` bytes. If the stream is not, the first
    /// record must say that this has changed.
    pub fn announce(&mut self, length: u64) {
        self.announced = Some(length);
    }

    /// Takes the length that the record says, if it is another one. Returns whether all blocks were
    /// known before.
    pub(super) fn resize(&mut self, record: &RecordHeader) -> Result<Option<bool>, Violation> {
        let before = self.geometry;
        let changed = record.volume_length().filter(|length| *length != before.length());
        let Some(length) = changed else { return Ok(None) };
        let seq = record.seq();
        if self.timeline.resizes().len() >= RESIZES_MAX {
            return Err(Violation::Resizes(seq));
        }
        let geometry = Geometry::new(length, before.sector_size(), before.block_size());
        let geometry = geometry.ok().filter(|it| it.block_count() <= BLOCKS_MAX);
        let geometry = geometry.ok_or(Violation::Length { seq, length })?;
        let was_known = self.timeline.is_resized() || self.known.is_full();
        self.geometry = geometry;
        let blocks = geometry.block_count();
        for set in [&mut self.known, &mut self.holes] {
            set.set_capacity(blocks);
            if length > before.length() {
                // A short last block has become longer.
                let whole = BlockIndex(before.length() / u64::from(before.block_size()));
                set.remove(&BlockRange::new(whole, BlockIndex(blocks)));
            }
        }
        self.spoiled = self.known.complement();
        Ok(Some(was_known))
    }

    /// Checks that the stream is of the volume that the connection announced.
    pub(super) fn check_announced(&mut self, seq: Seq) -> Result<(), Violation> {
        let length = self.geometry.length();
        match self.announced.take() {
            Some(found) if found != length => Err(Violation::OtherLength { seq, found, length }),
            _ => Ok(()),
        }
    }
}

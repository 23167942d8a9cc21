//! The state of a stream in bytes, so that it need not be found from all records again.

use snapless_types::{BlockIndex, BlockRange, Geometry};

use super::{Joint, StreamState};
use crate::bitmap::{BLOCKS_MAX, BlockSet};
use crate::format::codec::{Input, Stored};
use crate::timeline::{Coverage, Resize, Timeline};

impl StreamState {
    /// Appends the state; that of a volume whose length has changed begins with the changes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let resizes = self.timeline.resizes();
        if !resizes.is_empty() {
            resizes.to_vec().put(out);
        }
        self.ended_epoch.put(out);
        for block in [self.last_base.start, self.last_base.end] {
            block.0.put(out);
        }
        for set in [&self.base, &self.known, &self.spoiled, &self.holes_at_t0, &self.holes] {
            set.put(out);
        }
        self.timeline.put(out);
    }

    /// Reads the state of the stream of a volume that had this geometry at t0, ready for the stored
    /// records after it; `None` for bytes that are not one.
    pub(crate) fn take(input: &mut Input<'_>, at_t0: Geometry, is_resized: bool) -> Option<Self> {
        let resizes: Vec<Resize> = if is_resized { Stored::take(input)? } else { Vec::new() };
        if resizes.is_empty() == is_resized {
            return None;
        }
        let mut geometry = at_t0;
        for resize in &resizes {
            let length = resize.length;
            geometry = Geometry::new(length, at_t0.sector_size(), at_t0.block_size()).ok()?;
            if geometry.block_count() > BLOCKS_MAX {
                return None;
            }
        }
        let ended_epoch = Stored::take(input)?;
        let [start, end] = [u64::take(input)?, u64::take(input)?].map(BlockIndex);
        let total = geometry.block_count();
        let total_at_t0 = at_t0.block_count();
        let base = BlockSet::take(input, total_at_t0)?;
        let known = BlockSet::take(input, total)?;
        let spoiled = BlockSet::take(input, total)?;
        let holes_at_t0 = BlockSet::take(input, total_at_t0)?;
        let holes = BlockSet::take(input, total)?;
        let coverage =
            Coverage { total, at_t0: total_at_t0, base: base.count(), known: known.count() };
        let timeline = Timeline::take(input, coverage, resizes)?;
        let is_possible = (is_resized || base.is_subset(&known))
            && (!is_resized || known.count() + spoiled.count() == total)
            && known.is_disjoint(&spoiled)
            && holes_at_t0.is_subset(&base)
            && holes.is_subset(&known)
            && start <= end
            && end.0 <= total
            && (spoiled.count() == 0 || timeline.open_gap_now().is_some());
        is_possible.then_some(Self {
            geometry,
            base,
            known,
            spoiled,
            holes_at_t0,
            holes,
            last_base: BlockRange::new(start, end),
            ended_epoch,
            joint: Joint::Stored,
            announced: None,
            timeline,
        })
    }
}

//! The state of a stream in bytes, so that it need not be found from all records again.

use snapless_types::{BlockIndex, BlockRange, Geometry};

use super::{Joint, StreamState};
use crate::bitmap::BlockSet;
use crate::format::codec::{Input, Stored};
use crate::timeline::{Coverage, Timeline};

impl StreamState {
    /// Appends the state.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.ended_epoch.put(out);
        for block in [self.last_base.start, self.last_base.end] {
            block.0.put(out);
        }
        for set in [&self.base, &self.known, &self.spoiled, &self.holes_at_t0, &self.holes] {
            set.put(out);
        }
        self.timeline.put(out);
    }

    /// Reads the state of a volume's stream, ready for the stored records after it; `None` for
    /// bytes that are not one.
    pub(crate) fn take(input: &mut Input<'_>, geometry: Geometry) -> Option<Self> {
        let ended_epoch = Stored::take(input)?;
        let [start, end] = [u64::take(input)?, u64::take(input)?].map(BlockIndex);
        let total = geometry.block_count();
        let base = BlockSet::take(input, total)?;
        let known = BlockSet::take(input, total)?;
        let spoiled = BlockSet::take(input, total)?;
        let holes_at_t0 = BlockSet::take(input, total)?;
        let holes = BlockSet::take(input, total)?;
        let coverage = Coverage { total, base: base.count(), known: known.count() };
        let timeline = Timeline::take(input, coverage)?;
        let is_possible = base.is_subset(&known)
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
            timeline,
        })
    }
}

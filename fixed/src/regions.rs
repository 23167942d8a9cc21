//! Counts the writes in flight that found no slot, by region of the volume.
//!
//! The resync reads no block under a write in flight (rule LOSS, rules.md#loss), and waits only for
//! the writes that may be there: a region is one block, or so many neighbours that there are at
//! most `REGIONS_MAX` regions. A write's regions go into its ticket, so that nothing else has to
//! be kept for it (rule BOUND, rules.md#bound).

use alloc::boxed::Box;

use snapless_types::BlockRange;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// Binary logarithm of `REGIONS_MAX`.
const INDEX_BITS: u32 = 14;
/// Most regions.
const REGIONS_MAX: u64 = 1 << INDEX_BITS;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

/// The regions of a write, from the first to the last: two indexes in [`RegionSpan::BITS`] bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionSpan(pub u32);

impl RegionSpan {
    /// Bits of a span.
    pub const BITS: u32 = 2 * INDEX_BITS;
    /// The regions of no block: the last one comes before the first.
    const NONE: Self = Self(1);
}

/// Counters of writes, one for each region.
#[derive(Debug)]
pub struct Regions {
    counters: Box<[u32]>,
    /// Binary logarithm of a region's blocks.
    shift: u32,
    /// Writes that are counted.
    writes: u64,
}

impl Regions {
    /// No writes yet, on a volume of `block_count` blocks.
    pub fn new(block_count: u64) -> Result<Self, OutOfMemory> {
        let counters = boxed_slice(regions_of(block_count), || Ok(0))?;
        Ok(Self { counters, shift: shift_for(block_count), writes: 0 })
    }

    /// Bytes that the counters for a volume of `block_count` blocks allocate.
    pub fn bytes(block_count: u64) -> u64 {
        slice_bytes::<u32>(regions_of(block_count))
    }

    /// Counts a write to these blocks.
    pub fn enter(&mut self, blocks: &BlockRange) -> RegionSpan {
        let span = self.span(blocks);
        self.each(span, |counter| *counter += 1);
        self.writes += 1;
        span
    }

    /// Counts a write no more.
    pub fn leave(&mut self, span: RegionSpan) {
        self.each(span, |counter| *counter = counter.saturating_sub(1));
        self.writes = self.writes.saturating_sub(1);
    }

    /// Number of writes that are counted.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// False if no counted write shares a block with `blocks`.
    pub fn may_meet(&self, blocks: &BlockRange) -> bool {
        let (first, last) = bounds(self.span(blocks));
        self.writes > 0
            && self.counters.get(first..=last).is_some_and(|all| all.iter().any(|&it| it > 0))
    }

    fn span(&self, blocks: &BlockRange) -> RegionSpan {
        if blocks.is_empty() {
            return RegionSpan::NONE;
        }
        let index = |block: u64| u32::try_from(block >> self.shift).unwrap_or(INDEX_MASK);
        let (first, last) = (index(blocks.start.0), index(blocks.end.0 - 1));
        RegionSpan(first.min(INDEX_MASK) | last.min(INDEX_MASK) << INDEX_BITS)
    }

    fn each(&mut self, span: RegionSpan, change: impl FnMut(&mut u32)) {
        let (first, last) = bounds(span);
        if let Some(counters) = self.counters.get_mut(first..=last) {
            counters.iter_mut().for_each(change);
        }
    }
}

/// The first region and the last.
fn bounds(span: RegionSpan) -> (usize, usize) {
    ((span.0 & INDEX_MASK) as usize, (span.0 >> INDEX_BITS & INDEX_MASK) as usize)
}

fn shift_for(block_count: u64) -> u32 {
    block_count.div_ceil(REGIONS_MAX).next_power_of_two().trailing_zeros()
}

fn regions_of(block_count: u64) -> u64 {
    block_count.div_ceil(1 << shift_for(block_count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use snapless_types::BlockIndex;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn a_write_is_met_in_its_blocks_until_it_leaves() {
        let mut regions = Regions::new(16).unwrap();
        assert_eq!(Regions::bytes(16), 64);
        let first = regions.enter(&blocks(3, 5));
        let second = regions.enter(&blocks(4, 5));
        let met = |regions: &Regions| -> Vec<u64> {
            (0..16).filter(|&at| regions.may_meet(&blocks(at, at + 1))).collect()
        };
        assert_eq!(met(&regions), [3, 4]);
        assert!(regions.may_meet(&blocks(0, 4)) && !regions.may_meet(&blocks(5, 16)));
        regions.leave(first);
        assert_eq!(met(&regions), [4]);
        regions.leave(second);
        assert_eq!((met(&regions), regions.writes()), (Vec::new(), 0));
    }

    #[test]
    fn neighbours_share_a_region_on_a_large_volume_and_no_block_is_in_none() {
        let count = 100_000_000;
        let mut regions = Regions::new(count).unwrap();
        assert!(regions.counters.len() as u64 <= REGIONS_MAX);
        let last = regions.enter(&blocks(count - 1, count));
        assert!(last.0 >> RegionSpan::BITS == 0 && regions.may_meet(&blocks(count - 2, count)));
        assert!(!regions.may_meet(&blocks(0, count - 100_000)));
        regions.leave(last);
        let none = regions.enter(&BlockRange::EMPTY);
        assert!(!regions.may_meet(&blocks(0, count)));
        regions.leave(none);
        assert_eq!(regions.writes(), 0);
    }
}

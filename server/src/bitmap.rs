//! A set of blocks of one volume, with a count.
//!
//! A run of blocks costs the same however long it is, in time and in memory: a volume whose blocks
//! are all in the set takes next to nothing.

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;
use snapless_types::{BlockIndex, BlockRange};

/// The most blocks of one volume: 256 TiB in blocks of 64 KiB.
pub const BLOCKS_MAX: u64 = 1 << 32;

/// Blocks of a volume.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockSet {
    blocks: RoaringBitmap,
    capacity: u64,
    count: u64,
}

impl BlockSet {
    /// An empty set for a volume of `capacity` blocks, at most [`BLOCKS_MAX`].
    pub fn new(capacity: u64) -> Self {
        assert!(capacity <= BLOCKS_MAX, "a larger volume is refused when its session is opened");
        Self { blocks: RoaringBitmap::new(), capacity, count: 0 }
    }

    /// Blocks in the set.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True if every block of the volume is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.capacity
    }

    /// True if the block is in the set; a block past the volume's end never is.
    pub fn contains(&self, block: BlockIndex) -> bool {
        u32::try_from(block.0).is_ok_and(|block| self.blocks.contains(block))
    }

    /// Puts a run of blocks into the set; returns how many of them were new.
    pub fn insert(&mut self, run: &BlockRange) -> u64 {
        assert!(run.end.0 <= self.capacity, "a run of blocks ends inside the volume");
        let new = numbers(run).map_or(0, |run| self.blocks.insert_range(run));
        self.count += new;
        new
    }

    /// The first block of the run that is in the set.
    pub fn first_in(&self, run: &BlockRange) -> Option<BlockIndex> {
        self.blocks.range(numbers(run)?).next().map(index)
    }

    /// The first block of the run that is not in the set.
    pub fn first_missing(&self, run: &BlockRange) -> Option<BlockIndex> {
        let run = numbers(run)?;
        if self.blocks.contains_range(run.clone()) {
            return None;
        }
        let present = self.blocks.range(run.clone());
        let matching = present.zip(run.clone()).take_while(|(block, due)| block == due).count();
        run.clone().nth(matching).map(index)
    }

    /// The first block that is in this set and not in `other`.
    pub fn first_outside(&self, other: &Self) -> Option<BlockIndex> {
        if self.blocks.is_subset(&other.blocks) {
            return None;
        }
        (&self.blocks - &other.blocks).min().map(index)
    }
}

/// The numbers of a run's blocks; `None` for an empty run.
fn numbers(run: &BlockRange) -> Option<RangeInclusive<u32>> {
    let last = run.end.0.checked_sub(1).filter(|last| *last >= run.start.0)?;
    // A run inside a volume of at most BLOCKS_MAX blocks fits.
    Some(u32::try_from(run.start.0).ok()?..=u32::try_from(last).ok()?)
}

fn index(block: u32) -> BlockIndex {
    BlockIndex(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn a_set_counts_what_is_new() {
        let mut set = BlockSet::new(130);
        assert_eq!(set.insert(&run(60, 70)), 10);
        assert_eq!(set.insert(&run(65, 75)), 5);
        assert_eq!(set.insert(&run(5, 5)), 0);
        assert_eq!(set.count(), 15);
        assert_eq!(set.first_in(&run(0, 130)), Some(BlockIndex(60)));
        assert_eq!(set.first_in(&run(0, 60)), None);
        assert_eq!(set.first_missing(&run(60, 130)), Some(BlockIndex(75)));
        assert_eq!(set.first_missing(&run(59, 62)), Some(BlockIndex(59)));
        assert_eq!(set.first_missing(&run(62, 75)), None);
        assert!(!set.is_full() && !set.contains(BlockIndex(1 << 40)));
        set.insert(&run(0, 130));
        assert!(set.is_full());
    }

    #[test]
    fn blocks_outside_another_set_are_found() {
        let (mut a, mut b) = (BlockSet::new(200), BlockSet::new(200));
        a.insert(&run(0, 150));
        b.insert(&run(0, 149));
        assert_eq!(a.first_outside(&b), Some(BlockIndex(149)));
        assert_eq!(b.first_outside(&a), None);
    }

    #[test]
    fn the_largest_volume_fits() {
        let mut set = BlockSet::new(BLOCKS_MAX);
        assert_eq!(set.insert(&run(0, BLOCKS_MAX)), BLOCKS_MAX);
        assert!(set.is_full() && set.contains(BlockIndex(BLOCKS_MAX - 1)));
        assert_eq!(set.first_missing(&run(0, BLOCKS_MAX)), None);
    }
}

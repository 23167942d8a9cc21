//! A set of blocks of one volume, with a count.
//!
//! A run of blocks costs the same however long it is, in time and in memory: a volume whose blocks
//! are all in the set takes next to nothing.

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;
use snapless_types::{BlockIndex, BlockRange};

use crate::format::codec::{Input, Stored};

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

    /// Blocks of the volume.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
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

    /// How many blocks of the run are in the set.
    pub(crate) fn count_in(&self, run: &BlockRange) -> u64 {
        numbers(run).map_or(0, |run| self.blocks.range_cardinality(run))
    }

    /// The first block of the run that is in the set.
    pub fn first_in(&self, run: &BlockRange) -> Option<BlockIndex> {
        self.blocks.range(numbers(run)?).next().map(index)
    }

    /// Takes a run of blocks out of the set.
    pub fn remove(&mut self, run: &BlockRange) {
        self.count -= numbers(run).map_or(0, |run| self.blocks.remove_range(run));
    }

    /// The volume has so many blocks now, at most [`BLOCKS_MAX`]: those past its end leave the set.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        assert!(capacity <= BLOCKS_MAX, "a larger volume is refused");
        if capacity < self.capacity {
            self.remove(&BlockRange::new(BlockIndex(capacity), BlockIndex(self.capacity)));
        }
        self.capacity = capacity;
    }

    /// The blocks of the volume that are not in the set.
    pub(crate) fn complement(&self) -> Self {
        let all = BlockRange::new(BlockIndex(0), BlockIndex(self.capacity));
        Self::missing_from_both(&all, self, self)
    }

    /// The first block of the set.
    pub fn first(&self) -> Option<BlockIndex> {
        self.blocks.min().map(index)
    }

    /// The first block of the run that is not in the set.
    pub fn first_missing(&self, run: &BlockRange) -> Option<BlockIndex> {
        // Whole runs are the usual case, and cost less this way.
        let is_whole = numbers(run).is_none_or(|run| self.blocks.contains_range(run));
        if is_whole { None } else { self.missing_in(run).next().map(|run| run.start) }
    }

    /// The blocks of the run that are not in the set, as runs in order.
    pub fn missing_in(&self, run: &BlockRange) -> impl Iterator<Item = BlockRange> + use<'_> {
        let mut present = numbers(run).map(|run| self.blocks.range(run));
        let BlockRange { mut start, end } = *run;
        std::iter::from_fn(move || {
            while start < end {
                let next = present.as_mut().and_then(|present| present.next_range());
                let next = next.map_or(BlockRange::new(end, end), |run| blocks(&run));
                let missing = BlockRange::new(start, next.start.min(end));
                start = next.end;
                if !missing.is_empty() {
                    return Some(missing);
                }
            }
            None
        })
    }

    /// The blocks of the set, as runs in order.
    pub fn runs(&self) -> impl Iterator<Item = BlockRange> + use<'_> {
        let mut present = self.blocks.iter();
        std::iter::from_fn(move || present.next_range().map(|run| blocks(&run)))
    }

    /// The blocks of the run that are in neither set; both are of the same volume.
    pub(crate) fn missing_from_both(run: &BlockRange, one: &Self, other: &Self) -> Self {
        let mut missing = Self::new(one.capacity);
        missing.insert(run);
        missing.blocks -= &one.blocks;
        missing.blocks -= &other.blocks;
        missing.count = missing.blocks.len();
        missing
    }

    /// Puts the blocks of another set of the same volume into this one.
    pub(crate) fn insert_all(&mut self, other: &Self) {
        self.blocks |= &other.blocks;
        self.count = self.blocks.len();
    }

    /// True if every block of this set is in `other`.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.blocks.is_subset(&other.blocks)
    }

    /// True if no block of this set is in `other`.
    pub(crate) fn is_disjoint(&self, other: &Self) -> bool {
        self.blocks.is_disjoint(&other.blocks)
    }

    /// Appends the set: its length in bytes, then Roaring's portable format.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        (self.blocks.serialized_size() as u64).put(out);
        self.blocks.serialize_into(out).expect("memory takes what is written to it");
    }

    /// Reads a set of a volume of `capacity` blocks; `None` for bytes that are not one.
    pub(crate) fn take(input: &mut Input<'_>, capacity: u64) -> Option<Self> {
        let len = usize::try_from(u64::take(input)?).ok()?;
        let mut bytes = input.bytes(len)?;
        let blocks = RoaringBitmap::deserialize_from(&mut bytes).ok()?;
        let fits = blocks.max().is_none_or(|last| u64::from(last) < capacity);
        let is_whole = bytes.is_empty() && blocks.internal_validate().is_ok();
        let count = blocks.len();
        (fits && is_whole).then_some(Self { blocks, capacity, count })
    }
}

/// The numbers of a run's blocks; `None` for an empty run.
fn numbers(run: &BlockRange) -> Option<RangeInclusive<u32>> {
    let last = run.end.0.checked_sub(1).filter(|last| *last >= run.start.0)?;
    // A run inside a volume of at most BLOCKS_MAX blocks fits.
    Some(u32::try_from(run.start.0).ok()?..=u32::try_from(last).ok()?)
}

fn blocks(numbers: &RangeInclusive<u32>) -> BlockRange {
    BlockRange::new(index(*numbers.start()), BlockIndex(u64::from(*numbers.end()) + 1))
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
    fn missing_blocks_are_runs_whatever_is_in_the_set() {
        // Runs about the bounds of Roaring's containers, and a simple set beside it.
        let number = |block| usize::try_from(block).unwrap();
        let mut set = BlockSet::new(1 << 18);
        let mut simple = vec![false; 1 << 18];
        let mut seed = 1_u64;
        for step in 0..400 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let near = [0, 1 << 16, 2 << 16, 3 << 16][number(seed >> 40) % 4];
            let start = (near + (seed >> 33) % 300).saturating_sub(100);
            let long = if step % 50 == 0 { 70_000 } else { 40 };
            let end = (start + (seed >> 50) % long).min(1 << 18);
            let part = number(start)..number(end);
            if step % 3 == 2 {
                set.remove(&run(start, end));
                simple[part].fill(false);
            } else {
                set.insert(&run(start, end));
                simple[part].fill(true);
            }
            let look = run(start.saturating_sub(70), (end + 70).min(1 << 18));
            let found: Vec<_> = set.missing_in(&look).collect();
            assert!(found.windows(2).all(|two| two[0].end < two[1].start), "step {step}");
            let found: Vec<_> = found.iter().flat_map(BlockRange::iter).collect();
            let want: Vec<_> = look.iter().filter(|block| !simple[number(block.0)]).collect();
            assert_eq!(found, want, "step {step}");
            assert_eq!(set.first_missing(&look), want.first().copied(), "step {step}");
            assert_eq!(set.count(), simple.iter().filter(|is| **is).count() as u64);
        }
        let mut bytes = Vec::new();
        set.put(&mut bytes);
        assert_eq!(BlockSet::take(&mut Input::new(&bytes), 1 << 18), Some(set.clone()));
        let last = simple.iter().rposition(|is| *is).unwrap() as u64;
        assert_eq!(BlockSet::take(&mut Input::new(&bytes), last), None, "past the volume's end");
        let runs: Vec<_> = set.runs().flat_map(|run| run.iter()).collect();
        assert!(runs.len() as u64 == set.count() && runs.iter().all(|&block| set.contains(block)));
        for len in 0..bytes.len() {
            assert_eq!(BlockSet::take(&mut Input::new(&bytes[..len]), 1 << 18), None, "{len}");
        }
    }

    #[test]
    fn what_two_sets_lack_is_put_into_one_at_once() {
        let (mut a, mut b) = (BlockSet::new(200), BlockSet::new(200));
        a.insert(&run(10, 20));
        b.insert(&run(15, 30));
        let missing = BlockSet::missing_from_both(&run(5, 35), &a, &b);
        assert_eq!(missing.runs().collect::<Vec<_>>(), [run(5, 10), run(30, 35)]);
        a.insert_all(&missing);
        assert_eq!((missing.count(), a.count()), (10, 20));
        assert_eq!(
            (a.first(), a.first_missing(&run(5, 35))),
            (Some(BlockIndex(5)), Some(BlockIndex(20)))
        );
        assert!(missing.is_subset(&a) && missing.is_disjoint(&b));
        a.remove(&run(0, 12));
        assert_eq!((a.first(), a.count()), (Some(BlockIndex(12)), 13));
    }

    #[test]
    fn what_a_shorter_volume_has_lost_does_not_come_back_with_a_longer_one() {
        let mut set = BlockSet::new(100);
        set.insert(&run(10, 90));
        set.set_capacity(50);
        assert_eq!(set.count(), 40);
        set.set_capacity(120);
        assert_eq!(set.runs().collect::<Vec<_>>(), [run(10, 50)]);
        let rest: Vec<_> = set.complement().runs().collect();
        assert_eq!(rest, [run(0, 10), run(50, 120)]);
    }

    #[test]
    fn the_largest_volume_fits() {
        let mut set = BlockSet::new(BLOCKS_MAX);
        assert_eq!(set.insert(&run(0, BLOCKS_MAX)), BLOCKS_MAX);
        assert!(set.is_full() && set.contains(BlockIndex(BLOCKS_MAX - 1)));
        assert_eq!(set.first_missing(&run(0, BLOCKS_MAX)), None);
    }
}

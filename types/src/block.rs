//! Blocks: the units of the first sync, and runs of them.

/// A block's number, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BlockIndex(pub u64);

/// A half-open run of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRange {
    /// First block.
    pub start: BlockIndex,
    /// The block after the last.
    pub end: BlockIndex,
}

impl BlockRange {
    /// No blocks.
    pub const EMPTY: Self = Self { start: BlockIndex(0), end: BlockIndex(0) };

    /// The run from `start` up to, not including, `end`; empty if they are out of order.
    #[inline]
    pub fn new(start: BlockIndex, end: BlockIndex) -> Self {
        Self { start, end: end.max(start) }
    }

    /// One block.
    pub fn one(block: BlockIndex) -> Self {
        Self { start: block, end: BlockIndex(block.0.saturating_add(1)) }
    }

    /// Number of blocks.
    pub fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// True for a run of no blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every block of the run, in order.
    pub fn iter(&self) -> impl Iterator<Item = BlockIndex> + use<> {
        (self.start.0..self.end.0).map(BlockIndex)
    }

    /// The run in parts of at most `len` blocks, in order.
    pub fn chunks(&self, len: u64) -> impl Iterator<Item = Self> + use<> {
        let mut rest = *self;
        core::iter::from_fn(move || {
            let end = BlockIndex(rest.start.0.saturating_add(len.max(1))).min(rest.end);
            let part = Self::new(rest.start, end);
            rest.start = end;
            (!part.is_empty()).then_some(part)
        })
    }

    /// True if both runs share a block.
    pub fn intersects(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The blocks of both runs.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The shortest run that covers both; an empty run adds nothing.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn runs_intersect_and_cover() {
        assert!(!blocks(0, 2).intersects(&blocks(2, 3)));
        assert!(blocks(0, 3).intersects(&blocks(2, 3)));
        assert_eq!(blocks(0, 3).intersection(&blocks(2, 9)), blocks(2, 3));
        assert!(blocks(0, 2).intersection(&blocks(5, 9)).is_empty());
        assert_eq!(blocks(0, 1).hull(&blocks(5, 9)), blocks(0, 9));
        assert_eq!(blocks(4, 4).hull(&blocks(5, 9)), blocks(5, 9));
    }

    #[test]
    fn a_run_is_cut_into_parts() {
        assert!(blocks(3, 8).chunks(2).eq([blocks(3, 5), blocks(5, 7), blocks(7, 8)]));
        assert!(blocks(3, 5).chunks(2).eq([blocks(3, 5)]));
        assert!(blocks(3, 3).chunks(2).eq([]));
        let last = blocks(u64::MAX - 1, u64::MAX);
        assert!(last.chunks(u64::MAX).eq([last]));
    }
}

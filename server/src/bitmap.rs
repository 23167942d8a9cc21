//! A set of blocks of one volume: one bit each, with a count.

use crate::geometry::{BlockIndex, BlockRun};

/// Which blocks of a volume are in the set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockSet {
    words: Vec<u64>,
    capacity: u64,
    count: u64,
}

impl BlockSet {
    /// An empty set for a volume of `capacity` blocks.
    pub fn new(capacity: u64) -> Self {
        let words = usize::try_from(capacity.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], capacity, count: 0 }
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
        let (word, bit) = place(block.0);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Puts a run of blocks into the set; returns how many of them were new.
    pub fn insert(&mut self, run: &BlockRun) -> u64 {
        assert!(run.0.end <= self.capacity, "a run of blocks ends inside the volume");
        let before = self.count;
        for block in run.0.clone() {
            let (word, bit) = place(block);
            if self.words[word] & bit == 0 {
                self.words[word] |= bit;
                self.count += 1;
            }
        }
        self.count - before
    }

    /// Takes a run of blocks out of the set.
    pub fn remove(&mut self, run: &BlockRun) {
        assert!(run.0.end <= self.capacity, "a run of blocks ends inside the volume");
        for block in run.0.clone() {
            let (word, bit) = place(block);
            if self.words[word] & bit != 0 {
                self.words[word] &= !bit;
                self.count -= 1;
            }
        }
    }

    /// The first block of the run that is in the set.
    pub fn first_in(&self, run: &BlockRun) -> Option<BlockIndex> {
        run.0.clone().map(BlockIndex).find(|&block| self.contains(block))
    }

    /// The first block of the run that is not in the set.
    pub fn first_missing(&self, run: &BlockRun) -> Option<BlockIndex> {
        run.0.clone().map(BlockIndex).find(|&block| !self.contains(block))
    }

    /// The first block that is in this set and not in `other`.
    pub fn first_outside(&self, other: &Self) -> Option<BlockIndex> {
        self.words.iter().zip(&other.words).zip(0..).find_map(|((mine, theirs), index)| {
            let alone = mine & !theirs;
            (alone != 0).then(|| BlockIndex(index * 64 + u64::from(alone.trailing_zeros())))
        })
    }

    /// The set as runs, in order.
    pub fn runs(&self) -> Vec<BlockRun> {
        let mut runs: Vec<BlockRun> = Vec::new();
        for (&word, index) in self.words.iter().zip(0_u64..) {
            let mut rest = word;
            while rest != 0 {
                let block = index * 64 + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                match runs.last_mut() {
                    Some(last) if last.0.end == block => last.0.end += 1,
                    _ => runs.push(BlockRun(block..block + 1)),
                }
            }
        }
        runs
    }
}

/// The word and the bit in it of a block.
fn place(block: u64) -> (usize, u64) {
    (usize::try_from(block / 64).unwrap_or(usize::MAX), 1 << (block % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_what_is_new() {
        let mut set = BlockSet::new(130);
        assert_eq!(set.insert(&BlockRun(60..70)), 10);
        assert_eq!(set.insert(&BlockRun(65..75)), 5);
        assert_eq!(set.count(), 15);
        assert_eq!(set.first_in(&BlockRun(0..130)), Some(BlockIndex(60)));
        assert_eq!(set.first_missing(&BlockRun(60..130)), Some(BlockIndex(75)));
        assert!(!set.is_full() && !set.contains(BlockIndex(1 << 40)));
        set.insert(&BlockRun(0..130));
        assert!(set.is_full());
    }

    #[test]
    fn runs_join_across_words() {
        let mut set = BlockSet::new(200);
        set.insert(&BlockRun(3..5));
        set.insert(&BlockRun(60..129));
        set.remove(&BlockRun(100..101));
        assert_eq!(set.runs(), [BlockRun(3..5), BlockRun(60..100), BlockRun(101..129)]);
    }

    #[test]
    fn what_stands_outside_another_set_is_found() {
        let (mut a, mut b) = (BlockSet::new(200), BlockSet::new(200));
        a.insert(&BlockRun(0..150));
        b.insert(&BlockRun(0..149));
        assert_eq!(a.first_outside(&b), Some(BlockIndex(149)));
        assert_eq!(b.first_outside(&a), None);
    }
}

//! Counting filter over the blocks of held and in-flight writes.
//!
//! Most writes overlap no other, and the filter tells so without comparing them: if the counters of
//! a write's blocks are zero, no tracked write shares a block with it. If one is not, two blocks
//! may share the counter, and the writes are compared one by one. So it errs on the safe side (rule
//! ORDER, rules.md#order).

use alloc::boxed::Box;

use snapless_types::BlockRange;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// Most blocks of a write that are counted one by one; a write of more blocks counts everywhere.
const BLOCKS_MAX: u64 = 64;
/// Counters for each write that may be tracked: so many that most writes find theirs at zero.
const COUNTERS_PER_WRITE: u64 = 4;

/// Counts the tracked writes by their blocks.
#[derive(Debug)]
pub struct Presence {
    /// A power of two of them. Block `i` is counted by counter `i` modulo their number.
    counters: Box<[u32]>,
    /// Writes that touch more than [`BLOCKS_MAX`] blocks.
    long: u32,
}

impl Presence {
    /// A filter for at most `writes` writes at a time.
    pub fn new(writes: u32) -> Result<Self, OutOfMemory> {
        Ok(Self { counters: boxed_slice(Self::counters_for(writes), || Ok(0))?, long: 0 })
    }

    /// Bytes that a filter for `writes` writes allocates.
    pub fn bytes(writes: u32) -> u64 {
        slice_bytes::<u32>(Self::counters_for(writes))
    }

    /// Counts a write.
    pub fn enter(&mut self, blocks: &BlockRange) {
        self.each(blocks, |counter| *counter += 1);
    }

    /// Counts a write no more.
    pub fn leave(&mut self, blocks: &BlockRange) {
        self.each(blocks, |counter| *counter -= 1);
    }

    /// False if no counted write shares a block with `blocks`.
    #[inline]
    pub fn may_meet(&self, blocks: &BlockRange) -> bool {
        self.long > 0
            || blocks.len() > BLOCKS_MAX
            || blocks.iter().any(|block| {
                self.counters.get(self.index(block.0)).is_some_and(|&counter| counter > 0)
            })
    }

    #[inline]
    fn each(&mut self, blocks: &BlockRange, change: impl Fn(&mut u32)) {
        if blocks.len() > BLOCKS_MAX {
            return change(&mut self.long);
        }
        for block in blocks.iter() {
            let index = self.index(block.0);
            if let Some(counter) = self.counters.get_mut(index) {
                change(counter);
            }
        }
    }

    #[inline]
    fn index(&self, block: u64) -> usize {
        let mask = self.counters.len() as u64 - 1;
        usize::try_from(block & mask).unwrap_or(0)
    }

    fn counters_for(writes: u32) -> u64 {
        (u64::from(writes.max(1)) * COUNTERS_PER_WRITE).next_power_of_two()
    }
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
        let mut presence = Presence::new(4).unwrap();
        assert_eq!(Presence::bytes(4), 64);
        presence.enter(&blocks(3, 5));
        let met: Vec<_> = (0..16).map(|at| presence.may_meet(&blocks(at, at + 1))).collect();
        assert_eq!(met, (0..16).map(|at| (3..5).contains(&at)).collect::<Vec<_>>());
        assert!(presence.may_meet(&blocks(0, 4)) && !presence.may_meet(&blocks(5, 16)));
        assert!(presence.may_meet(&blocks(19, 20)), "block 19 has the counter of block 3");
        presence.leave(&blocks(3, 5));
        assert!(!presence.may_meet(&blocks(0, 16)));
    }

    #[test]
    fn a_write_of_many_blocks_is_met_everywhere() {
        let mut presence = Presence::new(1024).unwrap();
        assert!(!presence.may_meet(&blocks(0, 64)));
        assert!(presence.may_meet(&blocks(0, 65)), "too many blocks to be looked up one by one");
        presence.enter(&blocks(1000, 1065));
        assert!(presence.may_meet(&blocks(0, 1)));
        presence.leave(&blocks(1000, 1065));
        presence.enter(&blocks(1000, 1064));
        assert!(!presence.may_meet(&blocks(0, 1)), "so many are counted one by one");
        presence.leave(&blocks(1000, 1064));
        assert!(!presence.may_meet(&blocks(1000, 1001)));
    }
}

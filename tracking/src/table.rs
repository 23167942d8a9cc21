//! The first-sync table: two bits per block, and which words have a block that is to be read.
//!
//! States change under the session's lock only; the words are atomic so that they may be read
//! without it. Loads pair with the stores by acquire and release: a thread that sees `Synced` also
//! sees that the block's record was committed (rule T0, rules.md#t0).

use alloc::boxed::Box;

use snapless_fixed::bits;
use snapless_fixed::memory::{OutOfMemory, boxed_slice, slice_bytes};
use snapless_fixed::steps::Steps;
use snapless_fixed::summary::Summary;
use snapless_fixed::sync::{AtomicU64, Number, Ordering};
use snapless_types::{BlockIndex, BlockRange};

/// The state of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BlockState {
    /// Its content at t0 is on the disk only.
    Unsynced = 0,
    /// It is being read.
    Reading = 1,
    /// The stream describes it.
    Synced = 2,
    /// It changed without being captured: it has to be read again.
    Dirty = 3,
}

impl BlockState {
    /// Its number. The mask shows the compiler that an index into four is in bounds.
    #[inline]
    pub fn index(self) -> usize {
        self as usize & 3
    }

    fn from_bits(bits: u64) -> Self {
        [Self::Unsynced, Self::Reading, Self::Synced, Self::Dirty][(bits & 3) as usize]
    }
}

/// Blocks in one word.
const BLOCKS_PER_WORD: u64 = 32;
/// The low bit of each of a word's 32 lanes.
const LOW_BITS: u64 = 0x5555_5555_5555_5555;

/// Two bits for each block of the volume; all `Unsynced` at first.
#[derive(Debug)]
pub struct Table {
    words: Box<[AtomicU64]>,
    /// Number of blocks in each state.
    counts: [Number; 4],
    /// Which words have a block in the state; for [`SEARCHED`], in this order.
    searched: [Summary; 2],
    steps: Steps,
}

/// The states that are searched for in the whole volume.
const SEARCHED: [BlockState; 2] = [BlockState::Unsynced, BlockState::Dirty];

impl Table {
    /// A table for `block_count` blocks.
    pub fn new(block_count: u64) -> Result<Self, OutOfMemory> {
        let count = block_count.div_ceil(BLOCKS_PER_WORD);
        let words = boxed_slice(count, || Ok(AtomicU64::new(0)))?;
        let searched = [Summary::new(count, true)?, Summary::new(count, false)?];
        let table = Self { words, counts: Default::default(), searched, steps: Steps::default() };
        table.counts[BlockState::Unsynced.index()].set(block_count);
        Ok(table)
    }

    /// Bytes that a table for so many blocks allocates.
    pub fn bytes(block_count: u64) -> u64 {
        let words = block_count.div_ceil(BLOCKS_PER_WORD);
        slice_bytes::<AtomicU64>(words) + 2 * Summary::bytes(words)
    }

    /// A block's state; `Synced` for one past the end, which is never read.
    #[inline]
    pub fn get(&self, block: BlockIndex) -> BlockState {
        let Some(word) = self.word(block.0 / BLOCKS_PER_WORD) else { return BlockState::Synced };
        BlockState::from_bits(word.load(Ordering::Acquire) >> shift_of(block))
    }

    /// Number of blocks in a state; exact under the session's lock.
    #[inline]
    pub fn count(&self, state: BlockState) -> u64 {
        self.counts[state.index()].get()
    }

    /// Sets the state of every block of a run; all were in state `before`. Callers hold the
    /// session's lock.
    pub fn set_run(&self, range: BlockRange, before: BlockState, state: BlockState) {
        rule!(self.all(range, before), "T0: a run is in one state when it leaves it");
        self.turn(range, before, state);
    }

    /// Turns the blocks of a run that are in state `before` into `state`; returns how many. Callers
    /// hold the session's lock.
    pub fn turn(&self, range: BlockRange, before: BlockState, state: BlockState) -> u64 {
        let mut turned = 0;
        for (index, mask) in words_of(range) {
            self.steps.add(1);
            let Some(word) = self.words.get(index) else { break };
            // Plain load and store: writers exclude each other by the session's lock.
            let old = word.load(Ordering::Relaxed);
            let lanes = lanes_in(old, before) & mask;
            if lanes == 0 {
                continue;
            }
            let new = old & !(lanes * 3) | (lanes * state as u64);
            word.store(new, Ordering::Release);
            turned += u64::from(lanes.count_ones());
            self.summarize(index, old, new);
        }
        self.recount(before, state, turned);
        turned
    }

    fn summarize(&self, index: usize, old: u64, new: u64) {
        for (summary, state) in self.searched.iter().zip(SEARCHED) {
            let has = lanes_in(new, state) != 0;
            if has != (lanes_in(old, state) != 0) {
                summary.put(index as u64, has, &self.steps);
            }
        }
    }

    /// True if every block of the run is in `state`.
    #[inline]
    pub fn all(&self, range: BlockRange, state: BlockState) -> bool {
        if range.len() == 1 {
            return self.get(range.start) == state;
        }
        self.first_where(range, |word| !lanes_in(word, state) & LOW_BITS).is_none()
    }

    /// The first block of the run that is in `state`. Callers hold the session's lock.
    pub fn find(&self, range: BlockRange, state: BlockState) -> Option<BlockIndex> {
        let index = SEARCHED.iter().position(|&searched| searched == state);
        let Some(summary) = index.and_then(|index| self.searched.get(index)) else {
            return self.first_where(range, |word| lanes_in(word, state));
        };
        let mut rest = range;
        while !rest.is_empty() {
            let word = summary.next(rest.start.0 / BLOCKS_PER_WORD, &self.steps)?;
            let end = BlockIndex((word + 1) * BLOCKS_PER_WORD);
            let lanes = BlockRange::new(BlockIndex(word * BLOCKS_PER_WORD), end);
            // A word whose blocks in this state are before the run's first is met once.
            let found = self.first_where(lanes.intersection(&rest), |word| lanes_in(word, state));
            if found.is_some() {
                return found;
            }
            rest = BlockRange::new(end, range.end);
        }
        None
    }

    /// The run of blocks in `state` that begins at `range.start`, up to `range.end`.
    pub fn run(&self, range: BlockRange, state: BlockState) -> BlockRange {
        let end = self.first_where(range, |word| !lanes_in(word, state) & LOW_BITS);
        BlockRange::new(range.start, end.unwrap_or(range.end))
    }

    /// The first block of the run whose lane's low bit is set in the result of `select` for its
    /// word.
    #[inline]
    fn first_where(&self, range: BlockRange, select: impl Fn(u64) -> u64) -> Option<BlockIndex> {
        for (index, mask) in words_of(range) {
            self.steps.add(1);
            let word = self.words.get(index)?.load(Ordering::Acquire);
            let lanes = select(word) & mask;
            if lanes != 0 {
                let lane = u64::from(lanes.trailing_zeros() / 2);
                return Some(BlockIndex(index as u64 * BLOCKS_PER_WORD + lane));
            }
        }
        None
    }

    /// Words examined so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    fn recount(&self, from: BlockState, to: BlockState, blocks: u64) {
        self.counts[from.index()].add(blocks.wrapping_neg());
        self.counts[to.index()].add(blocks);
    }

    #[inline]
    fn word(&self, index: u64) -> Option<&AtomicU64> {
        self.steps.add(1);
        self.words.get(usize::try_from(index).ok()?)
    }
}

/// The words of a run's lanes, and a mask of those lanes in each.
#[inline]
fn words_of(range: BlockRange) -> impl Iterator<Item = (usize, u64)> {
    bits::words(2 * range.start.0, 2 * range.end.0)
}

fn shift_of(block: BlockIndex) -> u64 {
    (block.0 % BLOCKS_PER_WORD) * 2
}

/// Sets the low bit of each lane that holds `state`.
fn lanes_in(word: u64, state: BlockState) -> u64 {
    let differs = word ^ (LOW_BITS * state as u64);
    !(differs | differs >> 1) & LOW_BITS
}

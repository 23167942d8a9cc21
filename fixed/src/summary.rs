//! A tree of bits that finds the next set one in a few words, however many bits there are.
//!
//! A bit of the lowest level stands for an item, a bit of each level above for a word of the level
//! below that is not zero. So a look-up and a change examine one or two words of each level: 64
//! times the bits take one level more. Bits are accessed under the session's lock only (rule HANG,
//! rules.md#hang: no work under that lock grows with the volume).

use alloc::boxed::Box;

use crate::bits::PER_WORD;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::steps::Steps;
use crate::sync::Number;

type Level = Box<[Number]>;

/// A bit for each of a fixed number of items.
#[derive(Debug)]
pub struct Summary {
    /// From the items up to the level of one word.
    levels: Box<[Level]>,
}

impl Summary {
    /// A summary of `items` items, all of them set or none.
    pub fn new(items: u64, is_set: bool) -> Result<Self, OutOfMemory> {
        let mut lens = lens(items);
        let mut bits = items;
        let levels = boxed_slice(lens.clone().count() as u64, || {
            let mut first = 0;
            let level = boxed_slice(lens.next().unwrap_or(0), || {
                let word = Number::default();
                word.set(if is_set { low_bits(bits - first) } else { 0 });
                first += PER_WORD.min(bits - first);
                Ok(word)
            });
            bits = bits.div_ceil(PER_WORD);
            level
        })?;
        Ok(Self { levels })
    }

    /// Bytes that a summary of `items` items allocates.
    pub fn bytes(items: u64) -> u64 {
        let words: u64 = lens(items).map(slice_bytes::<Number>).sum();
        slice_bytes::<Level>(lens(items).count() as u64) + words
    }

    /// Sets or clears the bit of an item.
    pub fn put(&self, item: u64, is_set: bool, steps: &Steps) {
        let mut at = item;
        for level in &self.levels {
            steps.add(1);
            let Some(word) = word(level, at / PER_WORD) else { return };
            let (before, bit) = (word.get(), 1 << (at % PER_WORD));
            let after = if is_set { before | bit } else { before & !bit };
            word.set(after);
            if (before == 0) == (after == 0) {
                return;
            }
            at /= PER_WORD;
        }
    }

    /// The first item from `from` on whose bit is set.
    pub fn next(&self, from: u64, steps: &Steps) -> Option<u64> {
        let mut at = from;
        for (height, level) in self.levels.iter().enumerate() {
            steps.add(1);
            let bits = word(level, at / PER_WORD)?.get() & u64::MAX << (at % PER_WORD);
            if bits == 0 {
                at = at / PER_WORD + 1;
                continue;
            }
            at = first_of(at / PER_WORD, bits);
            for lower in self.levels.iter().take(height).rev() {
                steps.add(1);
                at = first_of(at, word(lower, at)?.get());
            }
            return Some(at);
        }
        None
    }
}

/// The words of each level, from the items up.
fn lens(items: u64) -> impl Iterator<Item = u64> + Clone {
    let above = |&below: &u64| (below > 1).then(|| below.div_ceil(PER_WORD));
    core::iter::successors(Some(items.div_ceil(PER_WORD)), above)
}

fn word(level: &Level, index: u64) -> Option<&Number> {
    level.get(usize::try_from(index).ok()?)
}

/// The number of the first bit that is set in a word.
fn first_of(word: u64, bits: u64) -> u64 {
    word * PER_WORD + u64::from(bits.trailing_zeros())
}

/// A word whose first `count` bits are set.
fn low_bits(count: u64) -> u64 {
    if count >= PER_WORD { u64::MAX } else { (1 << count) - 1 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    /// More than one level above the items has several words.
    const ITEMS: u64 = 64 * 64 * 3 + 5;

    proptest! {
        #[test]
        fn the_next_item_is_found_at_every_distance(
            puts in prop::collection::vec((0..ITEMS, any::<bool>()), 0..40),
            from in 0..ITEMS + 70,
        ) {
            let (summary, steps) = (Summary::new(ITEMS, false).unwrap(), Steps::default());
            let mut model = BTreeSet::new();
            for (item, is_set) in puts {
                summary.put(item, is_set, &steps);
                if is_set { model.insert(item) } else { model.remove(&item) };
            }
            prop_assert_eq!(summary.next(from, &steps), model.range(from..).next().copied());
        }
    }

    #[test]
    fn a_full_summary_ends_with_its_last_item() {
        for items in [1, 63, 64, 65, 4095, 4096, 4097] {
            let (summary, steps) = (Summary::new(items, true).unwrap(), Steps::default());
            assert_eq!(summary.next(items - 1, &steps), Some(items - 1));
            assert_eq!(summary.next(items, &steps), None, "{items}");
            for item in 0..items {
                assert_eq!(summary.next(0, &steps), Some(item));
                summary.put(item, false, &steps);
            }
            assert_eq!(summary.next(0, &steps), None);
        }
    }

    #[test]
    fn a_look_up_among_all_words_of_a_large_volume_takes_a_few_words() {
        // 64 TiB of 64 KiB blocks.
        let words = (64 << 40 >> 16) / 32;
        assert_eq!(lens(words).collect::<alloc::vec::Vec<_>>(), [1 << 19, 1 << 13, 1 << 7, 2, 1]);
    }
}

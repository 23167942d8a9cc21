//! The one source of chance: every decision of a run comes from its seed, so that the seed replays it.

use std::ops::RangeInclusive;

/// A small generator (`SplitMix64`). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator for `seed`; `stream` tells apart generators of the same seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        rng.next();
        rng
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A number of the range, small ones as likely as large ones, in powers of two.
    pub fn scaled(&mut self, range: RangeInclusive<u64>) -> u64 {
        let bits = |n: u64| u64::from(u64::BITS - n.leading_zeros());
        let top = 1_u64 << self.within(bits(*range.start())..=bits(*range.end())).min(63);
        self.below(top).clamp(*range.start(), *range.end())
    }

    /// True once in `times`; never if that is 0.
    pub fn once_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// One of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut rng = Rng::new(1, 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| rng.within(3..=7)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&7)));
        let drawn: Vec<u64> = (0..10_000).map(|_| rng.scaled(2..=1_000)).collect();
        assert_eq!(drawn.iter().min(), Some(&2));
        assert!(drawn.iter().all(|n| (2..=1_000).contains(n)));
    }

    #[test]
    fn streams_of_one_seed_differ_and_replay() {
        let draw = |seed, stream| Rng::new(seed, stream).next();
        assert_eq!(draw(5, 1), draw(5, 1));
        assert_ne!(draw(5, 1), draw(5, 2));
        assert_ne!(draw(5, 1), draw(6, 1));
    }
}

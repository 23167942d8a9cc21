//! The one source of chance: every decision of a run comes from its seed, so the seed replays it.

use std::ops::RangeInclusive;

/// A small generator, with the draws that a plan needs.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// The generator for `seed`; `stream` tells apart generators of the same seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut seeds = fastrand::Rng::with_seed(seed);
        Self(fastrand::Rng::with_seed(seeds.u64(..).wrapping_add(stream)))
    }

    /// Another generator, whose numbers are this one's too.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.0.u64(..limit) }
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.usize(..len)
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.u64(range)
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

    /// Puts the values into any order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        self.0.shuffle(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_numbers_stay_in_their_range_and_reach_its_start() {
        let mut rng = Rng::new(1, 0);
        let drawn: Vec<u64> = (0..10_000).map(|_| rng.scaled(2..=1_000)).collect();
        assert_eq!(drawn.iter().min(), Some(&2));
        assert!(drawn.iter().all(|n| (2..=1_000).contains(n)));
    }

    #[test]
    fn streams_of_one_seed_differ_and_replay() {
        let draw = |seed, stream| Rng::new(seed, stream).below(u64::MAX);
        assert_eq!(draw(5, 1), draw(5, 1));
        assert_ne!(draw(5, 1), draw(5, 2));
        assert_ne!(draw(5, 1), draw(6, 1));
    }
}

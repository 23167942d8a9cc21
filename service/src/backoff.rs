//! How long to wait before the next attempt: twice as long each time, up to a limit, never in step with
//! other machines.
//!
//! Rule: the wait is drawn evenly from the upper half of the current step, so that a server that comes
//! back is not met by all of its clients at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The shortest and longest step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackoffLimits {
    /// The first step.
    pub min: Duration,
    /// The step that is never passed.
    pub max: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(60) }
    }
}

/// The steps of one pipeline.
#[derive(Debug)]
pub struct Backoff {
    limits: BackoffLimits,
    step: Duration,
    /// State of a `SplitMix64` generator: evenness is wanted here, not secrecy.
    random: u64,
}

impl Backoff {
    /// Steps from the shortest on.
    pub fn new(limits: BackoffLimits) -> Self {
        // A fresh `RandomState` is seeded by the system.
        Self::seeded(limits, RandomState::new().hash_one(0))
    }

    /// The same with a chosen seed.
    pub fn seeded(limits: BackoffLimits, seed: u64) -> Self {
        Self { limits, step: limits.min, random: seed }
    }

    /// The next wait; the one after it is drawn from a step twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let half = self.step / 2;
        let jitter = half.mul_f64(self.unit());
        self.step = (self.step * 2).min(self.limits.max);
        half + jitter
    }

    /// Begins again with the shortest step: things went well.
    pub fn reset(&mut self) {
        self.step = self.limits.min;
    }

    /// A number from 0 to 1.
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from((mixed >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_keep_to_the_upper_half() {
        for seed in 0..50 {
            let limits = BackoffLimits::default();
            let mut backoff = Backoff::seeded(limits, seed);
            let mut step = limits.min;
            for _ in 0..12 {
                let delay = backoff.next_delay();
                assert!(delay >= step / 2 && delay <= step, "seed {seed}: {delay:?} of {step:?}");
                step = (step * 2).min(limits.max);
            }
            assert_eq!(step, limits.max);
        }
    }

    #[test]
    fn success_begins_again_and_seeds_differ() {
        let limits = BackoffLimits::default();
        let mut backoff = Backoff::seeded(limits, 1);
        let first = backoff.next_delay();
        backoff.next_delay();
        backoff.reset();
        assert!(backoff.next_delay() <= limits.min);
        assert_ne!(Backoff::seeded(limits, 2).next_delay(), first);
    }
}

//! The wait before the next attempt: it doubles with each failure, up to a limit.
//!
//! Rule: each wait is drawn evenly from the upper half of its step, so that the clients of a server
//! that comes back do not all connect at once.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The shortest and the longest step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackoffLimits {
    /// The first step.
    pub min: Duration,
    /// The longest step.
    pub max: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_mins(1) }
    }
}

impl BackoffLimits {
    /// The waits after one failure, two failures in a row, and so on; endless.
    pub fn delays(self) -> impl Iterator<Item = Duration> {
        // The jitter adds up to the delay itself: half a step becomes the step's upper half.
        ExponentialBuilder::new()
            .with_min_delay(self.min / 2)
            .with_max_delay(self.max / 2)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_stay_in_the_upper_half() {
        let limits = BackoffLimits::default();
        for _ in 0..50 {
            let mut step = limits.min;
            for delay in limits.delays().take(12) {
                assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
                step = (step * 2).min(limits.max);
            }
            assert_eq!(step, limits.max);
        }
    }

    #[test]
    fn two_pipelines_do_not_wait_in_step() {
        let delays = || BackoffLimits::default().delays().take(12).collect::<Vec<_>>();
        assert_ne!(delays(), delays());
    }
}

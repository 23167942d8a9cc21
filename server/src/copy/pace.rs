//! A limit of the rate, in bytes a second.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::stop::StopFlag;

/// A stop is heard at least so often.
const STEP: Duration = Duration::from_millis(50);
/// So much time that was not used is made up for.
const CREDIT: Duration = Duration::from_millis(200);

/// Keeps the average below a limit.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<NonZeroU64>,
    begun: Instant,
    /// When the bytes so far may have been taken, counted from the begin.
    due: Duration,
}

impl Pace {
    pub(super) fn new(limit: Option<NonZeroU64>) -> Self {
        Self { limit, begun: Instant::now(), due: Duration::ZERO }
    }

    /// Waits until so many more bytes may be taken.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(super) fn take(&mut self, bytes: u64, stop: &StopFlag) -> Result<()> {
        let until = self.at(bytes, self.begun.elapsed());
        while let Some(left) = until.checked_sub(self.begun.elapsed()).filter(|it| !it.is_zero()) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            thread::sleep(left.min(STEP));
        }
        Ok(())
    }

    /// When the bytes may be taken; both times are counted from the begin.
    fn at(&mut self, bytes: u64, now: Duration) -> Duration {
        let Some(limit) = self.limit else { return Duration::ZERO };
        let at = self.due.max(now.saturating_sub(CREDIT));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(limit.get());
        self.due = at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_keeps_to_the_limit_and_idle_time_is_not_made_up_for() {
        let mut pace = Pace::new(NonZeroU64::new(1000));
        let second = Duration::from_secs(1);
        assert_eq!(pace.at(1000, Duration::ZERO), Duration::ZERO);
        assert_eq!(pace.at(500, Duration::ZERO), second);
        assert_eq!(pace.at(500, Duration::ZERO), second * 3 / 2);
        assert_eq!(pace.at(1000, second * 60) + CREDIT, second * 60);
        assert_eq!(pace.at(1, second * 60) + CREDIT, second * 61);
        assert_eq!(Pace::new(None).at(u64::MAX, second), Duration::ZERO);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let (mut pace, stop) = (Pace::new(NonZeroU64::new(1)), StopFlag::default());
        pace.take(u64::from(u32::MAX), &stop).unwrap();
        stop.set();
        assert!(matches!(pace.take(1, &stop), Err(Error::Stopped)));
    }
}

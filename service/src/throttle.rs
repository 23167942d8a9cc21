//! How fast the service sends, all volumes together (`send_rate`, `send_rates`).
//!
//! Slower than what is written means a queue that fills, and then a gap: the limit is for links
//! that others need as well.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use snapless_wire::frame::FRAME_PAYLOAD_MAX;

use crate::stop::StopSignal;

/// The lowest rate, in bytes per second: the longest frame leaves within the server's patience.
pub const SEND_RATE_MIN: u64 = 1 << 20;
/// Bytes that are counted as one.
const UNIT: usize = 1024;
/// Units that may be sent at once after a pause: the longest frame.
#[allow(clippy::cast_possible_truncation, reason = "a frame has some MiB")]
const BURST: NonZeroU32 = NonZeroU32::new((FRAME_PAYLOAD_MAX / UNIT) as u32 + 1).unwrap();
/// A change of the rate is seen within this time.
const LOOK: Duration = Duration::from_secs(1);

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A rate in bytes per second, and what keeps to it; `None` without a limit.
type Limit<C> = Option<(u64, Arc<Limiter<C>>)>;

/// The limit, shared by all that send.
#[derive(Debug)]
pub struct Throttle<C: Clock = MonotonicClock> {
    clock: C,
    limit: Mutex<Limit<C>>,
}

impl Throttle {
    /// Without a limit.
    pub fn new() -> Self {
        Self::by(MonotonicClock)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock + Clone> Throttle<C> {
    fn by(clock: C) -> Self {
        Self { clock, limit: Mutex::new(None) }
    }

    /// So many bytes per second from now on; `None`: as many as the link takes. If it is so
    /// already, what was sent counts on.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        let mut limit = self.limit();
        if limit.as_ref().map(|(rate, _)| *rate) != bytes_per_second {
            *limit = bytes_per_second.map(|rate| (rate, Arc::new(self.limiter(rate))));
        }
    }

    fn limiter(&self, rate: u64) -> Limiter<C> {
        let units = u32::try_from(rate / UNIT as u64).unwrap_or(u32::MAX);
        let quota = Quota::per_second(NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN));
        RateLimiter::direct_with_clock(quota.allow_burst(BURST), self.clock.clone())
    }

    /// Waits until so many bytes may be sent, or `stop` is set.
    pub fn wait(&self, bytes: usize, stop: &StopSignal) {
        while let Some(time) = self.due(bytes) {
            if stop.wait_for(time.min(LOOK)) {
                return;
            }
        }
    }

    /// How long it takes until so many bytes may be sent; `None` if they may be, and are counted.
    fn due(&self, bytes: usize) -> Option<Duration> {
        let limiter = Arc::clone(&self.limit().as_ref()?.1);
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = NonZeroU32::new(units)?.min(BURST);
        // No frame is longer than the burst.
        let checked = limiter.check_n(units).ok()?;
        checked.err().map(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    fn limit(&self) -> MutexGuard<'_, Limit<C>> {
        // It is replaced as a whole.
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn after_a_burst_what_is_sent_keeps_to_the_rate() {
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::by(clock.clone());
        assert_eq!(throttle.due(1 << 30), None, "no limit");
        throttle.set(Some(4 << 20));
        assert_eq!(throttle.due(16 * MIB), None);
        let mut sent = 0;
        for _ in 0..400 {
            let ended = throttle.due(MIB).is_none();
            sent += usize::from(ended);
            clock.advance(Duration::from_millis(10));
        }
        // 4 s at 4 MiB/s, and what the burst left.
        assert!((15..=17).contains(&sent), "{sent}");
        throttle.set(None);
        assert_eq!(throttle.due(1 << 30), None);
    }

    #[test]
    fn a_rate_that_is_set_again_gives_no_new_burst() {
        let throttle = Throttle::by(FakeRelativeClock::default());
        throttle.set(Some(4 << 20));
        assert_eq!(throttle.due(FRAME_PAYLOAD_MAX), None);
        throttle.set(Some(4 << 20));
        assert!(throttle.due(FRAME_PAYLOAD_MAX).is_some());
    }

    #[test]
    fn the_longest_frame_goes_at_the_lowest_rate() {
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::by(clock.clone());
        throttle.set(Some(SEND_RATE_MIN));
        assert_eq!(throttle.due(FRAME_PAYLOAD_MAX), None);
        let left = throttle.due(FRAME_PAYLOAD_MAX).unwrap();
        assert!(left <= Duration::from_secs(17), "{left:?}");
        clock.advance(left);
        assert_eq!(throttle.due(FRAME_PAYLOAD_MAX), None);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let throttle = Throttle::new();
        throttle.set(Some(SEND_RATE_MIN));
        let stop = StopSignal::new();
        throttle.wait(FRAME_PAYLOAD_MAX, &stop);
        stop.set();
        throttle.wait(FRAME_PAYLOAD_MAX, &stop);
    }
}

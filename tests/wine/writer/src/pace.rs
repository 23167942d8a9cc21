//! The limit on bytes per second, shared by all threads. The rule: over any second the load stays
//! within the limit plus one request per thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts bytes against time.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    bytes_per_second: Option<u64>,
    /// Bytes admitted so far. Relaxed: it guards no other memory.
    admitted: AtomicU64,
}

impl Pace {
    /// Without a limit everything is admitted at once.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { begun: Instant::now(), bytes_per_second, admitted: AtomicU64::new(0) }
    }

    /// Admits `bytes`, or says how long to wait before asking again.
    pub fn admit(&self, bytes: u64) -> Result<(), Duration> {
        let Some(rate) = self.bytes_per_second else { return Ok(()) };
        let allowed = self.begun.elapsed().as_secs_f64() * as_f64(rate);
        let admitted = as_f64(self.admitted.load(Ordering::Relaxed));
        if admitted > allowed {
            return Err(Duration::from_secs_f64((admitted - allowed) / as_f64(rate)));
        }
        self.admitted.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// Byte counts of a run are far below 2^53, the limit of exact integers in an f64.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_above_the_rate_wait() {
        let pace = Pace::new(Some(1000));
        assert_eq!(pace.admit(2000), Ok(()));
        let wait = pace.admit(1).unwrap_err();
        assert!(wait > Duration::from_millis(1500) && wait <= Duration::from_secs(2), "{wait:?}");
        assert_eq!(Pace::new(None).admit(u64::MAX), Ok(()));
    }
}

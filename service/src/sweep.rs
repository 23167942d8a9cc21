//! How hard the driver may read a volume's disk of its own accord (`sweep_rate`,
//! `sweep_latency_ms`, `sweep_rates`), while a session runs.
//!
//! Rule: other limits end no session. A driver that takes them only at the start of a session keeps
//! to what it has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snapless_driver_client::{DriverError, DriverPort};
use snapless_wire::ioctl::SweepLimits;

use crate::size::Size;
use crate::stop::StopSignal;

/// A change reaches the driver within this time.
const LOOK: Duration = Duration::from_secs(1);

/// The limits of one volume's sweep, which change with the configuration and the time of the day.
#[derive(Debug)]
pub struct Sweep {
    limits: Mutex<SweepLimits>,
    /// The driver takes limits at the start of a session only. No other data depends on it, so
    /// relaxed ordering is enough.
    is_fixed: AtomicBool,
}

impl Sweep {
    /// With these limits.
    pub fn new(limits: SweepLimits) -> Self {
        Self { limits: Mutex::new(limits), is_fixed: AtomicBool::new(false) }
    }

    /// What counts now.
    pub fn limits(&self) -> SweepLimits {
        *self.lock()
    }

    /// These limits count from now on.
    pub fn set(&self, limits: SweepLimits) {
        *self.lock() = limits;
    }

    /// Tells the driver of the limits of the session that `port` has claimed, and of each change,
    /// until `over`. `name`: the volume's, in messages.
    pub fn keep_driver_to_it(&self, name: &str, port: &dyn DriverPort, over: &StopSignal) {
        let mut told = None;
        loop {
            let limits = self.limits();
            if self.is_fixed.load(Ordering::Relaxed) {
                return;
            }
            if told != Some(limits) {
                match port.limit_sweep(limits) {
                    Ok(()) => {
                        log::info!("{name}: the sweep reads {}", text(limits));
                        told = Some(limits);
                    }
                    Err(why @ DriverError::Older(_)) => {
                        self.is_fixed.store(true, Ordering::Relaxed);
                        log::warn!(
                            "{name}: {why}; until then the sweep keeps to the limits with which \
                             its session began"
                        );
                    }
                    // It is tried again.
                    Err(why @ DriverError::NoMemory(_)) => log::info!("{name}: {why}"),
                    // The stream ends for the same reason, and says so.
                    Err(_) => return,
                }
            }
            if over.wait_for(LOOK) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, SweepLimits> {
        // They are replaced as a whole.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lower of a volume's own limit and of another one, both in bytes per second. `limits` has 0
/// for no limit, as the driver has.
pub fn at_most(limits: SweepLimits, rate: Option<u64>) -> SweepLimits {
    let own = Some(limits.bytes_per_second).filter(|rate| *rate > 0);
    let lower = own.into_iter().chain(rate).min();
    SweepLimits { bytes_per_second: lower.unwrap_or(0), ..limits }
}

fn text(limits: SweepLimits) -> String {
    let rate = match limits.bytes_per_second {
        0 => "without a limit of its rate".to_owned(),
        rate => format!("{} a second at most", Size(rate)),
    };
    match limits.latency_ms {
        0 => rate,
        ms => format!("{rate}, and less if a read takes more than {ms} ms on average"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_volumes_own_limit_and_the_schedules_the_lower_one_holds() {
        let of = |own, rate| {
            at_most(SweepLimits { bytes_per_second: own, latency_ms: 7 }, rate).bytes_per_second
        };
        assert_eq!((of(0, None), of(0, Some(5))), (0, 5));
        assert_eq!((of(9, None), of(9, Some(5)), of(9, Some(20))), (9, 5, 9));
    }

    #[test]
    fn the_limits_are_told_in_words() {
        let of = |bytes_per_second, latency_ms| text(SweepLimits { bytes_per_second, latency_ms });
        assert_eq!(of(0, 0), "without a limit of its rate");
        let slow = "5 MiB a second at most, and less if a read takes more than 20 ms on average";
        assert_eq!(of(5 << 20, 20), slow);
    }
}

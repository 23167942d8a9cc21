//! What a write costs on a volume without a session: rundown protection, on several processors at
//! the same time.
//!
//! The bare call is the least that a disk does with a write of 4 KiB: it copies it.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use snapless_engine::Rundown;

use super::thread_time_ns;
use crate::error::{Error, Result};
use crate::host::Signal;

/// Writes of a thread in a round.
const WRITES: u64 = 100_000;
const WRITE_LEN: usize = 4096;

/// Nanoseconds of a thread's processor time for a write, on average.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// The bare call.
    pub bare: f64,
    /// With rundown protection around it.
    pub protected: f64,
    /// With one counter for all processors around it instead.
    pub one_counter: f64,
}

/// What a thread does around the call.
#[derive(Clone, Copy)]
enum Around {
    Nothing,
    Protection,
    OneCounter,
}

/// The volume's filter without a session, and what it is compared with.
struct Volume {
    /// True: writes belong to the session.
    rundown: Rundown<AtomicBool, Signal>,
    counter: AtomicU64,
}

/// Measures `rounds` times with that many threads.
pub fn measure(threads: usize, rounds: usize) -> Result<Vec<Cost>> {
    let [first, second] = [AtomicBool::new(false), AtomicBool::new(false)];
    let made = Rundown::new(first, second, Signal::default(), threads);
    let (rundown, _owner) = made.ok_or(Error::Session)?;
    let volume = Volume { rundown, counter: AtomicU64::new(0) };
    let mut costs = Vec::new();
    for _ in 0..rounds {
        let [bare, protected, one_counter] =
            [Around::Nothing, Around::Protection, Around::OneCounter]
                .map(|around| volume.cost(threads, around));
        costs.push(Cost { bare, protected, one_counter });
    }
    Ok(costs)
}

impl Volume {
    /// The mean over all threads, which run at the same time.
    fn cost(&self, threads: usize, around: Around) -> f64 {
        let together = Barrier::new(threads);
        let total: u64 = std::thread::scope(|scope| {
            let start = |processor| {
                let together = &together;
                scope.spawn(move || {
                    let payload = [7; WRITE_LEN];
                    let mut disk = [0; WRITE_LEN];
                    together.wait();
                    let began = thread_time_ns();
                    for _ in 0..WRITES {
                        self.write(around, processor, &payload, &mut disk);
                    }
                    thread_time_ns() - began
                })
            };
            let running: Vec<_> = (0..threads).map(start).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        #[allow(clippy::cast_precision_loss)]
        let writes = (WRITES * threads as u64) as f64;
        #[allow(clippy::cast_precision_loss)]
        let total = total as f64;
        total / writes
    }

    #[inline]
    fn write(
        &self,
        around: Around,
        processor: usize,
        payload: &[u8; WRITE_LEN],
        disk: &mut [u8; WRITE_LEN],
    ) {
        match around {
            Around::Nothing => lower_device(payload, disk),
            Around::Protection => {
                let Some(protection) = self.rundown.acquire(processor) else { return };
                // Relaxed: the rundown orders it.
                let is_protected = self.rundown.protected(protection).load(Ordering::Relaxed);
                assert!(!is_protected, "CLEAR: there is no session");
                lower_device(payload, disk);
                self.rundown.release(protection, processor);
            }
            Around::OneCounter => {
                self.counter.fetch_add(1, Ordering::AcqRel);
                lower_device(payload, disk);
                self.counter.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

#[inline(never)]
fn lower_device(payload: &[u8; WRITE_LEN], disk: &mut [u8; WRITE_LEN]) {
    black_box(&mut *disk).copy_from_slice(black_box(payload));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_call_is_measured_on_all_threads() {
        let costs = measure(2, 2).unwrap();
        assert_eq!(costs.len(), 2);
        for Cost { bare, protected, one_counter } in costs {
            assert!(bare > 0.0 && protected > 0.0 && one_counter > 0.0);
        }
    }
}

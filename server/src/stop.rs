//! A request to stop, shared by threads.
//!
//! Long work checks [`StopFlag::is_set`] at each step. When it stops, it leaves nothing half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time in which a wait does not look whether it must stop.
const STEP: Duration = Duration::from_millis(50);

/// Set once, by Ctrl-C or SIGTERM or by a test; never cleared.
#[derive(Clone, Default, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks all holders of a clone to stop.
    pub fn set(&self) {
        // Relaxed: the flag carries no other data, and every reader checks again soon.
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once [`Self::set`] was called.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits so long, or until [`Self::set`] is called; then true.
    pub fn wait(&self, how_long: Duration) -> bool {
        let begin = Instant::now();
        while !self.is_set() {
            let left = how_long.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(STEP));
        }
        true
    }
}

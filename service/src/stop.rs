//! The request to stop, seen by every thread of the service.
//!
//! Rule: every wait that can take long waits on this signal, so that a stop is never delayed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that is set once and never cleared. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct StopSignal(Arc<Inner>);

#[derive(Default, Debug)]
struct Inner {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the stop.
    pub fn set(&self) {
        // A flag cannot be left half-changed by a panic.
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// True once a stop was requested.
    pub fn is_set(&self) -> bool {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the request, at most for `time`; true if it came.
    pub fn wait_for(&self, time: Duration) -> bool {
        let stopped = self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

//! A request to stop that several threads look at.
//!
//! Long work asks [`StopFlag::is_set`] at each step and leaves nothing half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, by Ctrl-C or SIGTERM or by a test; never cleared.
#[derive(Clone, Default, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks everyone who holds a clone to stop.
    pub fn set(&self) {
        // Relaxed: the flag carries no other data, and every reader asks again soon.
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once somebody asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! A request to stop, shared by threads.
//!
//! Long work checks [`StopFlag::is_set`] at each step. When it stops, it leaves nothing half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

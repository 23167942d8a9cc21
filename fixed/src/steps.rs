//! Counts what the engine looks at: words of the table and of the epochs' bitmaps, descriptors of
//! the queue, and entries of the index of writes.
//!
//! The rule: no work under the session's lock grows with the volume, the queue or the number of
//! writes. The simulator reads the count before and after each verb.

#[cfg(debug_assertions)]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count; counts in builds with `debug_assertions` only.
#[derive(Debug, Default)]
pub struct Steps {
    #[cfg(debug_assertions)]
    looked_at: AtomicU64,
}

impl Steps {
    /// Counts what is looked at.
    #[inline]
    #[cfg_attr(not(debug_assertions), allow(clippy::unused_self, reason = "it counts nothing"))]
    pub fn add(&self, count: u64) {
        #[cfg(debug_assertions)]
        self.looked_at.fetch_add(count, Relaxed);
        #[cfg(not(debug_assertions))]
        let _ = count;
    }

    /// The count so far; 0 in builds without `debug_assertions`.
    #[cfg(debug_assertions)]
    pub fn get(&self) -> u64 {
        self.looked_at.load(Relaxed)
    }
}

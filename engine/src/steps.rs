//! Counts the words of the table and of the epochs' bitmaps that the engine examines.
//!
//! The rule: no work under the session's lock grows with the volume. The simulator reads the count
//! before and after each verb.

#[cfg(debug_assertions)]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count of words; counts in builds with `debug_assertions` only.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    #[cfg(debug_assertions)]
    words: AtomicU64,
}

impl Steps {
    /// Counts words that are examined.
    #[inline]
    #[cfg_attr(not(debug_assertions), expect(clippy::unused_self, reason = "it counts nothing"))]
    pub(crate) fn add(&self, words: u64) {
        #[cfg(debug_assertions)]
        self.words.fetch_add(words, Relaxed);
        #[cfg(not(debug_assertions))]
        let _ = words;
    }

    /// Words so far; 0 in builds without `debug_assertions`.
    #[cfg(debug_assertions)]
    pub(crate) fn get(&self) -> u64 {
        self.words.load(Relaxed)
    }
}

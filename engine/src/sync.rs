//! The atomics that the engine is made of: `core`'s, or loom's where a model runs it.
//!
//! The rule: code that threads run against each other without a lock takes its atomics from here, so that
//! the models (`cargo xtask loom`) run the code itself and not a copy.

// Not one of them: no number orders anything, so there is nothing here for loom to find.
use core::sync::atomic::{AtomicU64 as PlainU64, Ordering::Relaxed};

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A number that is written under the session's lock and read by anybody. It carries nothing but itself.
#[derive(Debug, Default)]
pub(crate) struct Number(PlainU64);

impl Number {
    /// Posts it. Callers hold the session's lock.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Counts on. Callers hold the session's lock.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

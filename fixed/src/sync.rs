//! The atomics of the engine: `core`'s, or loom's in a model.
//!
//! The rule: code that runs concurrently without a lock takes its atomics from here, so that the
//! models (`cargo xtask loom`) run the code itself and not a copy.

// Not one of them: a number orders nothing, so loom would find nothing.
use core::sync::atomic::{AtomicU64 as PlainU64, Ordering::Relaxed};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A number that is written under the session's lock and may be read without it. It publishes
/// nothing else.
#[derive(Debug, Default)]
pub struct Number(PlainU64);

impl Number {
    /// Sets it. Callers hold the session's lock.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to it. Callers hold the session's lock.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// What it was set to last.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

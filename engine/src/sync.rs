//! The atomics that the engine is made of: `core`'s, or loom's where a model runs it.
//!
//! The rule: code that threads run against each other without a lock takes its atomics from here, so that
//! the models (`cargo xtask loom`) run the code itself and not a copy.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

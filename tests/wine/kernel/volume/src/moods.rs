//! What the volume says of itself differently when a scenario asks for it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The moods; each is of its own, so relaxed ordering is enough.
#[derive(Default)]
pub(crate) struct Moods {
    write_protected: AtomicBool,
    usage_refusals: AtomicU32,
}

impl Moods {
    /// Whether the volume says that it is write-protected.
    pub(crate) fn is_protected(&self) -> bool {
        self.write_protected.load(Ordering::Relaxed)
    }

    /// Makes it say so, or not.
    pub(crate) fn protect(&self, on: bool) {
        self.write_protected.store(on, Ordering::Relaxed);
    }

    /// Whether this usage notification is refused.
    pub(crate) fn refuses_usage(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.usage_refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Makes it refuse the next ones.
    pub(crate) fn refuse_usage(&self, times: u32) {
        self.usage_refusals.store(times, Ordering::Relaxed);
    }
}

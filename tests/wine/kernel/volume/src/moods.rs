//! What the volume says of itself differently when a scenario asks for it.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use protocol::ioctl::{KNOWS_NO_CLEARING, SAYS_NO_TRIM};

/// The moods; each is of its own, so relaxed ordering is enough.
#[derive(Default)]
pub(crate) struct Moods {
    write_protected: AtomicBool,
    usage_refusals: AtomicU32,
    gpt_attributes: AtomicU64,
    clearing: AtomicU32,
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

    /// Its attributes in a partition table.
    pub(crate) fn gpt_attributes(&self) -> u64 {
        self.gpt_attributes.load(Ordering::Relaxed)
    }

    /// Sets them.
    pub(crate) fn set_gpt_attributes(&self, attributes: u64) {
        self.gpt_attributes.store(attributes, Ordering::Relaxed);
    }

    /// Whether the volume says that it trims.
    pub(crate) fn says_that_it_trims(&self) -> bool {
        self.clearing.load(Ordering::Relaxed) & SAYS_NO_TRIM == 0
    }

    /// Whether it knows requests that clear.
    pub(crate) fn knows_clearing(&self) -> bool {
        self.clearing.load(Ordering::Relaxed) & KNOWS_NO_CLEARING == 0
    }

    /// Sets how it answers requests that clear.
    pub(crate) fn set_clearing(&self, how: u32) {
        self.clearing.store(how, Ordering::Relaxed);
    }

    /// Makes it refuse the next ones.
    pub(crate) fn refuse_usage(&self, times: u32) {
        self.usage_refusals.store(times, Ordering::Relaxed);
    }
}

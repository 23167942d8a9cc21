//! Reports and refusals of the volume, as a scenario sets them.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use protocol::ioctl::{REFUSES_DATA_SET, REPORTS_NO_TRIM};

use crate::files::Files;

/// The switches. They are independent of each other, so relaxed ordering is enough.
#[derive(Default)]
pub(crate) struct Switches {
    pub(crate) write_protected: AtomicBool,
    /// How many usage notifications are still refused.
    pub(crate) usage_refusals: AtomicU32,
    /// Attributes in the partition table.
    pub(crate) gpt_attributes: AtomicU64,
    /// As `SET_TRIM_SUPPORT` takes it.
    pub(crate) trim_support: AtomicU32,
    /// What its file system says.
    pub(crate) files: Files,
}

impl Switches {
    /// Whether this usage notification is refused.
    pub(crate) fn refuses_usage(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.usage_refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Whether the volume reports that it trims.
    pub(crate) fn reports_trim(&self) -> bool {
        self.trim_support.load(Ordering::Relaxed) & REPORTS_NO_TRIM == 0
    }

    /// Whether the volume takes data set requests.
    pub(crate) fn takes_data_set(&self) -> bool {
        self.trim_support.load(Ordering::Relaxed) & REFUSES_DATA_SET == 0
    }
}

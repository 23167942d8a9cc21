//! Values of the driver's `Parameters` key that the rig reads when it binds the driver.
//!
//! The rule: a value that is absent has its default again with every binding.

use core::sync::atomic::{AtomicU32, Ordering};

use nt::{registry::Key, unicode::Wide};
use protocol::names::framework;

/// The share of reads and writes that reach the driver at DISPATCH_LEVEL.
pub(crate) static RAISED_DISPATCH_PERCENT: Setting =
    Setting::new(framework::RAISED_DISPATCH_PERCENT, 50);
/// How long removal waits for requests and packets of the driver.
pub(crate) static GIVE_BACK_LIMIT_MS: Setting = Setting::new(framework::GIVE_BACK_LIMIT_MS, 30_000);
/// Up to which level a consumer listens to the driver's trace events; 0 is no consumer.
pub(crate) static TRACE_LEVEL: Setting = Setting::new(framework::TRACE_LEVEL, 0);
/// The share of a driver's calls after which another thread goes first.
pub(crate) static PREEMPT_PERCENT: Setting = Setting::new(framework::PREEMPT_PERCENT, 0);

/// One value.
pub(crate) struct Setting {
    name: &'static str,
    default: u32,
    value: AtomicU32,
}

impl Setting {
    const fn new(name: &'static str, default: u32) -> Self {
        Self { name, default, value: AtomicU32::new(default) }
    }

    /// The value for the bound driver.
    pub(crate) fn get(&self) -> u32 {
        // Relaxed: binding stores it before the driver runs.
        self.value.load(Ordering::Relaxed)
    }
}

/// Reads all values for the driver that is being bound.
pub(crate) fn read(registry_path: &Wide) {
    let key = Key::open(&registry_path.with(r"\Parameters"));
    for setting in [&RAISED_DISPATCH_PERCENT, &GIVE_BACK_LIMIT_MS, &TRACE_LEVEL, &PREEMPT_PERCENT] {
        let found = key.as_ref().ok().and_then(|key| key.dword(&Wide::new(setting.name)).ok());
        // Relaxed: see `get`.
        setting.value.store(found.unwrap_or(setting.default), Ordering::Relaxed);
    }
}

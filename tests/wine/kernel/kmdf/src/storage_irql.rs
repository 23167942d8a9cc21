//! The IRQL at which reads and writes reach the driver.
//!
//! The rule: storage drivers are entered for reads and writes at up to DISPATCH_LEVEL (paging, completion routines of
//! drivers above). Wine always enters at PASSIVE_LEVEL, so the rig lets a share of them arrive raised.

use core::sync::atomic::{AtomicU32, Ordering};

use nt::{registry::Key, unicode::Wide};
use protocol::names::framework::RAISED_DISPATCH_PERCENT;
use wdk_sys::{IRP_MJ_READ, IRP_MJ_WRITE};

const DEFAULT_PERCENT: u32 = 50;

static PERCENT: AtomicU32 = AtomicU32::new(DEFAULT_PERCENT);
static TURN: AtomicU32 = AtomicU32::new(0);

/// Reads the share for the driver that is being bound.
pub(crate) fn configure(registry_path: &Wide) {
    let percent = Key::open(&registry_path.with(r"\Parameters"))
        .and_then(|key| key.dword(&Wide::new(RAISED_DISPATCH_PERCENT)))
        .unwrap_or(DEFAULT_PERCENT);
    // Relaxed: read later, on threads that the binding started or that came after it.
    PERCENT.store(percent.min(100), Ordering::Relaxed);
}

/// Whether this packet reaches the driver at DISPATCH_LEVEL.
pub(crate) fn may_arrive_raised(major: u8) -> bool {
    if !matches!(u32::from(major), IRP_MJ_READ | IRP_MJ_WRITE) {
        return false;
    }
    // Relaxed: only the distribution matters. The multiplier spreads neighbours apart.
    let turn = TURN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1) >> 16;
    turn % 100 < PERCENT.load(Ordering::Relaxed)
}

//! How long a removal waits for what the driver was handed: requests of its queues, packets that hold the remove lock.
//!
//! The rule: nothing is waited for without an end. A driver that gives a request back too late has leaked it.

use core::sync::atomic::{AtomicU32, Ordering};

use nt::{event::Event, registry::Key, unicode::Wide};
use protocol::names::framework::GIVE_BACK_LIMIT_MS;

const DEFAULT_MS: u32 = 30_000;

static LIMIT_MS: AtomicU32 = AtomicU32::new(DEFAULT_MS);

/// Reads the limit for the driver that is being bound.
pub(crate) fn configure(registry_path: &Wide) {
    let limit = Key::open(&registry_path.with(r"\Parameters"))
        .and_then(|key| key.dword(&Wide::new(GIVE_BACK_LIMIT_MS)))
        .unwrap_or(DEFAULT_MS);
    // Relaxed: read later, on threads that the binding started or that came after it.
    LIMIT_MS.store(limit.max(1), Ordering::Relaxed);
}

/// Waits for the event within the limit; `Err` has the limit in milliseconds.
pub(crate) fn wait(event: &Event) -> Result<(), u32> {
    // Relaxed: see `configure`.
    let limit = LIMIT_MS.load(Ordering::Relaxed);
    if event.wait_ms(limit) { Ok(()) } else { Err(limit) }
}

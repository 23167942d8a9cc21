//! What the driver counts of a session besides the engine.
//!
//! Each counter is independent of the others, so relaxed ordering is enough.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_sys::NTSTATUS;

/// Counters since the session was made, and the last read that failed.
#[derive(Default)]
pub struct Counts {
    requests_refused: AtomicU64,
    read_failed_offset: AtomicU64,
    read_failed_status: AtomicU32,
}

impl Counts {
    /// Counts a request that was refused. Any IRQL.
    pub fn add_refused(&self) {
        self.requests_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were refused. Any IRQL.
    pub fn requests_refused(&self) -> u64 {
        self.requests_refused.load(Ordering::Relaxed)
    }

    /// Notes a read that failed. Any IRQL.
    pub fn read_failed(&self, offset: u64, status: NTSTATUS) {
        self.read_failed_offset.store(offset, Ordering::Relaxed);
        self.read_failed_status.store(status.cast_unsigned(), Ordering::Relaxed);
    }

    /// Where the last failed read began, and its status; 0 if none has failed. Any IRQL.
    pub fn last_read_failed(&self) -> (u64, u32) {
        let offset = self.read_failed_offset.load(Ordering::Relaxed);
        (offset, self.read_failed_status.load(Ordering::Relaxed))
    }
}

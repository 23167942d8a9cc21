//! What the driver counts of a session besides the engine. Each counter is of its own, so relaxed
//! ordering is enough.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_sys::NTSTATUS;

/// Counters since the session was made.
#[derive(Default)]
pub struct Counts {
    /// Trims and writes of zeros that went down.
    pub clearings: AtomicU64,
    /// Requests that were refused.
    pub requests_refused: AtomicU64,
    /// Held requests that their applications cancelled.
    pub writes_cancelled: AtomicU64,
    /// Requests that failed below.
    pub writes_failed: AtomicU64,
    /// Writes that must not wait.
    pub writes_urgent: AtomicU64,
    /// Writes whose data could not be reached.
    pub writes_unreachable: AtomicU64,
    /// Reads that failed.
    pub reads_failed: AtomicU64,
    /// Where the last one of them began.
    pub read_failed_offset: AtomicU64,
    /// Its status; 0 if there is none.
    pub read_failed_status: AtomicU32,
}

impl Counts {
    /// One more. Any IRQL.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted. Any IRQL.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Notes a read that failed. Any IRQL.
    pub fn read_failed(&self, offset: u64, status: NTSTATUS) {
        Self::add(&self.reads_failed);
        self.read_failed_offset.store(offset, Ordering::Relaxed);
        self.read_failed_status.store(status.cast_unsigned(), Ordering::Relaxed);
    }
}

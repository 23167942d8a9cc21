//! Two clocks: monotonic time and UTC. IRQL <= DISPATCH_LEVEL.

use wdk_sys::LARGE_INTEGER;
use wdk_sys::ntddk::{KeQuerySystemTimePrecise, KeQueryUnbiasedInterruptTime};

/// Monotonic time in 100 ns, not counting sleep. IRQL <= DISPATCH_LEVEL.
pub fn uptime() -> u64 {
    // SAFETY: takes no argument and may be called at any IRQL.
    unsafe { KeQueryUnbiasedInterruptTime() }
}

/// UTC in 100 ns since 1601 (`FILETIME`), precise to less than a millisecond. IRQL <=
/// DISPATCH_LEVEL.
pub fn system_time() -> u64 {
    let mut time = LARGE_INTEGER::default();
    // SAFETY: writes one LARGE_INTEGER.
    unsafe { KeQuerySystemTimePrecise(&raw mut time) };
    // SAFETY: every bit pattern of the union is a whole number.
    u64::try_from(unsafe { time.QuadPart }).unwrap_or(0)
}

//! Time: intervals for the kernel's waits, and the clocks that Wine lacks under their kernel names.
//!
//! The rule: durations carry their unit in their name.

use wdk_sys::{_MODE::KernelMode, LARGE_INTEGER, ntddk::KeDelayExecutionThread};

use crate::win32::{
    GetSystemTimePreciseAsFileTime, QueryPerformanceCounter, QueryPerformanceFrequency,
};

const TICKS_PER_MS: i64 = 10_000;
const TICKS_PER_SECOND: i128 = 10_000_000;

/// A relative time as the kernel takes it.
pub fn relative_ms(milliseconds: u32) -> i64 {
    -(i64::from(milliseconds) * TICKS_PER_MS)
}

/// Suspends the calling thread.
pub fn sleep_us(microseconds: u32) {
    let mut interval = LARGE_INTEGER { QuadPart: -(i64::from(microseconds) * 10) };
    // SAFETY: the interval is valid for the call.
    let _ = unsafe { KeDelayExecutionThread(KernelMode as _, 0, &raw mut interval) };
}

/// The system time in 100 ns units since 1601.
pub fn system_time_100ns() -> u64 {
    let mut time = 0;
    // SAFETY: the pointer is valid for the call.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut time) };
    time
}

/// The performance counter in 100 ns units.
pub fn interrupt_time_100ns() -> u64 {
    let mut count = 0;
    let mut frequency = 0;
    // SAFETY: the pointer is valid for the call.
    unsafe { QueryPerformanceCounter(&raw mut count) };
    // SAFETY: the pointer is valid for the call.
    unsafe { QueryPerformanceFrequency(&raw mut frequency) };
    let ticks = i128::from(count) * TICKS_PER_SECOND / i128::from(frequency.max(1));
    u64::try_from(ticks).unwrap_or(0)
}

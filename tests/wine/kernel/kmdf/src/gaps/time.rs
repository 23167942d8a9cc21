//! Clocks that Wine lacks, or keeps in the wrong unit.

use nt::time::{interrupt_time_100ns, system_time_100ns};
use wdk_sys::LARGE_INTEGER;

pub(crate) unsafe extern "system" fn system_time_precise(time: *mut LARGE_INTEGER) {
    let now = LARGE_INTEGER { QuadPart: system_time_100ns().cast_signed() };
    // SAFETY: the driver's out parameter.
    unsafe { time.write(now) };
}

/// The rig's machine never sleeps, so biased and unbiased time are the same.
pub(crate) unsafe extern "system" fn unbiased_interrupt_time() -> u64 {
    interrupt_time_100ns()
}

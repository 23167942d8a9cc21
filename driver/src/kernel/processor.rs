//! Processors: how many there are, and which one runs the caller.

use core::ptr::null_mut;

use wdk_sys::ntddk::{KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCountEx};

/// Of all groups (docs: `KeQueryActiveProcessorCountEx`).
const ALL_PROCESSOR_GROUPS: u16 = 0xffff;

/// How many processors are active. PASSIVE_LEVEL.
pub fn count() -> usize {
    // SAFETY: has no preconditions.
    let count = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) };
    usize::try_from(count).unwrap_or(1)
}

/// The number of the processor that runs the caller, from 0; below DISPATCH_LEVEL it may be another
/// one at any time. Any IRQL.
pub fn current() -> usize {
    // SAFETY: null asks for the number only.
    let number = unsafe { KeGetCurrentProcessorNumberEx(null_mut()) };
    usize::try_from(number).unwrap_or(0)
}

//! Waiting, with the IRQL checked.
//!
//! The rule: a thread that holds a spin lock, or runs at DISPATCH_LEVEL for another reason, does
//! not wait.

use core::ffi::c_void;

use wdk_sys::{
    KEVENT, LARGE_INTEGER, NTSTATUS,
    ntddk::{KeDelayExecutionThread, KeSetEvent, KeWaitForSingleObject},
};

use crate::{
    irql::{APC_LEVEL, DISPATCH_LEVEL, Irql, require_at_most},
    preempt,
};

pub(crate) unsafe extern "system" fn single(
    object: *mut c_void,
    reason: i32,
    mode: i8,
    alertable: u8,
    timeout: *mut LARGE_INTEGER,
) -> NTSTATUS {
    // SAFETY: the driver's timeout, or null.
    require_at_most("KeWaitForSingleObject", unsafe { highest(timeout) });
    // SAFETY: the driver's arguments, unchanged.
    unsafe { KeWaitForSingleObject(object, reason, mode, alertable, timeout) }
}

pub(crate) unsafe extern "system" fn delay(
    mode: i8,
    alertable: u8,
    interval: *mut LARGE_INTEGER,
) -> NTSTATUS {
    require_at_most("KeDelayExecutionThread", APC_LEVEL);
    // SAFETY: the driver's arguments, unchanged.
    unsafe { KeDelayExecutionThread(mode, alertable, interval) }
}

pub(crate) unsafe extern "system" fn set_event(
    event: *mut KEVENT,
    increment: i32,
    wait: u8,
) -> i32 {
    require_at_most("KeSetEvent", if wait == 0 { DISPATCH_LEVEL } else { APC_LEVEL });
    // SAFETY: the driver's arguments, unchanged.
    let before = unsafe { KeSetEvent(event, increment, wait) };
    preempt::point();
    before
}

/// A wait with a timeout of zero does not block, and is allowed at DISPATCH_LEVEL.
///
/// # Safety
/// `timeout` is null or points at a timeout.
unsafe fn highest(timeout: *const LARGE_INTEGER) -> Irql {
    // SAFETY: the caller says so.
    let Some(timeout) = (unsafe { timeout.as_ref() }) else { return APC_LEVEL };
    // SAFETY: 64 plain bits.
    if unsafe { timeout.QuadPart } == 0 { DISPATCH_LEVEL } else { APC_LEVEL }
}

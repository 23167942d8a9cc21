//! A driver's entry point under Wine.
//!
//! The rule: Wine treats a native image that imports kernel32.dll or ntdll.dll as an ordinary DLL
//! and also calls its entry point as `DllMain`: at loading, at unloading, and for every thread.
//! Such a call succeeds and does nothing.

use core::ffi::c_void;

use wdk_sys::NTSTATUS;

/// The largest reason of a `DllMain` call. No string of the kernel is at such an address.
const LAST_REASON: usize = 3;

/// The return value for a `DllMain` call; `None` for a driver's own start.
pub fn answer_to_library_call(second_argument: *const c_void) -> Option<NTSTATUS> {
    (second_argument as usize <= LAST_REASON).then_some(1)
}

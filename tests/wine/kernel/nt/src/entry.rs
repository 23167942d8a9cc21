//! A driver's entry point under Wine.
//!
//! The rule: Wine takes a native image that imports kernel32.dll or ntdll.dll for an ordinary DLL and calls its entry
//! point as `DllMain`, too: at loading, at unloading, and for every thread. Such a call is answered with success and
//! does nothing.

use core::ffi::c_void;

use wdk_sys::NTSTATUS;

/// The largest reason that `DllMain` is called for. No string of the kernel's is at such an address.
const LAST_REASON: usize = 3;

/// What to answer a call that is `DllMain`'s; `None` for a driver's own start.
pub fn answer_to_library_call(second_argument: *const c_void) -> Option<NTSTATUS> {
    (second_argument as usize <= LAST_REASON).then_some(1)
}

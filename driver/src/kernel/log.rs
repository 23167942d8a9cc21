//! Lines for the kernel debugger.

use wdk_sys::ntddk::DbgPrint;

/// Prints a line. IRQL <= DISPATCH_LEVEL.
pub fn line(text: &core::ffi::CStr) {
    // SAFETY: the format takes one string, which ends with NUL.
    unsafe { DbgPrint(c"snapless: %s\n".as_ptr().cast(), text.as_ptr()) };
}

/// Prints a line with a number. IRQL <= DISPATCH_LEVEL.
pub fn number(text: &core::ffi::CStr, number: u64) {
    // SAFETY: the format takes a string, which ends with NUL, and a 64-bit number.
    unsafe { DbgPrint(c"snapless: %s 0x%llx\n".as_ptr().cast(), text.as_ptr(), number) };
}

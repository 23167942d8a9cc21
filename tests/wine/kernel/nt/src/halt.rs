//! A panic or a broken rule ends the process that plays the kernel at once.
//!
//! The rule: nothing runs after a violation, so a test that broke a rule cannot pass.

use core::panic::PanicInfo;

use crate::win32::{CURRENT_PROCESS, NtTerminateProcess};

/// The exit code of a device process that the rig ended.
pub const HALT_STATUS: i32 = 0xC000_0420_u32.cast_signed(); // STATUS_ASSERTION_FAILURE

/// Ends the process, as a bug check would end the machine.
pub fn halt() -> ! {
    loop {
        // SAFETY: the pseudo handle of the own process is always valid; the call does not return.
        let _ = unsafe { NtTerminateProcess(CURRENT_PROCESS, HALT_STATUS) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::println!("RIG DRIVER PANIC: {info}");
    halt()
}

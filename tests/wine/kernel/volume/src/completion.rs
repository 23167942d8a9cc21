//! Completion as a disk does it: at DISPATCH_LEVEL.
//!
//! The rule: the driver under test sees every completion of its reads and writes at the level that Windows would
//! deliver it at; the level is kept by the rig's KMDF, which knows it for each thread.

use nt::irp::Irp;
use wdk_sys::NTSTATUS;

#[link(name = "wdfldr.sys", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    /// Raises the calling thread to DISPATCH_LEVEL.
    fn SnaplessRigRaiseIrql() -> u8;
    /// Sets the calling thread's level back.
    fn SnaplessRigLowerIrql(level: u8);
    /// Tells the devices that registered for the system's shutdown.
    fn SnaplessRigShutdown() -> u32;
}

/// Completes a request at DISPATCH_LEVEL.
pub(crate) fn complete(irp: Irp, status: NTSTATUS, information: usize) {
    // SAFETY: has no preconditions.
    let level = unsafe { SnaplessRigRaiseIrql() };
    irp.complete(status, information);
    // SAFETY: the level from above.
    unsafe { SnaplessRigLowerIrql(level) };
}

/// Tells the devices that registered for the system's shutdown; says how many there were.
pub(crate) fn shut_down() -> u32 {
    // SAFETY: called at PASSIVE_LEVEL, on a thread of this driver.
    unsafe { SnaplessRigShutdown() }
}

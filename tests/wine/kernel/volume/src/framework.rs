//! Routines of the rig's KMDF: the level that a thread runs at, shutdown, allocation failures.
//!
//! The rule: the driver under test sees every completion of its reads and writes at DISPATCH_LEVEL,
//! as a disk completes them; the KMDF keeps the level of each thread.

use nt::irp::Irp;
use protocol::ioctl::{AllocationFailure, Memory};
use wdk_sys::NTSTATUS;

#[link(name = "wdfldr.sys", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "system" {
    safe fn SnaplessRigRaiseIrql() -> u8;
    safe fn SnaplessRigLowerIrql(level: u8);
    safe fn SnaplessRigShutdown() -> u32;
    safe fn SnaplessRigPower(is_awake: u32) -> u32;
    safe fn SnaplessRigFailAllocations(kinds: u32, nth: u64);
    fn SnaplessRigMemory(memory: *mut Memory);
}

/// Completes a request at DISPATCH_LEVEL.
pub(crate) fn complete(irp: Irp, status: NTSTATUS, information: usize) {
    let level = SnaplessRigRaiseIrql();
    irp.complete(status, information);
    SnaplessRigLowerIrql(level);
}

/// Notifies the devices that registered for the system's shutdown; returns how many there were.
pub(crate) fn shut_down() -> u32 {
    SnaplessRigShutdown()
}

/// Tells the drivers that registered for it that the system is about to sleep, or is awake again;
/// returns how many there were.
pub(crate) fn power(is_awake: u32) -> u32 {
    SnaplessRigPower(is_awake)
}

/// Makes allocations of the driver under test fail.
pub(crate) fn fail_allocations(failure: AllocationFailure) {
    SnaplessRigFailAllocations(failure.kinds, failure.nth.into());
}

/// The driver's allocations since then.
pub(crate) fn memory() -> Memory {
    let mut memory = Memory::default();
    // SAFETY: valid for a write.
    unsafe { SnaplessRigMemory(&raw mut memory) };
    memory
}

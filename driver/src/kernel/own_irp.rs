//! What every IRP of our own needs each time before it is sent.

use wdk_sys::ntddk::IoReuseIrp;
use wdk_sys::{_IO_STACK_LOCATION, PETHREAD, PIRP, STATUS_NOT_SUPPORTED};

use super::irp::current_location;

unsafe extern "C" {
    /// Imported by hand: the headers have it as an inline function.
    fn PsGetCurrentThread() -> PETHREAD;
}

/// Makes an IRP ready to be sent by this thread; returns the lower device's stack location, to be
/// filled in. All that was set in the IRP before is lost. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `IoAllocateIrp` returned the IRP for a device with at least one stack location; it is ours and
/// idle.
pub(super) unsafe fn begin(irp: PIRP) -> *mut _IO_STACK_LOCATION {
    // SAFETY: the caller vouches for the IRP.
    unsafe { IoReuseIrp(irp, STATUS_NOT_SUPPORTED) };
    // SAFETY: returns the calling thread.
    let thread = unsafe { PsGetCurrentThread() };
    // SAFETY: ours and idle.
    let tail = unsafe { &mut (*irp).Tail };
    // SAFETY: no driver has the IRP, so that the union holds the overlay.
    let overlay = unsafe { &mut tail.Overlay };
    // Drivers below look at the thread for its priority and its process.
    overlay.Thread = thread;
    // SAFETY: ours and idle.
    let past_the_last = unsafe { current_location(irp) };
    // SAFETY: allocated with at least one location, none of which is in use.
    unsafe { past_the_last.sub(1) }
}

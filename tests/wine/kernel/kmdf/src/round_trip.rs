//! Packets that are sent to a stack and waited for.
//!
//! The rule: a packet that was sent comes back to its sender, completed below, before the sender goes on.

use core::ffi::c_void;

use nt::{
    device::Device,
    event::Event,
    irp::Irp,
    status::{Failure, Result, check},
};
use wdk_sys::{
    NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_INSUFFICIENT_RESOURCES, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_NO_SUCH_DEVICE, STATUS_NOT_SUPPORTED,
    ntddk::{
        IoAllocateIrp, IoFreeIrp, IoGetAttachedDeviceReference, KeSetEvent, ObfDereferenceObject,
    },
};

/// Sends a packet on to the device below, as it is, and gets it back.
pub(crate) fn pass_down(mut irp: Irp, below: Device) -> Irp {
    irp.copy_current_location_to_next();
    call_and_wait(irp, below)
}

/// Sends a packet without parameters to the top of a device's stack.
pub(crate) fn send(device: PDEVICE_OBJECT, major: u8) -> Result {
    // SAFETY: the caller's device is live.
    let referenced = unsafe { IoGetAttachedDeviceReference(device) };
    // SAFETY: referenced until the end of this function.
    let top = unsafe { Device::from_raw(referenced) }.ok_or(Failure(STATUS_NO_SUCH_DEVICE))?;
    // SAFETY: referenced.
    let stack_size = unsafe { (*referenced).StackSize };
    // SAFETY: has no preconditions.
    let raw = unsafe { IoAllocateIrp(stack_size, 0) };
    if raw.is_null() {
        return Err(Failure(STATUS_INSUFFICIENT_RESOURCES));
    }
    // SAFETY: fresh, so ours.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.set_status(STATUS_NOT_SUPPORTED);
    irp.next_location_mut().MajorFunction = major;
    let irp = call_and_wait(irp, top);
    let status = irp.status();
    // SAFETY: ours, and not used again.
    unsafe { IoFreeIrp(irp.into_raw()) };
    // SAFETY: the reference taken above.
    unsafe { ObfDereferenceObject(referenced.cast()) };
    check(status)
}

fn call_and_wait(mut irp: Irp, device: Device) -> Irp {
    let raw = irp.raw();
    let done = Event::notification();
    // SAFETY: the event outlives the packet's round trip: it is waited for below.
    unsafe { irp.set_completion_routine(Some(take_back), done.as_ptr().cast()) };
    let _ = irp.call(device);
    done.wait();
    // SAFETY: the completion routine stopped completion, so the packet is the sender's again.
    unsafe { Irp::from_raw(raw) }
}

unsafe extern "C" fn take_back(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `call_and_wait` waits for this event before it drops it.
    unsafe { KeSetEvent(context.cast(), 0, 0) };
    STATUS_MORE_PROCESSING_REQUIRED
}

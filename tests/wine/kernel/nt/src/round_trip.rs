//! Packets that are sent and waited for.
//!
//! The rule: a packet that was sent comes back to its sender, completed below, before the sender
//! goes on; the sender frees it.

use core::ffi::c_void;

use wdk_sys::{
    NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_INSUFFICIENT_RESOURCES, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_NO_SUCH_DEVICE, STATUS_NOT_SUPPORTED,
    ntddk::{
        IoAllocateIrp, IoFreeIrp, IoGetAttachedDeviceReference, KeSetEvent, ObfDereferenceObject,
    },
};

use crate::{
    device::Device,
    event::Event,
    irp::Irp,
    status::{Failure, Result},
};

/// Sends a packet to a device and waits for it.
pub fn call(mut irp: Irp, device: Device) -> Irp {
    let raw = irp.raw();
    let done = Event::notification();
    // SAFETY: the event outlives the round trip: it is waited for below.
    unsafe { irp.set_completion_routine(Some(take_back), done.as_ptr().cast()) };
    let _ = irp.call(device);
    done.wait();
    // SAFETY: the completion routine stopped completion, so the packet is the sender's again.
    unsafe { Irp::from_raw(raw) }
}

/// Sends a packet to the top of a device's stack and waits for it. `make` fills the packet in, of
/// which the first `own` stack locations are the sender's; it gets the `DO_…` flags of the top
/// device.
///
/// # Safety
/// `device` is a live device object.
pub unsafe fn send(
    device: PDEVICE_OBJECT,
    own: i8,
    make: impl FnOnce(&mut Irp, u32) -> Result,
) -> Result<Irp> {
    // SAFETY: the caller says so.
    let referenced = unsafe { IoGetAttachedDeviceReference(device) };
    // SAFETY: referenced until the end of this function.
    let top = unsafe { Device::from_raw(referenced) }.ok_or(Failure(STATUS_NO_SUCH_DEVICE))?;
    // SAFETY: referenced.
    let stack_size = unsafe { (*referenced).StackSize };
    // SAFETY: the same.
    let flags = unsafe { (*referenced).Flags };
    // SAFETY: has no preconditions.
    let raw = unsafe { IoAllocateIrp(stack_size + own, 0) };
    let sent = if raw.is_null() {
        Err(Failure(STATUS_INSUFFICIENT_RESOURCES))
    } else {
        // SAFETY: fresh, so ours.
        let mut irp = unsafe { Irp::from_raw(raw) };
        irp.set_status(STATUS_NOT_SUPPORTED);
        match make(&mut irp, flags) {
            Ok(()) => Ok(call(irp, top)),
            Err(failure) => {
                free(irp);
                Err(failure)
            }
        }
    };
    // SAFETY: the reference taken above.
    unsafe { ObfDereferenceObject(referenced.cast()) };
    sent
}

/// Frees a packet of [`send`].
pub fn free(irp: Irp) {
    // SAFETY: the sender's own, and not used again.
    unsafe { IoFreeIrp(irp.into_raw()) };
}

unsafe extern "C" fn take_back(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `call` waits for this event before it drops it.
    unsafe { KeSetEvent(context.cast(), 0, 0) };
    STATUS_MORE_PROCESSING_REQUIRED
}

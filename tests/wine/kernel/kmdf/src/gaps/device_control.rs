//! `IoBuildDeviceIoControlRequest`, for buffered codes as the kernel does it.
//!
//! The rule: a buffered request gets a system buffer of its own, of the larger of both lengths; the
//! answer is copied out when the request has been completed. (Wine hands the caller's input buffer
//! down and copies nothing.)
//!
//! The packet has one stack location more than the device needs: the rig's own, above the caller's
//! completion routine, so that the rig sees the completion last.

use alloc::{boxed::Box, vec, vec::Vec};
use core::ffi::c_void;

use nt::irp::Irp;
use wdk_sys::{
    _MODE::KernelMode,
    IO_STATUS_BLOCK, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, KEVENT,
    METHOD_BUFFERED, NTSTATUS, PDEVICE_OBJECT, PIRP, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, STATUS_SUCCESS,
    ntddk::{IoAllocateIrp, IoBuildDeviceIoControlRequest},
};

use crate::{
    allocation_failure::{self, Allocation},
    irql::{PASSIVE_LEVEL, require_at_most},
};

/// The state that completion needs to copy the answer.
struct Answer {
    system_buffer: Vec<u64>,
    out: *mut u8,
    out_length: usize,
}

#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
pub(crate) unsafe extern "system" fn build(
    code: u32,
    device: PDEVICE_OBJECT,
    input: *mut c_void,
    input_length: u32,
    out: *mut c_void,
    out_length: u32,
    internal: u8,
    event: *mut KEVENT,
    outcome: *mut IO_STATUS_BLOCK,
) -> PIRP {
    require_at_most("IoBuildDeviceIoControlRequest", PASSIVE_LEVEL);
    if allocation_failure::fails(Allocation::Kernel) {
        return core::ptr::null_mut();
    }
    if code & 3 != METHOD_BUFFERED {
        // SAFETY: the driver's arguments, unchanged: Wine builds the MDL that the other methods
        // need.
        return unsafe {
            IoBuildDeviceIoControlRequest(
                code,
                device,
                input,
                input_length,
                out,
                out_length,
                internal,
                event,
                outcome,
            )
        };
    }
    // SAFETY: the driver's device object.
    let stack_size = unsafe { (*device).StackSize };
    // SAFETY: has no preconditions.
    let raw = unsafe { IoAllocateIrp(stack_size + 1, 0) };
    if raw.is_null() {
        return raw;
    }
    let (input_length, out_length) = (input_length as usize, out_length as usize);
    let mut system_buffer = vec![0_u64; input_length.max(out_length).div_ceil(8)];
    if input_length > 0 {
        let to = system_buffer.as_mut_ptr().cast::<u8>();
        // SAFETY: the driver's input of that length; the system buffer has room.
        unsafe { core::ptr::copy_nonoverlapping(input.cast::<u8>(), to, input_length) };
    }
    let shared = if system_buffer.is_empty() {
        core::ptr::null_mut()
    } else {
        system_buffer.as_mut_ptr().cast()
    };
    let answer = Box::new(Answer { system_buffer, out: out.cast(), out_length });
    // SAFETY: fresh, so ours.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.advance_location();
    let own = irp.stack_mut();
    own.CompletionRoutine = Some(hand_over);
    own.Context = Box::into_raw(answer).cast();
    own.Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    // SAFETY: a location of the fresh packet.
    let next = unsafe { &mut *irp.next_location() };
    next.MajorFunction = if internal == 0 {
        IRP_MJ_DEVICE_CONTROL as u8
    } else {
        IRP_MJ_INTERNAL_DEVICE_CONTROL as u8
    };
    next.Parameters.DeviceIoControl.IoControlCode = code;
    next.Parameters.DeviceIoControl.InputBufferLength = input_length as u32;
    next.Parameters.DeviceIoControl.OutputBufferLength = out_length as u32;
    irp.set_system_buffer(shared);
    let raw = irp.into_raw();
    // SAFETY: fresh, so ours.
    let packet = unsafe { &mut *raw };
    packet.RequestorMode = KernelMode as i8;
    packet.UserBuffer = out;
    packet.UserIosb = outcome;
    packet.UserEvent = event;
    raw
}

unsafe extern "C" fn hand_over(
    _device: PDEVICE_OBJECT,
    raw: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `build` boxed this for this call.
    let answer = unsafe { Box::from_raw(context.cast::<Answer>()) };
    // SAFETY: the packet is live for the length of this call.
    let mut irp = unsafe { Irp::from_raw(raw) };
    // Warnings such as STATUS_BUFFER_OVERFLOW carry data, errors do not.
    let has_data = (irp.status().cast_unsigned() >> 30) != 3;
    let length = irp.information().min(answer.out_length);
    // The buffer is dropped with `answer`.
    irp.set_system_buffer(core::ptr::null_mut());
    let _ = irp.into_raw();
    if has_data && length > 0 {
        let from = answer.system_buffer.as_ptr().cast::<u8>();
        // SAFETY: both buffers have at least the output's length.
        unsafe { core::ptr::copy_nonoverlapping(from, answer.out, length) };
    }
    STATUS_SUCCESS
}

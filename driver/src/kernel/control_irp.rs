//! A device control request of our own, made beforehand and sent again and again with another input.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::ntddk::{IoAllocateIrp, IoFreeIrp, IoReuseIrp, IofCallDriver};
use wdk_sys::{IRP, IRP_MJ_DEVICE_CONTROL, NTSTATUS, PFILE_OBJECT, STATUS_NOT_SUPPORTED, ULONG};

use super::irp::{CompletionRoutine, current_location, set_completion};
use super::low_byte;
use super::lower::LowerDevice;

/// An IRP and the `N` bytes of its buffered input.
pub struct ControlIrp<const N: usize> {
    device: LowerDevice,
    irp: NonNull<IRP>,
    input: [u8; N],
}

// SAFETY: whoever has the value uses the IRP alone.
unsafe impl<const N: usize> Send for ControlIrp<N> {}

impl<const N: usize> ControlIrp<N> {
    /// Makes a request to `device`; `None` if there is no memory. IRQL <= DISPATCH_LEVEL.
    pub fn new(device: LowerDevice) -> Option<Self> {
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(device.stack_size(), 0) })?;
        Some(Self { device, irp, input: [0; N] })
    }

    /// Sends `input` with control code `code`, on behalf of whoever opened `file`. `routine` is called when the
    /// request is over, maybe before this returns; it has to keep the IRP (`STATUS_MORE_PROCESSING_REQUIRED`).
    /// IRQL <= DISPATCH_LEVEL, or as the device asks for.
    ///
    /// # Safety
    /// `this` stays where it is, and nobody else uses it, until `routine` has been called. No request of it is
    /// under way.
    pub unsafe fn send(
        this: NonNull<Self>,
        code: ULONG,
        input: [u8; N],
        file: PFILE_OBJECT,
        routine: CompletionRoutine,
        context: *mut c_void,
    ) {
        // SAFETY: the caller's promise.
        let request = unsafe { &mut *this.as_ptr() };
        request.input = input;
        let (irp, device) = (request.irp.as_ptr(), request.device);
        // SAFETY: the last request with this IRP has completed.
        unsafe { IoReuseIrp(irp, STATUS_NOT_SUPPORTED) };
        // SAFETY: ours and idle.
        let associated = unsafe { &mut (*irp).AssociatedIrp };
        associated.SystemBuffer = request.input.as_mut_ptr().cast();
        // SAFETY: ours and idle.
        let past_the_last = unsafe { current_location(irp) };
        // SAFETY: allocated with at least one location, none of which is in use.
        let location = unsafe { past_the_last.sub(1) };
        // SAFETY: as above.
        let next = unsafe { &mut *location };
        next.MajorFunction = low_byte(IRP_MJ_DEVICE_CONTROL);
        next.FileObject = file;
        next.Parameters.DeviceIoControl.IoControlCode = code;
        next.Parameters.DeviceIoControl.InputBufferLength = ULONG::try_from(N).unwrap_or(0);
        next.Parameters.DeviceIoControl.OutputBufferLength = 0;
        // SAFETY: the next location is set up.
        unsafe { set_completion(location, routine, context) };
        // SAFETY: as above. What it returns is for nobody: the routine is called whatever it is.
        let _ = unsafe { IofCallDriver(device.as_ptr(), irp) };
    }

    /// How the last request ended. IRQL <= DISPATCH_LEVEL.
    pub fn status(&self) -> NTSTATUS {
        // SAFETY: completed, and kept by its completion routine.
        let block = unsafe { (*self.irp.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        unsafe { block.__bindgen_anon_1.Status }
    }
}

impl<const N: usize> Drop for ControlIrp<N> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no request is under way.
        unsafe { IoFreeIrp(self.irp.as_ptr()) };
    }
}

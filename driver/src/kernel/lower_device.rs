//! The lower device: what its device object says, and synchronous IOCTLs to it.

use core::ptr::{NonNull, null, null_mut};

use snapless_driver_logic::protection::DeviceFacts;
use wdk_sys::ntddk::{IoBuildDeviceIoControlRequest, IofCallDriver};
use wdk_sys::{
    IO_STATUS_BLOCK, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_PENDING, ULONG,
};

use super::event::Event;

/// The device that a filter is attached to.
#[derive(Clone, Copy)]
pub struct LowerDevice(NonNull<wdk_sys::DEVICE_OBJECT>);

// SAFETY: a device object may be sent requests from any thread.
unsafe impl Send for LowerDevice {}
// SAFETY: as above.
unsafe impl Sync for LowerDevice {}

impl LowerDevice {
    /// Wraps the device below a filter. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The filter stays attached to it as long as the result is used.
    pub unsafe fn new(device: PDEVICE_OBJECT) -> Option<Self> {
        NonNull::new(device).map(Self)
    }

    /// The device object. IRQL <= DISPATCH_LEVEL.
    pub(super) fn as_ptr(self) -> PDEVICE_OBJECT {
        self.0.as_ptr()
    }

    /// Stack locations that an IRP to it needs. IRQL <= DISPATCH_LEVEL.
    pub fn stack_size(self) -> i8 {
        // SAFETY: attached to, so it exists.
        unsafe { (*self.0.as_ptr()).StackSize }
    }

    /// Its `FILE_DEVICE_…` type, its `FILE_…` characteristics and its `DO_…` flags.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn facts(self) -> DeviceFacts {
        // SAFETY: attached to, so it exists.
        let device = unsafe { self.0.as_ref() };
        DeviceFacts {
            device_type: device.DeviceType,
            characteristics: device.Characteristics,
            flags: device.Flags,
        }
    }

    /// Its `DO_…` flags. IRQL <= DISPATCH_LEVEL.
    pub fn flags(self) -> u32 {
        // SAFETY: attached to, so it exists.
        unsafe { (*self.0.as_ptr()).Flags }
    }

    /// Sends an IOCTL and waits for it; returns the number of bytes in `output`. PASSIVE_LEVEL.
    pub fn ioctl(
        self,
        control_code: ULONG,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, NTSTATUS> {
        let event = Event::new(false).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let mut outcome = IO_STATUS_BLOCK::default();
        let input_len = ULONG::try_from(input.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let output_len = ULONG::try_from(output.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let from = if input.is_empty() { null() } else { input.as_ptr() };
        let to = if output.is_empty() { null_mut() } else { output.as_mut_ptr() };
        // SAFETY: buffers, event and status block outlive the request: this function waits for it.
        // The input is only read.
        let irp = unsafe {
            IoBuildDeviceIoControlRequest(
                control_code,
                self.as_ptr(),
                from.cast_mut().cast(),
                input_len,
                to.cast(),
                output_len,
                0,
                event.raw(),
                &raw mut outcome,
            )
        };
        if irp.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        // SAFETY: built above; the I/O manager frees it on completion.
        let mut status = unsafe { IofCallDriver(self.as_ptr(), irp) };
        if status == STATUS_PENDING {
            event.wait();
            // SAFETY: on completion the union holds the status.
            status = unsafe { outcome.__bindgen_anon_1.Status };
        }
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        Ok(usize::try_from(outcome.Information).unwrap_or(0).min(output.len()))
    }
}

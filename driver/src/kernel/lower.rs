//! Requests of our own to the device below: reads of blocks, and questions about the volume.

use core::ffi::c_void;
use core::ptr::{NonNull, null, null_mut};

use snapless_driver_logic::protection::DeviceFacts;
use wdk_sys::ntddk::{
    IoAllocateIrp, IoBuildDeviceIoControlRequest, IoFreeIrp, IoReuseIrp, IofCallDriver,
};
use wdk_sys::{
    DO_DIRECT_IO, IO_STATUS_BLOCK, IRP, IRP_MJ_READ, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_NOT_SUPPORTED, STATUS_PENDING, ULONG,
};

use super::event::Event;
use super::irp::{current_location, set_completion};
use super::low_byte;
use super::mdl::{BufferMdl, WindowMdl};

/// The device that we are attached to.
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

    /// For sending an IRP to. IRQL <= DISPATCH_LEVEL.
    pub fn as_ptr(self) -> PDEVICE_OBJECT {
        self.0.as_ptr()
    }

    /// Stack locations that an IRP to it needs. IRQL <= DISPATCH_LEVEL.
    pub fn stack_size(self) -> i8 {
        // SAFETY: attached to, so it exists.
        unsafe { (*self.0.as_ptr()).StackSize }
    }

    /// What it says of itself: its `FILE_DEVICE_…` type, its `FILE_…` characteristics, its `DO_…` flags.
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

    /// Asks it a question; returns the length of its answer in bytes. PASSIVE_LEVEL.
    pub fn query(
        self,
        control_code: ULONG,
        question: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, NTSTATUS> {
        let event = Event::new(false).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let mut outcome = IO_STATUS_BLOCK::default();
        let room = ULONG::try_from(answer.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let len = ULONG::try_from(question.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let input = if question.is_empty() { null() } else { question.as_ptr() };
        let output = if answer.is_empty() { null_mut() } else { answer.as_mut_ptr() };
        // SAFETY: buffers, event and status block outlive the request: this function waits for it. The input is
        // only read.
        let irp = unsafe {
            IoBuildDeviceIoControlRequest(
                control_code,
                self.as_ptr(),
                input.cast_mut().cast(),
                len,
                output.cast(),
                room,
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
        Ok(usize::try_from(outcome.Information).unwrap_or(0).min(answer.len()))
    }
}

/// Reads from the device below, with an IRP and an MDL made beforehand (rule BOUND).
pub struct Reader {
    device: LowerDevice,
    irp: NonNull<IRP>,
    window: WindowMdl,
    /// The device takes MDLs; else it takes system buffers.
    direct: bool,
    done: Event,
}

// SAFETY: whoever has the value uses IRP and MDL alone.
unsafe impl Send for Reader {}

impl Reader {
    /// Makes a reader of at most `longest` bytes at a time into what `whole` describes. IRQL <= DISPATCH_LEVEL.
    pub fn new(device: LowerDevice, whole: &BufferMdl, longest: usize) -> Option<Self> {
        let window = WindowMdl::new(whole, longest)?;
        let done = Event::new(false)?;
        let stack_size = device.stack_size();
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(stack_size, 0) })?;
        let direct = device.flags() & DO_DIRECT_IO != 0;
        Some(Self { device, irp, window, direct, done })
    }

    /// Reads `len` bytes at `volume_offset` to `memory_offset` of the buffer. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The status that the disk gave; `STATUS_INVALID_PARAMETER` if the bytes do not fit;
    /// a read that came back short counts as failed.
    pub fn read(
        &mut self,
        whole: &BufferMdl,
        volume_offset: u64,
        memory_offset: u64,
        len: u64,
    ) -> Result<(), NTSTATUS> {
        let list = self.window.show(whole, memory_offset, len).ok_or(STATUS_INVALID_PARAMETER)?;
        let buffer = whole.address(memory_offset, len).ok_or(STATUS_INVALID_PARAMETER)?;
        let length = ULONG::try_from(len).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let offset = i64::try_from(volume_offset).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let irp = self.irp.as_ptr();
        // SAFETY: the last request with this IRP has completed.
        unsafe { IoReuseIrp(irp, STATUS_NOT_SUPPORTED) };
        // SAFETY: ours and idle.
        let request = unsafe { &mut *irp };
        if self.direct {
            request.MdlAddress = list;
        } else {
            request.AssociatedIrp.SystemBuffer = buffer.as_ptr().cast();
        }
        // SAFETY: ours and idle.
        let past_the_last = unsafe { current_location(irp) };
        // SAFETY: allocated with at least one location, none of which is in use.
        let location = unsafe { past_the_last.sub(1) };
        // SAFETY: as above.
        let next = unsafe { &mut *location };
        next.MajorFunction = low_byte(IRP_MJ_READ);
        next.Parameters.Read.Length = length;
        next.Parameters.Read.Key = 0;
        next.Parameters.Read.ByteOffset.QuadPart = offset;
        let context = core::ptr::from_ref(&self.done).cast_mut().cast();
        // SAFETY: this function waits for the routine, so the event outlives the request.
        unsafe { set_completion(location, read_completed, context) };
        // SAFETY: set up above. The completion routine keeps the IRP from being freed.
        let _ = unsafe { IofCallDriver(self.device.as_ptr(), irp) };
        self.done.wait();
        // SAFETY: completed, and kept by the completion routine.
        let outcome = unsafe { (*irp).IoStatus };
        // SAFETY: ours again.
        let request = unsafe { &mut *irp };
        // Nobody must find the MDL there when the IRP is freed, or the buffer.
        request.MdlAddress = null_mut();
        request.AssociatedIrp.SystemBuffer = null_mut();
        // SAFETY: on completion the union holds the status.
        let status = unsafe { outcome.__bindgen_anon_1.Status };
        match (NT_SUCCESS(status), outcome.Information == len) {
            (true, true) => Ok(()),
            (true, false) => Err(STATUS_INVALID_PARAMETER),
            (false, _) => Err(status),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no request is under way, since `read` waits.
        unsafe { IoFreeIrp(self.irp.as_ptr()) };
    }
}

/// IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn read_completed(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `Reader::read` passed its event and waits for it.
    if let Some(done) = unsafe { context.cast::<Event>().as_ref() } {
        done.set();
    }
    // The IRP stays with the reader.
    STATUS_MORE_PROCESSING_REQUIRED
}

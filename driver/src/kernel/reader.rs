//! Reads of blocks from the lower device.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdk_sys::ntddk::{IoAllocateIrp, IoFreeIrp, IoReuseIrp, IofCallDriver};
use wdk_sys::{
    DO_DIRECT_IO, IRP, IRP_MJ_READ, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP,
    STATUS_INVALID_PARAMETER, STATUS_MORE_PROCESSING_REQUIRED, STATUS_NOT_SUPPORTED, ULONG,
};

use super::event::Event;
use super::irp::{current_location, set_completion};
use super::low_byte;
use super::lower_device::LowerDevice;
use super::mdl::{BufferMdl, WindowMdl};

/// Reads with an IRP and an MDL that are allocated beforehand (rule BOUND, rules.md#bound).
pub struct Reader {
    device: LowerDevice,
    irp: NonNull<IRP>,
    window: WindowMdl,
    /// The device takes MDLs; else it takes system buffers.
    direct: bool,
    done: Event,
}

// SAFETY: the owner of the value is the only one to use IRP and MDL.
unsafe impl Send for Reader {}

impl Reader {
    /// A reader of at most `longest` bytes at a time into what `whole` describes. IRQL <=
    /// DISPATCH_LEVEL.
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
    /// The disk's status; `STATUS_INVALID_PARAMETER` if the bytes do not fit, or fewer of them were
    /// read.
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
        // The IRP is freed or used again without them.
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

/// Completion routine of a read. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn read_completed(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `Reader::read` passed its event and waits for it.
    if let Some(done) = unsafe { context.cast::<Event>().as_ref() } {
        done.set();
    }
    // The IRP belongs to the reader.
    STATUS_MORE_PROCESSING_REQUIRED
}

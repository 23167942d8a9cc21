//! A write's IRP while it is ours, and the stack locations around us.
//!
//! The header macros (`IoGetCurrentIrpStackLocation`, `IoMarkIrpPending`, …) have no bindings; these are
//! their documented effects.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use wdk_sys::ntddk::{
    FsRtlIsPagingFile, IoAcquireCancelSpinLock, IoReleaseCancelSpinLock, IofCallDriver,
    IofCompleteRequest,
};
use wdk_sys::{
    _IO_STACK_LOCATION, APC_LEVEL, DO_BUFFERED_IO, DO_DIRECT_IO, IO_STACK_LOCATION, IRP,
    IRP_PAGING_IO, KIRQL, METHOD_BUFFERED, NTSTATUS, PDEVICE_OBJECT, PFILE_OBJECT, PIRP,
    SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED,
};

use super::{low_byte, mdl};

unsafe extern "C" {
    /// Imported by hand: some headers have it as a macro.
    fn KeGetCurrentIrql() -> KIRQL;
}

/// A completion routine, as the I/O manager calls it.
pub type CompletionRoutine = unsafe extern "C" fn(PDEVICE_OBJECT, PIRP, *mut c_void) -> NTSTATUS;

/// A cancel routine, as the I/O manager calls it: at DISPATCH_LEVEL, with the cancel spin lock held.
pub type CancelRoutine = unsafe extern "C" fn(PDEVICE_OBJECT, PIRP);

/// An IRP that this driver owns: it was dispatched to us, and we have neither passed it on nor completed it.
#[must_use = "an IRP that is neither sent nor completed hangs its caller"]
#[derive(Debug)]
pub struct OwnedIrp(NonNull<IRP>);

// SAFETY: an IRP belongs to no thread; whoever has the value owns it.
unsafe impl Send for OwnedIrp {}

impl OwnedIrp {
    /// Takes an IRP over. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The IRP has been dispatched to this driver and nobody else uses it.
    pub unsafe fn new(irp: PIRP) -> Option<Self> {
        NonNull::new(irp).map(Self)
    }

    /// First byte and number of bytes of a write or read. IRQL <= DISPATCH_LEVEL.
    pub fn extent(&self) -> (i64, u32) {
        // SAFETY: our stack location is valid while we own the IRP.
        let parameters = unsafe { (*self.current()).Parameters };
        // SAFETY: reads and writes share this layout, and the IRP is one of the two.
        let write = unsafe { parameters.Write };
        // SAFETY: every bit pattern of the union is a whole number.
        (unsafe { write.ByteOffset.QuadPart }, write.Length)
    }

    /// The system address of the IRP's data, if it has at least `len` bytes. IRQL <= DISPATCH_LEVEL.
    pub fn payload(&self, device_flags: u32, len: usize) -> Option<NonNull<u8>> {
        let irp = self.0.as_ptr();
        // SAFETY: we own the IRP.
        let list = unsafe { (*irp).MdlAddress };
        if !list.is_null() {
            // SAFETY: the IRP's own MDL, whose pages its creator has locked.
            let (address, available) = unsafe { mdl::system_address(list) }?;
            return (available >= len).then_some(address);
        }
        if device_flags & DO_BUFFERED_IO == 0 || device_flags & DO_DIRECT_IO != 0 {
            return None;
        }
        // SAFETY: we own the IRP.
        let buffer = unsafe { (*irp).AssociatedIrp };
        // SAFETY: for buffered I/O the union holds the system buffer, as long as the request.
        NonNull::new(unsafe { buffer.SystemBuffer }.cast())
    }

    /// True for a write to a paging file, which must never wait. IRQL <= DISPATCH_LEVEL.
    ///
    /// At DISPATCH_LEVEL nobody may be asked whose write it is: there every paging write is one if the volume has
    /// such a file.
    pub fn is_paging_file(&self, volume_has_one: bool) -> bool {
        // SAFETY: we own the IRP.
        let flags = unsafe { (*self.0.as_ptr()).Flags };
        // SAFETY: our stack location is valid while we own the IRP.
        let file = unsafe { (*self.current()).FileObject };
        if flags & IRP_PAGING_IO == 0 || file.is_null() {
            return false;
        }
        // SAFETY: has no preconditions.
        if unsafe { KeGetCurrentIrql() } > low_byte(APC_LEVEL) {
            return volume_has_one;
        }
        // SAFETY: at IRQL <= APC_LEVEL; the IRP references its file object.
        unsafe { FsRtlIsPagingFile(file) != 0 }
    }

    /// Marks the IRP pending: from here on its dispatch routine has to return `STATUS_PENDING`.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn mark_pending(&self) {
        // SAFETY: our stack location is valid while we own the IRP.
        let location = unsafe { &mut *self.current() };
        location.Control |= low_byte(SL_PENDING_RETURNED);
    }

    /// The control code of a device control request. IRQL <= DISPATCH_LEVEL.
    pub fn control_code(&self) -> u32 {
        // SAFETY: our stack location is valid while we own the IRP.
        let parameters = unsafe { (*self.current()).Parameters };
        // SAFETY: the IRP is a device control request.
        unsafe { parameters.DeviceIoControl }.IoControlCode
    }

    /// The input of a buffered device control request; empty for any other. IRQL <= DISPATCH_LEVEL.
    pub fn control_input(&self) -> &[u8] {
        // SAFETY: our stack location is valid while we own the IRP.
        let parameters = unsafe { (*self.current()).Parameters };
        // SAFETY: the IRP is a device control request.
        let control = unsafe { parameters.DeviceIoControl };
        // SAFETY: we own the IRP.
        let buffer = unsafe { (*self.0.as_ptr()).AssociatedIrp };
        // SAFETY: a union of pointers and a number; looked at only if it is a pointer to a buffer.
        let buffer = unsafe { buffer.SystemBuffer };
        let len = usize::try_from(control.InputBufferLength).unwrap_or(0);
        if control.IoControlCode & 3 != METHOD_BUFFERED || buffer.is_null() {
            return &[];
        }
        // SAFETY: the I/O manager copied `InputBufferLength` bytes there, for the drivers of the stack alone.
        unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), len) }
    }

    /// The file object that the request came through, which the IRP keeps alive; may be null.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn file(&self) -> PFILE_OBJECT {
        // SAFETY: our stack location is valid while we own the IRP.
        unsafe { (*self.current()).FileObject }
    }

    /// Our device object that the request was sent to. IRQL <= DISPATCH_LEVEL.
    pub fn device(&self) -> PDEVICE_OBJECT {
        // SAFETY: our stack location is valid while we own the IRP.
        unsafe { (*self.current()).DeviceObject }
    }

    /// True for this very IRP, which need not be alive. IRQL <= DISPATCH_LEVEL.
    pub fn is(&self, irp: PIRP) -> bool {
        core::ptr::eq(self.0.as_ptr(), irp)
    }

    /// Has `routine` called when the IRP is cancelled; false if it has been cancelled already. Either way
    /// [`OwnedIrp::end_cancel`] has to follow before it is sent or completed. Any IRQL.
    pub fn let_cancel(&self, routine: CancelRoutine) -> bool {
        // In this order, against the I/O manager's: it marks the IRP first and looks for a routine then.
        self.cancel_routine().swap(routine as *mut c_void, Ordering::SeqCst);
        // SAFETY: we own the IRP.
        let cancelled = unsafe { &raw mut (*self.0.as_ptr()).Cancel };
        // SAFETY: the flag is a byte, which the I/O manager writes meanwhile.
        let cancelled = unsafe { AtomicU8::from_ptr(cancelled) };
        cancelled.load(Ordering::SeqCst) == 0
    }

    /// Takes the routine of [`OwnedIrp::let_cancel`] back: when this returns, it neither runs nor will run.
    /// IRQL <= DISPATCH_LEVEL; the caller holds no lock that the routine takes.
    pub fn end_cancel(&self) {
        if !self.cancel_routine().swap(null_mut(), Ordering::SeqCst).is_null() {
            return;
        }
        // The I/O manager has taken it and calls it with the cancel lock held: once the lock is free, it is over.
        let mut level = 0;
        // SAFETY: callable at IRQL <= DISPATCH_LEVEL.
        unsafe { IoAcquireCancelSpinLock(&raw mut level) };
        // SAFETY: acquired above, with that level.
        unsafe { IoReleaseCancelSpinLock(level) };
    }

    fn cancel_routine(&self) -> &AtomicPtr<c_void> {
        // SAFETY: we own the IRP.
        let routine = unsafe { &raw mut (*self.0.as_ptr()).CancelRoutine };
        // SAFETY: an optional function pointer is a pointer; the I/O manager exchanges it atomically too.
        unsafe { AtomicPtr::from_ptr(routine.cast()) }
    }

    /// Completes the IRP with `status`. If it was marked pending, the result is for nobody. IRQL <= DISPATCH_LEVEL.
    pub fn complete(self, status: NTSTATUS) -> NTSTATUS {
        let irp = self.0.as_ptr();
        // SAFETY: we own the IRP.
        let outcome = unsafe { &mut (*irp).IoStatus };
        outcome.__bindgen_anon_1.Status = status;
        outcome.Information = 0;
        // SAFETY: we own the IRP and forget it.
        unsafe { IofCompleteRequest(irp, 0) };
        status
    }

    /// Sends the IRP to `device` as it came to us, and has `routine` called when it completes.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn send(
        self,
        device: PDEVICE_OBJECT,
        routine: CompletionRoutine,
        context: *mut c_void,
    ) -> NTSTATUS {
        let irp = self.0.as_ptr();
        // SAFETY: our stack location is valid while we own the IRP.
        let mut next = unsafe { *self.current() };
        next.Control = 0;
        next.CompletionRoutine = None;
        next.Context = null_mut();
        // SAFETY: IRPs that reach a filter have a location for each device below it.
        let location = unsafe { self.current().sub(1) };
        // SAFETY: as above.
        unsafe { location.write(next) };
        // SAFETY: `location` is the next one, and stays ours until the IRP is sent.
        unsafe { set_completion(location, routine, context) };
        // SAFETY: the next location is set up; after this the IRP is not ours.
        unsafe { IofCallDriver(device, irp) }
    }

    fn current(&self) -> *mut IO_STACK_LOCATION {
        // SAFETY: we own the IRP.
        unsafe { current_location(self.0.as_ptr()) }
    }
}

/// Gives our stack location up, so that the next driver gets it as it came to us: what
/// `IoSkipCurrentIrpStackLocation` does, which is a macro. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// The IRP has been dispatched to this driver, which passes it on right after.
pub unsafe fn skip_location(irp: PIRP) {
    // SAFETY: the caller owns the IRP.
    let irp = unsafe { &mut *irp };
    irp.CurrentLocation = irp.CurrentLocation.wrapping_add(1);
    // SAFETY: outside of completion ports the overlay is the union's active part.
    let overlay = unsafe { &mut irp.Tail.Overlay.__bindgen_anon_2 };
    // SAFETY: as above.
    let current = unsafe { &mut overlay.__bindgen_anon_1.CurrentStackLocation };
    *current = current.wrapping_add(1);
}

/// Lets the cancel lock go, which a cancel routine is called with: after this the IRP may be gone.
/// IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// Called once from a cancel routine, with its IRP.
pub unsafe fn release_cancel_lock(irp: PIRP) {
    // SAFETY: the IRP lives until the lock is free: see `OwnedIrp::end_cancel`.
    let level = unsafe { (*irp).CancelIrql };
    // SAFETY: the I/O manager acquired it for this call.
    unsafe { IoReleaseCancelSpinLock(level) };
}

/// How an IRP ended, for a completion routine.
pub struct Completed(NonNull<IRP>);

impl Completed {
    /// Looks at the IRP that a completion routine was called with. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called from a completion routine, with its IRP.
    pub unsafe fn new(irp: PIRP) -> Option<Self> {
        NonNull::new(irp).map(Self)
    }

    /// Its final status. IRQL <= DISPATCH_LEVEL.
    pub fn status(&self) -> NTSTATUS {
        // SAFETY: the IRP is valid until the completion routine returns.
        let block = unsafe { (*self.0.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        unsafe { block.__bindgen_anon_1.Status }
    }

    /// The first eight bytes of a buffered answer, if it has that many. IRQL <= DISPATCH_LEVEL.
    pub fn answer(&self) -> Option<u64> {
        // SAFETY: the IRP is valid until the completion routine returns.
        let irp = unsafe { self.0.as_ref() };
        let (block, buffer) = (irp.IoStatus, irp.AssociatedIrp);
        // SAFETY: for a buffered request the union holds the system buffer.
        let buffer = unsafe { buffer.SystemBuffer };
        if block.Information < 8 || buffer.is_null() {
            return None;
        }
        // SAFETY: the answer is in the buffer and has at least eight bytes.
        Some(u64::from_le_bytes(unsafe { buffer.cast::<[u8; 8]>().read_unaligned() }))
    }

    /// Passes the mark "pending" up, as a completion routine that lets completion go on has to.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn propagate_pending(&self) {
        // SAFETY: the IRP is valid until the completion routine returns.
        if unsafe { (*self.0.as_ptr()).PendingReturned } == 0 {
            return;
        }
        // SAFETY: as above.
        let location = unsafe { current_location(self.0.as_ptr()) };
        // SAFETY: the routine was set for our location, which is the current one now.
        unsafe { (*location).Control |= low_byte(SL_PENDING_RETURNED) };
    }
}

/// The stack location that is current: our own, while the IRP is ours. IRQL <= DISPATCH_LEVEL.
pub(super) unsafe fn current_location(irp: PIRP) -> *mut _IO_STACK_LOCATION {
    // SAFETY: the caller owns the IRP or is in its completion routine.
    let tail = unsafe { &(*irp).Tail };
    // SAFETY: outside of completion ports the overlay is the union's active part.
    let overlay = unsafe { &tail.Overlay.__bindgen_anon_2 };
    // SAFETY: as above.
    unsafe { overlay.__bindgen_anon_1.CurrentStackLocation }
}

/// Has `routine` called when the IRP of `location` completes, however it ends. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `location` belongs to an IRP that the caller is about to send.
pub(super) unsafe fn set_completion(
    location: *mut IO_STACK_LOCATION,
    routine: CompletionRoutine,
    context: *mut c_void,
) {
    // SAFETY: the caller's own location.
    let location = unsafe { &mut *location };
    location.CompletionRoutine = Some(routine);
    location.Context = context;
    location.Control = low_byte(SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL);
}

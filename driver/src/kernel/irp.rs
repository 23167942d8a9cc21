//! IRPs that were dispatched to a filter, from their preprocess callback to their completion
//! routine.
//!
//! An IRP is a value: [`OwnedIrp`] is sent or completed once. The header macros
//! (`IoGetCurrentIrpStackLocation`, `IoMarkIrpPending`, …) have no bindings; this module has their
//! documented effects.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use snapless_driver_logic::special_files::{FileId, Kind, Origin, Usage};
use wdk_sys::ntddk::{
    IoAcquireCancelSpinLock, IoReleaseCancelSpinLock, IofCallDriver, IofCompleteRequest,
};
use wdk_sys::{
    _IO_STACK_LOCATION, DO_BUFFERED_IO, DO_DIRECT_IO, IO_STACK_LOCATION, IRP, IRP_ASSOCIATED_IRP,
    IRP_MJ_WRITE, IRP_PAGING_IO, IRP_SYNCHRONOUS_PAGING_IO, MDL, METHOD_BUFFERED, NT_SUCCESS,
    NTSTATUS, PDEVICE_OBJECT, PFILE_OBJECT, PIRP, PMDL, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED,
};

use super::lower_device::LowerDevice;
use super::{low_byte, mapping_reserve, mdl};

/// A completion routine, as the I/O manager calls it.
pub type CompletionRoutine = unsafe extern "C" fn(PDEVICE_OBJECT, PIRP, *mut c_void) -> NTSTATUS;

/// A cancel routine, as the I/O manager calls it: at DISPATCH_LEVEL, with the cancel spin lock
/// held.
pub type CancelRoutine = unsafe extern "C" fn(PDEVICE_OBJECT, PIRP);

/// An IRP that this driver owns: it was dispatched to one of our filters, and is neither sent nor
/// completed.
#[must_use = "an IRP that is neither sent nor completed hangs its caller"]
#[derive(Debug)]
pub struct OwnedIrp(NonNull<IRP>);

// SAFETY: an IRP belongs to no thread.
unsafe impl Send for OwnedIrp {}

/// A write's data: as many bytes as the write has, which its IRP keeps.
#[derive(Clone, Copy, Debug)]
pub struct Payload(Data);

#[derive(Clone, Copy, Debug)]
enum Data {
    /// Mapped at this system address.
    Mapped(NonNull<u8>),
    /// Locked and described by this MDL, but the system had no addresses to map them.
    Unmapped(NonNull<MDL>),
}

// SAFETY: system addresses are the same in every thread; the IRP keeps pages and MDL.
unsafe impl Send for Payload {}

impl Payload {
    /// The payload that [`Payload::into_parts`] gave these. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The write's IRP still keeps it.
    pub(super) unsafe fn from_parts(address: NonNull<c_void>, is_mapped: bool) -> Self {
        let mapped = || Data::Mapped(address.cast());
        Self(if is_mapped { mapped() } else { Data::Unmapped(address.cast()) })
    }

    /// The address of the first byte, or of the MDL if they are not mapped; true if they are. IRQL
    /// <= DISPATCH_LEVEL.
    pub(super) fn into_parts(self) -> (NonNull<c_void>, bool) {
        match self.0 {
            Data::Mapped(address) => (address.cast(), true),
            Data::Unmapped(list) => (list.cast(), false),
        }
    }

    /// Copies `len` bytes that begin after `skip` to `target`; false if they cannot be mapped, not
    /// even with the reserve. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The write has `skip` and `len` bytes more, and its IRP is the caller's; so are `len` bytes
    /// at `target`.
    pub(super) unsafe fn copy(self, skip: usize, target: NonNull<u8>, len: usize) -> bool {
        let list = match self.0 {
            Data::Mapped(address) => {
                // SAFETY: inside the payload.
                let from = unsafe { address.add(skip) };
                // SAFETY: the caller's promise.
                unsafe { target.copy_from_nonoverlapping(from, len) };
                return true;
            }
            Data::Unmapped(list) => list.as_ptr(),
        };
        // SAFETY: the IRP's own MDL, whose pages its creator has locked.
        if let Some((Some(address), _)) = unsafe { mdl::system_address(list) } {
            // The system has addresses again.
            // SAFETY: inside the payload.
            let from = unsafe { address.add(skip) };
            // SAFETY: the caller's promise.
            unsafe { target.copy_from_nonoverlapping(from, len) };
            return true;
        }
        // SAFETY: the IRP keeps the MDL, which is not mapped and describes as many bytes.
        unsafe { mapping_reserve::copy(list, skip, target, len) }
    }
}

/// The file object that a request came through, which its IRP keeps alive; may be null.
#[derive(Clone, Copy, Debug)]
pub struct IrpFile(PFILE_OBJECT);

impl IrpFile {
    /// IRQL <= DISPATCH_LEVEL.
    pub(super) fn as_ptr(self) -> PFILE_OBJECT {
        self.0
    }
}

impl OwnedIrp {
    /// Takes ownership of an IRP; `None` for a null pointer. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The IRP has been dispatched to a filter of this driver, which owns it.
    pub unsafe fn new(irp: PIRP) -> Option<Self> {
        NonNull::new(irp).map(Self)
    }

    /// Keeps the IRP owned, by its address. IRQL <= DISPATCH_LEVEL.
    pub(super) fn into_non_null(self) -> NonNull<IRP> {
        self.0
    }

    /// The IRP that [`OwnedIrp::into_non_null`] gave this address. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called once for each call of `into_non_null`, with its result.
    pub(super) unsafe fn from_non_null(irp: NonNull<IRP>) -> Self {
        Self(irp)
    }

    /// Gives ownership up: the caller has passed the IRP on. IRQL <= DISPATCH_LEVEL.
    pub(crate) fn into_ptr(self) -> PIRP {
        self.0.as_ptr()
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

    /// A write's data of `len` bytes, mapped if need be and possible; `None` if they are not there
    /// in one piece. IRQL <= DISPATCH_LEVEL.
    pub fn payload(&self, device_flags: u32, len: usize) -> Option<Payload> {
        let irp = self.0.as_ptr();
        // SAFETY: we own the IRP.
        let list = unsafe { (*irp).MdlAddress };
        if let Some(described) = NonNull::new(list) {
            // SAFETY: the IRP's own MDL, whose pages its creator has locked.
            let (address, available) = unsafe { mdl::system_address(list) }?;
            let data = address.map_or(Data::Unmapped(described), Data::Mapped);
            return (available >= len).then_some(Payload(data));
        }
        // SAFETY: we own the IRP.
        let is_associated = unsafe { (*irp).Flags } & IRP_ASSOCIATED_IRP != 0;
        let is_buffered = device_flags & (DO_BUFFERED_IO | DO_DIRECT_IO) == DO_BUFFERED_IO;
        // The master of an associated IRP is where the system buffer would be.
        if is_associated || !is_buffered {
            return None;
        }
        // SAFETY: we own the IRP.
        let buffer = unsafe { (*irp).AssociatedIrp };
        // SAFETY: for buffered I/O the union holds the system buffer, as long as the request.
        NonNull::new(unsafe { buffer.SystemBuffer }.cast()).map(Data::Mapped).map(Payload)
    }

    /// Its MDL, if it has one. IRQL <= DISPATCH_LEVEL.
    pub(super) fn mdl(&self) -> Option<NonNull<MDL>> {
        // SAFETY: we own the IRP.
        NonNull::new(unsafe { (*self.0.as_ptr()).MdlAddress })
    }

    /// Replaces its MDL; the caller's is to be put back on completion. IRQL <= DISPATCH_LEVEL.
    pub(super) fn set_mdl(&self, mdl: PMDL) {
        // SAFETY: we own the IRP.
        unsafe { (*self.0.as_ptr()).MdlAddress = mdl };
    }

    /// Where a write says which file it belongs to. IRQL <= DISPATCH_LEVEL.
    pub fn origin(&self) -> Origin {
        let irp = self.0.as_ptr();
        // SAFETY: our stack location is valid while we own the IRP.
        let own = file_id(unsafe { (*self.current()).FileObject });
        // SAFETY: we own the IRP.
        let [top, original] = unsafe { files_of(irp) };
        // SAFETY: we own the IRP.
        let flags = unsafe { (*irp).Flags };
        // SAFETY: we own the IRP.
        let associated = unsafe { (*irp).AssociatedIrp };
        let is_associated = flags & IRP_ASSOCIATED_IRP != 0;
        // SAFETY: a union of pointers and a number; the flag says that it is the master.
        let master = if is_associated { unsafe { associated.MasterIrp } } else { null_mut() };
        let (flags, [master_top, master_original]) = if master.is_null() {
            (flags, [None; 2])
        } else {
            // SAFETY: a master is completed after its associated IRPs, of which we own one.
            let of_master = unsafe { files_of(master) };
            // SAFETY: as above.
            (flags | unsafe { (*master).Flags }, of_master)
        };
        Origin {
            files: [own, top, original, master_top, master_original],
            paging: flags & IRP_PAGING_IO != 0,
            asynchronous_paging: flags & (IRP_PAGING_IO | IRP_SYNCHRONOUS_PAGING_IO)
                == IRP_PAGING_IO,
        }
    }

    /// Marks the IRP pending: from here on its dispatch routine has to return `STATUS_PENDING`.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn mark_pending(&self) {
        // SAFETY: our stack location is valid while we own the IRP.
        let location = unsafe { &mut *self.current() };
        location.Control |= low_byte(SL_PENDING_RETURNED);
    }

    /// True for a write. IRQL <= DISPATCH_LEVEL.
    pub fn is_write(&self) -> bool {
        // SAFETY: our stack location is valid while we own the IRP.
        let major = unsafe { (*self.current()).MajorFunction };
        major == low_byte(IRP_MJ_WRITE)
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
        // SAFETY: the I/O manager copied `InputBufferLength` bytes there, for the drivers of the
        // stack alone.
        unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), len) }
    }

    /// The file object that the request came through. IRQL <= DISPATCH_LEVEL.
    pub fn file(&self) -> IrpFile {
        // SAFETY: our stack location is valid while we own the IRP.
        IrpFile(unsafe { (*self.current()).FileObject })
    }

    /// The filter's device object, which the request was sent to. IRQL <= DISPATCH_LEVEL.
    pub(crate) fn device(&self) -> PDEVICE_OBJECT {
        // SAFETY: our stack location is valid while we own the IRP.
        unsafe { (*self.current()).DeviceObject }
    }

    /// Its address. Any IRQL.
    pub(super) fn as_non_null(&self) -> NonNull<IRP> {
        self.0
    }

    /// True if this is the IRP that a cancel routine was called with. IRQL <= DISPATCH_LEVEL.
    pub fn is(&self, cancelled: &CancelledIrp) -> bool {
        self.0 == cancelled.0
    }

    /// Sets the cancel routine; false if the IRP has been cancelled already, and the routine is
    /// not called. If it is set, [`OwnedIrp::clear_cancel_routine`] comes before the IRP is sent or
    /// completed, unless the routine itself completes it. Any IRQL.
    pub fn set_cancel_routine(&self, routine: CancelRoutine) -> bool {
        // In this order: the I/O manager sets the flag first, then looks for a routine.
        self.cancel_routine().swap(routine as *mut c_void, Ordering::SeqCst);
        // SAFETY: we own the IRP.
        let cancelled = unsafe { &raw mut (*self.0.as_ptr()).Cancel };
        // SAFETY: the flag is a byte, which the I/O manager writes meanwhile.
        let cancelled = unsafe { AtomicU8::from_ptr(cancelled) };
        if cancelled.load(Ordering::SeqCst) == 0 {
            return true;
        }
        // If the I/O manager has taken the routine meanwhile, it calls it.
        self.cancel_routine().swap(null_mut(), Ordering::SeqCst).is_null()
    }

    /// Clears the cancel routine: when this returns, the routine neither runs nor will run. IRQL <=
    /// DISPATCH_LEVEL; the caller holds no lock that the routine takes.
    pub fn clear_cancel_routine(&self) {
        if !self.cancel_routine().swap(null_mut(), Ordering::SeqCst).is_null() {
            return;
        }
        // The I/O manager has taken the routine and calls it with the cancel spin lock held: the
        // call is over once the lock is free.
        let mut level = 0;
        // SAFETY: callable at IRQL <= DISPATCH_LEVEL.
        unsafe { IoAcquireCancelSpinLock(&raw mut level) };
        // SAFETY: acquired above, with that level.
        unsafe { IoReleaseCancelSpinLock(level) };
    }

    fn cancel_routine(&self) -> &AtomicPtr<c_void> {
        // SAFETY: we own the IRP.
        let routine = unsafe { &raw mut (*self.0.as_ptr()).CancelRoutine };
        // SAFETY: an optional function pointer is a pointer; the I/O manager exchanges it
        // atomically too.
        unsafe { AtomicPtr::from_ptr(routine.cast()) }
    }

    /// Completes the IRP with `status`, and returns it for the dispatch routine to return, unless
    /// the IRP was marked pending. IRQL <= DISPATCH_LEVEL.
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

    /// Sends the IRP to `device` as it came to us. `routine` is called with `context` when it
    /// completes. IRQL <= DISPATCH_LEVEL.
    pub(crate) fn send(
        self,
        device: LowerDevice,
        routine: CompletionRoutine,
        context: *mut c_void,
    ) -> NTSTATUS {
        let irp = self.0.as_ptr();
        // SAFETY: we own the IRP, and send it right after.
        unsafe { copy_location(irp, routine, context) };
        // SAFETY: the next location is set up; after this the IRP is not ours.
        unsafe { IofCallDriver(device.as_ptr(), irp) }
    }

    fn current(&self) -> *mut IO_STACK_LOCATION {
        // SAFETY: we own the IRP.
        unsafe { current_location(self.0.as_ptr()) }
    }
}

/// The file objects of an IRP's topmost stack location, and of the IRP itself.
///
/// # Safety
/// The IRP has been dispatched to a driver, and is neither completed nor passed on meanwhile.
unsafe fn files_of(irp: PIRP) -> [Option<FileId>; 2] {
    // SAFETY: the caller's promise.
    let count = unsafe { (*irp).StackCount };
    // SAFETY: the caller's promise.
    let current = unsafe { (*irp).CurrentLocation };
    // SAFETY: the caller's promise.
    let tail = unsafe { &(*irp).Tail };
    // SAFETY: outside of completion ports the overlay is the union's active part.
    let original = file_id(unsafe { tail.Overlay.OriginalFileObject });
    let above = count.checked_sub(current).and_then(|above| usize::try_from(above).ok());
    let Some(above) = above else { return [None, original] };
    // SAFETY: the caller's promise.
    let location = unsafe { current_location(irp) };
    // SAFETY: an IRP has that many locations above the current one, which is not past the last.
    let top = unsafe { location.add(above) };
    // SAFETY: as above.
    [file_id(unsafe { (*top).FileObject }), original]
}

fn file_id(file: PFILE_OBJECT) -> Option<FileId> {
    FileId::new(file.addr())
}

/// Copies our stack location to the next one, and has `routine` called with `context` when the IRP
/// completes. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// The IRP has been dispatched to this driver, which passes it on right after.
pub(crate) unsafe fn copy_location(irp: PIRP, routine: CompletionRoutine, context: *mut c_void) {
    // SAFETY: the caller owns the IRP.
    let current = unsafe { current_location(irp) };
    // SAFETY: as above.
    let mut next = unsafe { *current };
    next.Control = 0;
    next.CompletionRoutine = None;
    next.Context = null_mut();
    // SAFETY: IRPs that reach a filter have a location for each device below it.
    let location = unsafe { current.sub(1) };
    // SAFETY: as above.
    unsafe { location.write(next) };
    // SAFETY: `location` is the next one, and the caller's until the IRP is passed on.
    unsafe { set_completion(location, routine, context) };
}

/// Skips our stack location, so that the next driver gets it as it came to us: what the macro
/// `IoSkipCurrentIrpStackLocation` does. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// The IRP has been dispatched to this driver, which passes it on right after.
pub(crate) unsafe fn skip_location(irp: PIRP) {
    // SAFETY: the caller owns the IRP.
    let irp = unsafe { &mut *irp };
    irp.CurrentLocation = irp.CurrentLocation.wrapping_add(1);
    // SAFETY: outside of completion ports the overlay is the union's active part.
    let overlay = unsafe { &mut irp.Tail.Overlay.__bindgen_anon_2 };
    // SAFETY: as above.
    let current = unsafe { &mut overlay.__bindgen_anon_1.CurrentStackLocation };
    *current = current.wrapping_add(1);
}

/// The IRP that a cancel routine was called with. It lives while the cancel spin lock is held: code
/// that takes the request out of the session otherwise acquires that lock first
/// ([`OwnedIrp::clear_cancel_routine`]).
pub struct CancelledIrp(NonNull<IRP>);

impl CancelledIrp {
    /// `None` for a null pointer. DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called from a cancel routine, with its IRP.
    pub(crate) unsafe fn new(irp: PIRP) -> Option<Self> {
        NonNull::new(irp).map(Self)
    }

    /// Its address. DISPATCH_LEVEL.
    pub(super) fn as_non_null(&self) -> NonNull<IRP> {
        self.0
    }

    /// Releases the cancel spin lock, as a cancel routine has to. DISPATCH_LEVEL.
    pub(crate) fn release_cancel_lock(self) {
        // SAFETY: the IRP lives until the lock is released.
        let level = unsafe { (*self.0.as_ptr()).CancelIrql };
        // SAFETY: the I/O manager acquired it for the cancel routine, which releases it once.
        unsafe { IoReleaseCancelSpinLock(level) };
    }
}

/// An IRP that has completed below, in our completion routine.
pub struct CompletedIrp(NonNull<IRP>);

impl CompletedIrp {
    /// `None` for a null pointer. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called from a completion routine, with its IRP.
    pub(crate) unsafe fn new(irp: PIRP) -> Option<Self> {
        NonNull::new(irp).map(Self)
    }

    /// Its final status. IRQL <= DISPATCH_LEVEL.
    pub fn status(&self) -> NTSTATUS {
        // SAFETY: the IRP is valid until the completion routine returns.
        let block = unsafe { (*self.0.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        unsafe { block.__bindgen_anon_1.Status }
    }

    /// Puts the caller's MDL back. IRQL <= DISPATCH_LEVEL.
    pub(super) fn set_mdl(&self, mdl: PMDL) {
        // SAFETY: the IRP is ours until the completion routine returns.
        unsafe { (*self.0.as_ptr()).MdlAddress = mdl };
    }

    /// What a usage notification has reported; `None` if it has failed. IRQL <= DISPATCH_LEVEL.
    pub fn usage(&self) -> Option<Usage> {
        if !NT_SUCCESS(self.status()) {
            return None;
        }
        // SAFETY: the IRP is valid until the completion routine returns.
        let location = unsafe { current_location(self.0.as_ptr()) };
        // SAFETY: ours, which is the current one again.
        let location = unsafe { *location };
        // SAFETY: the IRP is a usage notification.
        let usage = unsafe { location.Parameters.UsageNotification };
        Some(Usage {
            kind: Kind::from_usage_type(usage.Type),
            in_path: usage.InPath != 0,
            file: file_id(location.FileObject),
        })
    }

    /// The first eight bytes of a buffered reply, if it has that many. IRQL <= DISPATCH_LEVEL.
    pub fn reply(&self) -> Option<u64> {
        // SAFETY: the IRP is valid until the completion routine returns.
        let irp = unsafe { self.0.as_ref() };
        let (block, buffer) = (irp.IoStatus, irp.AssociatedIrp);
        // SAFETY: for a buffered request the union holds the system buffer.
        let buffer = unsafe { buffer.SystemBuffer };
        if block.Information < 8 || buffer.is_null() {
            return None;
        }
        // SAFETY: the reply is in the buffer and has at least eight bytes.
        Some(u64::from_le_bytes(unsafe { buffer.cast::<[u8; 8]>().read_unaligned() }))
    }

    /// Marks our stack location pending if the one below was, as a completion routine has to that
    /// lets completion go on. IRQL <= DISPATCH_LEVEL.
    pub(crate) fn propagate_pending(&self) {
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

/// Sets the completion routine of `location`, for success, error and cancellation. IRQL <=
/// DISPATCH_LEVEL.
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

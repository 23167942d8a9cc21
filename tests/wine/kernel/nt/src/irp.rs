//! I/O request packets: the macros of `wdm.h` as methods.
//!
//! The rule: an [`Irp`] is the right to access the packet. Completing it or passing it on consumes
//! the value, so a packet cannot be used afterwards. (A driver that keeps a packet keeps the
//! `Irp`.)

use core::{
    ffi::c_void,
    mem::offset_of,
    sync::atomic::{AtomicPtr, Ordering},
};

use wdk_sys::{
    DRIVER_CANCEL, IO_COMPLETION_ROUTINE, IO_STACK_LOCATION, IRP_MJ_READ, IRP_MJ_WRITE, MDL,
    NTSTATUS, PIRP, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
    SL_PENDING_RETURNED, STATUS_PENDING,
    ntddk::{IofCallDriver, IofCompleteRequest},
};

use crate::device::Device;

/// No priority boost on completion.
pub const IO_NO_INCREMENT: i8 = 0;

/// Offsets of a packet's fields. The bindings reach most of them through several unions.
mod at {
    use core::mem::offset_of;

    use wdk_sys::IRP;

    pub(super) const FLAGS: usize = offset_of!(IRP, Flags);
    pub(super) const STATUS: usize = offset_of!(IRP, IoStatus.__bindgen_anon_1.Status);
    pub(super) const INFORMATION: usize = offset_of!(IRP, IoStatus.Information);
    pub(super) const SYSTEM_BUFFER: usize = offset_of!(IRP, AssociatedIrp.SystemBuffer);
    pub(super) const USER_BUFFER: usize = offset_of!(IRP, UserBuffer);
    pub(super) const MDL_ADDRESS: usize = offset_of!(IRP, MdlAddress);
    pub(super) const REQUESTOR_MODE: usize = offset_of!(IRP, RequestorMode);
    pub(super) const CANCEL: usize = offset_of!(IRP, Cancel);
    pub(super) const CANCEL_IRQL: usize = offset_of!(IRP, CancelIrql);
    pub(super) const CANCEL_ROUTINE: usize = offset_of!(IRP, CancelRoutine);
    pub(super) const PENDING_RETURNED: usize = offset_of!(IRP, PendingReturned);
    pub(super) const STACK_COUNT: usize = offset_of!(IRP, StackCount);
    pub(super) const CURRENT_LOCATION: usize = offset_of!(IRP, CurrentLocation);
    pub(super) const DRIVER_CONTEXT: usize =
        offset_of!(IRP, Tail.Overlay.__bindgen_anon_1.__bindgen_anon_1.DriverContext);
    pub(super) const THREAD: usize = offset_of!(IRP, Tail.Overlay.Thread);
    pub(super) const STACK_LOCATION: usize =
        offset_of!(IRP, Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation);
}

/// A packet that this code owns for now.
#[must_use = "a packet must be completed, passed on or kept"]
#[derive(PartialEq, Eq)]
pub struct Irp {
    raw: PIRP,
}

// SAFETY: a packet may be handled on any thread; the value is the only way to it here.
unsafe impl Send for Irp {}

impl Irp {
    /// Takes a packet over.
    ///
    /// # Safety
    /// `raw` is a live packet that belongs to the caller, at the caller's stack location.
    pub const unsafe fn from_raw(raw: PIRP) -> Self {
        Self { raw }
    }

    /// The packet's address. Ownership stays here.
    pub fn raw(&self) -> PIRP {
        self.raw
    }

    /// Consumes the value and leaves the packet as it is.
    pub fn into_raw(self) -> PIRP {
        self.raw
    }

    /// The current stack location.
    pub fn stack(&self) -> &IO_STACK_LOCATION {
        // SAFETY: the packet is ours, so its current location is valid for us.
        unsafe { &*self.location() }
    }

    /// The current stack location, to be filled in.
    pub fn stack_mut(&mut self) -> &mut IO_STACK_LOCATION {
        // SAFETY: the packet is ours, so its current location is valid for us.
        unsafe { &mut *self.location() }
    }

    /// The major and minor function code.
    pub fn function(&self) -> (u8, u8) {
        (self.stack().MajorFunction, self.stack().MinorFunction)
    }

    /// The length and the byte offset of a read or a write.
    pub fn transfer(&self) -> (u32, i64) {
        debug_assert!(
            matches!(u32::from(self.function().0), IRP_MJ_READ | IRP_MJ_WRITE),
            "not a transfer"
        );
        // SAFETY: `Read` and `Write` are laid out alike, and every member is plain data.
        let read = unsafe { self.stack().Parameters.Read };
        // SAFETY: a LARGE_INTEGER is 64 plain bits.
        (read.Length, unsafe { read.ByteOffset.QuadPart })
    }

    /// The code, the input length and the output length of a device control request.
    pub fn device_control(&self) -> (u32, u32, u32) {
        // SAFETY: the member is plain data whatever the function code.
        let control = unsafe { self.stack().Parameters.DeviceIoControl };
        (control.IoControlCode, control.InputBufferLength, control.OutputBufferLength)
    }

    /// The file object that the request was made on, or null.
    pub fn file_object(&self) -> *mut wdk_sys::FILE_OBJECT {
        self.stack().FileObject
    }

    /// Adds to the packet's `IRP_…` flags.
    pub fn add_flags(&mut self, flags: u32) {
        let before: u32 = self.get(at::FLAGS);
        self.set(at::FLAGS, before | flags);
    }

    /// The packet's `IRP_…` flags.
    pub fn flags(&self) -> u32 {
        self.get(at::FLAGS)
    }

    /// The object of the thread that the packet belongs to, or null.
    pub fn thread(&self) -> *mut c_void {
        self.get(at::THREAD)
    }

    /// Sets that thread.
    pub fn set_thread(&mut self, thread: *mut c_void) {
        self.set(at::THREAD, thread);
    }

    /// The status set so far.
    pub fn status(&self) -> NTSTATUS {
        self.get(at::STATUS)
    }

    /// The count set so far.
    pub fn information(&self) -> usize {
        self.get(at::INFORMATION)
    }

    /// Sets the status that completion will report.
    pub fn set_status(&mut self, status: NTSTATUS) {
        self.set(at::STATUS, status);
    }

    /// Sets the count that completion will report.
    pub fn set_information(&mut self, information: usize) {
        self.set(at::INFORMATION, information);
    }

    /// The system buffer of a buffered request, or null.
    pub fn system_buffer(&self) -> *mut c_void {
        self.get(at::SYSTEM_BUFFER)
    }

    /// Sets the system buffer.
    pub fn set_system_buffer(&mut self, buffer: *mut c_void) {
        self.set(at::SYSTEM_BUFFER, buffer);
    }

    /// The user buffer, or null.
    pub fn user_buffer(&self) -> *mut c_void {
        self.get(at::USER_BUFFER)
    }

    /// The memory descriptor list, or null.
    pub fn mdl(&self) -> *mut MDL {
        self.get(at::MDL_ADDRESS)
    }

    /// `UserMode` or `KernelMode`.
    pub fn requestor_mode(&self) -> i8 {
        self.get(at::REQUESTOR_MODE)
    }

    /// Whether the packet is cancelled.
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: a byte of our packet. Volatile, since `IoCancelIrp` writes it on another thread.
        let cancel = unsafe { self.field::<u8>(at::CANCEL).read_volatile() };
        cancel != 0
    }

    /// The level to restore with the cancel spin lock, in a cancel routine.
    pub fn cancel_irql(&self) -> u8 {
        self.get(at::CANCEL_IRQL)
    }

    /// `IoMarkIrpPending`
    pub fn mark_pending(&mut self) {
        self.stack_mut().Control |= SL_PENDING_RETURNED as u8;
    }

    /// Whether the driver below (or the sender's view) returned `STATUS_PENDING`.
    pub fn pending_returned(&self) -> bool {
        self.get::<u8>(at::PENDING_RETURNED) != 0
    }

    /// Puts a cancel routine in place, or takes it away; returns the one that was there.
    pub fn set_cancel_routine(&mut self, routine: DRIVER_CANCEL) -> DRIVER_CANCEL {
        let cell = self.field::<*mut c_void>(at::CANCEL_ROUTINE);
        // SAFETY: a pointer-sized, aligned field of our packet that is only exchanged atomically.
        let cell = unsafe { AtomicPtr::from_ptr(cell) };
        let new = routine.map_or(core::ptr::null_mut(), |routine| routine as *mut c_void);
        // SeqCst: pairs with `IoCancelIrp`, which sets `Cancel` and then exchanges this cell.
        let old = cell.swap(new, Ordering::SeqCst);
        // SAFETY: the cell only ever holds null or a cancel routine.
        unsafe { core::mem::transmute::<*mut c_void, DRIVER_CANCEL>(old) }
    }

    /// Whether a cancel routine is in place.
    pub fn has_cancel_routine(&self) -> bool {
        !self.get::<*mut c_void>(at::CANCEL_ROUTINE).is_null()
    }

    /// A word of the packet that its owner may use while it holds the packet.
    pub fn driver_context(&self) -> *mut c_void {
        self.get(at::DRIVER_CONTEXT)
    }

    /// Sets that word.
    pub fn set_driver_context(&mut self, value: *mut c_void) {
        self.set(at::DRIVER_CONTEXT, value);
    }

    /// How many stack locations there are below the current one.
    pub fn locations_left(&self) -> i8 {
        self.get::<i8>(at::CURRENT_LOCATION) - 1
    }

    /// Whether this is the location of the driver that the packet was first sent to.
    pub fn is_at_first_location(&self) -> bool {
        self.get::<i8>(at::CURRENT_LOCATION) == self.get::<i8>(at::STACK_COUNT)
    }

    /// `IoSkipCurrentIrpStackLocation`
    pub fn skip_current_location(&mut self) {
        let above = self.location().wrapping_add(1);
        self.set(at::CURRENT_LOCATION, self.get::<i8>(at::CURRENT_LOCATION) + 1);
        self.set(at::STACK_LOCATION, above);
    }

    /// `IoSetNextIrpStackLocation`
    pub fn advance_location(&mut self) {
        let below = self.next_location();
        self.set(at::CURRENT_LOCATION, self.get::<i8>(at::CURRENT_LOCATION) - 1);
        self.set(at::STACK_LOCATION, below);
    }

    /// `IoCopyCurrentIrpStackLocationToNext`
    pub fn copy_current_location_to_next(&mut self) {
        let current = self.location();
        let next = self.next_location();
        // SAFETY: two different locations of one packet; all but the completion routine and its
        // context is copied.
        unsafe {
            core::ptr::copy_nonoverlapping(
                current.cast::<u8>(),
                next.cast::<u8>(),
                offset_of!(IO_STACK_LOCATION, CompletionRoutine),
            );
        }
        self.next_location_mut().Control = 0;
    }

    /// The location that the next driver will see.
    pub fn next_location(&mut self) -> *mut IO_STACK_LOCATION {
        assert!(self.locations_left() > 0, "an IRP ran out of stack locations");
        self.location().wrapping_sub(1)
    }

    /// The location that the next driver will see, to be filled in.
    pub fn next_location_mut(&mut self) -> &mut IO_STACK_LOCATION {
        // SAFETY: a location of our packet.
        unsafe { &mut *self.next_location() }
    }

    /// `IoSetCompletionRoutine`, for success, error and cancel alike.
    ///
    /// # Safety
    /// `routine` may be called with `context` once the packet is completed below.
    pub unsafe fn set_completion_routine(
        &mut self,
        routine: IO_COMPLETION_ROUTINE,
        context: *mut c_void,
    ) {
        let next = self.next_location_mut();
        next.CompletionRoutine = routine;
        next.Context = context;
        next.Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    }

    /// Sends the packet to a driver.
    pub fn call(self, device: Device) -> NTSTATUS {
        // SAFETY: the packet is ours and is given up here; a `Device` is live while it is used.
        unsafe { IofCallDriver(device.raw(), self.raw) }
    }

    /// Skips the current location and sends the packet to the next driver.
    pub fn pass_down(mut self, device: Device) -> NTSTATUS {
        self.skip_current_location();
        self.call(device)
    }

    /// Completes the packet.
    pub fn complete(mut self, status: NTSTATUS, information: usize) -> NTSTATUS {
        debug_assert!(status != STATUS_PENDING, "a packet cannot be completed with STATUS_PENDING");
        self.set_status(status);
        self.set_information(information);
        self.complete_as_is();
        status
    }

    /// Completes the packet with the status that it carries.
    pub fn complete_as_is(self) {
        // SAFETY: the packet is ours and is given up here.
        unsafe { IofCompleteRequest(self.raw, IO_NO_INCREMENT) };
    }

    fn location(&self) -> *mut IO_STACK_LOCATION {
        self.get(at::STACK_LOCATION)
    }

    fn field<T>(&self, offset: usize) -> *mut T {
        self.raw.wrapping_byte_add(offset).cast()
    }

    fn get<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the packet is ours; the callers pair each offset with the field's type, and every
        // field is plain data.
        unsafe { self.field::<T>(offset).read() }
    }

    fn set<T>(&mut self, offset: usize, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.field::<T>(offset).write(value) };
    }
}

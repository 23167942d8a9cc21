//! A device control request of our own that carries out a part of another request: allocated once,
//! sent once for each part.
//!
//! The value that describes the whole request lives in the same allocation as the child's input, so
//! that the completion routine finds it by its context pointer. Sender and completion routine run
//! at the same time; the one that finishes last owns the allocation and goes on.

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use wdk_sys::ntddk::{IoAllocateIrp, IoFreeIrp, IofCallDriver};
use wdk_sys::{
    IRP, IRP_MJ_DEVICE_CONTROL, NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_MORE_PROCESSING_REQUIRED,
    ULONG,
};

use super::irp::{IrpFile, set_completion};
use super::lower_device::LowerDevice;
use super::pool::try_box;
use super::{low_byte, own_irp};

/// Continues a whole request whose child has completed after its sender was done.
pub trait ChildCompletion<const N: usize>: Send + Sized {
    /// Takes the child. IRQL <= DISPATCH_LEVEL.
    fn completed(child: ChildIrp<Self, N>);
}

/// A value that describes a whole request, with an IRP and the `N` bytes of its buffered input. The
/// IRP is not in use.
pub struct ChildIrp<T, const N: usize>(Box<Inner<T, N>>);

struct Inner<T, const N: usize> {
    value: T,
    irp: Irp,
    device: LowerDevice,
    input: [u8; N],
    /// Set by the first of sender and completion routine that is done.
    one_done: AtomicBool,
}

struct Irp(NonNull<IRP>);

// SAFETY: an IRP belongs to no thread; the owner of the value is the only one to use it.
unsafe impl Send for Irp {}

impl<T, const N: usize> ChildIrp<T, N> {
    /// Its IRP, which is idle, and the child as an address. IRQL <= DISPATCH_LEVEL.
    pub(super) fn into_parts(self) -> (NonNull<IRP>, NonNull<c_void>) {
        let irp = self.0.irp.0;
        (irp, NonNull::from(Box::leak(self.0)).cast())
    }

    /// The child that [`ChildIrp::into_parts`] gave this address. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called once for each call of `into_parts`, with its result.
    pub(super) unsafe fn from_address(child: NonNull<c_void>) -> Self {
        // SAFETY: a leaked box, which has no other owner.
        Self(unsafe { Box::from_raw(child.cast().as_ptr()) })
    }
}

impl<T: ChildCompletion<N>, const N: usize> ChildIrp<T, N> {
    /// Allocates a child of the request that `value` describes; gives the value back if there is no
    /// memory. IRQL <= DISPATCH_LEVEL.
    pub fn new(device: LowerDevice, value: T) -> Result<Self, T> {
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(device.stack_size(), 0) });
        let Some(irp) = irp.map(Irp) else { return Err(value) };
        let inner = Inner { value, irp, device, input: [0; N], one_done: AtomicBool::new(false) };
        try_box(inner).map(Self).map_err(|inner| inner.value)
    }

    /// The value. IRQL <= DISPATCH_LEVEL.
    pub fn value(&self) -> &T {
        &self.0.value
    }

    /// The value, to be changed. IRQL <= DISPATCH_LEVEL.
    pub fn value_mut(&mut self) -> &mut T {
        &mut self.0.value
    }

    /// Frees the IRP and keeps the value. IRQL <= DISPATCH_LEVEL.
    pub fn into_value(self) -> T {
        self.0.value
    }

    /// Sends `input` with control code `code`, on behalf of `file`. Returns the child if it has
    /// completed by now; else [`ChildCompletion::completed`] gets it. IRQL <= DISPATCH_LEVEL, or as
    /// the device asks for.
    pub fn send(mut self, code: ULONG, input: [u8; N], file: IrpFile) -> Option<Self> {
        self.0.input = input;
        *self.0.one_done.get_mut() = false;
        let (irp, device) = (self.0.irp.0.as_ptr(), self.0.device);
        let inner = NonNull::from(Box::leak(self.0));
        // SAFETY: allocated in `new`; the last request with this IRP has completed.
        let location = unsafe { own_irp::begin(irp) };
        // SAFETY: inside the allocation.
        let buffer = unsafe { &raw mut (*inner.as_ptr()).input };
        // SAFETY: ours and idle.
        let associated = unsafe { &mut (*irp).AssociatedIrp };
        associated.SystemBuffer = buffer.cast();
        // SAFETY: the next location, which is ours to fill in.
        let next = unsafe { &mut *location };
        next.MajorFunction = low_byte(IRP_MJ_DEVICE_CONTROL);
        next.FileObject = file.as_ptr();
        next.Parameters.DeviceIoControl.IoControlCode = code;
        next.Parameters.DeviceIoControl.InputBufferLength = ULONG::try_from(N).unwrap_or(0);
        next.Parameters.DeviceIoControl.OutputBufferLength = 0;
        // SAFETY: the next location is set up; the routine is of the context's type.
        unsafe { set_completion(location, child_completed::<T, N>, inner.as_ptr().cast()) };
        // SAFETY: as above. The return value is ignored: the completion routine is called in any
        // case.
        let _ = unsafe { IofCallDriver(device.as_ptr(), irp) };
        // SAFETY: the sender's one call for this request.
        unsafe { Self::reclaim(inner) }
    }

    /// How the last request ended. IRQL <= DISPATCH_LEVEL.
    pub fn status(&self) -> NTSTATUS {
        // SAFETY: completed, and kept by its completion routine.
        let block = unsafe { (*self.0.irp.0.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        unsafe { block.__bindgen_anon_1.Status }
    }

    /// The child, for the last of sender and completion routine.
    ///
    /// # Safety
    /// `inner` is a leaked box; each of the two calls this once for each request.
    unsafe fn reclaim(inner: NonNull<Inner<T, N>>) -> Option<Self> {
        // SAFETY: the allocation is freed after both calls at the earliest.
        let one_done = unsafe { &inner.as_ref().one_done };
        // Acquire and release: what the first has done comes before what the last does.
        if !one_done.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: a leaked box, which the other one does not touch any more.
        Some(Self(unsafe { Box::from_raw(inner.as_ptr()) }))
    }
}

impl Drop for Irp {
    fn drop(&mut self) {
        // SAFETY: allocated in `ChildIrp::new`, and not in use.
        unsafe { IoFreeIrp(self.0.as_ptr()) };
    }
}

/// Completion routine of a child. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn child_completed<T: ChildCompletion<N>, const N: usize>(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    if let Some(inner) = NonNull::new(context.cast()) {
        // SAFETY: `send` passed the allocation; this is the completion routine's one call for this
        // request.
        if let Some(child) = unsafe { ChildIrp::<T, N>::reclaim(inner) } {
            T::completed(child);
        }
    }
    // The IRP belongs to the child.
    STATUS_MORE_PROCESSING_REQUIRED
}

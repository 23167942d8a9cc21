//! Reads and writes of a volume's bytes past its file system, with memory of our own: an IRP, a
//! buffer and its MDLs, which are allocated beforehand (rule BOUND, rules.md#bound).
//!
//! [`RawIo`] is the only owner of its memory. A transfer that is waited for has a limit to its
//! time: a disk that hangs keeps the request, and [`RawIo::leave`] gives the memory up to it. A
//! transfer that is not waited for ([`RawIo::start`]) and one that was left give it back to
//! [`After`].
//!
//! Writes go through the caches below, and past the check that keeps programs from writing under a
//! file system (docs: "Blocking Direct Write Operations to Volumes and Disks").

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU8, Ordering};

use wdk_sys::ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, IofCallDriver};
use wdk_sys::{
    DO_DIRECT_IO, IRP, IRP_MJ_FLUSH_BUFFERS, IRP_MJ_READ, IRP_MJ_WRITE, NT_SUCCESS, NTSTATUS,
    PDEVICE_OBJECT, PIRP, SL_FORCE_DIRECT_WRITE, SL_WRITE_THROUGH, STATUS_DEVICE_BUSY,
    STATUS_INVALID_PARAMETER, STATUS_IO_TIMEOUT, STATUS_MORE_PROCESSING_REQUIRED, ULONG,
};

use super::event::Event;
use super::irp::set_completion;
use super::lower_device::LowerDevice;
use super::mdl::{BufferMdl, WindowMdl};
use super::pool::PoolBuffer;
use super::shared::Shared;
use super::{low_byte, own_irp, time};

/// How long a transfer may take to end once it is cancelled, in ticks of 100 ns: 100 ms.
const CANCEL_LIMIT: u64 = 1_000_000;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Bytes of the volume are read into the buffer.
    Read,
    /// Bytes of the buffer are written to the volume.
    Write,
    /// What was written is made durable.
    Flush,
}

/// Which bytes.
#[derive(Clone, Copy)]
pub struct Span {
    /// Where they begin on the volume.
    pub offset: u64,
    /// Where they begin in the buffer.
    pub at: usize,
    /// How many they are.
    pub len: usize,
}

/// What is done once a transfer is over that nobody waits for.
pub trait After: Send + Sync + Sized + 'static {
    /// Takes the memory back. IRQL <= DISPATCH_LEVEL.
    fn done(self, io: RawIo<Self>, status: NTSTATUS);
}

/// Memory for one transfer at a time.
pub struct RawIo<A> {
    slot: Shared<Slot<A>>,
}

struct Slot<A> {
    device: LowerDevice,
    irp: NonNull<IRP>,
    /// Of the whole buffer, and so dropped first.
    whole: BufferMdl,
    window: UnsafeCell<WindowMdl>,
    buffer: PoolBuffer,
    done: Event,
    /// Who has the memory: [`IDLE`], [`AWAITED`], [`LEFT`].
    stage: AtomicU8,
    /// Not dropped with the slot: what follows on a transfer may have the slot itself.
    after: UnsafeCell<ManuallyDrop<Option<A>>>,
}

/// The [`RawIo`] has it.
const IDLE: u8 = 0;
/// The device has it; the sender waits.
const AWAITED: u8 = 1;
/// The device has it; [`After`] gets it.
const LEFT: u8 = 2;

// SAFETY: the memory is used by the one that has it, as `stage` says.
unsafe impl<A: Send> Send for Slot<A> {}
// SAFETY: as above.
unsafe impl<A: Send> Sync for Slot<A> {}

impl<A: After> RawIo<A> {
    /// Memory for transfers of up to `len` bytes; `None` if there is none. PASSIVE_LEVEL.
    #[inline(never)] // It is on the stack only while it is made.
    pub fn new(device: LowerDevice, len: usize) -> Option<Self> {
        let buffer = PoolBuffer::new(len)?;
        let whole = BufferMdl::new(&buffer)?;
        let window = UnsafeCell::new(WindowMdl::new(&whole, len)?);
        let done = Event::new(false)?;
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(device.stack_size(), 0) })?;
        let (stage, after) = (AtomicU8::new(IDLE), UnsafeCell::new(ManuallyDrop::new(None)));
        let slot = Slot { device, irp, whole, window, buffer, done, stage, after };
        Some(Self { slot: Shared::new(slot)? })
    }

    /// The buffer; empty while the device has it. IRQL <= DISPATCH_LEVEL.
    pub fn bytes(&mut self) -> &mut [u8] {
        if self.is_below() {
            return &mut [];
        }
        let buffer = &self.slot.buffer;
        // SAFETY: nothing else has the memory: this is its owner, and no transfer is under way.
        unsafe { core::slice::from_raw_parts_mut(buffer.base().as_ptr(), buffer.len()) }
    }

    /// True while the device has the memory. IRQL <= DISPATCH_LEVEL.
    pub fn is_below(&self) -> bool {
        // Acquire: what the completion routine has seen comes before what is done with the memory.
        self.slot.stage.load(Ordering::Acquire) != IDLE
    }

    /// Transfers and waits for it, `limit` ticks at most. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The device's status; `STATUS_IO_TIMEOUT` if it takes longer. If [`RawIo::is_below`] then,
    /// nothing but [`RawIo::leave`] is of use.
    pub fn transfer(&mut self, what: Transfer, span: Span, limit: u64) -> Result<(), NTSTATUS> {
        self.send(what, span, AWAITED)?;
        if !self.wait(limit) {
            // SAFETY: the IRP is our own and is not freed on completion.
            let _ = unsafe { IoCancelIrp(self.slot.irp.as_ptr()) };
            if !self.wait(CANCEL_LIMIT) {
                return Err(STATUS_IO_TIMEOUT);
            }
        }
        let status = self.slot.outcome(what, span);
        if NT_SUCCESS(status) { Ok(()) } else { Err(status) }
    }

    /// Waits until no transfer is under way, `limit` ticks at most; true if none is.
    fn wait(&self, limit: u64) -> bool {
        let due = time::uptime().saturating_add(limit);
        // A signal may be that of an earlier transfer.
        while self.is_below() {
            let left = due.saturating_sub(time::uptime());
            if left == 0 || !self.slot.done.wait_for(left) {
                return !self.is_below();
            }
        }
        true
    }

    /// Begins a transfer; `after` is done when it is over, before or after this returns. False if
    /// it cannot be sent: then nothing is done. IRQL <= DISPATCH_LEVEL.
    #[must_use]
    pub fn start(mut self, what: Transfer, span: Span, after: A) -> bool {
        if self.is_below() {
            return false;
        }
        self.set_after(after);
        let sent = self.send(what, span, LEFT).is_ok();
        if !sent {
            drop(self.take_after());
        }
        sent
    }

    /// Gives up waiting: `after` is done when the transfer is over. PASSIVE_LEVEL.
    pub fn leave(self, after: A) {
        self.set_after(after);
        let stage = &self.slot.stage;
        // Release: the completion routine sees what is to be done.
        let left = stage.compare_exchange(AWAITED, LEFT, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            // It is over by now.
            self.finish(STATUS_IO_TIMEOUT);
        }
    }

    fn finish(self, status: NTSTATUS) {
        if let Some(after) = self.take_after() {
            after.done(self, status);
        }
    }

    fn set_after(&self, after: A) {
        // SAFETY: the completion routine looks at it only once the stage is `LEFT`.
        unsafe { *self.slot.after.get() = ManuallyDrop::new(Some(after)) };
    }

    fn take_after(&self) -> Option<A> {
        // SAFETY: no transfer is under way.
        let after = unsafe { &mut *self.slot.after.get() };
        after.take()
    }

    fn send(&mut self, what: Transfer, span: Span, stage: u8) -> Result<(), NTSTATUS> {
        if self.is_below() {
            return Err(STATUS_DEVICE_BUSY);
        }
        let slot = &*self.slot;
        slot.prepare(what, span).ok_or(STATUS_INVALID_PARAMETER)?;
        slot.stage.store(stage, Ordering::Release);
        let irp = slot.irp.as_ptr();
        let device = slot.device.as_ptr();
        let context = self.slot.clone().into_context();
        // SAFETY: set up by `prepare`; ours until it is sent.
        let past_the_last = unsafe { super::irp::current_location(irp) };
        // SAFETY: the next location, which `prepare` has filled in.
        let next = unsafe { past_the_last.sub(1) };
        // SAFETY: the routine is of the context's type.
        unsafe { set_completion(next, transferred::<A>, context) };
        // SAFETY: as above. The return value is ignored: the completion routine is called in any
        // case.
        let _ = unsafe { IofCallDriver(device, irp) };
        Ok(())
    }
}

impl<A> Slot<A> {
    /// Sets the IRP up; `None` if the bytes are not inside the buffer. IRQL <= DISPATCH_LEVEL.
    fn prepare(&self, what: Transfer, span: Span) -> Option<()> {
        let (at, len) = (span.at as u64, span.len as u64);
        let length = ULONG::try_from(len).ok()?;
        let offset = i64::try_from(span.offset).ok()?;
        let irp = self.irp.as_ptr();
        // SAFETY: allocated in `new`; the last request with this IRP has completed.
        let location = unsafe { own_irp::begin(irp) };
        // SAFETY: ours and idle.
        let request = unsafe { &mut *irp };
        // SAFETY: the next location, which is ours to fill in.
        let next = unsafe { &mut *location };
        if what == Transfer::Flush {
            next.MajorFunction = low_byte(IRP_MJ_FLUSH_BUFFERS);
            return Some(());
        }
        // SAFETY: nothing else has the memory.
        let window = unsafe { &mut *self.window.get() };
        let list = window.show(&self.whole, at, len)?;
        if self.device.flags() & DO_DIRECT_IO != 0 {
            request.MdlAddress = list;
        } else {
            request.AssociatedIrp.SystemBuffer = self.whole.address(at, len)?.as_ptr().cast();
        }
        if what == Transfer::Read {
            next.MajorFunction = low_byte(IRP_MJ_READ);
            next.Parameters.Read.Length = length;
            next.Parameters.Read.Key = 0;
            next.Parameters.Read.ByteOffset.QuadPart = offset;
        } else {
            next.MajorFunction = low_byte(IRP_MJ_WRITE);
            next.Flags = low_byte(SL_WRITE_THROUGH | SL_FORCE_DIRECT_WRITE);
            next.Parameters.Write.Length = length;
            next.Parameters.Write.Key = 0;
            next.Parameters.Write.ByteOffset.QuadPart = offset;
        }
        Some(())
    }

    /// How the last transfer ended. IRQL <= DISPATCH_LEVEL.
    fn outcome(&self, what: Transfer, span: Span) -> NTSTATUS {
        // SAFETY: completed, and kept by its completion routine.
        let outcome = unsafe { (*self.irp.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        let status = unsafe { outcome.__bindgen_anon_1.Status };
        let is_whole = what == Transfer::Flush || outcome.Information == span.len as u64;
        if NT_SUCCESS(status) && !is_whole { STATUS_INVALID_PARAMETER } else { status }
    }
}

impl<A> Drop for Slot<A> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no transfer is under way, as it would have a reference.
        unsafe { IoFreeIrp(self.irp.as_ptr()) };
    }
}

/// Completion routine of a transfer. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn transferred<A: After>(
    _device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: our own IRP, which has completed.
    let request = unsafe { &mut *irp };
    // The IRP is freed or used again without them.
    request.MdlAddress = null_mut();
    request.AssociatedIrp.SystemBuffer = null_mut();
    // SAFETY: on completion the union holds the status.
    let status = unsafe { request.IoStatus.__bindgen_anon_1.Status };
    // SAFETY: `send` passed a reference of its own for this call.
    if let Some(slot) = unsafe { Shared::<Slot<A>>::from_context(context) } {
        // Release: what follows has the memory.
        if slot.stage.swap(IDLE, Ordering::AcqRel) == LEFT {
            RawIo { slot }.finish(status);
        } else {
            slot.done.set();
        }
    }
    // The IRP belongs to its slot.
    STATUS_MORE_PROCESSING_REQUIRED
}

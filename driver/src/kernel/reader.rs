//! Asynchronous reads of blocks from the lower device, with IRPs and MDLs that are allocated
//! beforehand (rule BOUND, rules.md#bound).
//!
//! One thread sends the reads and waits for none of them. The completion routine gives a read to
//! its owner, who may want to read more with the same slot: the thread sends that, as a lower
//! device that completes at once would call the routine inside itself.
//!
//! A slot is with the thread, below, or in one of two lists. The lists' lock is the last thing that
//! a completion routine touches, so the memory may be freed once the thread finds all slots idle.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null, null_mut};

use snapless_engine::Read;
use wdk_sys::ntddk::{IoAllocateIrp, IoFreeIrp, IoSetIoPriorityHint, IofCallDriver};
use wdk_sys::{
    _IO_PRIORITY_HINT::{IoPriorityLow, IoPriorityNormal},
    DO_DIRECT_IO, IRP, IRP_MJ_READ, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP,
    STATUS_INVALID_PARAMETER, STATUS_MORE_PROCESSING_REQUIRED, ULONG,
};

use super::irp::set_completion;
use super::lower_device::LowerDevice;
use super::mdl::{BufferMdl, WindowMdl};
use super::spin_lock::SpinLock;
use super::{low_byte, own_irp, reserved};

/// What the reads are made for.
pub trait ReadOwner: Send + Sync + 'static {
    /// Takes a read that is over; returns what is read next in its place. IRQL <= DISPATCH_LEVEL.
    fn read_done(&self, read: Read, result: Result<(), NTSTATUS>) -> Option<Read>;

    /// Wakes the thread that sends the reads. IRQL <= DISPATCH_LEVEL.
    fn wake(&self);
}

/// How urgent the reads are to the devices below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ReadPriority {
    /// As those of most applications.
    Normal,
    /// After them: a disk that is busy serves the applications first.
    Low,
}

/// What [`Readers::new`] is given.
pub struct ReadersConfig {
    /// The device to read from.
    pub device: LowerDevice,
    /// Reads at a time.
    pub count: usize,
    /// Bytes of the longest read.
    pub longest: usize,
    /// Their priority.
    pub priority: ReadPriority,
}

/// Reads that are under way at the same time.
pub struct Readers<O> {
    owner: O,
    device: LowerDevice,
    priority: ReadPriority,
    /// The device takes MDLs; else it takes system buffers.
    direct: bool,
    slots: Vec<Slot<O>>,
    lists: SpinLock<Lists>,
}

/// A slot that the thread has, to be sent or put back.
#[must_use = "a slot that is not put back is lost, and the end of the reads waits for it"]
pub struct IdleSlot(u16);

/// No slot.
const NONE: u16 = u16::MAX;

/// The slots that are not with the thread and not below.
struct Lists {
    /// The slot after this one in its list.
    next: Vec<u16>,
    /// Those without a read.
    idle: u16,
    idle_count: usize,
    /// Those whose read is to be sent.
    again: u16,
}

/// One read at a time.
struct Slot<O> {
    irp: NonNull<IRP>,
    index: u16,
    inner: UnsafeCell<Inner<O>>,
}

struct Inner<O> {
    window: WindowMdl,
    read: Option<Read>,
    /// Set while the IRP is below.
    readers: *const Readers<O>,
}

// SAFETY: a slot's IRP and inner part are used by the one that has the slot: the thread, or the
// completion routine of its IRP.
unsafe impl<O: Send + Sync> Send for Readers<O> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync> Sync for Readers<O> {}

impl<O: ReadOwner> Readers<O> {
    /// Reads into what `whole` describes. `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(owner: O, whole: &BufferMdl, config: &ReadersConfig) -> Option<Self> {
        let device = config.device;
        let direct = device.flags() & DO_DIRECT_IO != 0;
        let count = u16::try_from(config.count).ok().filter(|&count| count != NONE)?;
        let mut slots = Vec::new();
        for index in 0..count {
            reserved::push(&mut slots, Slot::new(index, device, whole, config.longest)?)?;
        }
        let chain = (0..count).map(|index| index.checked_sub(1).unwrap_or(NONE));
        let next = reserved::collect(config.count, chain)?;
        let idle = count.checked_sub(1).unwrap_or(NONE);
        let lists = Lists { next, idle, idle_count: config.count, again: NONE };
        Some(Self {
            owner,
            device,
            priority: config.priority,
            direct,
            slots,
            lists: SpinLock::new(lists),
        })
    }

    /// What the reads are made for. IRQL <= DISPATCH_LEVEL.
    pub fn owner(&self) -> &O {
        &self.owner
    }

    /// A slot for a read; `None` if all are in use: the thread is woken when one is not any more.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn idle_slot(&self) -> Option<IdleSlot> {
        self.lists.with(Lists::pop_idle).map(IdleSlot)
    }

    /// Puts a slot back that was not needed. IRQL <= DISPATCH_LEVEL.
    pub fn put_back(&self, slot: IdleSlot) {
        self.lists.with(|lists| lists.push_idle(slot.0));
    }

    /// True if no read is under way. IRQL <= DISPATCH_LEVEL.
    pub fn is_idle(&self) -> bool {
        self.lists.with(|lists| lists.idle_count) == self.slots.len()
    }

    /// Sends a read. PASSIVE_LEVEL, on the thread that waits until all reads are over before it
    /// gives the readers up.
    pub fn send(&self, slot: IdleSlot, whole: &BufferMdl, read: Read) {
        let IdleSlot(index) = slot;
        let Some(slot) = self.slots.get(usize::from(index)) else { return };
        // SAFETY: the thread has the slot.
        let inner = unsafe { &mut *slot.inner.get() };
        inner.read = Some(read);
        self.send_slot(slot, whole);
    }

    /// Sends what the owner wants to read next. PASSIVE_LEVEL, on the thread as [`Readers::send`].
    pub fn send_again(&self, whole: &BufferMdl) {
        while let Some(index) = self.lists.with(Lists::pop_again) {
            if let Some(slot) = self.slots.get(usize::from(index)) {
                self.send_slot(slot, whole);
            }
        }
    }

    fn send_slot(&self, slot: &Slot<O>, whole: &BufferMdl) {
        if self.prepare(slot, whole).is_none() {
            return self.finish(slot, Err(STATUS_INVALID_PARAMETER));
        }
        // SAFETY: set up by `prepare`. The completion routine keeps the IRP from being freed, and
        // is called in any case.
        let _ = unsafe { IofCallDriver(self.device.as_ptr(), slot.irp.as_ptr()) };
    }

    /// Sets the IRP up; `None` if the read is not inside the memory.
    fn prepare(&self, slot: &Slot<O>, whole: &BufferMdl) -> Option<()> {
        // SAFETY: the thread has the slot.
        let inner = unsafe { &mut *slot.inner.get() };
        let read = inner.read.as_ref()?;
        let (extent, memory) = (read.extent(), read.memory());
        let list = inner.window.show(whole, memory.offset, memory.len)?;
        let buffer = whole.address(memory.offset, memory.len)?;
        let length = ULONG::try_from(extent.len()).ok()?;
        let offset = i64::try_from(extent.offset()).ok()?;
        inner.readers = self;
        let irp = slot.irp.as_ptr();
        // SAFETY: allocated in `Slot::new`; the last request with this IRP has completed.
        let location = unsafe { own_irp::begin(irp) };
        let priority = match self.priority {
            ReadPriority::Normal => IoPriorityNormal,
            ReadPriority::Low => IoPriorityLow,
        };
        // SAFETY: ours and idle. A hint: a failure means that it has none.
        let _ = unsafe { IoSetIoPriorityHint(irp, priority) };
        // SAFETY: ours and idle.
        let request = unsafe { &mut *irp };
        if self.direct {
            request.MdlAddress = list;
        } else {
            request.AssociatedIrp.SystemBuffer = buffer.as_ptr().cast();
        }
        // SAFETY: the next location, which is ours to fill in.
        let next = unsafe { &mut *location };
        next.MajorFunction = low_byte(IRP_MJ_READ);
        next.Parameters.Read.Length = length;
        next.Parameters.Read.Key = 0;
        next.Parameters.Read.ByteOffset.QuadPart = offset;
        let context = core::ptr::from_ref(slot).cast_mut().cast();
        // SAFETY: the readers are given up when no read is under way, so the slot outlives the
        // request.
        unsafe { set_completion(location, read_completed::<O>, context) };
        Some(())
    }

    /// Gives a read to the owner and frees its slot, or queues the slot for what is read next.
    fn finish(&self, slot: &Slot<O>, result: Result<(), NTSTATUS>) {
        // SAFETY: the caller has the slot.
        let inner = unsafe { &mut *slot.inner.get() };
        let next = inner.read.take().and_then(|read| self.owner.read_done(read, result));
        let again = next.is_some();
        inner.read = next;
        // The thread may have waited for a slot, or for the last one.
        self.lists.with(|lists| {
            if again {
                lists.push_again(slot.index);
            } else {
                lists.push_idle(slot.index);
            }
            self.owner.wake();
        });
    }
}

impl<O> Slot<O> {
    fn new(index: u16, device: LowerDevice, whole: &BufferMdl, longest: usize) -> Option<Self> {
        let window = WindowMdl::new(whole, longest)?;
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(device.stack_size(), 0) })?;
        let inner = UnsafeCell::new(Inner { window, read: None, readers: null() });
        Some(Self { irp, index, inner })
    }
}

impl<O> Drop for Slot<O> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no request is under way.
        unsafe { IoFreeIrp(self.irp.as_ptr()) };
    }
}

impl Lists {
    fn pop_idle(&mut self) -> Option<u16> {
        let index = self.idle;
        self.idle = *self.next.get(usize::from(index))?;
        self.idle_count = self.idle_count.saturating_sub(1);
        Some(index)
    }

    fn push_idle(&mut self, index: u16) {
        if let Some(next) = self.next.get_mut(usize::from(index)) {
            *next = core::mem::replace(&mut self.idle, index);
            self.idle_count = self.idle_count.saturating_add(1);
        }
    }

    fn pop_again(&mut self) -> Option<u16> {
        let index = self.again;
        self.again = *self.next.get(usize::from(index))?;
        Some(index)
    }

    fn push_again(&mut self, index: u16) {
        if let Some(next) = self.next.get_mut(usize::from(index)) {
            *next = core::mem::replace(&mut self.again, index);
        }
    }
}

/// Completion routine of a read. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn read_completed<O: ReadOwner>(
    _device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `prepare` passed the slot, which is this routine's until `finish`.
    if let Some(slot) = unsafe { context.cast::<Slot<O>>().as_ref() } {
        // SAFETY: as above.
        let readers = unsafe { (*slot.inner.get()).readers };
        // SAFETY: as above; the readers outlive the request.
        if let Some(readers) = unsafe { readers.as_ref() } {
            // SAFETY: completed, and kept by this routine.
            let request = unsafe { &mut *irp };
            // The IRP is freed or used again without them.
            request.MdlAddress = null_mut();
            request.AssociatedIrp.SystemBuffer = null_mut();
            // SAFETY: on completion the union holds the status.
            let status = unsafe { request.IoStatus.__bindgen_anon_1.Status };
            let read = request.IoStatus.Information;
            // SAFETY: as above.
            let asked = unsafe { (*slot.inner.get()).read.as_ref() };
            let is_whole = asked.is_some_and(|asked| asked.extent().len() == read);
            let result = match (NT_SUCCESS(status), is_whole) {
                (true, true) => Ok(()),
                (true, false) => Err(STATUS_INVALID_PARAMETER),
                (false, _) => Err(status),
            };
            readers.finish(slot, result);
        }
    }
    // The IRP belongs to its slot.
    STATUS_MORE_PROCESSING_REQUIRED
}

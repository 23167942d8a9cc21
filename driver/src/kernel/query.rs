//! Synchronous IOCTLs to the lower device, with a limit to their time. PASSIVE_LEVEL.
//!
//! A disk that hangs keeps a query for as long as it likes. When the time is up, the query is
//! cancelled; a disk that does not take notice of that keeps it, and the channel fails further
//! queries at once until the disk gives it back. IRP and buffer are allocated beforehand and belong
//! to the channel, so that a query can be left behind, one for each volume at most (rule BOUND,
//! rules.md#bound).

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdk_sys::ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, IofCallDriver};
use wdk_sys::{
    IRP, IRP_MJ_DEVICE_CONTROL, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP,
    STATUS_DEVICE_NOT_CONNECTED, STATUS_INVALID_PARAMETER, STATUS_IO_TIMEOUT,
    STATUS_MORE_PROCESSING_REQUIRED, ULONG,
};

use super::event::Event;
use super::irp::set_completion;
use super::lower_device::LowerDevice;
use super::passive_lock::PassiveLock;
use super::shared::Shared;
use super::{low_byte, own_irp};

/// The longest input, and the longest output, in bytes.
pub const QUERY_MAX: usize = 264;
/// How long a cancelled query may take to come back, in ticks: 200 ms.
const CANCEL_LIMIT: u64 = 2_000_000;

/// The queries to one volume: one at a time.
pub struct QueryChannel {
    state: PassiveLock<State>,
}

struct State {
    device: LowerDevice,
    irp: NonNull<IRP>,
    slot: Shared<Slot>,
    /// The device still has a query whose time was up.
    left_behind: bool,
    closed: bool,
}

/// What the device uses while it has a query.
struct Slot {
    done: Event,
    buffer: UnsafeCell<Buffer>,
}

/// Aligned as pool memory is, which a system buffer is made of.
#[repr(C, align(16))]
struct Buffer([u8; QUERY_MAX]);

// SAFETY: the buffer is the device's while it has a query, and else the holder's of the lock.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}
// SAFETY: the IRP belongs to no thread, and is used by the holder of the lock.
unsafe impl Send for State {}

impl QueryChannel {
    /// A channel to `device`; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(device: LowerDevice) -> Option<Self> {
        let buffer = UnsafeCell::new(Buffer([0; QUERY_MAX]));
        let slot = Shared::new(Slot { done: Event::new(false)?, buffer })?;
        // SAFETY: no quota is charged; a null result is refused.
        let irp = NonNull::new(unsafe { IoAllocateIrp(device.stack_size(), 0) })?;
        let state = State { device, irp, slot, left_behind: false, closed: false };
        Some(Self { state: PassiveLock::new(state)? })
    }

    /// Sends an IOCTL and waits for it, `limit` ticks at most; returns the number of bytes in
    /// `output`. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// The device's status; `STATUS_IO_TIMEOUT` if it does not answer in time, or has not answered
    /// an earlier query yet.
    pub fn ask(
        &self,
        code: ULONG,
        input: &[u8],
        output: &mut [u8],
        limit: u64,
    ) -> Result<usize, NTSTATUS> {
        let asked = self.state.with_within(limit, |state| state.ask(code, input, output, limit));
        asked.unwrap_or(Err(STATUS_IO_TIMEOUT))
    }

    /// Lets no further query begin, and waits for the one that was left behind: the device is going
    /// away. PASSIVE_LEVEL.
    pub fn close(&self) {
        self.state.with(|state| {
            state.closed = true;
            if state.left_behind {
                state.slot.done.wait();
                state.left_behind = false;
            }
        });
    }
}

impl State {
    fn ask(
        &mut self,
        code: ULONG,
        input: &[u8],
        output: &mut [u8],
        limit: u64,
    ) -> Result<usize, NTSTATUS> {
        if self.closed {
            return Err(STATUS_DEVICE_NOT_CONNECTED);
        }
        if self.left_behind {
            if !self.slot.done.wait_for(0) {
                return Err(STATUS_IO_TIMEOUT);
            }
            self.left_behind = false;
        }
        // SAFETY: no query is under way, and the lock is held.
        let buffer = unsafe { &mut *self.slot.buffer.get() };
        if input.len().max(output.len()) > buffer.0.len() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        for (to, from) in buffer.0.iter_mut().zip(input) {
            *to = *from;
        }
        self.send(code, input.len(), output.len());
        if !self.slot.done.wait_for(limit) {
            // SAFETY: the IRP is the channel's own and is not freed on completion.
            let _ = unsafe { IoCancelIrp(self.irp.as_ptr()) };
            if !self.slot.done.wait_for(CANCEL_LIMIT) {
                self.left_behind = true;
            }
            return Err(STATUS_IO_TIMEOUT);
        }
        self.answer(output)
    }

    /// Gives the IRP to the device; the completion routine takes the reference on the slot.
    fn send(&self, code: ULONG, input_len: usize, output_len: usize) {
        let irp = self.irp.as_ptr();
        // SAFETY: allocated in `new`; the last request with this IRP has completed.
        let location = unsafe { own_irp::begin(irp) };
        // SAFETY: ours and idle.
        let request = unsafe { &mut *irp };
        request.AssociatedIrp.SystemBuffer = self.slot.buffer.get().cast();
        // SAFETY: the next location, which is ours to fill in.
        let next = unsafe { &mut *location };
        next.MajorFunction = low_byte(IRP_MJ_DEVICE_CONTROL);
        next.Parameters.DeviceIoControl.IoControlCode = code;
        next.Parameters.DeviceIoControl.InputBufferLength = as_ulong(input_len);
        next.Parameters.DeviceIoControl.OutputBufferLength = as_ulong(output_len);
        let context = self.slot.clone().into_context();
        // SAFETY: the next location is set up; the routine is of the context's type.
        unsafe { set_completion(location, query_completed, context) };
        // SAFETY: as above. The return value is ignored: the completion routine is called in any
        // case.
        let _ = unsafe { IofCallDriver(self.device.as_ptr(), irp) };
    }

    fn answer(&self, output: &mut [u8]) -> Result<usize, NTSTATUS> {
        // SAFETY: completed, and kept by its completion routine.
        let outcome = unsafe { (*self.irp.as_ptr()).IoStatus };
        // SAFETY: on completion the union holds the status.
        let status = unsafe { outcome.__bindgen_anon_1.Status };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
        // SAFETY: no query is under way, and the lock is held.
        let buffer = unsafe { &*self.slot.buffer.get() };
        let len = usize::try_from(outcome.Information).unwrap_or(0).min(output.len());
        for (to, from) in output.iter_mut().zip(&buffer.0).take(len) {
            *to = *from;
        }
        Ok(len)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        debug_assert!(!self.left_behind, "a channel is closed before it goes away");
        if !self.left_behind {
            // SAFETY: allocated in `new`; no query is under way.
            unsafe { IoFreeIrp(self.irp.as_ptr()) };
        }
    }
}

fn as_ulong(len: usize) -> ULONG {
    ULONG::try_from(len).unwrap_or(0)
}

/// Completion routine of a query. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn query_completed(
    _device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the channel's IRP, which is not used by the channel before the signal below.
    let irp = unsafe { &mut *irp };
    irp.AssociatedIrp.SystemBuffer = null_mut();
    // SAFETY: `send` passed a reference of its own for this call.
    if let Some(slot) = unsafe { Shared::<Slot>::from_context(context) } {
        slot.done.set();
    }
    // The IRP belongs to the channel.
    STATUS_MORE_PROCESSING_REQUIRED
}

//! Keeps completed packets allocated for a while, because Wine may still cancel them.
//!
//! Wine sends a cancellation to the device process as a message that holds the packet's address and
//! no reference. A packet that another thread completes before the message is read is freed, and
//! `IoCancelIrp` gets memory that is used for something else by then: it cancels a stranger's
//! packet, or it crashes. The I/O manager of Windows cannot do that: a packet is cancelled from its
//! thread's list, under a lock.
//!
//! The rule: an application's packet is given back to Wine when no cancellation that was sent
//! before its completion can be unread any more.

use alloc::{boxed::Box, collections::VecDeque};
use core::ffi::c_void;

use nt::{irp::Irp, spinlock::SpinLock, time::interrupt_time_100ns};
use wdk_sys::{
    IO_COMPLETION_ROUTINE, NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_SUCCESS, ntddk::IofCompleteRequest,
};

/// How long a packet stays: Wine's thread that reads the messages may be busy in a dispatch
/// routine.
const KEPT_100NS: u64 = 2 * 10_000_000;
/// The last packets stay whatever their age.
const KEPT_PACKETS: usize = 1_024;

static COMPLETED: SpinLock<VecDeque<Completed>> = SpinLock::new(VecDeque::new());

struct Completed {
    irp: PIRP,
    at_100ns: u64,
}

// SAFETY: a completed packet belongs to this list; no thread uses it but to give it back.
unsafe impl Send for Completed {}

/// The completion routine of Wine that ours stands in for.
struct Sender {
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
}

/// Puts our completion routine in place of Wine's, on a packet that comes straight from an
/// application. Called at the packet's first stack location.
pub(crate) fn watch(irp: &mut Irp) {
    if !irp.is_at_first_location() {
        return;
    }
    let location = irp.stack_mut();
    let sender = Sender { routine: location.CompletionRoutine, context: location.Context };
    if sender.routine.is_some() {
        location.Context = Box::into_raw(Box::new(sender)).cast();
        location.CompletionRoutine = Some(completed);
    }
}

/// Calls Wine's routine, which tells the application, and keeps the packet.
unsafe extern "C" fn completed(
    device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: made by `watch` for this packet, whose completion routine is called once.
    let sender = unsafe { Box::from_raw(context.cast::<Sender>()) };
    // SAFETY: the routine and its own context, called as Wine would call it.
    let status = sender
        .routine
        .map_or(STATUS_SUCCESS, |routine| unsafe { routine(device, irp, sender.context) });
    if status == STATUS_MORE_PROCESSING_REQUIRED {
        // Wine completes the packet itself: it is still in the call that dispatched it, and cancels
        // nothing meanwhile.
        return status;
    }
    keep(irp);
    STATUS_MORE_PROCESSING_REQUIRED
}

fn keep(irp: PIRP) {
    let now = interrupt_time_100ns();
    COMPLETED.lock().push_back(Completed { irp, at_100ns: now });
    while let Some(oldest) = take_outdated(now) {
        // SAFETY: the packet is ours since its completion routine claimed it. The call goes on
        // behind that routine, which was the last: it frees the packet and its buffer.
        unsafe { IofCompleteRequest(oldest, nt::irp::IO_NO_INCREMENT) };
    }
}

fn take_outdated(now: u64) -> Option<PIRP> {
    let mut completed = COMPLETED.lock();
    let outdated = completed.len() > KEPT_PACKETS && completed.front()?.at_100ns + KEPT_100NS < now;
    outdated.then(|| completed.pop_front())?.map(|packet| packet.irp)
}

//! Cancelling: packets that wait in a queue, and requests that the driver made cancelable.
//!
//! The rule: whoever takes the cancel routine off a packet decides about it; the loser leaves the packet alone. A
//! cancel routine runs with the cancel spin lock and gives that up first.

use alloc::{collections::BTreeMap, vec::Vec};

use nt::{irp::Irp, spinlock::SpinLock};
use wdk_sys::{PDEVICE_OBJECT, PIRP, ntddk::IoReleaseCancelSpinLock};

use crate::{
    abi::{Handle, Notify},
    object::{self, Ref},
    queue::Queue,
    request::{Owner, Request},
};

/// The cancel callbacks of requests that are marked cancelable.
static CALLBACKS: SpinLock<BTreeMap<Handle, Notify>> = SpinLock::new(BTreeMap::new());

/// Makes a queued request cancellable by the framework; false if it is cancelled already.
pub(crate) fn watch_queued(request: &Ref<Request>) -> bool {
    arm(request, cancel_queued)
}

/// Takes a queued request back from the canceller; false if its cancel routine is on its way.
pub(crate) fn unwatch_queued(request: &Request) -> bool {
    disarm(request)
}

/// Lets the framework call the driver when the request is cancelled; false if it is cancelled already.
pub(crate) fn mark(request: &Ref<Request>, callback: Notify) -> bool {
    CALLBACKS.lock().insert(request.handle(), callback);
    let armed = arm(request, cancel_marked);
    if !armed {
        CALLBACKS.lock().remove(&request.handle());
    }
    armed
}

/// Takes a marked request back; false if the driver's cancel callback was or will be called.
pub(crate) fn unmark(request: &Ref<Request>) -> bool {
    if !disarm(request) {
        return false;
    }
    CALLBACKS.lock().remove(&request.handle());
    request.change_owner(Owner::Cancelable, Owner::Driver).is_ok()
}

type Routine = unsafe extern "C" fn(PDEVICE_OBJECT, PIRP);

fn arm(request: &Ref<Request>, routine: Routine) -> bool {
    let handle = request.handle();
    request
        .with_irp(|irp| {
            irp.set_driver_context(handle as *mut _);
            irp.set_cancel_routine(Some(routine));
            // If the packet was cancelled before the routine was in place, nobody called it: take it off again.
            !(irp.is_cancelled() && irp.set_cancel_routine(None).is_some())
        })
        .unwrap_or(false)
}

fn disarm(request: &Request) -> bool {
    request.with_irp(|irp| irp.set_cancel_routine(None).is_some()).unwrap_or(false)
}

/// Gives up the cancel spin lock and finds the packet's request.
///
/// # Safety
/// `raw` is the packet that a cancel routine of this file was called for.
unsafe fn request_of(raw: PIRP) -> Option<Ref<Request>> {
    // SAFETY: the caller says so; the packet stays with its request, this is a look at it.
    let irp = unsafe { Irp::from_raw(raw) };
    let handle = irp.driver_context() as Handle;
    let _ = irp.into_raw();
    // SAFETY: the packet is live until its request is completed, which waits for this routine's decision.
    let level = unsafe { (*raw).CancelIrql };
    // SAFETY: a cancel routine is called with the lock held.
    unsafe { IoReleaseCancelSpinLock(level) };
    object::look_up(handle).and_then(Ref::new)
}

unsafe extern "C" fn cancel_queued(_device: PDEVICE_OBJECT, raw: PIRP) {
    // SAFETY: this packet's cancel routine.
    let Some(request) = (unsafe { request_of(raw) }) else { return };
    if let Some(queue) = request.queue() {
        Queue::cancelled(&queue, &request);
    }
}

unsafe extern "C" fn cancel_marked(_device: PDEVICE_OBJECT, raw: PIRP) {
    // SAFETY: this packet's cancel routine.
    let Some(request) = (unsafe { request_of(raw) }) else { return };
    let callback = CALLBACKS.lock().remove(&request.handle());
    if request.change_owner(Owner::Cancelable, Owner::Cancelled).is_err() {
        return;
    }
    if let Some(callback) = callback {
        // SAFETY: the driver's own callback, with the handle of its live request.
        unsafe { callback(request.handle()) };
    }
}

/// Cancels the requests of a list that the driver made cancelable, as purging a queue does.
pub(crate) fn cancel_marked_requests(requests: Vec<Ref<Request>>) {
    for request in requests {
        if !disarm(&request) {
            continue;
        }
        let callback = CALLBACKS.lock().remove(&request.handle());
        if request.change_owner(Owner::Cancelable, Owner::Cancelled).is_ok()
            && let Some(callback) = callback
        {
            // SAFETY: the driver's own callback, with the handle of its live request.
            unsafe { callback(request.handle()) };
        }
    }
}

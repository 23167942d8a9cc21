//! Cancelling packets that wait in a queue.
//!
//! The rule: the side that takes the cancel routine off a packet decides what happens to it. A
//! cancel routine runs with the cancel spin lock held and releases it first.

use nt::irp::Irp;
use wdk_sys::{PDEVICE_OBJECT, PIRP, ntddk::IoReleaseCancelSpinLock};

use crate::{
    abi::Handle,
    object::{self, Ref},
    queue::Queue,
    request::Request,
};

/// Lets the framework cancel a queued request; false if it is cancelled already.
pub(crate) fn arm(request: &Ref<Request>) -> bool {
    let handle = request.handle();
    request
        .with_irp(|irp| {
            irp.set_driver_context(handle as *mut _);
            irp.set_cancel_routine(Some(cancel));
            // A packet cancelled before the routine was in place has had no call: take it off.
            !(irp.is_cancelled() && irp.set_cancel_routine(None).is_some())
        })
        .unwrap_or(false)
}

/// Takes the cancel routine off a request; false if the routine owns the request now.
pub(crate) fn disarm(request: &Request) -> bool {
    request.with_irp(|irp| irp.set_cancel_routine(None).is_some()).unwrap_or(false)
}

unsafe extern "C" fn cancel(_device: PDEVICE_OBJECT, raw: PIRP) {
    // SAFETY: the packet that the routine is called for is live: its request is completed below.
    let irp = unsafe { Irp::from_raw(raw) };
    let (handle, level) = (irp.driver_context() as Handle, irp.cancel_irql());
    let _ = irp.into_raw();
    // SAFETY: a cancel routine is called with the lock held.
    unsafe { IoReleaseCancelSpinLock(level) };
    let Some(request) = object::look_up(handle).and_then(Ref::<Request>::new) else { return };
    if let Some(queue) = request.queue() {
        Queue::cancelled(&queue, &request);
    }
}

//! The filter on each volume: attachment, and the path of a write.
//!
//! Writes come here as IRPs, ahead of the framework (a WDM preprocess callback), so that a volume
//! without a session pays no framework request. Everything else passes through the framework, which
//! sends it on, but for the requests of [`changes`](crate::changes).

use core::ffi::c_void;

use snapless_engine::Extent;
use wdk_sys::{
    NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP, PWDFDEVICE_INIT, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_STATE, STATUS_NOT_SUPPORTED, STATUS_SUCCESS, WDFDEVICE, WDFDRIVER,
    WDFOBJECT,
};

use crate::changes::changes_the_volume;
use crate::framework::device::{self, FilterCallbacks};
use crate::gate::Side;
use crate::globals;
use crate::kernel::irp::{Completed, OwnedIrp};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::session::{CompletionContext, Session};
use crate::volume::Volume;

/// `EvtDriverDeviceAdd`: a volume has arrived. PASSIVE_LEVEL.
///
/// Asks the volume nothing: a question this early has reset machines at boot.
pub extern "C" fn evt_device_add(driver: WDFDRIVER, init: PWDFDEVICE_INIT) -> NTSTATUS {
    match add(driver, init) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => {
            log::number(c"could not attach to a volume, status", u64::from(status.cast_unsigned()));
            status
        }
    }
}

fn add(driver: WDFDRIVER, init: PWDFDEVICE_INIT) -> Result<(), NTSTATUS> {
    let globals = globals::get().ok_or(STATUS_INVALID_DEVICE_STATE)?;
    let callbacks = FilterCallbacks {
        write: Some(evt_write),
        device_control: Some(evt_device_control),
        removing: Some(evt_removing),
        cleanup: Some(evt_cleanup),
        destroy: Some(evt_destroy),
    };
    // SAFETY: `init` is this call's; the callbacks are written for it.
    let filter = unsafe { device::create_filter(init, &callbacks) }?;
    // SAFETY: made above. If something fails from here on, the framework deletes the device.
    let lower = unsafe { device::lower(filter) }.ok_or(STATUS_INVALID_DEVICE_STATE)?;
    let volume = Volume::new(lower).and_then(Shared::new).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    globals.registry.add(volume.clone())?;
    // SAFETY: no request has reached the device yet.
    let before = unsafe { device::set_filter_value(filter, volume.into_context()) };
    debug_assert!(before.is_null(), "a new device has no volume yet");
    globals.volume_arrived(driver)
}

/// `EvtDeviceSelfManagedIoCleanup`: the volume is being removed. PASSIVE_LEVEL.
extern "C" fn evt_removing(filter: WDFDEVICE) {
    if let Some(volume) = volume_of(filter) {
        volume.remove();
    }
}

/// `EvtCleanupCallback`: the device object is being deleted; requests may still be on their way through
/// it, since the framework waits for its remove lock after this. PASSIVE_LEVEL.
extern "C" fn evt_cleanup(object: WDFOBJECT) {
    let Some(volume) = volume_of(object.cast()) else { return };
    volume.remove();
    if let Some(globals) = globals::get() {
        globals.registry.remove(volume);
        globals.volume_left();
    }
}

/// `EvtDestroyCallback`: nothing uses the device any more. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_destroy(object: WDFOBJECT) {
    // SAFETY: the object is a filter, and its last request is over.
    let context = unsafe { device::set_filter_value(object.cast(), core::ptr::null_mut()) };
    // SAFETY: `add` put it there, and it is taken out once.
    drop(unsafe { Shared::<Volume>::from_context(context) });
}

/// Preprocess callback for `IRP_MJ_WRITE`. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_write(filter: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    let Some(volume) = volume_of(filter) else {
        // SAFETY: this callback's own arguments.
        return unsafe { device::pass_on(filter, irp) };
    };
    // SAFETY: dispatched to us just now.
    let Some(irp) = (unsafe { OwnedIrp::new(irp) }) else { return STATUS_INVALID_DEVICE_STATE };
    let side = volume.gate.enter();
    let Some(session) = session_of(volume, side) else { return send(volume, irp, side) };
    let (offset, len) = irp.extent();
    match u64::try_from(offset).ok().and_then(|offset| Extent::new(offset, u64::from(len))) {
        Some(extent) => session.write(irp, side, extent),
        // No byte, or none of this volume: the lower driver's to judge.
        None => send(volume, irp, side),
    }
}

/// Preprocess callback for `IRP_MJ_DEVICE_CONTROL`. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_device_control(filter: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    // SAFETY: dispatched to us just now.
    let owned = unsafe { OwnedIrp::new(irp) };
    let (Some(volume), Some(owned)) = (volume_of(filter), owned) else {
        // SAFETY: this callback's own arguments.
        return unsafe { device::pass_on(filter, irp) };
    };
    if !changes_the_volume(&owned) {
        // SAFETY: this callback's own arguments.
        return unsafe { device::pass_on(filter, irp) };
    }
    let side = volume.gate.enter();
    if session_of(volume, side).is_none() {
        return send(volume, owned, side);
    }
    let status = owned.complete(STATUS_NOT_SUPPORTED);
    volume.gate.leave(side);
    status
}

/// Sends a request down that no session has to know of, but the gate.
fn send(volume: &Volume, irp: OwnedIrp, side: Side) -> NTSTATUS {
    let context = CompletionContext { ticket: None, side }.into_raw();
    irp.send(volume.lower().as_ptr(), request_completed, context)
}

/// Completion routine of every request that went through the gate. IRQL <= DISPATCH_LEVEL.
pub unsafe extern "C" fn request_completed(
    device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    let CompletionContext { ticket, side } = CompletionContext::from_raw(context);
    // SAFETY: the routine was set with one of our filters' stack locations.
    let filter = unsafe { device::from_wdm(device) };
    // SAFETY: called by the I/O manager with this IRP.
    let Some(completed) = (unsafe { Completed::new(irp) }) else { return STATUS_SUCCESS };
    completed.propagate_pending();
    if let Some(volume) = volume_of(filter) {
        if let (Some(ticket), Some(session)) = (ticket, session_of(volume, side)) {
            session.completed(ticket, NT_SUCCESS(completed.status()));
        }
        volume.gate.leave(side);
    }
    STATUS_SUCCESS
}

/// The volume of a filter device. It lives as long as the device, and so as long as the callback.
fn volume_of<'a>(filter: WDFDEVICE) -> Option<&'a Volume> {
    // SAFETY: the framework and the I/O manager name our own devices only.
    let context = unsafe { device::filter_value(filter) };
    // SAFETY: a reference that `add` put there; a `Shared` context points at what `value_at` reads.
    unsafe { Shared::<Volume>::value_at(context) }
}

/// The session of the side that the caller is inside.
fn session_of(volume: &Volume, side: Side) -> Option<&Session> {
    // SAFETY: the gate keeps the session until the side is empty, and the caller is inside.
    unsafe { volume.gate.session(side).as_ref() }
}

//! The filter on each volume: attachment, and the path of a write.
//!
//! Writes come here as IRPs, ahead of the framework (a WDM preprocess callback), so that a volume
//! without a session pays no framework request. Everything else passes through the framework, which
//! sends it on, but for the device control requests that change the volume in another way than by a write: which
//! those are is for `snapless_driver_logic::requests` to say.

use core::ffi::c_void;

use snapless_driver_logic::requests::{self, Verdict};
use snapless_types::Extent;
use wdk_sys::{
    BOOLEAN, NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP, PWDFDEVICE_INIT, STATUS_CANCELLED,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED, STATUS_SUCCESS, WDF_SPECIAL_FILE_TYPE, WDFDEVICE, WDFDRIVER, WDFOBJECT,
};

use crate::framework::device::{self, FilterCallbacks};
use crate::gate::Side;
use crate::globals;
use crate::kernel::irp::{Completed, OwnedIrp, release_cancel_lock};
use crate::kernel::log;
use crate::kernel::shared::Shared;
use crate::session::{After, Callbacks, CompletionContext, Request, Session};
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
    let passes = globals.settings.limits.pass_through;
    let callbacks = FilterCallbacks {
        write: if passes { None } else { Some(evt_write) },
        device_control: if passes { None } else { Some(evt_device_control) },
        usage: Some(evt_usage),
        surprise: Some(evt_surprise_removal),
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

/// `EvtDeviceUsageNotification`: a special file has come to the volume or left it. PASSIVE_LEVEL.
extern "C" fn evt_usage(filter: WDFDEVICE, kind: WDF_SPECIAL_FILE_TYPE, in_path: BOOLEAN) {
    if let Some(volume) = volume_of(filter) {
        volume.special_files.note(kind, in_path != 0);
    }
}

/// `EvtDeviceSurpriseRemoval`: the volume is gone. PASSIVE_LEVEL.
///
/// Whoever has it open waits for writes that we hold, and removal waits for whoever has it open: the session ends now.
/// Nothing is waited for: the drivers below complete what they have when they learn of this, which is after us.
extern "C" fn evt_surprise_removal(filter: WDFDEVICE) {
    if let Some(volume) = volume_of(filter) {
        volume.lose();
    }
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
        // If it succeeds, the volume has grown past what the session describes.
        Some(extent) if extent.offset() >= session.geometry().length() => {
            send_and(volume, irp, side, After::AskForLength)
        }
        Some(extent) => session.write(irp, side, extent, volume.special_files.has_paging_file()),
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
    if !requests::concerns_us(owned.control_code()) {
        // SAFETY: this callback's own arguments.
        return unsafe { device::pass_on(filter, irp) };
    }
    let side = volume.gate.enter();
    match session_of(volume, side) {
        Some(session) => control(volume, session, owned, side),
        None => send(volume, owned, side),
    }
}

/// Takes a device control request that concerns the session of `side`. IRQL <= DISPATCH_LEVEL.
fn control(volume: &Volume, session: &Session, irp: OwnedIrp, side: Side) -> NTSTATUS {
    let sector_size = session.geometry().sector_size();
    let (irp, status) = match requests::judge(irp.control_code(), irp.control_input(), sector_size)
    {
        Verdict::Pass => return send(volume, irp, side),
        Verdict::TellsLength => return send_and(volume, irp, side, After::ReadLength),
        Verdict::Resizes => return send_and(volume, irp, side, After::AskForLength),
        Verdict::Clear(clearing) => match Request::new(&clearing) {
            Some(request) => match session.clear(irp, side, request) {
                Ok(status) => return status,
                Err(refused) => refused,
            },
            None => (irp, STATUS_INSUFFICIENT_RESOURCES),
        },
        Verdict::Refuse => (irp, STATUS_NOT_SUPPORTED),
        Verdict::RefuseMalformed => (irp, STATUS_INVALID_PARAMETER),
    };
    session.refused();
    finish(irp, side, status);
    status
}

/// Sends a request down that no session has to know of, but the gate.
fn send(volume: &Volume, irp: OwnedIrp, side: Side) -> NTSTATUS {
    let context = CompletionContext { ticket: None, side, after: None };
    irp.send(volume.lower().as_ptr(), request_completed, context.into_raw())
}

/// As [`send`], with something to do for the session once it has succeeded.
fn send_and(volume: &Volume, irp: OwnedIrp, side: Side, after: After) -> NTSTATUS {
    let context = CompletionContext { ticket: None, side, after: Some(after) };
    irp.send(volume.lower().as_ptr(), request_completed, context.into_raw())
}

/// What a session has us do.
pub const CALLBACKS: Callbacks =
    Callbacks { completed: request_completed, cancel: evt_cancel, finish };

/// Completes a request that entered the gate by `side`, and lets it out. IRQL <= DISPATCH_LEVEL.
fn finish(irp: OwnedIrp, side: Side, status: NTSTATUS) {
    // SAFETY: the request was sent to one of our filters, which lives until it is completed.
    let filter = unsafe { device::from_wdm(irp.device()) };
    if let Some(volume) = volume_of(filter) {
        volume.gate.leave(side);
    }
    irp.complete(status);
}

/// Cancel routine of a held request. DISPATCH_LEVEL, with the cancel lock held.
///
/// Until the lock is free the request is there, and with it the volume: whoever takes a request out of the session
/// otherwise waits for the lock before it goes on with it. The session of the open side need not be the request's;
/// then the request's is ending, and lets it go anyway.
unsafe extern "C" fn evt_cancel(device: PDEVICE_OBJECT, irp: PIRP) {
    // SAFETY: the routine was set with one of our filters' stack locations.
    let filter = unsafe { device::from_wdm(device) };
    let mut taken = None;
    if let Some(volume) = volume_of(filter) {
        let side = volume.gate.enter();
        taken = session_of(volume, side).and_then(|session| session.take_cancelled(irp));
        volume.gate.leave(side);
    }
    // SAFETY: called once, in the cancel routine, with its request.
    unsafe { release_cancel_lock(irp) };
    if let Some((irp, side)) = taken {
        finish(irp, side, STATUS_CANCELLED);
    }
}

/// Completion routine of every request that went through the gate. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn request_completed(
    device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    let CompletionContext { ticket, side, after } = CompletionContext::from_raw(context);
    // SAFETY: the routine was set with one of our filters' stack locations.
    let filter = unsafe { device::from_wdm(device) };
    // SAFETY: called by the I/O manager with this IRP.
    let Some(completed) = (unsafe { Completed::new(irp) }) else { return STATUS_SUCCESS };
    completed.propagate_pending();
    let status = completed.status();
    if let Some(volume) = volume_of(filter) {
        if let Some(session) = session_of(volume, side) {
            if let Some((ticket, what)) = ticket {
                session.completed(ticket, what, status);
            }
            match after.filter(|_| NT_SUCCESS(status)) {
                Some(After::AskForLength) => session.ask_for_length(),
                Some(After::ReadLength) => {
                    if let Some(length) = completed.answer() {
                        session.has_length(length);
                    }
                }
                None => {}
            }
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

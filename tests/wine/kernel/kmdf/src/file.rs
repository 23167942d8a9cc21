//! `WDFFILEOBJECT`: create, cleanup and close requests.
//!
//! The rules: a file object exists from the driver's create callback until its close callback; cleanup comes before
//! close and cancels the file's requests that wait in queues. Wine sends no cleanup packet, so close does both there.

use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use nt::irp::Irp;
use wdk_sys::{
    FILE_OBJECT, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NO_SUCH_DEVICE, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{
    abi::{DriverGlobals, FILE_OBJECT_NOT_REQUIRED, Handle},
    checks::Call,
    device::Device,
    init::FileSetup,
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL, require_at_most},
    object::{Kind, Object, Ref, typed},
    queue,
    request::Request,
    scarcity::{self, Wanted},
};

/// An open file of a device.
pub(crate) struct FileObject {
    device: Ref<Device>,
    wdm: *mut FILE_OBJECT,
    cleaned_up: AtomicBool,
}

typed!(File, FileObject, "WDFFILEOBJECT");

// SAFETY: the WDM file object is only compared.
unsafe impl Send for FileObject {}
// SAFETY: as above.
unsafe impl Sync for FileObject {}

impl FileObject {
    /// The framework's file object of a WDM one.
    pub(crate) fn of_wdm(device: &Device, wdm: *mut FILE_OBJECT) -> Option<Ref<Self>> {
        device.files.lock().iter().find(|file| ptr::eq(file.wdm, wdm)).cloned()
    }

    /// Whether a request comes on a file whose create request failed.
    pub(crate) fn is_missing(device: &Device, wdm: *mut FILE_OBJECT) -> bool {
        tracked(device).is_some() && !wdm.is_null() && Self::of_wdm(device, wdm).is_none()
    }
}

/// Handles `IRP_MJ_CREATE`.
pub(crate) fn create(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    if device.is_control() && !device.is_initialized() {
        return irp.complete(STATUS_NO_SUCH_DEVICE, 0);
    }
    if tracked(device).is_some() && scarcity::refuses(Wanted::Framework) {
        return irp.complete(STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    // Relaxed: the count decides by itself.
    let others = device.open_handles.fetch_add(1, Ordering::Relaxed);
    if device.exclusive && others > 0 {
        device.open_handles.fetch_sub(1, Ordering::Relaxed);
        return irp.complete(STATUS_ACCESS_DENIED, 0);
    }
    let Some(setup) = tracked(device) else {
        return finish(device, irp);
    };
    let file = open(device, &setup, irp.file_object());
    let Some(callback) = setup.config.evt_create else {
        return finish(device, irp);
    };
    require_at_most("EvtDeviceFileCreate", PASSIVE_LEVEL);
    irp.mark_pending();
    let request = Request::create(device, irp);
    request.present();
    // SAFETY: the driver's own callback, with live handles.
    unsafe { callback(device.handle(), request.handle(), file.handle()) };
    STATUS_PENDING
}

/// Handles `IRP_MJ_CLEANUP`.
pub(crate) fn cleanup(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if let Some(file) = FileObject::of_wdm(device, irp.file_object()) {
        clean_up(device, &file);
    }
    finish(device, irp)
}

/// Handles `IRP_MJ_CLOSE`.
pub(crate) fn close(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    let file = FileObject::of_wdm(device, irp.file_object());
    if let Some(file) = &file {
        close_file(device, file, "IRP_MJ_CLOSE");
    }
    if file.is_some() || tracked(device).is_none() {
        // Relaxed: see `create`.
        device.open_handles.fetch_sub(1, Ordering::Relaxed);
    }
    finish(device, irp)
}

/// Closes what is still open when a device goes away.
pub(crate) fn close_all(device: &Ref<Device>, function: &str) {
    loop {
        let Some(file) = device.files.lock().first().cloned() else { return };
        close_file(device, &file, function);
    }
}

/// Takes back a file object whose create request the driver failed.
pub(crate) fn open_failed(file: &Ref<FileObject>) {
    let device = &file.device;
    device.files.lock().retain(|other| !ptr::eq(other.wdm, file.wdm));
    // Relaxed: see `create`.
    device.open_handles.fetch_sub(1, Ordering::Relaxed);
    file.object().delete("a failed IRP_MJ_CREATE");
}

/// What the driver wants of file objects, unless it wants none.
fn tracked(device: &Device) -> Option<FileSetup> {
    device.file_setup.filter(|setup| setup.config.class != FILE_OBJECT_NOT_REQUIRED)
}

fn open(device: &Ref<Device>, setup: &FileSetup, wdm: *mut FILE_OBJECT) -> Ref<FileObject> {
    let value = FileObject { device: device.clone(), wdm, cleaned_up: AtomicBool::new(false) };
    let object = Object::create(
        Kind::File(value),
        device.object().client,
        Some(device.object()),
        setup.attributes.as_ref(),
    );
    let file: Ref<FileObject> = Ref::new(object).expect("the object is a file object");
    device.files.lock().push(file.clone());
    file
}

fn clean_up(device: &Ref<Device>, file: &Ref<FileObject>) {
    // Relaxed: cleanup and close of one file come one after the other.
    if file.cleaned_up.swap(true, Ordering::Relaxed) {
        return;
    }
    require_at_most("EvtFileCleanup", PASSIVE_LEVEL);
    if let Some(callback) = tracked(device).and_then(|setup| setup.config.evt_cleanup) {
        // SAFETY: the driver's own callback, with a live handle.
        unsafe { callback(file.handle()) };
    }
    queue::cancel_by_file(device, file);
}

fn close_file(device: &Ref<Device>, file: &Ref<FileObject>, function: &str) {
    clean_up(device, file);
    if let Some(callback) = tracked(device).and_then(|setup| setup.config.evt_close) {
        // SAFETY: the driver's own callback, with a live handle.
        unsafe { callback(file.handle()) };
    }
    device.files.lock().retain(|other| !ptr::eq(other.wdm, file.wdm));
    file.object().delete(function);
}

fn finish(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if device.forwards_file_requests() {
        device.pass_down(irp)
    } else {
        irp.complete(STATUS_SUCCESS, 0)
    }
}

pub(crate) unsafe extern "system" fn file_object_get_device(
    globals: *const DriverGlobals,
    file: Handle,
) -> Handle {
    let call = Call::enter("WdfFileObjectGetDevice", globals, DISPATCH_LEVEL);
    call.typed::<FileObject>(file).device.handle()
}

//! `WDFFILEOBJECT`: create, cleanup and close requests of a control device.
//!
//! The rule: a file object exists from the create request to the close request; cleanup comes
//! before close and cancels the file's requests that wait in queues. Wine sends no cleanup packet,
//! so close does both there. The rig supports no create and no close callback.

use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use nt::irp::Irp;
use wdk_sys::{
    FILE_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    allocation_failure::{self, Allocation},
    device::Device,
    irql::{PASSIVE_LEVEL, require_at_most},
    object::{Object, Ref, Typed},
    queue,
};

/// An open file of a device.
pub(crate) struct FileObject {
    wdm: *mut FILE_OBJECT,
    cleaned_up: AtomicBool,
}

impl Typed for FileObject {
    const NAME: &str = "WDFFILEOBJECT";

    fn undeletable(&self) -> Option<&'static str> {
        Some("the framework deletes file objects")
    }
}

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
        device.file_setup.is_some() && !wdm.is_null() && Self::of_wdm(device, wdm).is_none()
    }
}

/// Handles `IRP_MJ_CREATE`.
pub(crate) fn create(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if device.is_control() && !device.is_initialized() {
        return irp.complete(STATUS_NO_SUCH_DEVICE, 0);
    }
    if let Some(setup) = device.file_setup {
        if allocation_failure::fails(Allocation::Framework) {
            return irp.complete(STATUS_INSUFFICIENT_RESOURCES, 0);
        }
        let value = FileObject { wdm: irp.file_object(), cleaned_up: AtomicBool::new(false) };
        let (client, parent) = (device.object().client, Some(device.object()));
        let file = Object::create(value, client, parent, setup.attributes.as_ref());
        device.files.lock().push(file);
    }
    finish(device, irp)
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
    if let Some(file) = FileObject::of_wdm(device, irp.file_object()) {
        close_file(device, &file, "IRP_MJ_CLOSE");
    }
    finish(device, irp)
}

/// Closes the open files of a device that goes away.
pub(crate) fn close_all(device: &Ref<Device>, function: &str) {
    loop {
        let Some(file) = device.files.lock().first().cloned() else { return };
        close_file(device, &file, function);
    }
}

fn clean_up(device: &Ref<Device>, file: &Ref<FileObject>) {
    // Relaxed: cleanup and close of one file come one after the other.
    if file.cleaned_up.swap(true, Ordering::Relaxed) {
        return;
    }
    require_at_most("EvtFileCleanup", PASSIVE_LEVEL);
    if let Some(callback) = device.file_setup.and_then(|setup| setup.config.evt_cleanup) {
        // SAFETY: the driver's own callback, with a live handle.
        unsafe { callback(file.handle()) };
    }
    queue::cancel_by_file(device, file);
}

/// Closes a file; a close request and the device's end may both come to it, and one of them does.
fn close_file(device: &Ref<Device>, file: &Ref<FileObject>, function: &str) {
    clean_up(device, file);
    let closed = {
        let mut files = device.files.lock();
        let index = files.iter().position(|other| ptr::eq(other.wdm, file.wdm));
        index.map(|index| files.swap_remove(index))
    };
    if let Some(closed) = closed {
        closed.object().delete(function);
    }
}

fn finish(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if device.is_control() { irp.complete(STATUS_SUCCESS, 0) } else { device.pass_down(irp) }
}

//! PnP packets: start, removal, special files.
//!
//! The rule: the driver's callbacks come in the framework's order. On removal these are
//! `SelfManagedIoCleanup` and the device's cleanup callback; only then the framework waits for the
//! remove lock, passes the packet down, and detaches and deletes the device. `SurpriseRemoval`
//! comes before the packet goes down. The rig supports no power callbacks and no queues of PnP
//! devices.

use nt::{irp::Irp, status::is_success};
use wdk_sys::{
    IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_DEVICE_USAGE_NOTIFICATION,
    IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, NTSTATUS,
    STATUS_DELETE_PENDING, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS,
};

use crate::{
    abi::Notify,
    device::{self, Device},
    irql::{PASSIVE_LEVEL, require_at_most},
    object::Ref,
};

/// Handles a PnP packet. The caller holds the remove lock, except for removal.
pub(crate) fn handle(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    require_at_most("an IRP_MJ_PNP packet", PASSIVE_LEVEL);
    if !device.is_attached() {
        return irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    match u32::from(irp.function().1) {
        IRP_MN_START_DEVICE => {
            let irp = device.round_trip(irp);
            let status = irp.status();
            irp.complete(status, 0)
        }
        IRP_MN_QUERY_REMOVE_DEVICE | IRP_MN_QUERY_STOP_DEVICE | IRP_MN_STOP_DEVICE => {
            irp.set_status(STATUS_SUCCESS);
            device.pass_down(irp)
        }
        IRP_MN_CANCEL_REMOVE_DEVICE | IRP_MN_CANCEL_STOP_DEVICE => {
            let mut irp = device.round_trip(irp);
            let status = irp.status();
            irp.set_status(STATUS_SUCCESS);
            irp.complete_as_is();
            if is_success(status) { status } else { STATUS_SUCCESS }
        }
        IRP_MN_SURPRISE_REMOVAL => {
            notify(device, device.pnp_callbacks.surprise_removal);
            irp.set_status(STATUS_SUCCESS);
            device.pass_down(irp)
        }
        IRP_MN_REMOVE_DEVICE => remove(device, irp),
        IRP_MN_DEVICE_USAGE_NOTIFICATION => usage(device, irp),
        _ => device.pass_down(irp),
    }
}

fn remove(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    let function = "IRP_MN_REMOVE_DEVICE";
    if !device.remove_lock.acquire() {
        return irp.complete(STATUS_DELETE_PENDING, 0);
    }
    notify(device, device.pnp_callbacks.self_managed_io_cleanup);
    device.object().clean_up(function);
    device.remove_lock.release_and_wait(function);
    irp.set_status(STATUS_SUCCESS);
    let status = device.pass_down(irp);
    device.detach();
    device::delete_wdm_device(device, function);
    device.object().destroy_after_cleanup();
    status
}

fn usage(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    // SAFETY: the parameters of a usage notification.
    let parameters = unsafe { irp.stack().Parameters.UsageNotification };
    let irp = device.round_trip(irp);
    let status = irp.status();
    if let Some(callback) = device.pnp_callbacks.usage_notification.filter(|_| is_success(status)) {
        // SAFETY: the driver's own callback, with its live handle.
        unsafe { callback(device.handle(), parameters.Type, parameters.InPath) };
    }
    irp.complete_as_is();
    status
}

fn notify(device: &Ref<Device>, callback: Option<Notify>) {
    if let Some(callback) = callback {
        // SAFETY: the driver's own callback, with its live handle.
        unsafe { callback(device.handle()) };
        require_at_most("the return from a PnP callback", PASSIVE_LEVEL);
    }
}

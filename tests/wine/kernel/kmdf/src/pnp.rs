//! PnP packets: start, stop, removal, special files.
//!
//! The rule: the driver's callbacks come in the framework's order.
//!
//! - start: the devices below first, then `PrepareHardware`, `D0Entry`, `SelfManagedIoInit`;
//! - removal: `SelfManagedIoSuspend`, `D0Exit`, `ReleaseHardware`, power-managed queues purged, `SelfManagedIoFlush`,
//!   other queues purged, `SelfManagedIoCleanup`, the device's cleanup callback; only then the remove lock is waited
//!   for, the packet goes down, and the device is detached and deleted;
//! - surprise removal: `SurpriseRemoval` first, then the same down to `SelfManagedIoFlush`.

use nt::{irp::Irp, status::is_success};
use wdk_sys::{
    IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_DEVICE_USAGE_NOTIFICATION,
    IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, NTSTATUS,
    STATUS_DELETE_PENDING, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_IMPLEMENTED, STATUS_SUCCESS,
};

use crate::{
    checks::{Rule, violation},
    device::{self, Device},
    file,
    irql::{PASSIVE_LEVEL, require_at_most},
    object::Ref,
    queue::{self, Managed},
};

/// `WdfPowerDeviceD3Final`
const POWER_D3_FINAL: i32 = 5;

/// How far a device has come.
#[derive(Default)]
pub(crate) struct PnpState {
    hardware_prepared: bool,
    powered: bool,
    io: SelfManagedIo,
    flushed: bool,
}

/// What the driver's self-managed I/O callbacks were last told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum SelfManagedIo {
    #[default]
    New,
    Running,
    Suspended,
}

impl PnpState {
    /// Whether the device has been started and not stopped since.
    pub(crate) fn has_started(&self) -> bool {
        self.hardware_prepared
    }

    /// Whether the device is in its working state.
    pub(crate) fn is_powered(&self) -> bool {
        self.powered
    }
}

/// Handles a PnP packet. The caller holds the remove lock, except for removal.
pub(crate) fn handle(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    require_at_most("an IRP_MJ_PNP packet", PASSIVE_LEVEL);
    if !device.is_attached() {
        return irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    match u32::from(irp.function().1) {
        IRP_MN_START_DEVICE => start(device, irp),
        IRP_MN_QUERY_REMOVE_DEVICE => {
            let status = ask(device, device.pnp_callbacks.query_remove);
            if is_success(status) {
                irp.set_status(STATUS_SUCCESS);
                device.pass_down(irp)
            } else {
                irp.complete(status, 0)
            }
        }
        IRP_MN_QUERY_STOP_DEVICE => {
            let status = ask(device, device.pnp_callbacks.query_stop);
            if is_success(status) {
                irp.set_status(STATUS_SUCCESS);
                device.pass_down(irp)
            } else {
                irp.complete(status, 0)
            }
        }
        IRP_MN_CANCEL_REMOVE_DEVICE | IRP_MN_CANCEL_STOP_DEVICE => {
            let mut irp = device.round_trip(irp);
            let status = irp.status();
            irp.set_status(STATUS_SUCCESS);
            irp.complete_as_is();
            if is_success(status) { status } else { STATUS_SUCCESS }
        }
        IRP_MN_STOP_DEVICE => {
            quiesce(device);
            release_hardware(device);
            irp.set_status(STATUS_SUCCESS);
            device.pass_down(irp)
        }
        IRP_MN_SURPRISE_REMOVAL => {
            notify(device, device.pnp_callbacks.surprise_removal);
            stop_for_removal(device);
            irp.set_status(STATUS_SUCCESS);
            device.pass_down(irp)
        }
        IRP_MN_REMOVE_DEVICE => remove(device, irp),
        IRP_MN_DEVICE_USAGE_NOTIFICATION => usage(device, irp),
        _ => device.pass_down(irp),
    }
}

/// Calls the driver's power-up callbacks, and restarts what power-down suspended.
pub(crate) fn power_up(device: &Ref<Device>, from: i32) -> NTSTATUS {
    let callbacks = &device.pnp_callbacks;
    for callback in
        [callbacks.d0_entry, callbacks.d0_entry_post_interrupts_enabled].into_iter().flatten()
    {
        // SAFETY: the driver's own callback, with its live handle.
        let status = unsafe { callback(device.handle(), from) };
        if !is_success(status) {
            return status;
        }
    }
    device.pnp.lock().powered = true;
    queue::set_power(device, true);
    let before = core::mem::replace(&mut device.pnp.lock().io, SelfManagedIo::Running);
    match before {
        SelfManagedIo::New => ask(device, callbacks.self_managed_io_init),
        SelfManagedIo::Suspended => ask(device, callbacks.self_managed_io_restart),
        SelfManagedIo::Running => STATUS_SUCCESS,
    }
}

/// Calls the driver's power-down callbacks.
pub(crate) fn power_down(device: &Ref<Device>, target: i32) {
    let callbacks = &device.pnp_callbacks;
    let suspended = {
        let mut state = device.pnp.lock();
        let running = state.io == SelfManagedIo::Running;
        if running {
            state.io = SelfManagedIo::Suspended;
        }
        running
    };
    if suspended {
        // The framework goes on whatever the driver says.
        let _ = ask(device, callbacks.self_managed_io_suspend);
    }
    if core::mem::take(&mut device.pnp.lock().powered) {
        queue::set_power(device, false);
        for callback in
            [callbacks.d0_exit_pre_interrupts_disabled, callbacks.d0_exit].into_iter().flatten()
        {
            // SAFETY: the driver's own callback, with its live handle.
            let _ = unsafe { callback(device.handle(), target) };
        }
    }
}

fn start(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    let irp = device.round_trip(irp);
    let status = irp.status();
    if !is_success(status) {
        return irp.complete(status, 0);
    }
    let prepared = match device.pnp_callbacks.prepare_hardware {
        // SAFETY: the driver's own callback. A filter on the rig has no hardware resources: the lists are null.
        Some(callback) => unsafe { callback(device.handle(), 0, 0) },
        None => STATUS_SUCCESS,
    };
    if !is_success(prepared) {
        return irp.complete(prepared, 0);
    }
    device.pnp.lock().hardware_prepared = true;
    let powered = power_up(device, POWER_D3_FINAL);
    if !is_success(powered) {
        quiesce(device);
        release_hardware(device);
    }
    irp.complete(powered, 0)
}

fn remove(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    let function = "IRP_MN_REMOVE_DEVICE";
    if !device.remove_lock.acquire() {
        return irp.complete(STATUS_DELETE_PENDING, 0);
    }
    stop_for_removal(device);
    queue::purge_all(device, Managed::No);
    notify(device, device.pnp_callbacks.self_managed_io_cleanup);
    device.object().clean_up(function);
    device.remove_lock.release_and_wait(function);
    irp.set_status(STATUS_SUCCESS);
    let status = device.pass_down(irp);
    file::close_all(device, function);
    device.detach();
    device::delete_wdm_device(device, function);
    device.object().destroy_after_cleanup();
    status
}

/// What graceful and surprise removal have in common. Does nothing the second time.
fn stop_for_removal(device: &Ref<Device>) {
    quiesce(device);
    release_hardware(device);
    let flushed = core::mem::replace(&mut device.pnp.lock().flushed, true);
    if flushed {
        return;
    }
    queue::purge_all(device, Managed::Yes);
    notify(device, device.pnp_callbacks.self_managed_io_flush);
}

fn quiesce(device: &Ref<Device>) {
    power_down(device, POWER_D3_FINAL);
}

fn release_hardware(device: &Ref<Device>) {
    if !core::mem::take(&mut device.pnp.lock().hardware_prepared) {
        return;
    }
    if let Some(callback) = device.pnp_callbacks.release_hardware {
        // SAFETY: the driver's own callback, with its live handle.
        let _ = unsafe { callback(device.handle(), 0) };
    }
}

fn usage(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    // SAFETY: the parameters of a usage notification.
    let parameters = unsafe { irp.stack().Parameters.UsageNotification };
    let (in_path, kind) = (parameters.InPath, parameters.Type);
    if in_path != 0 && !device.is_filter() && !device.supports_special_file(kind) {
        return irp.complete(STATUS_NOT_IMPLEMENTED, 0);
    }
    let mut irp = device.round_trip(irp);
    let mut status = irp.status();
    if is_success(status) {
        if let Some(callback) = device.pnp_callbacks.usage_notification {
            // SAFETY: the driver's own callback, with its live handle.
            unsafe { callback(device.handle(), kind, in_path) };
        }
        if let Some(callback) = device.pnp_callbacks.usage_notification_ex {
            // SAFETY: the driver's own callback, with its live handle.
            status = unsafe { callback(device.handle(), kind, in_path) };
        }
    }
    irp.set_status(status);
    irp.complete_as_is();
    status
}

fn ask(device: &Ref<Device>, callback: Option<crate::abi::NotifyStatus>) -> NTSTATUS {
    let status = match callback {
        // SAFETY: the driver's own callback, with its live handle.
        Some(callback) => unsafe { callback(device.handle()) },
        None => STATUS_SUCCESS,
    };
    require_at_most("the return from a PnP callback", PASSIVE_LEVEL);
    if status == wdk_sys::STATUS_PENDING {
        violation(
            Rule::State,
            "a PnP callback",
            format_args!("returned STATUS_PENDING; these callbacks are synchronous"),
        );
    }
    status
}

fn notify(device: &Ref<Device>, callback: Option<crate::abi::Notify>) {
    if let Some(callback) = callback {
        // SAFETY: the driver's own callback, with its live handle.
        unsafe { callback(device.handle()) };
        require_at_most("the return from a PnP callback", PASSIVE_LEVEL);
    }
}

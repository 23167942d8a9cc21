//! Single routines that Wine stubs: safe attachment, shutdown registration.

use wdk_sys::{
    NTSTATUS, PDEVICE_OBJECT, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
    ntddk::IoAttachDeviceToDeviceStack,
};

use crate::{
    irql::{PASSIVE_LEVEL, require_at_most},
    shutdown,
};

pub(crate) unsafe extern "system" fn attach_safe(
    source: PDEVICE_OBJECT,
    target: PDEVICE_OBJECT,
    attached: *mut PDEVICE_OBJECT,
) -> NTSTATUS {
    require_at_most("IoAttachDeviceToDeviceStackSafe", PASSIVE_LEVEL);
    // SAFETY: the driver's device objects.
    let below = unsafe { IoAttachDeviceToDeviceStack(source, target) };
    // SAFETY: the driver's out parameter.
    unsafe { attached.write(below) };
    if below.is_null() { STATUS_NO_SUCH_DEVICE } else { STATUS_SUCCESS }
}

pub(crate) unsafe extern "system" fn register_shutdown(device: PDEVICE_OBJECT) -> NTSTATUS {
    shutdown::register(device, shutdown::SHUTDOWN);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn register_last_chance_shutdown(
    device: PDEVICE_OBJECT,
) -> NTSTATUS {
    shutdown::register(device, shutdown::LAST_CHANCE);
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn unregister_shutdown(device: PDEVICE_OBJECT) {
    shutdown::unregister(device);
}

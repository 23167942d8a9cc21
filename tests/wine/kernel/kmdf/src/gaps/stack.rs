//! `IoGetLowerDeviceObject`: Wine knows what is attached to a device, not what a device is attached
//! to.
//!
//! The rule: the devices below a filter are the test volume's, which are all of one driver.

use core::ptr;

use wdk_sys::{PDEVICE_OBJECT, ntddk::ObfReferenceObject};

use crate::irql::{DISPATCH_LEVEL, require_at_most};

/// The device below, referenced; null for the lowest one.
pub(crate) unsafe extern "system" fn lower_device_object(device: PDEVICE_OBJECT) -> PDEVICE_OBJECT {
    require_at_most("IoGetLowerDeviceObject", DISPATCH_LEVEL);
    // SAFETY: the driver under test passes a live device.
    let driver = unsafe { (*device).DriverObject };
    // SAFETY: a device's driver is loaded.
    let mut candidate = unsafe { (*driver).DeviceObject };
    while !candidate.is_null() {
        // SAFETY: devices of a loaded driver; the rig creates and deletes none while one is in use.
        let found = unsafe { &*candidate };
        if ptr::eq(found.AttachedDevice, device) {
            // SAFETY: live, as above.
            unsafe { ObfReferenceObject(candidate.cast()) };
            return candidate;
        }
        candidate = found.NextDevice;
    }
    ptr::null_mut()
}

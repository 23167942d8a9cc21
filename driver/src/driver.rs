//! Load and unload.

use core::ptr::null_mut;

use wdk_sys::{
    DRIVER_OBJECT, NT_SUCCESS, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS, WDF_DRIVER_CONFIG,
    WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER,
};

use crate::filter;
use crate::framework::{struct_size, wdf};
use crate::globals;
use crate::settings::DriverSettings;
use crate::trace;

/// Called by the framework's entry stub, once, at PASSIVE_LEVEL.
///
/// # Safety
/// Only the framework's entry stub calls this, with the I/O manager's arguments.
// SAFETY: the entry stub looks for exactly this name; no other crate exports it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(
    driver: &mut DRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: struct_size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(filter::evt_device_add),
        EvtDriverUnload: Some(evt_driver_unload),
        ..WDF_DRIVER_CONFIG::default()
    };
    let mut framework_driver: WDFDRIVER = null_mut();
    // SAFETY: `driver` and `registry_path` are the I/O manager's, `config` outlives the call.
    let status = unsafe {
        wdf!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut config,
            &raw mut framework_driver,
        )
    };
    if !NT_SUCCESS(status) {
        return status;
    }
    // SAFETY: made above.
    let settings = unsafe { DriverSettings::read(framework_driver) };
    // No volume arrives before this function has returned.
    if let Err(status) = globals::create(settings) {
        return status;
    }
    trace::begin();
    STATUS_SUCCESS
}

/// `EvtDriverUnload`: every device is gone. PASSIVE_LEVEL.
extern "C" fn evt_driver_unload(_driver: WDFDRIVER) {
    trace::end();
    globals::destroy();
}

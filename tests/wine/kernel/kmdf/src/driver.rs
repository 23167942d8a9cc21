//! `WDFDRIVER`: creation, the driver object's entry points, unloading.
//!
//! The rule: the driver object is filled in as the framework does it: every major function goes to
//! the framework, `AddDevice` unless the driver is a non-PnP one, `DriverUnload`.

use nt::unicode::Wide;
use wdk_sys::{
    NTSTATUS, PDEVICE_OBJECT, PDRIVER_OBJECT, STATUS_DRIVER_INTERNAL_ERROR,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UNICODE_STRING,
};

use crate::{
    abi::{DRIVER_INIT_NON_PNP, DriverConfig, DriverGlobals, Handle, ObjectAttributes},
    checks::{Call, violation},
    client::Client,
    device::{self, Device},
    dispatch, init,
    irql::{PASSIVE_LEVEL, require_at_most},
    object::{Object, Ref, Typed, attributes},
};

/// A driver's callbacks.
pub(crate) struct Driver {
    config: DriverConfig,
}

impl Typed for Driver {
    const NAME: &str = "WDFDRIVER";

    fn undeletable(&self) -> Option<&'static str> {
        Some("the framework deletes the driver object")
    }
}

pub(crate) unsafe extern "system" fn driver_create(
    globals: *const DriverGlobals,
    driver_object: PDRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    driver_attributes: *const ObjectAttributes,
    config: *const DriverConfig,
    driver: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfDriverCreate", globals, PASSIVE_LEVEL);
    // SAFETY: the driver's configuration.
    let config = unsafe { call.structure("WDF_DRIVER_CONFIG", config) };
    // SAFETY: the driver's attributes.
    let driver_attributes = unsafe { attributes(&call, driver_attributes) };
    if driver_object != call.client.driver_object {
        violation!(
            Parameter,
            call.function,
            "{driver_object:p} is not the driver's own driver object"
        );
    }
    // SAFETY: the registry path that the kernel gave the driver.
    if unsafe { Wide::copy_of(registry_path) }.as_units().is_empty() {
        violation!(Parameter, call.function, "the registry path is empty");
    }
    if config.init_flags & !DRIVER_INIT_NON_PNP != 0 {
        violation!(Unimplemented, call.function, "init flags {:#x}", config.init_flags);
    }
    if call.client.driver().is_some() {
        return STATUS_DRIVER_INTERNAL_ERROR;
    }
    if !driver.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { driver.write(0) };
    }
    let non_pnp = config.init_flags & DRIVER_INIT_NON_PNP != 0;
    if non_pnp && config.evt_device_add.is_some() {
        return STATUS_INVALID_PARAMETER;
    }
    if driver_attributes.as_ref().is_some_and(|attributes| attributes.parent != 0) {
        violation!(Parameter, call.function, "a driver object has no parent");
    }
    let object = Object::create(Driver { config }, call.client, None, driver_attributes.as_ref());
    // SAFETY: the driver's own driver object, in its entry point.
    let raw = unsafe { &mut *driver_object };
    raw.MajorFunction.fill(Some(dispatch::dispatch));
    raw.DriverUnload = (!non_pnp || config.evt_unload.is_some()).then_some(unload);
    // SAFETY: every driver object has an extension.
    unsafe { (*raw.DriverExtension).AddDevice = if non_pnp { None } else { Some(add_device) } };
    call.client.set_driver(Some(object.object()));
    call.client.set_flags(
        config.init_flags,
        config.pool_tag,
        !non_pnp || config.evt_unload.is_some(),
    );
    if !driver.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { driver.write(object.handle()) };
    }
    STATUS_SUCCESS
}

/// The driver object's `AddDevice`: lets the driver put a device on the stack of a new physical
/// device.
unsafe extern "C" fn add_device(
    driver_object: PDRIVER_OBJECT,
    physical: PDEVICE_OBJECT,
) -> NTSTATUS {
    let function = "AddDevice";
    require_at_most(function, PASSIVE_LEVEL);
    let Some(client) = Client::of_driver_object(driver_object) else { return STATUS_UNSUCCESSFUL };
    let Some(driver) = client.driver().and_then(Ref::<Driver>::new) else {
        return STATUS_UNSUCCESSFUL;
    };
    let Some(callback) = driver.config.evt_device_add else {
        return STATUS_SUCCESS;
    };
    let init = init::for_physical_device(client, physical);
    // SAFETY: the driver's own callback, with live handles.
    let status = unsafe { callback(driver.handle(), init) };
    require_at_most("the return from EvtDriverDeviceAdd", PASSIVE_LEVEL);
    match init::finish(init) {
        // A filter that does not attach is no failure of the stack.
        init::Outcome::NoDevice { filter } if filter => STATUS_SUCCESS,
        init::Outcome::NoDevice { .. } => status,
        init::Outcome::Created(device) if nt::status::is_success(status) => {
            device.finish_initializing();
            status
        }
        init::Outcome::Created(device) => {
            device::tear_down(&device, function);
            status
        }
    }
}

/// The driver object's `DriverUnload`: the driver's callback, then deletion of all objects below
/// the driver object.
unsafe extern "C" fn unload(driver_object: PDRIVER_OBJECT) {
    let function = "DriverUnload";
    require_at_most(function, PASSIVE_LEVEL);
    let Some(client) = Client::of_driver_object(driver_object) else { return };
    let Some(driver) = client.driver().and_then(Ref::<Driver>::new) else { return };
    if let Some(device) = Device::all_of(client).into_iter().find(|device| device.is_attached()) {
        violation!(
            Leak,
            function,
            "WDFDEVICE {:#x} is still attached to its stack: remove the device before the driver",
            device.handle()
        );
    }
    if let Some(callback) = driver.config.evt_unload {
        // SAFETY: the driver's own callback, with its live handle.
        unsafe { callback(driver.handle()) };
    }
    delete(client, &driver, function);
}

/// Deletes the objects of a `DriverEntry` that failed after `WdfDriverCreate`.
pub(crate) fn abandon(client: &'static Client, function: &str) {
    if let Some(driver) = client.driver().and_then(Ref::<Driver>::new) {
        delete(client, &driver, function);
    }
}

fn delete(client: &'static Client, driver: &Ref<Driver>, function: &str) {
    for device in Device::all_of(client) {
        device::tear_down(&device, function);
    }
    client.set_driver(None);
    driver.object().delete(function);
}

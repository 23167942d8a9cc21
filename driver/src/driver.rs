//! Load and unload.

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};

use crate::boot;
use crate::filter;
use crate::framework::driver::{Driver, DriverCallbacks, driver_entry};
use crate::framework::filter_device::DeviceInit;
use crate::globals;
use crate::kernel::global::Unloading;
use crate::kernel::log;
use crate::kernel::mapping_reserve;
use crate::settings::DriverSettings;
use crate::sleep;
use crate::trace;

driver_entry!(Snapless);

/// The driver's callbacks.
struct Snapless;

impl DriverCallbacks for Snapless {
    fn load(driver: Driver) -> Result<(), NTSTATUS> {
        let settings = DriverSettings::read(driver).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        globals::create(settings)?;
        if !mapping_reserve::create() {
            log::line(c"no memory to map writes with while memory is short");
        }
        trace::begin();
        sleep::begin();
        // Last: the thread ends only when the driver is unloaded.
        boot::start();
        Ok(())
    }

    fn device_add(driver: Driver, init: DeviceInit) -> Result<(), NTSTATUS> {
        filter::attach(driver, init).inspect_err(|status| {
            log::number(c"could not attach to a volume, status", u64::from(status.cast_unsigned()));
        })
    }

    fn unload(unloading: &Unloading) {
        boot::end();
        sleep::end();
        trace::end();
        mapping_reserve::destroy(unloading);
        globals::destroy(unloading);
    }
}

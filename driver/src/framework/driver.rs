//! The framework's driver object: `DriverEntry`, `EvtDriverDeviceAdd`, `EvtDriverUnload`.

use core::ptr::null_mut;

use wdk_sys::{
    DRIVER_OBJECT, NT_SUCCESS, NTSTATUS, PCUNICODE_STRING, PWDFDEVICE_INIT, STATUS_SUCCESS,
    WDF_DRIVER_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER,
};

use super::filter_device::DeviceInit;
use super::table::{struct_size, wdf};
use crate::kernel::global::Unloading;

/// This driver's framework object.
#[derive(Clone, Copy)]
pub struct Driver(WDFDRIVER);

// SAFETY: the framework synchronizes its objects.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

impl Driver {
    /// IRQL <= DISPATCH_LEVEL.
    pub(super) fn handle(self) -> WDFDRIVER {
        self.0
    }
}

/// The driver's callbacks.
pub trait DriverCallbacks {
    /// The driver has been loaded; no device arrives before this returns. If it fails, the driver
    /// is unloaded without [`DriverCallbacks::unload`]. PASSIVE_LEVEL.
    fn load(driver: Driver) -> Result<(), NTSTATUS>;

    /// `EvtDriverDeviceAdd`: a volume has arrived. PASSIVE_LEVEL.
    fn device_add(driver: Driver, init: DeviceInit) -> Result<(), NTSTATUS>;

    /// `EvtDriverUnload`: every device is gone. PASSIVE_LEVEL.
    fn unload(unloading: &Unloading);
}

/// Creates the framework's driver object and loads the driver. PASSIVE_LEVEL.
///
/// # Safety
/// Called by `DriverEntry`, with the I/O manager's arguments.
pub unsafe fn create<D: DriverCallbacks>(
    driver: &mut DRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    let mut config = WDF_DRIVER_CONFIG {
        Size: struct_size::<WDF_DRIVER_CONFIG>(),
        EvtDriverDeviceAdd: Some(evt_driver_device_add::<D>),
        EvtDriverUnload: Some(evt_driver_unload::<D>),
        ..WDF_DRIVER_CONFIG::default()
    };
    let mut created: WDFDRIVER = null_mut();
    // SAFETY: `driver` and `registry_path` are the I/O manager's, `config` outlives the call.
    let status = unsafe {
        wdf!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut config,
            &raw mut created,
        )
    };
    if !NT_SUCCESS(status) {
        return status;
    }
    status_of(D::load(Driver(created)))
}

/// Defines `DriverEntry` for a [`DriverCallbacks`] type.
macro_rules! driver_entry {
    ($callbacks:ty) => {
        /// Called by the framework's entry stub, once, at PASSIVE_LEVEL.
        ///
        /// # Safety
        /// Only the framework's entry stub calls this, with the I/O manager's arguments.
        // SAFETY: the entry stub looks for exactly this name; no other crate exports it.
        #[unsafe(export_name = "DriverEntry")]
        pub unsafe extern "system" fn driver_entry(
            driver: &mut wdk_sys::DRIVER_OBJECT,
            registry_path: wdk_sys::PCUNICODE_STRING,
        ) -> wdk_sys::NTSTATUS {
            // SAFETY: the caller's promise.
            unsafe { $crate::framework::driver::create::<$callbacks>(driver, registry_path) }
        }
    };
}
pub(crate) use driver_entry;

/// `EvtDriverDeviceAdd`. PASSIVE_LEVEL.
extern "C" fn evt_driver_device_add<D: DriverCallbacks>(
    driver: WDFDRIVER,
    init: PWDFDEVICE_INIT,
) -> NTSTATUS {
    // SAFETY: this call's own argument.
    let init = unsafe { DeviceInit::new(init) };
    status_of(D::device_add(Driver(driver), init))
}

/// `EvtDriverUnload`. PASSIVE_LEVEL.
extern "C" fn evt_driver_unload<D: DriverCallbacks>(_driver: WDFDRIVER) {
    // SAFETY: in `EvtDriverUnload`.
    let unloading = unsafe { Unloading::new() };
    D::unload(&unloading);
}

fn status_of(result: Result<(), NTSTATUS>) -> NTSTATUS {
    result.map_or_else(|status| status, |()| STATUS_SUCCESS)
}

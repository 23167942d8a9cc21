//! The rig's PnP manager for the volume's stack: Wine's reads no `UpperFilters`.
//!
//! The rule: the stack is built from the registry, as on Windows: the drivers of the class's
//! `UpperFilters`, in order, each by its `AddDevice`. A scenario's packets are sent from the top.

use core::ffi::c_void;

use alloc::sync::Arc;
use nt::{
    irp::Irp,
    println,
    registry::Key,
    round_trip,
    status::{Failure, Result, check},
    unicode::Wide,
};
use protocol::{
    ioctl::{DeviceFlags, PAGING_FILE_OBJECT, Usage},
    names::{UPPER_FILTERS, VOLUME_CLASS_KEY},
};
use wdk_sys::{
    _DEVICE_POWER_STATE,
    _POWER_STATE_TYPE::DevicePowerState,
    DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, DO_DIRECT_IO, DRIVER_OBJECT, FILE_OBJECT,
    IO_STACK_LOCATION, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_DEVICE_USAGE_NOTIFICATION, IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_SET_POWER, IRP_MN_START_DEVICE, OBJ_CASE_INSENSITIVE, PDEVICE_OBJECT,
    STATUS_INVALID_DEVICE_STATE, STATUS_NO_SUCH_DEVICE, STATUS_OBJECT_NAME_NOT_FOUND,
    ntddk::{ObReferenceObjectByName, ObfDereferenceObject},
};

/// `DeviceUsageTypePaging`
const PAGING: u32 = 1;

/// A volume's stack, from below.
pub(crate) struct Stack {
    physical: PDEVICE_OBJECT,
    /// A filter between the volume and the filters of the class, which hands on nothing that the
    /// physical device says of itself but how it takes data; or the physical device.
    between: PDEVICE_OBJECT,
    /// The physical device's own type, characteristics and flags.
    own: (u32, u32, u32),
}

// SAFETY: the physical device object lives as long as the driver is loaded.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

impl Stack {
    /// The stack over a physical device, with a device between it and the class's filters.
    pub(crate) fn new(physical: PDEVICE_OBJECT, between: PDEVICE_OBJECT) -> Arc<Self> {
        // SAFETY: the device was just created and is not shared yet.
        let device = unsafe { &*physical };
        let own = (device.DeviceType, device.Characteristics, device.Flags);
        Arc::new(Self { physical, between, own })
    }

    /// Changes the properties of the physical device object.
    pub(crate) fn set_device_flags(&self, new: DeviceFlags) {
        let (device_type, characteristics, flags) = self.own;
        // SAFETY: the physical device object is live; a concurrent reader sees an old or a new
        // word.
        let device = unsafe { &mut *self.physical };
        let other = new.device_type;
        device.DeviceType = if other == 0 { device_type } else { other };
        device.Characteristics = characteristics | new.characteristics;
        device.Flags = (flags | new.flags) & !new.flags_cleared & !DO_DEVICE_INITIALIZING;
        let io_model = device.Flags & (DO_BUFFERED_IO | DO_DIRECT_IO);
        if self.between != self.physical {
            // SAFETY: as above.
            let between = unsafe { &mut *self.between };
            between.Flags = (between.Flags & !(DO_BUFFERED_IO | DO_DIRECT_IO)) | io_model;
        }
    }

    /// Sends a packet that `make` fills in from the top of the stack and waits for it. It has
    /// `own` stack locations more than the stack needs.
    pub(crate) fn send_made(
        &self,
        own: i8,
        make: impl FnOnce(&mut Irp, u32) -> Result,
    ) -> Result<Irp> {
        // SAFETY: the physical device object is live.
        unsafe { round_trip::send(self.physical, own, make) }
    }

    /// Whether a filter is attached.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: the physical device object is live.
        !unsafe { (*self.between).AttachedDevice }.is_null()
    }

    /// Adds the class's filters and starts the device.
    pub(crate) fn attach(&self) -> Result {
        if self.is_attached() {
            println!("snapless-test-volume: a filter is attached already");
            return Err(Failure(STATUS_INVALID_DEVICE_STATE));
        }
        let filters = Key::open(&Wide::new(VOLUME_CLASS_KEY))
            .and_then(|key| key.strings(&Wide::new(UPPER_FILTERS)))
            .inspect_err(|failure| {
                println!("snapless-test-volume: {UPPER_FILTERS} of {VOLUME_CLASS_KEY} cannot be read: {failure}");
            })?;
        for service in &filters {
            self.add_device(service)?;
        }
        self.pnp(IRP_MN_START_DEVICE)
    }

    /// Sends query-remove, then remove.
    pub(crate) fn remove(&self) -> Result {
        if let Err(refused) = self.pnp(IRP_MN_QUERY_REMOVE_DEVICE) {
            self.pnp(IRP_MN_CANCEL_REMOVE_DEVICE)?;
            return Err(refused);
        }
        self.pnp(IRP_MN_REMOVE_DEVICE)
    }

    /// Sends one PnP packet without parameters.
    pub(crate) fn pnp(&self, minor: u32) -> Result {
        self.send(IRP_MJ_PNP, minor, |_| {})
    }

    /// Sends a usage notification: the stack comes into a special file's path, or leaves it.
    pub(crate) fn usage(&self, usage: Usage) -> Result {
        self.send(IRP_MJ_PNP, IRP_MN_DEVICE_USAGE_NOTIFICATION, |location| {
            location.Parameters.UsageNotification.InPath = u8::from(usage.in_path != 0);
            location.Parameters.UsageNotification.Type = usage.kind.cast_signed();
            if usage.kind == PAGING {
                location.FileObject = PAGING_FILE_OBJECT as *mut FILE_OBJECT;
            }
        })
    }

    /// Sets the device's power state.
    pub(crate) fn set_power(&self, state: u32) -> Result {
        self.send(IRP_MJ_POWER, IRP_MN_SET_POWER, |location| {
            location.Parameters.Power.Type = DevicePowerState;
            location.Parameters.Power.State.DeviceState =
                state.cast_signed() as _DEVICE_POWER_STATE::Type;
        })
    }

    fn add_device(&self, service: &Wide) -> Result {
        let name = service.to_text();
        let driver = find_driver(&name).inspect_err(|failure| {
            println!("snapless-test-volume: the filter {name} is not loaded: {failure}");
        })?;
        // SAFETY: referenced.
        let extension = unsafe { (*driver).DriverExtension };
        // SAFETY: every driver object has an extension.
        let routine = unsafe { (*extension).AddDevice };
        let status = match routine {
            // SAFETY: the driver's own routine, with its driver object and a live physical device.
            Some(routine) => unsafe { routine(driver, self.physical) },
            None => STATUS_NO_SUCH_DEVICE,
        };
        // SAFETY: the reference that `find_driver` took.
        unsafe { ObfDereferenceObject(driver.cast()) };
        check(status)
            .inspect_err(|failure| println!("snapless-test-volume: AddDevice of {name}: {failure}"))
    }

    /// Sends a packet from the top of the stack and waits for it.
    fn send(&self, major: u32, minor: u32, set: impl FnOnce(&mut IO_STACK_LOCATION)) -> Result {
        let irp = self.send_made(0, |irp, _| {
            let location = irp.next_location_mut();
            location.MajorFunction = major as u8;
            location.MinorFunction = minor as u8;
            set(location);
            Ok(())
        })?;
        let status = irp.status();
        round_trip::free(irp);
        check(status)
    }
}

/// A loaded driver by its service's name, referenced.
fn find_driver(service: &str) -> Result<*mut DRIVER_OBJECT> {
    let name = Wide::new(r"\Driver\").with(service);
    let name = name.borrow();
    let mut driver: *mut c_void = core::ptr::null_mut();
    // SAFETY: everything is valid for the call. Wine looks at driver objects only, whatever the
    // type says.
    let status = unsafe {
        ObReferenceObjectByName(
            name.as_ptr(),
            OBJ_CASE_INSENSITIVE,
            core::ptr::null_mut(),
            0,
            core::ptr::null_mut(),
            0,
            core::ptr::null_mut(),
            &raw mut driver,
        )
    };
    check(status).map_err(|_| Failure(STATUS_OBJECT_NAME_NOT_FOUND))?;
    Ok(driver.cast())
}

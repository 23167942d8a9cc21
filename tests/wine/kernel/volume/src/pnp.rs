//! The rig's PnP manager for the volume's stack: Wine's reads no filters.
//!
//! The rule: the stack is built from what the registry says, as Windows does it: the drivers of the class's
//! `UpperFilters`, in order, each by its `AddDevice`; then the packets that a scenario asks for are sent from the top.

use core::ffi::c_void;

use alloc::sync::Arc;
use nt::{
    device::Device,
    event::Event,
    irp::Irp,
    println,
    registry::Key,
    status::{Failure, Result, check},
    unicode::Wide,
};
use protocol::{
    disguise::Disguise,
    ioctl::{Step, Usage},
    names::{UPPER_FILTERS, VOLUME_CLASS_KEY},
};
use wdk_sys::{
    _DEVICE_POWER_STATE,
    _POWER_STATE_TYPE::DevicePowerState,
    DO_DEVICE_INITIALIZING, DRIVER_OBJECT, IO_STACK_LOCATION, IRP_MJ_PNP, IRP_MJ_POWER,
    IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_DEVICE_USAGE_NOTIFICATION,
    IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_REMOVE_DEVICE, IRP_MN_SET_POWER,
    IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, NTSTATUS,
    OBJ_CASE_INSENSITIVE, PDEVICE_OBJECT, PIRP, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_STATE, STATUS_MORE_PROCESSING_REQUIRED, STATUS_NO_SUCH_DEVICE,
    STATUS_NOT_SUPPORTED, STATUS_OBJECT_NAME_NOT_FOUND,
    ntddk::{
        IoAllocateIrp, IoFreeIrp, IoGetAttachedDeviceReference, KeSetEvent,
        ObReferenceObjectByName, ObfDereferenceObject,
    },
};

/// The volume's stack, from below.
pub(crate) struct Stack {
    physical: PDEVICE_OBJECT,
    /// What the physical device says of itself without a disguise: type, characteristics, flags.
    own: (u32, u32, u32),
}

// SAFETY: the physical device object lives as long as the driver is loaded.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

impl Stack {
    /// The stack over a physical device.
    pub(crate) fn new(physical: PDEVICE_OBJECT) -> Arc<Self> {
        // SAFETY: the device was just created and nobody else knows it.
        let device = unsafe { &*physical };
        let own = (device.DeviceType, device.Characteristics, device.Flags);
        Arc::new(Self { physical, own })
    }

    /// Makes the physical device say something else of itself.
    pub(crate) fn disguise(&self, disguise: Disguise) {
        let (device_type, characteristics, flags) = self.own;
        // SAFETY: the physical device object is live; who looks at these words meanwhile sees old or new ones.
        let device = unsafe { &mut *self.physical };
        let other = disguise.device_type;
        device.DeviceType = if other == 0 { device_type } else { other };
        device.Characteristics = characteristics | disguise.characteristics;
        device.Flags = (flags | disguise.flags) & !disguise.flags_cleared & !DO_DEVICE_INITIALIZING;
    }

    /// Sends a packet that `make` makes from the top of the stack, of a device with these flags, and waits for it; gives
    /// it back to be freed.
    pub(crate) fn send_made(&self, make: impl FnOnce(&mut Irp, u32) -> Result) -> Result<Irp> {
        // SAFETY: the physical device object is live.
        let referenced = unsafe { IoGetAttachedDeviceReference(self.physical) };
        // SAFETY: referenced until the end of this function.
        let top = unsafe { Device::from_raw(referenced) }.ok_or(Failure(STATUS_NO_SUCH_DEVICE))?;
        // SAFETY: referenced.
        let device = unsafe { &*referenced };
        let (stack_size, flags) = (device.StackSize, device.Flags);
        let sent = round_trip(top, stack_size, |irp| make(irp, flags));
        // SAFETY: the reference taken above.
        unsafe { ObfDereferenceObject(referenced.cast()) };
        sent
    }

    /// Whether a filter is attached.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: the physical device object is live.
        !unsafe { (*self.physical).AttachedDevice }.is_null()
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
        self.send(IRP_MJ_PNP, IRP_MN_START_DEVICE, |_| {})
    }

    /// Asks whether the device may go, and removes it.
    pub(crate) fn remove(&self) -> Result {
        if let Err(refused) = self.send(IRP_MJ_PNP, IRP_MN_QUERY_REMOVE_DEVICE, |_| {}) {
            self.send(IRP_MJ_PNP, IRP_MN_CANCEL_REMOVE_DEVICE, |_| {})?;
            return Err(refused);
        }
        self.send(IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE, |_| {})
    }

    /// Says that the device is gone.
    pub(crate) fn surprise_remove(&self) -> Result {
        self.send(IRP_MJ_PNP, IRP_MN_SURPRISE_REMOVAL, |_| {})
    }

    /// Removes a device that is gone. To be called when all handles to it are closed.
    pub(crate) fn remove_gone(&self) -> Result {
        self.send(IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE, |_| {})
    }

    /// Sends one of the packets that another one takes back.
    pub(crate) fn step(&self, step: Step) -> Result {
        let minor = match step {
            Step::QueryRemove => IRP_MN_QUERY_REMOVE_DEVICE,
            Step::CancelRemove => IRP_MN_CANCEL_REMOVE_DEVICE,
            Step::QueryStop => IRP_MN_QUERY_STOP_DEVICE,
            Step::CancelStop => IRP_MN_CANCEL_STOP_DEVICE,
            Step::Stop => IRP_MN_STOP_DEVICE,
            Step::Start => IRP_MN_START_DEVICE,
        };
        self.send(IRP_MJ_PNP, minor, |_| {})
    }

    /// Tells the stack that it comes into a special file's path, or leaves it.
    pub(crate) fn usage(&self, usage: Usage) -> Result {
        self.send(IRP_MJ_PNP, IRP_MN_DEVICE_USAGE_NOTIFICATION, |location| {
            location.Parameters.UsageNotification.InPath = u8::from(usage.in_path);
            location.Parameters.UsageNotification.Type = usage.kind.cast_signed();
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
        let irp = self.send_made(|irp, _| {
            irp.set_status(STATUS_NOT_SUPPORTED);
            let location = irp.next_location_mut();
            location.MajorFunction = major as u8;
            location.MinorFunction = minor as u8;
            set(location);
            Ok(())
        })?;
        let status = irp.status();
        // SAFETY: ours, and not used again.
        unsafe { IoFreeIrp(irp.into_raw()) };
        check(status)
    }
}

fn round_trip(top: Device, stack_size: i8, make: impl FnOnce(&mut Irp) -> Result) -> Result<Irp> {
    // SAFETY: has no preconditions.
    let raw = unsafe { IoAllocateIrp(stack_size, 0) };
    if raw.is_null() {
        return Err(Failure(STATUS_INSUFFICIENT_RESOURCES));
    }
    // SAFETY: fresh, so ours.
    let mut irp = unsafe { Irp::from_raw(raw) };
    if let Err(failure) = make(&mut irp) {
        // SAFETY: ours, and not used again.
        unsafe { IoFreeIrp(irp.into_raw()) };
        return Err(failure);
    }
    let done = Event::notification();
    // SAFETY: the event outlives the packet's round trip: it is waited for below.
    unsafe { irp.set_completion_routine(Some(take_back), done.as_ptr().cast()) };
    let _ = irp.call(top);
    done.wait();
    // SAFETY: the completion routine stopped completion: the packet is ours again.
    Ok(unsafe { Irp::from_raw(raw) })
}

/// A loaded driver by its service's name, referenced.
fn find_driver(service: &str) -> Result<*mut DRIVER_OBJECT> {
    let name = Wide::new(r"\Driver\").with(service);
    let name = name.borrow();
    let mut driver: *mut c_void = core::ptr::null_mut();
    // SAFETY: everything is valid for the call. Wine looks at driver objects only, whatever the type says.
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

unsafe extern "C" fn take_back(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: `send` waits for this event before it drops it.
    unsafe { KeSetEvent(context.cast(), 0, 0) };
    STATUS_MORE_PROCESSING_REQUIRED
}

//! `WDFDEVICE`: creation, attachment, the WDM device object behind it, deletion.
//!
//! The rules: a filter's device object looks like the one below it (I/O flags, type, stack size); a
//! device object is reached only through its extension, which is emptied before the device goes
//! away.

use alloc::{sync::Arc, vec::Vec};
use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering},
};

use nt::{
    device::{Device as WdmDevice, NewDevice, create_link, delete_link},
    irp::Irp,
    round_trip,
    spinlock::SpinLock,
    status,
    unicode::Wide,
};
use wdk_sys::{
    _DEVICE_OBJECT, DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, DO_DIRECT_IO, DO_POWER_INRUSH,
    DO_POWER_PAGABLE, NTSTATUS, PDEVICE_OBJECT, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS, UNICODE_STRING,
    ntddk::{IoAttachDeviceToDeviceStack, IoDetachDevice},
};

use crate::{
    abi::{DriverGlobals, Handle, ObjectAttributes, REMOVE_LOCK_ACQUIRE_FOR_IO},
    allocation_failure::{self, Allocation},
    checks::{Call, violation},
    client::Client,
    file::{self, FileObject},
    init::{self, DeviceInit, FileSetup, PreprocessTable, Role, Shutdown},
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL},
    object::{self, Object, ObjectRef, Ref, Typed, attributes},
    queue::{self, Queue},
    removelock::RemoveLock,
    shutdown, watch,
};

/// A framework device.
pub(crate) struct Device {
    pub(crate) wdm: WdmDevice,
    pub(crate) role: Role,
    name: Option<Wide>,
    /// The device below, until this one is detached.
    attached: AtomicPtr<_DEVICE_OBJECT>,
    pub(crate) preprocess: PreprocessTable,
    pub(crate) pnp_callbacks: crate::abi::PnpCallbacks,
    pub(crate) file_setup: Option<FileSetup>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) lock_for_io: bool,
    pub(crate) remove_lock: RemoveLock,
    pub(crate) files: SpinLock<Vec<Ref<FileObject>>>,
    pub(crate) queues: SpinLock<Queues>,
    /// At most one.
    link: SpinLock<Option<Wide>>,
    initialized: AtomicBool,
}

impl Typed for Device {
    const NAME: &str = "WDFDEVICE";

    fn undeletable(&self) -> Option<&'static str> {
        (!self.is_control()).then_some("the framework deletes a PnP device, on its removal")
    }
}

// SAFETY: the raw pointers are device objects of the kernel; callbacks and attributes are static
// data.
unsafe impl Send for Device {}
// SAFETY: everything that changes is atomic or locked.
unsafe impl Sync for Device {}

/// A device's queues.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) all: Vec<Ref<Queue>>,
    pub(crate) default: Option<Ref<Queue>>,
}

/// The content of the WDM device extension.
struct Extension {
    magic: u64,
    device: SpinLock<Option<Ref<Device>>>,
}

const EXTENSION_MAGIC: u64 = u64::from_le_bytes(*b"KMDFWINE");

impl Device {
    /// The device below, or null.
    pub(crate) fn attached(&self) -> PDEVICE_OBJECT {
        // Acquire: pairs with the exchange in `detach`.
        self.attached.load(Ordering::Acquire)
    }

    /// Sends a packet to the device below, as it is.
    pub(crate) fn pass_down(&self, irp: Irp) -> NTSTATUS {
        match self.below() {
            Some(below) => irp.pass_down(below),
            None => irp.complete(STATUS_NO_SUCH_DEVICE, 0),
        }
    }

    /// Sends a packet to the device below and gets it back, completed.
    pub(crate) fn round_trip(&self, mut irp: Irp) -> Irp {
        if let Some(below) = self.below() {
            irp.copy_current_location_to_next();
            return round_trip::call(irp, below);
        }
        irp.set_status(STATUS_NO_SUCH_DEVICE);
        irp
    }

    fn below(&self) -> Option<WdmDevice> {
        // SAFETY: the device below stays at least until this one is detached.
        unsafe { WdmDevice::from_raw(self.attached()) }
    }

    /// Whether the device is in a stack.
    pub(crate) fn is_attached(&self) -> bool {
        !self.attached().is_null()
    }

    /// Whether this is a control device; the others are filters.
    pub(crate) fn is_control(&self) -> bool {
        self.role == Role::Control
    }

    /// Whether the device takes requests.
    pub(crate) fn is_initialized(&self) -> bool {
        // Acquire: pairs with `finish_initializing`.
        self.initialized.load(Ordering::Acquire)
    }

    /// Accepts requests.
    pub(crate) fn finish_initializing(&self) {
        self.wdm.finish_initializing();
        // Release: what the driver set up before is seen by the first request.
        self.initialized.store(true, Ordering::Release);
    }

    /// The device that is the object itself or one of its ancestors.
    pub(crate) fn of(object: &ObjectRef) -> Option<Ref<Self>> {
        let mut ancestor = Some(Arc::clone(object));
        while let Some(object) = ancestor {
            ancestor = object.parent();
            if let Some(device) = Ref::new(object) {
                return Some(device);
            }
        }
        None
    }

    /// All live devices of a driver.
    pub(crate) fn all_of(client: &Client) -> Vec<Ref<Self>> {
        object::objects_of(client)
            .into_iter()
            .filter_map(|(_, handle)| object::look_up(handle))
            .filter_map(Ref::new)
            .collect()
    }

    /// The framework device of a device object, if it is one and is still there.
    ///
    /// # Safety
    /// `raw` is a live device object of a bound driver.
    pub(crate) unsafe fn of_wdm(raw: PDEVICE_OBJECT) -> Option<Ref<Self>> {
        // SAFETY: the caller says that the device object lives; the framework created it with this
        // extension.
        let extension = unsafe { (*raw).DeviceExtension }.cast::<Extension>();
        // SAFETY: as above.
        let extension = unsafe { extension.as_ref() }?;
        if extension.magic != EXTENSION_MAGIC {
            return None;
        }
        extension.device.lock().clone()
    }

    /// Takes the device out of its stack.
    pub(crate) fn detach(&self) {
        // AcqRel: exactly one caller gets the pointer.
        let below = self.attached.swap(ptr::null_mut(), Ordering::AcqRel);
        if !below.is_null() {
            // SAFETY: this device was attached to `below`, once.
            unsafe { IoDetachDevice(below) };
        }
    }
}

/// Deletes a device: closes its files, detaches it and deletes the device object.
pub(crate) fn tear_down(device: &Ref<Device>, function: &str) {
    file::close_all(device, function);
    queue::purge_all(device);
    device.object().clean_up(function);
    device.detach();
    delete_wdm_device(device, function);
    device.object().destroy_after_cleanup();
}

/// The end of the WDM side: links, shutdown registration, the device object.
pub(crate) fn delete_wdm_device(device: &Ref<Device>, function: &str) {
    watch::device_gone(device.handle(), function);
    if let Some(link) = device.link.lock().take() {
        delete_link(&link);
    }
    shutdown::unregister(device.wdm.raw());
    let extension = device.wdm.extension().cast::<Extension>();
    // SAFETY: the extension was written when the device was created and the device object still
    // lives.
    let extension = unsafe { &*extension };
    extension.device.lock().take();
    device.wdm.delete();
}

pub(crate) unsafe extern "system" fn device_create(
    globals: *const DriverGlobals,
    init: *mut Handle,
    device_attributes: *const ObjectAttributes,
    device: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfDeviceCreate", globals, PASSIVE_LEVEL);
    if init.is_null() || device.is_null() {
        violation!(Parameter, call.function, "a pointer is null");
    }
    // SAFETY: the driver's attributes.
    let device_attributes = unsafe { attributes(&call, device_attributes) };
    if device_attributes.as_ref().is_some_and(|attributes| attributes.parent != 0) {
        violation!(Parameter, call.function, "a device's parent is chosen by the framework");
    }
    // SAFETY: the driver's out parameter.
    unsafe { device.write(0) };
    // SAFETY: the driver's variable.
    let init_handle = unsafe { *init };
    let taken = init::take(&call, init_handle);
    match taken.role {
        Role::Function(_) => {
            violation!(Unimplemented, call.function, "the rig has filters and control devices only")
        }
        Role::Control if taken.name.is_none() => {
            violation!(Unimplemented, call.function, "the rig's control devices have a name")
        }
        Role::Control | Role::Filter(_) => {}
    }
    let built = match build(&taken) {
        Ok(built) => built,
        Err(status::Failure(code)) => {
            init::put_back(init_handle, taken);
            return code;
        }
    };
    let driver = call.client.driver();
    let created = Object::create(built, call.client, driver.as_ref(), device_attributes.as_ref());
    publish(&created);
    init::created(init_handle, &created);
    // SAFETY: the driver's variable: the structure is used up.
    unsafe { init.write(0) };
    // SAFETY: the driver's out parameter.
    unsafe { device.write(created.handle()) };
    STATUS_SUCCESS
}

/// Creates and attaches the WDM device object.
fn build(init: &DeviceInit) -> status::Result<Device> {
    if allocation_failure::fails(Allocation::Framework) {
        return Err(status::Failure(STATUS_INSUFFICIENT_RESOURCES));
    }
    let new = NewDevice {
        name: init.name.as_ref(),
        device_type: wdk_sys::FILE_DEVICE_UNKNOWN,
        characteristics: wdk_sys::FILE_DEVICE_SECURE_OPEN,
        extension_size: size_of::<Extension>(),
    };
    // SAFETY: the bound driver's own driver object.
    let wdm = unsafe { WdmDevice::create(init.client.driver_object, &new) }?;
    wdm.set_flags(DO_DEVICE_INITIALIZING);
    // SAFETY: Wine's extension has the requested size, is 16-byte aligned and is not shared yet.
    unsafe {
        wdm.extension()
            .cast::<Extension>()
            .write(Extension { magic: EXTENSION_MAGIC, device: SpinLock::new(None) });
    };
    let attached = match init.role {
        Role::Control => ptr::null_mut(),
        Role::Filter(physical) | Role::Function(physical) => {
            // SAFETY: both are live device objects; the physical device outlives its stack.
            unsafe { IoAttachDeviceToDeviceStack(wdm.raw(), physical) }
        }
    };
    if attached.is_null() && init.role != Role::Control {
        wdm.delete();
        return Err(status::Failure(STATUS_NO_SUCH_DEVICE));
    }
    let has_preprocess = init.preprocess.iter().any(Option::is_some);
    let lock_for_io = init.remove_lock_flags & REMOVE_LOCK_ACQUIRE_FOR_IO != 0;
    // SAFETY: the new device object is ours alone.
    let raw = unsafe { &mut *wdm.raw() };
    raw.StackSize += i8::from(has_preprocess) + i8::from(lock_for_io);
    // SAFETY: null, or the device below, which outlives this one's attachment.
    if let Some(below) = unsafe { attached.as_ref() } {
        let inherited = DO_BUFFERED_IO | DO_DIRECT_IO | DO_POWER_PAGABLE | DO_POWER_INRUSH;
        raw.Flags |= below.Flags & inherited;
        raw.DeviceType = below.DeviceType;
        raw.Characteristics = below.Characteristics;
        raw.AlignmentRequirement = below.AlignmentRequirement;
        raw.SectorSize = below.SectorSize;
    } else {
        raw.Flags |= DO_BUFFERED_IO;
    }
    Ok(Device {
        wdm,
        role: init.role,
        name: init.name.clone(),
        attached: AtomicPtr::new(attached),
        preprocess: init.preprocess.clone(),
        pnp_callbacks: init.pnp,
        file_setup: init.file,
        shutdown: init.shutdown,
        lock_for_io,
        remove_lock: RemoveLock::new(),
        files: SpinLock::new(Vec::new()),
        queues: SpinLock::new(Queues::default()),
        link: SpinLock::new(None),
        initialized: AtomicBool::new(false),
    })
}

/// Connects the WDM device object with the framework's device.
fn publish(device: &Ref<Device>) {
    let extension = device.wdm.extension().cast::<Extension>();
    // SAFETY: `build` wrote the extension.
    let extension = unsafe { &*extension };
    *extension.device.lock() = Some(device.clone());
    if let Some(wanted) = device.shutdown {
        shutdown::register(device.wdm.raw(), wanted.flags);
    }
}

pub(crate) unsafe extern "system" fn control_finish_initializing(
    globals: *const DriverGlobals,
    device: Handle,
) {
    let call = Call::enter("WdfControlFinishInitializing", globals, DISPATCH_LEVEL);
    let device = call.typed::<Device>(device);
    if !device.is_control() {
        violation!(State, call.function, "not a control device");
    }
    device.finish_initializing();
}

pub(crate) unsafe extern "system" fn device_create_symbolic_link(
    globals: *const DriverGlobals,
    device: Handle,
    name: *const UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter("WdfDeviceCreateSymbolicLink", globals, PASSIVE_LEVEL);
    let device = call.typed::<Device>(device);
    // SAFETY: the driver's string.
    let link = unsafe { Wide::copy_of(name) };
    if link.as_units().is_empty() || device.link.lock().is_some() {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    let Some(target) = &device.name else {
        violation!(
            Unimplemented,
            call.function,
            "a link to a physical device's name is not made by the rig"
        );
    };
    let result = create_link(&link, target);
    if result.is_ok() {
        *device.link.lock() = Some(link);
    }
    status::code(result)
}

pub(crate) unsafe extern "system" fn device_wdm_get_device_object(
    globals: *const DriverGlobals,
    device: Handle,
) -> PDEVICE_OBJECT {
    let call = Call::enter("WdfDeviceWdmGetDeviceObject", globals, DISPATCH_LEVEL);
    call.typed::<Device>(device).wdm.raw()
}

pub(crate) unsafe extern "system" fn device_wdm_get_attached_device(
    globals: *const DriverGlobals,
    device: Handle,
) -> PDEVICE_OBJECT {
    let call = Call::enter("WdfDeviceWdmGetAttachedDevice", globals, DISPATCH_LEVEL);
    call.typed::<Device>(device).attached()
}

pub(crate) unsafe extern "system" fn wdm_device_get_wdf_device_handle(
    globals: *const DriverGlobals,
    raw: PDEVICE_OBJECT,
) -> Handle {
    let call = Call::enter("WdfWdmDeviceGetWdfDeviceHandle", globals, DISPATCH_LEVEL);
    if raw.is_null() {
        violation!(Parameter, call.function, "the device object is null");
    }
    // SAFETY: not null, so a live device object, as the function demands of its caller.
    if !ptr::eq(unsafe { (*raw).DriverObject }, call.client.driver_object) {
        violation!(Parameter, call.function, "{raw:p} is not a device object of this driver");
    }
    // SAFETY: a live device object of this driver.
    unsafe { Device::of_wdm(raw) }.map_or(0, |device| device.handle())
}

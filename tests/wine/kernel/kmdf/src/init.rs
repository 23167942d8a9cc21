//! `WDFDEVICE_INIT`: the properties of a device before it is created.
//!
//! The rule: `WdfDeviceCreate` (on success) and `WdfDeviceInitFree` use the structure up; a later
//! use is reported. Drivers hold a number, not a pointer, so even a stale one is recognised.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use nt::{spinlock::SpinLock, unicode::Wide};
use wdk_sys::{
    IRP_MJ_MAXIMUM_FUNCTION, NTSTATUS, PDEVICE_OBJECT, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    UNICODE_STRING,
};

use crate::{
    abi::{
        DriverGlobals, FILE_OBJECT_CANNOT_USE_FS_CONTEXTS, FileObjectConfig, Handle, Notify,
        ObjectAttributes, PnpCallbacks, Preprocess, REMOVE_LOCK_ACQUIRE_FOR_IO, RemoveLockOptions,
        TRUE,
    },
    checks::{Call, violation},
    client::Client,
    device::Device,
    driver::Driver,
    irql::{DISPATCH_LEVEL, Irql, PASSIVE_LEVEL},
    object::{Ref, attributes},
};

/// How many major function codes there are.
const MAJOR_FUNCTIONS: usize = IRP_MJ_MAXIMUM_FUNCTION as usize + 1;

/// A device to be.
pub(crate) struct DeviceInit {
    pub(crate) client: &'static Client,
    pub(crate) role: Role,
    pub(crate) name: Option<Wide>,
    pub(crate) remove_lock_flags: u32,
    pub(crate) pnp: PnpCallbacks,
    pub(crate) preprocess: PreprocessTable,
    pub(crate) file: Option<FileSetup>,
    pub(crate) shutdown: Option<Shutdown>,
}

/// What the device is in its stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A filter over a physical device's stack.
    Filter(PDEVICE_OBJECT),
    /// A function device: `WdfFdoInitSetFilter` was not called.
    Function(PDEVICE_OBJECT),
    /// A named device that is in no stack.
    Control,
}

/// The callbacks that see packets before the framework, by major code.
pub(crate) type PreprocessTable = [Option<PreprocessEntry>; MAJOR_FUNCTIONS];

/// One of them, with its minor codes; none means all.
#[derive(Clone)]
pub(crate) struct PreprocessEntry {
    pub(crate) callback: Preprocess,
    pub(crate) minors: Vec<u8>,
}

/// File objects of a device.
#[derive(Clone, Copy)]
pub(crate) struct FileSetup {
    pub(crate) config: FileObjectConfig,
    pub(crate) attributes: Option<ObjectAttributes>,
}

/// A control device's shutdown notification.
#[derive(Clone, Copy)]
pub(crate) struct Shutdown {
    pub(crate) callback: Notify,
    pub(crate) flags: u8,
}

/// What became of a `WDFDEVICE_INIT` by the end of `EvtDriverDeviceAdd`.
pub(crate) enum Outcome {
    NoDevice { filter: bool },
    Created(Ref<Device>),
}

enum Entry {
    Open(Box<DeviceInit>),
    Created { device: Ref<Device> },
}

// SAFETY: the pointers inside are device objects and the driver's static data and code.
unsafe impl Send for Entry {}

/// Makes the number different from every pointer and every handle.
const TAG: usize = 0x494E << 48;

static INITS: SpinLock<BTreeMap<Handle, Entry>> = SpinLock::new(BTreeMap::new());
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A fresh structure for `EvtDriverDeviceAdd`.
pub(crate) fn for_physical_device(client: &'static Client, physical: PDEVICE_OBJECT) -> Handle {
    open(client, Role::Function(physical))
}

/// Closes the structure of an `EvtDriverDeviceAdd` call.
pub(crate) fn finish(init: Handle) -> Outcome {
    match INITS.lock().remove(&init) {
        Some(Entry::Created { device }) => Outcome::Created(device),
        Some(Entry::Open(init)) => {
            Outcome::NoDevice { filter: matches!(init.role, Role::Filter(_)) }
        }
        None => Outcome::NoDevice { filter: false },
    }
}

/// Takes the structure for `WdfDeviceCreate`.
pub(crate) fn take(call: &Call, init: Handle) -> Box<DeviceInit> {
    let entry = INITS.lock().remove(&init);
    let Some(Entry::Open(init)) = entry else {
        violation!(DeviceInit, call.function, "{init:#x} is no WDFDEVICE_INIT, or it is used up");
    };
    init
}

/// Puts the structure back after a failed `WdfDeviceCreate`: the driver may try again or free it.
pub(crate) fn put_back(handle: Handle, init: Box<DeviceInit>) {
    INITS.lock().insert(handle, Entry::Open(init));
}

/// Remembers the device that `WdfDeviceCreate` made of the structure of `EvtDriverDeviceAdd`.
pub(crate) fn created(handle: Handle, device: &Ref<Device>) {
    if !device.is_control() {
        INITS.lock().insert(handle, Entry::Created { device: device.clone() });
    }
}

fn open(client: &'static Client, role: Role) -> Handle {
    // Relaxed: only uniqueness matters.
    let handle = TAG | NEXT.fetch_add(1, Ordering::Relaxed);
    let init = Box::new(DeviceInit {
        client,
        role,
        name: None,
        remove_lock_flags: 0,
        pnp: PnpCallbacks::default(),
        preprocess: [const { None }; MAJOR_FUNCTIONS],
        file: None,
        shutdown: None,
    });
    put_back(handle, init);
    handle
}

/// One call of a `WdfDeviceInit…` function: checks it and changes the structure.
fn change<R>(
    function: &'static str,
    globals: *const DriverGlobals,
    highest: Irql,
    handle: Handle,
    change: impl FnOnce(&Call, &mut DeviceInit) -> R,
) -> R {
    let call = Call::enter(function, globals, highest);
    let mut init = take(&call, handle);
    let result = change(&call, &mut init);
    put_back(handle, init);
    result
}

pub(crate) unsafe extern "system" fn device_init_free(
    globals: *const DriverGlobals,
    handle: Handle,
) {
    let call = Call::enter("WdfDeviceInitFree", globals, DISPATCH_LEVEL);
    if take(&call, handle).role != Role::Control {
        violation!(DeviceInit, call.function, "EvtDriverDeviceAdd's structure is not freed");
    }
}

pub(crate) unsafe extern "system" fn device_init_assign_name(
    globals: *const DriverGlobals,
    init: Handle,
    name: *const UNICODE_STRING,
) -> NTSTATUS {
    change("WdfDeviceInitAssignName", globals, PASSIVE_LEVEL, init, |_, init| {
        // SAFETY: the driver's string, or null for none.
        init.name = (!name.is_null()).then(|| unsafe { Wide::copy_of(name) });
        STATUS_SUCCESS
    })
}

pub(crate) unsafe extern "system" fn device_init_set_file_object_config(
    globals: *const DriverGlobals,
    init: Handle,
    config: *const FileObjectConfig,
    file_attributes: *const ObjectAttributes,
) {
    change("WdfDeviceInitSetFileObjectConfig", globals, DISPATCH_LEVEL, init, |call, init| {
        // SAFETY: the driver's configuration.
        let config = unsafe { call.structure("WDF_FILEOBJECT_CONFIG", config) };
        // SAFETY: the driver's attributes.
        let attributes = unsafe { attributes(call, file_attributes) };
        if attributes.is_some_and(|attributes| attributes.parent != 0) {
            violation!(Parameter, call.function, "the framework chooses a file object's parent");
        }
        call.require_unset("a file callback", &config.create_close);
        let forwards = config.auto_forward_cleanup_close == TRUE;
        if init.role != Role::Control || forwards {
            violation!(Unimplemented, call.function, "file objects of control devices only");
        }
        if config.class != FILE_OBJECT_CANNOT_USE_FS_CONTEXTS {
            let class = config.class;
            violation!(Unimplemented, call.function, "the rig has no files of class {class:#x}");
        }
        init.file = Some(FileSetup { config, attributes });
    });
}

pub(crate) unsafe extern "system" fn device_init_assign_wdm_irp_preprocess_callback(
    globals: *const DriverGlobals,
    init: Handle,
    callback: Option<Preprocess>,
    major: u8,
    minors: *const u8,
    minor_count: u32,
) -> NTSTATUS {
    let function = "WdfDeviceInitAssignWdmIrpPreprocessCallback";
    change(function, globals, DISPATCH_LEVEL, init, |_, init| {
        let Some(callback) = callback else {
            violation!(Parameter, function, "the callback is null");
        };
        let Some(entry) = init.preprocess.get_mut(usize::from(major)) else {
            return STATUS_INVALID_PARAMETER;
        };
        let known = entry.take().map(|entry| entry.minors).unwrap_or_default();
        let minors = if minor_count == 0 {
            // Another callback for the known codes.
            known
        } else if minors.is_null() {
            violation!(Parameter, function, "the minor codes are null");
        } else if known.is_empty() {
            // SAFETY: the driver's array of that many codes.
            unsafe { core::slice::from_raw_parts(minors, minor_count as usize) }.to_vec()
        } else {
            violation!(Parameter, function, "major code {major:#x} has minor codes already");
        };
        *entry = Some(PreprocessEntry { callback, minors });
        STATUS_SUCCESS
    })
}

pub(crate) unsafe extern "system" fn device_init_set_pnp_power_event_callbacks(
    globals: *const DriverGlobals,
    init: Handle,
    callbacks: *const PnpCallbacks,
) {
    let function = "WdfDeviceInitSetPnpPowerEventCallbacks";
    change(function, globals, DISPATCH_LEVEL, init, |call, init| {
        // SAFETY: the driver's callbacks.
        init.pnp = unsafe { call.structure("WDF_PNPPOWER_EVENT_CALLBACKS", callbacks) };
        call.require_unset("a power callback", &init.pnp.power_and_hardware);
        call.require_unset("a self-managed I/O callback", &init.pnp.self_managed_io);
        call.require_unset("a PnP query callback", &init.pnp.queries);
        call.require_unset("a PnP callback", &init.pnp.relations_and_usage_ex);
    });
}

pub(crate) unsafe extern "system" fn device_init_set_remove_lock_options(
    globals: *const DriverGlobals,
    init: Handle,
    options: *const RemoveLockOptions,
) {
    change("WdfDeviceInitSetRemoveLockOptions", globals, DISPATCH_LEVEL, init, |call, init| {
        // SAFETY: the driver's options.
        let flags = unsafe { call.structure("WDF_REMOVE_LOCK_OPTIONS", options) }.flags;
        if flags & !REMOVE_LOCK_ACQUIRE_FOR_IO != 0 || init.role == Role::Control {
            violation!(Parameter, call.function, "a control device, or unknown flags {flags:#x}");
        }
        init.remove_lock_flags = flags;
    });
}

pub(crate) unsafe extern "system" fn fdo_init_set_filter(
    globals: *const DriverGlobals,
    init: Handle,
) {
    change("WdfFdoInitSetFilter", globals, PASSIVE_LEVEL, init, |call, init| match init.role {
        Role::Function(physical) | Role::Filter(physical) => init.role = Role::Filter(physical),
        Role::Control => violation!(DeviceInit, call.function, "a control device is no filter"),
    });
}

pub(crate) unsafe extern "system" fn control_device_init_allocate(
    globals: *const DriverGlobals,
    driver: Handle,
    sddl: *const UNICODE_STRING,
) -> Handle {
    let call = Call::enter("WdfControlDeviceInitAllocate", globals, PASSIVE_LEVEL);
    call.typed::<Driver>(driver);
    if sddl.is_null() {
        violation!(Parameter, call.function, "the SDDL string is null");
    }
    // SAFETY: the driver's string. Wine applies no descriptor; the rig refuses an unlikely one.
    if !unsafe { Wide::copy_of(sddl) }.to_text().starts_with("D:") {
        return 0;
    }
    open(call.client, Role::Control)
}

pub(crate) unsafe extern "system" fn control_device_init_set_shutdown_notification(
    globals: *const DriverGlobals,
    init: Handle,
    callback: Option<Notify>,
    flags: u8,
) {
    let function = "WdfControlDeviceInitSetShutdownNotification";
    change(function, globals, DISPATCH_LEVEL, init, |_, init| {
        let Some(callback) = callback else {
            violation!(Parameter, function, "the callback is null");
        };
        if init.role != Role::Control || flags == 0 || flags & !3 != 0 {
            violation!(Parameter, function, "no control device, or unknown flags {flags:#x}");
        }
        let before = init.shutdown.map_or(0, |shutdown| shutdown.flags);
        init.shutdown = Some(Shutdown { callback, flags: before | flags });
    });
}

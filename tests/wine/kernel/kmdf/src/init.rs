//! `WDFDEVICE_INIT`: what a driver says about a device before it is created.
//!
//! The rule: the structure is used up by `WdfDeviceCreate` (on success) and by `WdfDeviceInitFree`; a later use is
//! reported. Drivers hold a number, not a pointer, so even a stale one is recognised.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};

use nt::{spinlock::SpinLock, unicode::Wide};
use wdk_sys::{
    FILE_DEVICE_UNKNOWN, IRP_MJ_MAXIMUM_FUNCTION, NTSTATUS, PDEVICE_OBJECT,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    abi::{
        DEVICE_IO_BUFFERED, DriverGlobals, FILE_OBJECT_NOT_REQUIRED, FileObjectConfig, Handle,
        IoTypeConfig, Notify, ObjectAttributes, PnpCallbacks, Preprocess, RemoveLockOptions,
    },
    checks::{Call, Rule},
    client::Client,
    device::Device,
    driver::Driver,
    irql::{DISPATCH_LEVEL, Irql, PASSIVE_LEVEL},
    object::{Ref, attributes},
};

/// How many major function codes there are.
pub(crate) const MAJOR_FUNCTIONS: usize = IRP_MJ_MAXIMUM_FUNCTION as usize + 1;

/// A device to be.
pub(crate) struct DeviceInit {
    pub(crate) client: &'static Client,
    pub(crate) role: Role,
    pub(crate) name: Option<Wide>,
    pub(crate) device_type: u32,
    pub(crate) characteristics: u32,
    pub(crate) exclusive: bool,
    pub(crate) read_write_io_type: i32,
    pub(crate) remove_lock_flags: u32,
    pub(crate) pnp: PnpCallbacks,
    pub(crate) preprocess: PreprocessTable,
    pub(crate) file: Option<FileSetup>,
    pub(crate) request_attributes: Option<ObjectAttributes>,
    pub(crate) shutdown: Option<Shutdown>,
}

/// What the device is in its stack.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A filter over a physical device's stack.
    Filter(PDEVICE_OBJECT),
    /// A function device: `WdfFdoInitSetFilter` was not called.
    Function(PDEVICE_OBJECT),
    /// A named device that is in no stack.
    Control,
}

/// The callbacks that see packets before the framework.
pub(crate) type PreprocessTable = [Option<PreprocessEntry>; MAJOR_FUNCTIONS];

/// One of them, with the minor codes that it wants; none means all.
#[derive(Clone)]
pub(crate) struct PreprocessEntry {
    pub(crate) callback: Preprocess,
    pub(crate) minors: Vec<u8>,
}

/// What a driver wants of file objects.
#[derive(Clone, Copy)]
pub(crate) struct FileSetup {
    pub(crate) config: FileObjectConfig,
    pub(crate) attributes: Option<ObjectAttributes>,
}

/// What a control device wants to hear of the system's shutdown.
#[derive(Clone, Copy)]
pub(crate) struct Shutdown {
    pub(crate) callback: Notify,
    pub(crate) flags: u8,
}

/// What became of a `WDFDEVICE_INIT` by the end of `EvtDriverDeviceAdd`.
pub(crate) enum Outcome {
    /// No device was created.
    NoDevice { filter: bool },
    /// This one was.
    Created(Ref<Device>),
}

enum Entry {
    Open(Box<DeviceInit>),
    Created { device: Ref<Device> },
}

// SAFETY: the pointers inside are device objects and the driver's static data and code.
unsafe impl Send for Entry {}

/// Looks like no pointer and no handle.
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
    match entry {
        Some(Entry::Open(init)) => init,
        Some(Entry::Created { .. }) | None => stale(call, init),
    }
}

/// Gives the structure back, when `WdfDeviceCreate` failed: the driver may try again or free it.
pub(crate) fn put_back(handle: Handle, init: Box<DeviceInit>) {
    INITS.lock().insert(handle, Entry::Open(init));
}

/// Remembers what `WdfDeviceCreate` made of the structure that `AddDevice` waits for.
pub(crate) fn created(handle: Handle, device: &Ref<Device>) {
    if device.is_control() {
        return;
    }
    INITS.lock().insert(handle, Entry::Created { device: device.clone() });
}

fn open(client: &'static Client, role: Role) -> Handle {
    // Relaxed: only uniqueness matters.
    let handle = TAG | NEXT.fetch_add(1, Ordering::Relaxed);
    let init = Box::new(DeviceInit {
        client,
        role,
        name: None,
        device_type: FILE_DEVICE_UNKNOWN,
        characteristics: 0,
        exclusive: false,
        read_write_io_type: DEVICE_IO_BUFFERED,
        remove_lock_flags: 0,
        pnp: PnpCallbacks::default(),
        preprocess: [const { None }; MAJOR_FUNCTIONS],
        file: None,
        request_attributes: None,
        shutdown: None,
    });
    INITS.lock().insert(handle, Entry::Open(init));
    handle
}

fn stale(call: &Call, init: Handle) -> ! {
    call.violation(
        Rule::DeviceInit,
        format_args!("{init:#x} is no WDFDEVICE_INIT, or it was used up by WdfDeviceCreate or WdfDeviceInitFree"),
    )
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
    let init = take(&call, handle);
    if !matches!(init.role, Role::Control) {
        call.violation(
            Rule::DeviceInit,
            format_args!(
                "the structure of EvtDriverDeviceAdd belongs to the framework and is not freed"
            ),
        );
    }
}

pub(crate) unsafe extern "system" fn device_init_set_characteristics(
    globals: *const DriverGlobals,
    init: Handle,
    characteristics: u32,
    or_in: u8,
) {
    change("WdfDeviceInitSetCharacteristics", globals, DISPATCH_LEVEL, init, |_, init| {
        init.characteristics =
            if or_in == 0 { characteristics } else { init.characteristics | characteristics };
    });
}

pub(crate) unsafe extern "system" fn device_init_set_device_type(
    globals: *const DriverGlobals,
    init: Handle,
    device_type: u32,
) {
    change("WdfDeviceInitSetDeviceType", globals, DISPATCH_LEVEL, init, |_, init| {
        init.device_type = device_type;
    });
}

pub(crate) unsafe extern "system" fn device_init_set_exclusive(
    globals: *const DriverGlobals,
    init: Handle,
    exclusive: u8,
) {
    change("WdfDeviceInitSetExclusive", globals, DISPATCH_LEVEL, init, |_, init| {
        init.exclusive = exclusive != 0;
    });
}

pub(crate) unsafe extern "system" fn device_init_set_io_type_ex(
    globals: *const DriverGlobals,
    init: Handle,
    config: *const IoTypeConfig,
) {
    change("WdfDeviceInitSetIoTypeEx", globals, PASSIVE_LEVEL, init, |call, init| {
        // SAFETY: the driver's configuration.
        let config = unsafe { call.structure("WDF_IO_TYPE_CONFIG", config) };
        init.read_write_io_type = config.read_write;
    });
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

pub(crate) unsafe extern "system" fn device_init_assign_sddl_string(
    globals: *const DriverGlobals,
    init: Handle,
    sddl: *const UNICODE_STRING,
) -> NTSTATUS {
    change("WdfDeviceInitAssignSDDLString", globals, PASSIVE_LEVEL, init, |_, _| {
        // SAFETY: the driver's string, or null for none.
        sddl_status(&unsafe { Wide::copy_of(sddl) })
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
        if config.class == 0 || config.class > FILE_OBJECT_NOT_REQUIRED + 3 {
            call.violation(
                Rule::Parameter,
                format_args!("FileObjectClass {:#x} is not supported", config.class),
            );
        }
        init.file = Some(FileSetup { config, attributes });
    });
}

pub(crate) unsafe extern "system" fn device_init_set_request_attributes(
    globals: *const DriverGlobals,
    init: Handle,
    request_attributes: *const ObjectAttributes,
) {
    change("WdfDeviceInitSetRequestAttributes", globals, DISPATCH_LEVEL, init, |call, init| {
        // SAFETY: the driver's attributes.
        init.request_attributes = unsafe { attributes(call, request_attributes) };
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
    change(
        "WdfDeviceInitAssignWdmIrpPreprocessCallback",
        globals,
        DISPATCH_LEVEL,
        init,
        |call, init| {
            let Some(callback) = callback else {
                call.violation(Rule::Parameter, format_args!("the callback is null"));
            };
            let Some(entry) = init.preprocess.get_mut(usize::from(major)) else {
                return STATUS_INVALID_PARAMETER;
            };
            if entry.as_ref().is_some_and(|entry| entry.minors.is_empty()) {
                // All minor codes are taken already.
                return STATUS_INVALID_PARAMETER;
            }
            let minors = if minors.is_null() || minor_count == 0 {
                Vec::new()
            } else {
                // SAFETY: the driver's array of that many codes.
                unsafe { core::slice::from_raw_parts(minors, minor_count as usize) }.to_vec()
            };
            *entry = Some(PreprocessEntry { callback, minors });
            STATUS_SUCCESS
        },
    )
}

pub(crate) unsafe extern "system" fn device_init_set_pnp_power_event_callbacks(
    globals: *const DriverGlobals,
    init: Handle,
    callbacks: *const PnpCallbacks,
) {
    change(
        "WdfDeviceInitSetPnpPowerEventCallbacks",
        globals,
        DISPATCH_LEVEL,
        init,
        |call, init| {
            // SAFETY: the driver's callbacks.
            init.pnp = unsafe { call.structure("WDF_PNPPOWER_EVENT_CALLBACKS", callbacks) };
            if init.pnp.usage_notification.is_some() && init.pnp.usage_notification_ex.is_some() {
                call.violation(
                Rule::Parameter,
                format_args!("EvtDeviceUsageNotification and EvtDeviceUsageNotificationEx exclude each other"),
            );
            }
        },
    );
}

pub(crate) unsafe extern "system" fn device_init_set_remove_lock_options(
    globals: *const DriverGlobals,
    init: Handle,
    options: *const RemoveLockOptions,
) {
    change("WdfDeviceInitSetRemoveLockOptions", globals, DISPATCH_LEVEL, init, |call, init| {
        // SAFETY: the driver's options.
        init.remove_lock_flags =
            unsafe { call.structure("WDF_REMOVE_LOCK_OPTIONS", options) }.flags;
    });
}

pub(crate) unsafe extern "system" fn fdo_init_set_filter(
    globals: *const DriverGlobals,
    init: Handle,
) {
    change("WdfFdoInitSetFilter", globals, PASSIVE_LEVEL, init, |call, init| match init.role {
        Role::Function(physical) | Role::Filter(physical) => init.role = Role::Filter(physical),
        Role::Control => {
            call.violation(Rule::DeviceInit, format_args!("a control device is no filter"))
        }
    });
}

pub(crate) unsafe extern "system" fn fdo_init_wdm_get_physical_device(
    globals: *const DriverGlobals,
    init: Handle,
) -> PDEVICE_OBJECT {
    change("WdfFdoInitWdmGetPhysicalDevice", globals, DISPATCH_LEVEL, init, |call, init| match init
        .role
    {
        Role::Function(physical) | Role::Filter(physical) => physical,
        Role::Control => call
            .violation(Rule::DeviceInit, format_args!("a control device has no physical device")),
    })
}

pub(crate) unsafe extern "system" fn control_device_init_allocate(
    globals: *const DriverGlobals,
    driver: Handle,
    sddl: *const UNICODE_STRING,
) -> Handle {
    let call = Call::enter("WdfControlDeviceInitAllocate", globals, PASSIVE_LEVEL);
    call.typed::<Driver>(driver);
    if sddl.is_null() {
        call.violation(Rule::Parameter, format_args!("the SDDL string is null"));
    }
    // SAFETY: the driver's string.
    if sddl_status(&unsafe { Wide::copy_of(sddl) }) != STATUS_SUCCESS {
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
    change(
        "WdfControlDeviceInitSetShutdownNotification",
        globals,
        PASSIVE_LEVEL,
        init,
        |call, init| {
            let Some(callback) = callback else {
                call.violation(Rule::Parameter, format_args!("the callback is null"));
            };
            if !matches!(init.role, Role::Control) || flags == 0 || flags & !3 != 0 {
                call.violation(
                    Rule::Parameter,
                    format_args!("not a control device, or flags {flags:#x} are not known"),
                );
            }
            init.shutdown = Some(Shutdown { callback, flags });
        },
    );
}

/// Wine applies no security descriptor; the bench at least refuses what is none.
fn sddl_status(sddl: &Wide) -> NTSTATUS {
    if sddl.to_text().starts_with("D:") { STATUS_SUCCESS } else { STATUS_INVALID_PARAMETER }
}

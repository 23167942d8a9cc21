//! The framework's interface as a driver sees it: handles, structures, callbacks.
//!
//! The rule: everything here is written from the framework's published source, not from the headers
//! that the driver under test is built with, and every size is asserted. A wrong layout goes
//! unnoticed only if both are wrong in the same way. Members that the rig does not support have no
//! name here.

use core::ffi::{c_char, c_void};

use wdk_sys::{IRP, NTSTATUS};

/// Any framework handle: opaque to drivers, a table key here (see `object.rs`).
pub(crate) type Handle = usize;

/// `WDF_TRI_STATE`
pub(crate) const TRUE: i32 = 1;

pub(crate) type Notify = unsafe extern "system" fn(Handle);
pub(crate) type DeviceAdd = unsafe extern "system" fn(Handle, Handle) -> NTSTATUS;
pub(crate) type Usage = unsafe extern "system" fn(Handle, i32, u8);
pub(crate) type Preprocess = unsafe extern "system" fn(Handle, *mut IRP) -> NTSTATUS;
pub(crate) type IoDeviceControl = unsafe extern "system" fn(Handle, Handle, usize, usize, u32);

/// Places of callbacks that the rig never calls. Setting one is an `Unimplemented` violation.
pub(crate) type Unsupported<const N: usize> = [usize; N];

/// `WDF_DRIVER_GLOBALS`
#[repr(C)]
pub(crate) struct DriverGlobals {
    pub(crate) driver: Handle,
    pub(crate) driver_flags: u32,
    pub(crate) driver_tag: u32,
    pub(crate) driver_name: [c_char; 32],
    pub(crate) displace_driver_unload: u8,
}

/// `WDF_BIND_INFO2` (the first 48 bytes are `WDF_BIND_INFO`)
#[repr(C)]
pub(crate) struct BindInfo {
    pub(crate) size: u32,
    pub(crate) component: *const u16,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) build: u32,
    pub(crate) function_count: u32,
    pub(crate) function_table: *mut *const *const c_void,
    pub(crate) module: *mut c_void,
    pub(crate) minimum_version: *mut u32,
    pub(crate) client_higher_than_framework: *mut u8,
    pub(crate) function_count_out: *mut u32,
    pub(crate) structure_count_out: *mut u32,
    pub(crate) structure_table: *mut c_void,
}

/// `WDF_OBJECT_CONTEXT_TYPE_INFO`
#[repr(C)]
pub(crate) struct ContextTypeInfo {
    pub(crate) size: u32,
    pub(crate) name: *const c_char,
    pub(crate) context_size: usize,
    pub(crate) unique_type: *const ContextTypeInfo,
    pub(crate) get_unique_type: *const c_void,
}

/// `WDF_OBJECT_ATTRIBUTES`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ObjectAttributes {
    pub(crate) size: u32,
    pub(crate) evt_cleanup: Option<Notify>,
    pub(crate) evt_destroy: Option<Notify>,
    pub(crate) execution_level: i32,
    pub(crate) synchronization_scope: i32,
    pub(crate) parent: Handle,
    pub(crate) context_size_override: usize,
    pub(crate) context_type: *const ContextTypeInfo,
}

/// `WDF_DRIVER_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DriverConfig {
    pub(crate) size: u32,
    pub(crate) evt_device_add: Option<DeviceAdd>,
    pub(crate) evt_unload: Option<Notify>,
    pub(crate) init_flags: u32,
    pub(crate) pool_tag: u32,
}

/// `WdfDriverInitNonPnpDriver`
pub(crate) const DRIVER_INIT_NON_PNP: u32 = 1;

/// `WDF_FILEOBJECT_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FileObjectConfig {
    pub(crate) size: u32,
    pub(crate) create_close: Unsupported<2>,
    pub(crate) evt_cleanup: Option<Notify>,
    pub(crate) auto_forward_cleanup_close: i32,
    pub(crate) class: u32,
}

/// `WdfFileObjectWdfCannotUseFsContexts`
pub(crate) const FILE_OBJECT_CANNOT_USE_FS_CONTEXTS: u32 = 4;

/// `WDF_PNPPOWER_EVENT_CALLBACKS`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PnpCallbacks {
    pub(crate) size: u32,
    pub(crate) power_and_hardware: Unsupported<6>,
    pub(crate) self_managed_io_cleanup: Option<Notify>,
    pub(crate) self_managed_io: Unsupported<4>,
    pub(crate) surprise_removal: Option<Notify>,
    pub(crate) queries: Unsupported<2>,
    pub(crate) usage_notification: Option<Usage>,
    pub(crate) relations_and_usage_ex: Unsupported<2>,
}

/// `WDF_REMOVE_LOCK_OPTIONS`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RemoveLockOptions {
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

/// `WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO`
pub(crate) const REMOVE_LOCK_ACQUIRE_FOR_IO: u32 = 1;

/// `WDF_IO_QUEUE_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct QueueConfig {
    pub(crate) size: u32,
    pub(crate) dispatch_type: i32,
    pub(crate) power_managed: i32,
    pub(crate) allow_zero_length: u8,
    pub(crate) default_queue: u8,
    pub(crate) default_read_write: Unsupported<3>,
    pub(crate) evt_device_control: Option<IoDeviceControl>,
    pub(crate) others: Unsupported<4>,
    pub(crate) presented_requests: u32,
    pub(crate) driver: Handle,
}

/// `WdfIoQueueDispatchSequential`
pub(crate) const DISPATCH_SEQUENTIAL: i32 = 1;
/// `WdfIoQueueDispatchParallel`
pub(crate) const DISPATCH_PARALLEL: i32 = 2;
/// `WdfIoQueueDispatchManual`
pub(crate) const DISPATCH_MANUAL: i32 = 3;

/// `WDF_WORKITEM_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WorkItemConfig {
    pub(crate) size: u32,
    pub(crate) evt_work_item: Option<Notify>,
    pub(crate) automatic_serialization: u8,
}

/// `STATUS_WDF_BUSY`
pub(crate) const STATUS_WDF_BUSY: NTSTATUS = 0xC020_0204_u32.cast_signed();

const _: () = {
    assert!(size_of::<DriverGlobals>() == 56);
    assert!(size_of::<BindInfo>() == 88);
    assert!(core::mem::offset_of!(BindInfo, function_table) == 32);
    assert!(core::mem::offset_of!(BindInfo, minimum_version) == 48);
    assert!(size_of::<ContextTypeInfo>() == 40);
    assert!(size_of::<ObjectAttributes>() == 56);
    assert!(size_of::<DriverConfig>() == 32);
    assert!(size_of::<FileObjectConfig>() == 40);
    assert!(core::mem::offset_of!(FileObjectConfig, evt_cleanup) == 24);
    assert!(size_of::<PnpCallbacks>() == 144);
    assert!(core::mem::offset_of!(PnpCallbacks, self_managed_io_cleanup) == 56);
    assert!(core::mem::offset_of!(PnpCallbacks, surprise_removal) == 96);
    assert!(core::mem::offset_of!(PnpCallbacks, usage_notification) == 120);
    assert!(size_of::<RemoveLockOptions>() == 8);
    assert!(size_of::<QueueConfig>() == 96);
    assert!(core::mem::offset_of!(QueueConfig, evt_device_control) == 40);
    assert!(core::mem::offset_of!(QueueConfig, presented_requests) == 80);
    assert!(size_of::<WorkItemConfig>() == 24);
};

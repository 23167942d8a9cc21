//! The framework's interface as a driver sees it: handles, structures, callbacks.
//!
//! The rule: everything here is written from the framework's published source, not from the headers that the driver
//! under test is built with, and every size is asserted. Two mistakes would have to agree to go unnoticed.

use core::ffi::{c_char, c_void};

use wdk_sys::{IRP, NTSTATUS};

/// Any framework handle: opaque to drivers, a table key here (see `object.rs`).
pub(crate) type Handle = usize;

/// `WDF_TRI_STATE`
pub(crate) const USE_DEFAULT: i32 = 2;
/// `WDF_TRI_STATE`
pub(crate) const TRUE: i32 = 1;

pub(crate) type Notify = unsafe extern "system" fn(Handle);
pub(crate) type NotifyStatus = unsafe extern "system" fn(Handle) -> NTSTATUS;
pub(crate) type DeviceAdd = unsafe extern "system" fn(Handle, Handle) -> NTSTATUS;
pub(crate) type FileCreate = unsafe extern "system" fn(Handle, Handle, Handle);
pub(crate) type PowerState = unsafe extern "system" fn(Handle, i32) -> NTSTATUS;
pub(crate) type PrepareHardware = unsafe extern "system" fn(Handle, Handle, Handle) -> NTSTATUS;
pub(crate) type ReleaseHardware = unsafe extern "system" fn(Handle, Handle) -> NTSTATUS;
pub(crate) type Usage = unsafe extern "system" fn(Handle, i32, u8);
pub(crate) type UsageEx = unsafe extern "system" fn(Handle, i32, u8) -> NTSTATUS;
pub(crate) type RelationsQuery = unsafe extern "system" fn(Handle, i32);
pub(crate) type Preprocess = unsafe extern "system" fn(Handle, *mut IRP) -> NTSTATUS;
pub(crate) type IoDefault = unsafe extern "system" fn(Handle, Handle);
pub(crate) type IoTransfer = unsafe extern "system" fn(Handle, Handle, usize);
pub(crate) type IoDeviceControl = unsafe extern "system" fn(Handle, Handle, usize, usize, u32);
pub(crate) type IoStop = unsafe extern "system" fn(Handle, Handle, u32);
pub(crate) type QueueState = unsafe extern "system" fn(Handle, *mut c_void);

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
/// `WdfDriverInitNoDispatchOverride`
pub(crate) const DRIVER_INIT_NO_DISPATCH_OVERRIDE: u32 = 2;

/// `WDF_FILEOBJECT_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FileObjectConfig {
    pub(crate) size: u32,
    pub(crate) evt_create: Option<FileCreate>,
    pub(crate) evt_close: Option<Notify>,
    pub(crate) evt_cleanup: Option<Notify>,
    pub(crate) auto_forward_cleanup_close: i32,
    pub(crate) class: u32,
}

/// `WdfFileObjectNotRequired`
pub(crate) const FILE_OBJECT_NOT_REQUIRED: u32 = 1;

/// `WDF_PNPPOWER_EVENT_CALLBACKS`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PnpCallbacks {
    pub(crate) size: u32,
    pub(crate) d0_entry: Option<PowerState>,
    pub(crate) d0_entry_post_interrupts_enabled: Option<PowerState>,
    pub(crate) d0_exit: Option<PowerState>,
    pub(crate) d0_exit_pre_interrupts_disabled: Option<PowerState>,
    pub(crate) prepare_hardware: Option<PrepareHardware>,
    pub(crate) release_hardware: Option<ReleaseHardware>,
    pub(crate) self_managed_io_cleanup: Option<Notify>,
    pub(crate) self_managed_io_flush: Option<Notify>,
    pub(crate) self_managed_io_init: Option<NotifyStatus>,
    pub(crate) self_managed_io_suspend: Option<NotifyStatus>,
    pub(crate) self_managed_io_restart: Option<NotifyStatus>,
    pub(crate) surprise_removal: Option<Notify>,
    pub(crate) query_remove: Option<NotifyStatus>,
    pub(crate) query_stop: Option<NotifyStatus>,
    pub(crate) usage_notification: Option<Usage>,
    pub(crate) relations_query: Option<RelationsQuery>,
    pub(crate) usage_notification_ex: Option<UsageEx>,
}

/// `WDF_IO_TYPE_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoTypeConfig {
    pub(crate) size: u32,
    pub(crate) read_write: i32,
    pub(crate) device_control: i32,
    pub(crate) direct_transfer_threshold: u32,
}

/// `WdfDeviceIoBuffered`
pub(crate) const DEVICE_IO_BUFFERED: i32 = 2;
/// `WdfDeviceIoDirect`
pub(crate) const DEVICE_IO_DIRECT: i32 = 3;

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
    pub(crate) evt_default: Option<IoDefault>,
    pub(crate) evt_read: Option<IoTransfer>,
    pub(crate) evt_write: Option<IoTransfer>,
    pub(crate) evt_device_control: Option<IoDeviceControl>,
    pub(crate) evt_internal_device_control: Option<IoDeviceControl>,
    pub(crate) evt_stop: Option<IoStop>,
    pub(crate) evt_resume: Option<IoDefault>,
    pub(crate) evt_canceled_on_queue: Option<IoDefault>,
    pub(crate) presented_requests: u32,
    pub(crate) driver: Handle,
}

/// `WdfIoQueueDispatchSequential`
pub(crate) const DISPATCH_SEQUENTIAL: i32 = 1;
/// `WdfIoQueueDispatchParallel`
pub(crate) const DISPATCH_PARALLEL: i32 = 2;
/// `WdfIoQueueDispatchManual`
pub(crate) const DISPATCH_MANUAL: i32 = 3;

/// `WDF_REQUEST_PARAMETERS`; the four words are the union, by request type.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RequestParameters {
    pub(crate) size: u16,
    pub(crate) minor_function: u8,
    pub(crate) request_type: i32,
    pub(crate) words: [u64; 4],
}

/// `WDF_WORKITEM_CONFIG`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WorkItemConfig {
    pub(crate) size: u32,
    pub(crate) evt_work_item: Option<Notify>,
    pub(crate) automatic_serialization: u8,
}

/// The framework's own status codes.
pub(crate) mod status {
    use super::NTSTATUS;

    pub(crate) const WDF_PAUSED: NTSTATUS = 0xC020_0203_u32.cast_signed();
    pub(crate) const WDF_BUSY: NTSTATUS = 0xC020_0204_u32.cast_signed();
}

const _: () = {
    assert!(size_of::<DriverGlobals>() == 56);
    assert!(size_of::<BindInfo>() == 88);
    assert!(core::mem::offset_of!(BindInfo, function_table) == 32);
    assert!(core::mem::offset_of!(BindInfo, minimum_version) == 48);
    assert!(size_of::<ContextTypeInfo>() == 40);
    assert!(size_of::<ObjectAttributes>() == 56);
    assert!(size_of::<DriverConfig>() == 32);
    assert!(size_of::<FileObjectConfig>() == 40);
    assert!(size_of::<PnpCallbacks>() == 144);
    assert!(size_of::<IoTypeConfig>() == 16);
    assert!(size_of::<RemoveLockOptions>() == 8);
    assert!(size_of::<QueueConfig>() == 96);
    assert!(core::mem::offset_of!(QueueConfig, evt_default) == 16);
    assert!(core::mem::offset_of!(QueueConfig, presented_requests) == 80);
    assert!(size_of::<RequestParameters>() == 40);
    assert!(core::mem::offset_of!(RequestParameters, words) == 8);
    assert!(size_of::<WorkItemConfig>() == 24);
};

//! Devices: filters on volumes, and the control device.

use core::ffi::c_void;
use core::ptr::{NonNull, null, null_mut};

use wdk_sys::{
    _WDF_DEVICE_SHUTDOWN_FLAGS, _WDF_EXECUTION_LEVEL, _WDF_FILEOBJECT_CLASS,
    _WDF_REMOVE_LOCK_OPTIONS_FLAGS, _WDF_SYNCHRONIZATION_SCOPE, _WDF_TRI_STATE,
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_WRITE, NT_SUCCESS, NTSTATUS,
    PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP, PFN_WDF_DEVICE_SHUTDOWN_NOTIFICATION,
    PFN_WDF_DEVICE_SURPRISE_REMOVAL, PFN_WDF_DEVICE_USAGE_NOTIFICATION, PFN_WDF_FILE_CLEANUP,
    PFN_WDF_OBJECT_CONTEXT_CLEANUP, PFN_WDF_OBJECT_CONTEXT_DESTROY,
    PFN_WDFDEVICE_WDM_IRP_PREPROCESS, PIRP, PWDFDEVICE_INIT, STATUS_INSUFFICIENT_RESOURCES, ULONG,
    WDF_FILEOBJECT_CONFIG, WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO,
    WDF_PNPPOWER_EVENT_CALLBACKS, WDF_REMOVE_LOCK_OPTIONS, WDFDEVICE, WDFDRIVER, WDFOBJECT,
};

use super::{struct_size, wdf};
use crate::kernel::low_byte;
use crate::kernel::lower::LowerDevice;
use crate::kernel::unicode::UnicodeString;

/// The context of a filter device: one pointer, null at first.
#[repr(C)]
pub struct FilterContext {
    value: *mut c_void,
}

struct TypeInfo(WDF_OBJECT_CONTEXT_TYPE_INFO);

// SAFETY: never written.
unsafe impl Sync for TypeInfo {}

/// What `WDF_DECLARE_CONTEXT_TYPE` makes.
static FILTER_CONTEXT: TypeInfo = TypeInfo(WDF_OBJECT_CONTEXT_TYPE_INFO {
    Size: struct_size::<WDF_OBJECT_CONTEXT_TYPE_INFO>(),
    ContextName: c"FilterContext".as_ptr(),
    ContextSize: size_of::<FilterContext>(),
    UniqueType: &raw const FILTER_CONTEXT.0,
    EvtDriverGetUniqueContextType: None,
});

/// What a filter device calls.
pub struct FilterCallbacks {
    /// For each write; none to let all of them pass.
    pub write: PFN_WDFDEVICE_WDM_IRP_PREPROCESS,
    /// For each device control request; none to let all of them pass.
    pub device_control: PFN_WDFDEVICE_WDM_IRP_PREPROCESS,
    /// When a special file has come to the device or left it, at PASSIVE_LEVEL.
    pub usage: PFN_WDF_DEVICE_USAGE_NOTIFICATION,
    /// When the device is gone, before the drivers below learn of it, at PASSIVE_LEVEL.
    pub surprise: PFN_WDF_DEVICE_SURPRISE_REMOVAL,
    /// When the device is being removed, at PASSIVE_LEVEL.
    pub removing: PFN_WDF_DEVICE_SELF_MANAGED_IO_CLEANUP,
    /// When the device object is being deleted, at PASSIVE_LEVEL.
    pub cleanup: PFN_WDF_OBJECT_CONTEXT_CLEANUP,
    /// When nothing uses the device object any more, at IRQL <= DISPATCH_LEVEL.
    pub destroy: PFN_WDF_OBJECT_CONTEXT_DESTROY,
}

/// Makes a filter device from what `EvtDriverDeviceAdd` was given, and attaches it. PASSIVE_LEVEL.
///
/// # Safety
/// `init` is that call's; the callbacks follow the framework's rules.
pub unsafe fn create_filter(
    mut init: PWDFDEVICE_INIT,
    callbacks: &FilterCallbacks,
) -> Result<WDFDEVICE, NTSTATUS> {
    // SAFETY: the caller's `init`, before the device is made; so for the next calls.
    unsafe { wdf!(WdfFdoInitSetFilter, init) };
    // The device is not deleted while an IRP or its completion routine is on its way through us.
    let mut options = WDF_REMOVE_LOCK_OPTIONS {
        Size: struct_size::<WDF_REMOVE_LOCK_OPTIONS>(),
        Flags: _WDF_REMOVE_LOCK_OPTIONS_FLAGS::WDF_REMOVE_LOCK_OPTION_ACQUIRE_FOR_IO as ULONG,
    };
    // SAFETY: as above.
    unsafe { wdf!(WdfDeviceInitSetRemoveLockOptions, init, &raw mut options) };
    let mut power = WDF_PNPPOWER_EVENT_CALLBACKS {
        Size: struct_size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
        EvtDeviceSelfManagedIoCleanup: callbacks.removing,
        EvtDeviceSurpriseRemoval: callbacks.surprise,
        EvtDeviceUsageNotification: callbacks.usage,
        ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
    };
    // SAFETY: as above.
    unsafe { wdf!(WdfDeviceInitSetPnpPowerEventCallbacks, init, &raw mut power) };
    let preprocess =
        [(IRP_MJ_WRITE, callbacks.write), (IRP_MJ_DEVICE_CONTROL, callbacks.device_control)];
    for (major, callback) in preprocess {
        if callback.is_none() {
            continue;
        }
        // SAFETY: as above; no minor functions are named.
        let status = unsafe {
            wdf!(
                WdfDeviceInitAssignWdmIrpPreprocessCallback,
                init,
                callback,
                low_byte(major),
                null_mut(),
                0
            )
        };
        if !NT_SUCCESS(status) {
            return Err(status);
        }
    }
    let mut attributes = attributes();
    attributes.EvtCleanupCallback = callbacks.cleanup;
    attributes.EvtDestroyCallback = callbacks.destroy;
    attributes.ContextTypeInfo = &raw const FILTER_CONTEXT.0;
    let mut device: WDFDEVICE = null_mut();
    // SAFETY: as above; on success the framework takes `init`.
    let status =
        unsafe { wdf!(WdfDeviceCreate, &raw mut init, &raw mut attributes, &raw mut device) };
    if NT_SUCCESS(status) { Ok(device) } else { Err(status) }
}

/// The pointer that a filter device keeps. Any IRQL.
///
/// # Safety
/// `device` came from [`create_filter`] and is alive.
pub unsafe fn filter_value(device: WDFDEVICE) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { filter_context(device) }.map_or(null_mut(), |context| {
        // SAFETY: the context is alive with its device. Written once, before requests arrive.
        unsafe { context.as_ref() }.value
    })
}

/// Sets the pointer that a filter device keeps, and returns the one it had. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `device` came from [`create_filter`] and is alive; no request is using the pointer.
pub unsafe fn set_filter_value(device: WDFDEVICE, value: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { filter_context(device) }.map_or(null_mut(), |mut context| {
        // SAFETY: the context is alive with its device, and nobody else uses it now.
        core::mem::replace(&mut unsafe { context.as_mut() }.value, value)
    })
}

/// # Safety
/// `device` came from [`create_filter`] and is alive.
unsafe fn filter_context(device: WDFDEVICE) -> Option<NonNull<FilterContext>> {
    // SAFETY: the caller's promise; the type is the one that the device was made with.
    let context = unsafe {
        wdf!(WdfObjectGetTypedContextWorker, device as WDFOBJECT, &raw const FILTER_CONTEXT.0)
    };
    NonNull::new(context.cast())
}

/// The filter device of a device object that the I/O manager names. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// The device object is one of this driver's filters.
pub unsafe fn from_wdm(device: wdk_sys::PDEVICE_OBJECT) -> WDFDEVICE {
    // SAFETY: the caller's promise.
    unsafe { wdf!(WdfWdmDeviceGetWdfDeviceHandle, device) }
}

/// The device that a filter device is attached to. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `device` came from [`create_filter`] and is alive.
pub unsafe fn lower(device: WDFDEVICE) -> Option<LowerDevice> {
    // SAFETY: the caller's promise.
    let lower = unsafe { wdf!(WdfDeviceWdmGetAttachedDevice, device) };
    // SAFETY: attached to it for as long as the filter lives.
    unsafe { LowerDevice::new(lower) }
}

/// Hands an IRP that a preprocess callback got back to the framework, as it came. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// Called from that callback, with its arguments, as its last act.
pub unsafe fn pass_on(device: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    // The framework's dispatcher expects the location to be skipped (docs:
    // WdfDeviceWdmDispatchPreprocessedIrp).
    // SAFETY: the caller's promise: the IRP is ours until it is handed back.
    unsafe { crate::kernel::irp::skip_location(irp) };
    // SAFETY: the caller's promise.
    unsafe { wdf!(WdfDeviceWdmDispatchPreprocessedIrp, device, irp) }
}

/// How the control device is made.
pub struct ControlDevice<'a> {
    /// `\Device\…`
    pub name: &'a str,
    /// `\DosDevices\…`
    pub link: &'a str,
    /// Who may open it.
    pub sddl: &'a str,
    /// Called when the last handle to a file object closes.
    pub file_cleanup: PFN_WDF_FILE_CLEANUP,
    /// Called when the system shuts down, before the file systems are flushed. PASSIVE_LEVEL.
    pub shutdown: PFN_WDF_DEVICE_SHUTDOWN_NOTIFICATION,
}

/// Makes the control device. [`finish_control`] has to follow once its queues are there. PASSIVE_LEVEL.
///
/// # Safety
/// `driver` is this driver's framework object; the callback follows the framework's rules.
pub unsafe fn create_control(
    driver: WDFDRIVER,
    plan: &ControlDevice<'_>,
) -> Result<WDFDEVICE, NTSTATUS> {
    let (name, link) = (UnicodeString::new(plan.name)?, UnicodeString::new(plan.link)?);
    let sddl = UnicodeString::new(plan.sddl)?;
    let (name, link, sddl) = (name.as_kernel()?, link.as_kernel()?, sddl.as_kernel()?);
    // SAFETY: the caller's driver; the string is copied.
    let mut init = unsafe { wdf!(WdfControlDeviceInitAllocate, driver, &raw const sddl) };
    if init.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    let mut files = WDF_FILEOBJECT_CONFIG {
        Size: struct_size::<WDF_FILEOBJECT_CONFIG>(),
        EvtFileCleanup: plan.file_cleanup,
        AutoForwardCleanupClose: _WDF_TRI_STATE::WdfFalse,
        FileObjectClass: _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts,
        ..WDF_FILEOBJECT_CONFIG::default()
    };
    // SAFETY: `init` was allocated above and the device is not made yet.
    unsafe {
        wdf!(
            WdfDeviceInitSetFileObjectConfig,
            init,
            &raw mut files,
            wdk_sys::WDF_NO_OBJECT_ATTRIBUTES
        );
    }
    let phase = low_byte(_WDF_DEVICE_SHUTDOWN_FLAGS::WdfDeviceShutdown.cast_unsigned());
    // SAFETY: as above.
    unsafe { wdf!(WdfControlDeviceInitSetShutdownNotification, init, plan.shutdown, phase) };
    let mut device: WDFDEVICE = null_mut();
    // SAFETY: as above; the string is copied.
    let mut status = unsafe { wdf!(WdfDeviceInitAssignName, init, &raw const name) };
    if NT_SUCCESS(status) {
        let mut attributes = attributes();
        // Our handlers wait: they may not be called at DISPATCH_LEVEL.
        attributes.ExecutionLevel = _WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive;
        // SAFETY: as above; on success the framework takes `init`.
        status =
            unsafe { wdf!(WdfDeviceCreate, &raw mut init, &raw mut attributes, &raw mut device) };
    }
    if !NT_SUCCESS(status) {
        // SAFETY: the framework did not take it.
        unsafe { wdf!(WdfDeviceInitFree, init) };
        return Err(status);
    }
    // SAFETY: the device has just been made; the string is copied.
    let status = unsafe { wdf!(WdfDeviceCreateSymbolicLink, device, &raw const link) };
    if !NT_SUCCESS(status) {
        // SAFETY: made above and known to nobody else.
        unsafe { delete(device) };
        return Err(status);
    }
    Ok(device)
}

/// Lets the control device take requests. PASSIVE_LEVEL.
///
/// # Safety
/// `device` came from [`create_control`], and its queues are complete.
pub unsafe fn finish_control(device: WDFDEVICE) {
    // SAFETY: the caller's promise.
    unsafe { wdf!(WdfControlFinishInitializing, device) };
}

/// Deletes the control device. PASSIVE_LEVEL.
///
/// # Safety
/// `device` came from [`create_control`] and is not used after this.
pub unsafe fn delete(device: WDFDEVICE) {
    // SAFETY: the caller's promise.
    unsafe { wdf!(WdfObjectDelete, device as WDFOBJECT) };
}

/// What `WDF_OBJECT_ATTRIBUTES_INIT` writes.
fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: struct_size::<WDF_OBJECT_ATTRIBUTES>(),
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ContextTypeInfo: null(),
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

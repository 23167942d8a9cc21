//! The control device: a named device object without PnP, with a default queue and one for pended
//! requests.

use core::ptr::null_mut;

use wdk_sys::{
    _WDF_DEVICE_SHUTDOWN_FLAGS, _WDF_EXECUTION_LEVEL, _WDF_FILEOBJECT_CLASS, _WDF_TRI_STATE,
    NT_SUCCESS, NTSTATUS, PWDFDEVICE_INIT, STATUS_INSUFFICIENT_RESOURCES, ULONG,
    WDF_FILEOBJECT_CONFIG, WDFDEVICE, WDFFILEOBJECT, WDFOBJECT, WDFQUEUE, WDFREQUEST,
};

use super::driver::Driver;
use super::queue::Queue;
use super::request::{FileObject, Request};
use super::table::{attributes, struct_size, wdf};
use crate::kernel::low_byte;
use crate::kernel::unicode::UnicodeString;

/// Callbacks of the control device.
pub trait ControlCallbacks {
    /// `EvtIoDeviceControl`: several requests at once. PASSIVE_LEVEL.
    fn device_control(request: Request, input_len: usize, output_len: usize, code: ULONG);

    /// `EvtFileCleanup`: the last handle to a file object is closed. PASSIVE_LEVEL.
    fn file_cleanup(file: FileObject);

    /// `EvtDeviceShutdownNotification`: the system shuts down. Called twice: file systems are
    /// flushed after the first time, and before the second one, the last chance. PASSIVE_LEVEL.
    fn shutdown();
}

/// How the control device is named and protected.
pub struct Names<'a> {
    /// `\Device\…`
    pub device: &'a str,
    /// `\DosDevices\…`
    pub link: &'a str,
    /// The security descriptor.
    pub sddl: &'a str,
}

/// A control device.
pub struct ControlDevice {
    device: WDFDEVICE,
    pended: Queue,
}

// SAFETY: the framework synchronizes its objects.
unsafe impl Send for ControlDevice {}

impl ControlDevice {
    /// Creates the device and its queues, and lets it take requests. PASSIVE_LEVEL.
    pub fn create<C: ControlCallbacks>(
        driver: Driver,
        names: &Names<'_>,
    ) -> Result<Self, NTSTATUS> {
        let device = create_device::<C>(driver, names)?;
        match create_queues::<C>(device) {
            Ok(pended) => {
                // SAFETY: created above, queues complete.
                unsafe { wdf!(WdfControlFinishInitializing, device) };
                Ok(Self { device, pended })
            }
            Err(status) => {
                delete(device);
                Err(status)
            }
        }
    }

    /// The queue of requests that wait. PASSIVE_LEVEL.
    pub fn pended(&self) -> Queue {
        self.pended
    }

    /// Deletes the device. PASSIVE_LEVEL.
    pub fn delete(self) {
        delete(self.device);
    }
}

fn create_device<C: ControlCallbacks>(
    driver: Driver,
    names: &Names<'_>,
) -> Result<WDFDEVICE, NTSTATUS> {
    let (name, link) = (UnicodeString::new(names.device)?, UnicodeString::new(names.link)?);
    let sddl = UnicodeString::new(names.sddl)?;
    let (name, link, sddl) = (name.as_kernel()?, link.as_kernel()?, sddl.as_kernel()?);
    // SAFETY: the driver's object; the string is copied.
    let init = unsafe { wdf!(WdfControlDeviceInitAllocate, driver.handle(), &raw const sddl) };
    if init.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    set_callbacks::<C>(init);
    // SAFETY: the device is not created yet; the string is copied.
    let mut status = unsafe { wdf!(WdfDeviceInitAssignName, init, &raw const name) };
    let mut device: WDFDEVICE = null_mut();
    let mut left = init;
    if NT_SUCCESS(status) {
        let mut attributes = attributes();
        // The callbacks wait: they may not be called at DISPATCH_LEVEL.
        attributes.ExecutionLevel = _WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive;
        // SAFETY: as above; on success the framework takes `init`.
        status =
            unsafe { wdf!(WdfDeviceCreate, &raw mut left, &raw mut attributes, &raw mut device) };
    }
    if !NT_SUCCESS(status) {
        // SAFETY: the framework did not take it.
        unsafe { wdf!(WdfDeviceInitFree, left) };
        return Err(status);
    }
    // SAFETY: the device was just created; the string is copied.
    let status = unsafe { wdf!(WdfDeviceCreateSymbolicLink, device, &raw const link) };
    if !NT_SUCCESS(status) {
        delete(device);
        return Err(status);
    }
    Ok(device)
}

fn set_callbacks<C: ControlCallbacks>(init: PWDFDEVICE_INIT) {
    let mut files = WDF_FILEOBJECT_CONFIG {
        Size: struct_size::<WDF_FILEOBJECT_CONFIG>(),
        EvtFileCleanup: Some(evt_file_cleanup::<C>),
        AutoForwardCleanupClose: _WDF_TRI_STATE::WdfFalse,
        FileObjectClass: _WDF_FILEOBJECT_CLASS::WdfFileObjectWdfCannotUseFsContexts,
        ..WDF_FILEOBJECT_CONFIG::default()
    };
    // SAFETY: the caller's device is not created yet.
    unsafe {
        wdf!(
            WdfDeviceInitSetFileObjectConfig,
            init,
            &raw mut files,
            wdk_sys::WDF_NO_OBJECT_ATTRIBUTES
        );
    }
    let phases = _WDF_DEVICE_SHUTDOWN_FLAGS::WdfDeviceShutdown
        | _WDF_DEVICE_SHUTDOWN_FLAGS::WdfDeviceLastChanceShutdown;
    let phases = low_byte(phases.cast_unsigned());
    let shutdown = Some(evt_shutdown_notification::<C> as unsafe extern "C" fn(WDFDEVICE));
    // SAFETY: as above.
    unsafe { wdf!(WdfControlDeviceInitSetShutdownNotification, init, shutdown, phases) };
}

fn create_queues<C: ControlCallbacks>(device: WDFDEVICE) -> Result<Queue, NTSTATUS> {
    // SAFETY: the device was just created; the callback is written for the queue.
    unsafe { Queue::parallel(device, Some(evt_io_device_control::<C>)) }?;
    // SAFETY: as above.
    unsafe { Queue::manual(device) }
}

fn delete(device: WDFDEVICE) {
    // SAFETY: created in this module, and not used after this.
    unsafe { wdf!(WdfObjectDelete, device as WDFOBJECT) };
}

/// `EvtFileCleanup`. PASSIVE_LEVEL.
extern "C" fn evt_file_cleanup<C: ControlCallbacks>(file: WDFFILEOBJECT) {
    if let Some(file) = FileObject::new(file) {
        C::file_cleanup(file);
    }
}

/// `EvtDeviceShutdownNotification`. PASSIVE_LEVEL.
extern "C" fn evt_shutdown_notification<C: ControlCallbacks>(_device: WDFDEVICE) {
    C::shutdown();
}

/// `EvtIoDeviceControl`. PASSIVE_LEVEL.
extern "C" fn evt_io_device_control<C: ControlCallbacks>(
    _queue: WDFQUEUE,
    request: WDFREQUEST,
    output_len: usize,
    input_len: usize,
    code: ULONG,
) {
    // SAFETY: the framework presents the request to this callback, which owns it now.
    let request = unsafe { Request::new(request) };
    C::device_control(request, input_len, output_len, code);
}

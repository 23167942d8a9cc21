//! I/O queues of the control device.

use core::ptr::null_mut;

use wdk_sys::{
    _WDF_IO_QUEUE_DISPATCH_TYPE as DispatchType, _WDF_TRI_STATE as TriState, NT_SUCCESS, NTSTATUS,
    PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL, ULONG, WDF_IO_QUEUE_CONFIG, WDFDEVICE, WDFQUEUE,
    WDFREQUEST,
};

use super::request::{FileObject, Request};
use super::table::{struct_size, wdf};

/// A queue of the control device.
#[derive(Clone, Copy)]
pub struct Queue(WDFQUEUE);

// SAFETY: the framework synchronizes its objects.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Creates the device's default queue, which presents device control requests as they come,
    /// also while others are with the driver. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// `device` is a framework device, and `handler` follows the framework's rules for it.
    pub(super) unsafe fn parallel(
        device: WDFDEVICE,
        handler: PFN_WDF_IO_QUEUE_IO_DEVICE_CONTROL,
    ) -> Result<Self, NTSTATUS> {
        let mut config = config(DispatchType::WdfIoQueueDispatchParallel);
        config.DefaultQueue = 1;
        // `Settings.Parallel.NumberOfPresentedRequests`: no limit.
        config.Settings.Parallel.NumberOfPresentedRequests = ULONG::MAX;
        config.EvtIoDeviceControl = handler;
        // SAFETY: the caller's promise.
        unsafe { Self::create(device, &mut config) }
    }

    /// Creates a queue that keeps requests until they are retrieved, or their callers cancel them.
    /// PASSIVE_LEVEL.
    ///
    /// # Safety
    /// `device` is a framework device.
    pub(super) unsafe fn manual(device: WDFDEVICE) -> Result<Self, NTSTATUS> {
        let mut config = config(DispatchType::WdfIoQueueDispatchManual);
        // SAFETY: the caller's promise.
        unsafe { Self::create(device, &mut config) }
    }

    /// Puts a request into this queue; gives it back if the queue does not take it. PASSIVE_LEVEL.
    pub fn forward(&self, request: Request) -> Result<(), (Request, NTSTATUS)> {
        // SAFETY: we own the request; the queue is alive as long as the driver is loaded.
        let status = unsafe { wdf!(WdfRequestForwardToIoQueue, request.handle(), self.0) };
        if NT_SUCCESS(status) {
            request.relinquish();
            return Ok(());
        }
        Err((request, status))
    }

    /// Retrieves the next request that came through `file`. PASSIVE_LEVEL.
    pub fn retrieve(&self, file: FileObject) -> Option<Request> {
        let mut request: WDFREQUEST = null_mut();
        // SAFETY: both handles are alive; the request is written on success only.
        let status = unsafe {
            wdf!(WdfIoQueueRetrieveRequestByFileObject, self.0, file.handle(), &raw mut request)
        };
        if !NT_SUCCESS(status) || request.is_null() {
            return None;
        }
        // SAFETY: the framework has just made the request ours.
        Some(unsafe { Request::new(request) })
    }

    /// # Safety
    /// `device` is a framework device; the handlers in `config` follow the framework's rules.
    unsafe fn create(
        device: WDFDEVICE,
        config: &mut WDF_IO_QUEUE_CONFIG,
    ) -> Result<Self, NTSTATUS> {
        let mut queue: WDFQUEUE = null_mut();
        // SAFETY: the caller's promise; `config` is complete.
        let status = unsafe {
            wdf!(
                WdfIoQueueCreate,
                device,
                core::ptr::from_mut(config),
                wdk_sys::WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut queue
            )
        };
        if NT_SUCCESS(status) { Ok(Self(queue)) } else { Err(status) }
    }
}

/// What `WDF_IO_QUEUE_CONFIG_INIT` writes, for a device without power management.
fn config(dispatch: DispatchType::Type) -> WDF_IO_QUEUE_CONFIG {
    WDF_IO_QUEUE_CONFIG {
        Size: struct_size::<WDF_IO_QUEUE_CONFIG>(),
        DispatchType: dispatch,
        PowerManaged: TriState::WdfFalse,
        ..WDF_IO_QUEUE_CONFIG::default()
    }
}

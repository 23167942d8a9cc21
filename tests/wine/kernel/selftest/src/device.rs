//! A control device of the self-test, and requests that it sends to itself.
//!
//! The rule: a request goes through the same dispatch routine, queue and completion as a program's.

use core::{
    ffi::c_void,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloc::boxed::Box;
use nt::{device::Device, event::Event, irp::Irp, unicode::Wide};
use wdk_sys::{
    IO_STATUS_BLOCK, IRP_MJ_FLUSH_BUFFERS, NTSTATUS, PDEVICE_OBJECT, PIRP,
    ntddk::{IoBuildDeviceIoControlRequest, IoBuildSynchronousFsdRequest, IoCancelIrp},
};

use crate::framework::{Framework, Handle, QueueConfig, index};

/// A code of the self-test's own: buffered.
pub(crate) const CODE: u32 = 0x0022_3000;

/// The action of the queue's callback for the next request, and the framework.
static ACTION: AtomicUsize = AtomicUsize::new(0);
static FRAMEWORK: AtomicUsize = AtomicUsize::new(0);
static MANUAL_QUEUE: AtomicUsize = AtomicUsize::new(0);
static REMEMBERED: AtomicUsize = AtomicUsize::new(0);

/// Does something with a request.
pub(crate) type Action = fn(&Framework, Handle);

/// A preprocess callback.
pub(crate) type Preprocess = unsafe extern "system" fn(Handle, PIRP) -> NTSTATUS;

/// `WdfIoQueueDispatchSequential`
const SEQUENTIAL: i32 = 1;
/// `WdfIoQueueDispatchManual`
pub(crate) const MANUAL: i32 = 3;

/// The control device, with a sequential default queue and a manual one.
pub(crate) struct ControlDevice {
    pub(crate) handle: Handle,
    wdm: Device,
}

impl ControlDevice {
    /// Creates the device.
    pub(crate) fn create(
        framework: &Framework,
        driver: Handle,
        action: Action,
        flush: Option<Preprocess>,
    ) -> Self {
        // Relaxed: the callback runs on this thread, or on one that was started later.
        ACTION.store(action as usize, Ordering::Relaxed);
        FRAMEWORK.store(core::ptr::from_ref(framework) as usize, Ordering::Relaxed);
        let init = allocate_init(framework, driver);
        let name = Wide::new(r"\Device\SnaplessRigSelftest");
        framework.call(index::DEVICE_INIT_ASSIGN_NAME, &[init, name.borrow().as_ptr() as usize]);
        if let Some(callback) = flush {
            let arguments = [init, callback as usize, IRP_MJ_FLUSH_BUFFERS as usize, 0, 0];
            framework.call(index::DEVICE_INIT_ASSIGN_PREPROCESS, &arguments);
        }
        let (mut init, mut handle) = (init, 0_usize);
        let status = framework
            .call(index::DEVICE_CREATE, &[&raw mut init as usize, 0, &raw mut handle as usize]);
        assert_eq!(status as NTSTATUS, 0, "WdfDeviceCreate");
        create_queue(framework, handle, SEQUENTIAL, true);
        MANUAL_QUEUE.store(create_queue(framework, handle, MANUAL, false), Ordering::Relaxed);
        framework.call(index::CONTROL_FINISH_INITIALIZING, &[handle]);
        let raw = framework.call(index::DEVICE_WDM_GET_DEVICE_OBJECT, &[handle]) as PDEVICE_OBJECT;
        // SAFETY: the framework's device object lives as long as its device.
        let wdm = unsafe { Device::from_raw(raw) }.expect("a device has a device object");
        Self { handle, wdm }
    }

    /// Sends a device control and waits for it.
    pub(crate) fn control(&self) -> NTSTATUS {
        self.send_control(|_| {})
    }

    /// Sends a device control that stays pending, cancels it, and waits for it.
    pub(crate) fn control_and_cancel(&self) -> NTSTATUS {
        self.send_control(|raw| {
            // SAFETY: the request is pending in the manual queue, so the packet is live.
            unsafe { IoCancelIrp(raw) };
        })
    }

    fn send_control(&self, then: impl FnOnce(PIRP)) -> NTSTATUS {
        let done = Event::notification();
        let mut outcome = Box::new(IO_STATUS_BLOCK::default());
        let mut buffer = [0_u8; 8];
        // SAFETY: everything outlives the request, which is waited for.
        let raw = unsafe { self.begin_control(&done, &raw mut *outcome, &mut buffer) };
        then(raw);
        done.wait();
        // SAFETY: the status is plain data.
        unsafe { outcome.__bindgen_anon_1.Status }
    }

    /// Sends a device control and does not wait for it: it is never completed.
    pub(crate) fn start_control(&self) {
        let (done, outcome, buffer) = Self::leak();
        // SAFETY: everything lives for ever.
        unsafe { self.begin_control(done, outcome, buffer) };
    }

    /// # Safety
    /// The event, the status block and the buffer outlive the request.
    unsafe fn begin_control(
        &self,
        done: &Event,
        outcome: *mut IO_STATUS_BLOCK,
        buffer: &mut [u8; 8],
    ) -> PIRP {
        let (memory, length) = (buffer.as_mut_ptr().cast(), size_of_val(buffer) as u32);
        let (device, event) = (self.wdm.raw(), done.as_ptr());
        // SAFETY: the caller vouches for what the request points at.
        let raw = unsafe {
            IoBuildDeviceIoControlRequest(
                CODE, device, memory, length, memory, length, 0, event, outcome,
            )
        };
        // SAFETY: just built for us.
        let _ = unsafe { Irp::from_raw(raw) }.call(self.wdm);
        raw
    }

    /// Sends a flush and waits for it.
    pub(crate) fn flush(&self) {
        let done = Event::notification();
        let mut outcome = Box::new(IO_STATUS_BLOCK::default());
        // SAFETY: everything outlives the request, which is waited for.
        unsafe { self.send_flush(&done, &raw mut *outcome) };
        done.wait();
    }

    /// Sends a flush and does not wait for it: it is never completed.
    pub(crate) fn start_flush(&self) {
        let (done, outcome, _) = Self::leak();
        // SAFETY: everything lives for ever.
        unsafe { self.send_flush(done, outcome) };
    }

    /// Its device object.
    pub(crate) fn wdm(&self) -> Device {
        self.wdm
    }

    /// # Safety
    /// The event and the status block outlive the request.
    unsafe fn send_flush(&self, done: &Event, outcome: *mut IO_STATUS_BLOCK) {
        // SAFETY: the caller vouches for what the request points at.
        let raw = unsafe {
            IoBuildSynchronousFsdRequest(
                IRP_MJ_FLUSH_BUFFERS,
                self.wdm.raw(),
                core::ptr::null_mut(),
                0,
                core::ptr::null_mut(),
                done.as_ptr(),
                outcome,
            )
        };
        // SAFETY: just built for us.
        let _ = unsafe { Irp::from_raw(raw) }.call(self.wdm);
    }

    /// Memory of a request that is never completed. It is never freed: the rig ends such a case
    /// before.
    fn leak() -> (&'static Event, &'static mut IO_STATUS_BLOCK, &'static mut [u8; 8]) {
        (
            Box::leak(Box::new(Event::notification())),
            Box::leak(Box::new(IO_STATUS_BLOCK::default())),
            Box::leak(Box::new([0; 8])),
        )
    }
}

/// A fresh `WDFDEVICE_INIT` of a control device.
pub(crate) fn allocate_init(framework: &Framework, driver: Handle) -> Handle {
    let sddl = Wide::new("D:P(A;;GA;;;SY)(A;;GA;;;BA)");
    framework.call(index::CONTROL_DEVICE_INIT_ALLOCATE, &[driver, sddl.borrow().as_ptr() as usize])
}

/// Sends a request on to the manual queue, where it waits.
pub(crate) fn leave_waiting(framework: &Framework, request: Handle) {
    let queue = MANUAL_QUEUE.load(Ordering::Relaxed);
    let status = framework.call(index::REQUEST_FORWARD, &[request, queue]);
    assert_eq!(status as NTSTATUS, 0, "WdfRequestForwardToIoQueue");
}

/// Keeps a request for good.
pub(crate) fn keep(_framework: &Framework, _request: Handle) {}

/// Completes a request, and remembers its handle.
pub(crate) fn complete_and_remember(framework: &Framework, request: Handle) {
    // Relaxed: read on this thread.
    REMEMBERED.store(request, Ordering::Relaxed);
    complete(framework, request);
}

/// Completes the request that was remembered.
pub(crate) fn complete_remembered(framework: &Framework) {
    // Relaxed: see `complete_and_remember`.
    complete(framework, REMEMBERED.load(Ordering::Relaxed));
}

/// Completes a request.
pub(crate) fn complete(framework: &Framework, request: Handle) {
    framework.call(index::REQUEST_COMPLETE, &[request, 0]);
}

fn create_queue(framework: &Framework, device: Handle, dispatch: i32, default: bool) -> Handle {
    let mut config = QueueConfig {
        size: size_of::<QueueConfig>() as u32,
        dispatch,
        power_managed: 2,
        default_queue: u8::from(default),
        ..QueueConfig::default()
    };
    if default {
        const EVT_IO_DEVICE_CONTROL: usize = 3;
        config.callbacks[EVT_IO_DEVICE_CONTROL] = on_control as *const () as usize;
    }
    let mut queue = 0_usize;
    let status = framework.call(
        index::IO_QUEUE_CREATE,
        &[device, &raw const config as usize, 0, &raw mut queue as usize],
    );
    assert_eq!(status as NTSTATUS, 0, "WdfIoQueueCreate");
    queue
}

unsafe extern "system" fn on_control(
    _queue: Handle,
    request: Handle,
    _out: usize,
    _in: usize,
    _code: u32,
) {
    // Relaxed: see `create`.
    let framework = FRAMEWORK.load(Ordering::Relaxed) as *const Framework;
    let action = ACTION.load(Ordering::Relaxed) as *const c_void;
    // SAFETY: `create` stored an `Action`.
    let action = unsafe { core::mem::transmute::<*const c_void, Action>(action) };
    // SAFETY: `create` stored a framework that outlives its device's requests.
    action(unsafe { &*framework }, request);
}

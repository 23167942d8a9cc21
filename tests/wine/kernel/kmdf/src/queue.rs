//! `WDFQUEUE`: sequential, parallel and manual queues of device control requests on a control
//! device.
//!
//! The rules: every queued packet is pended and the framework can cancel it; a purged queue accepts
//! nothing; a device does not go away before the driver has completed every request that it has.
//! The rig supports no power-managed queues.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use nt::{event::Event, irp::Irp, spinlock::SpinLock};
use wdk_sys::{
    NTSTATUS, STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_INVALID_PARAMETER_4,
    STATUS_NO_MORE_ENTRIES, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};

use crate::{
    abi::{
        DISPATCH_MANUAL, DISPATCH_PARALLEL, DISPATCH_SEQUENTIAL, DriverGlobals, Handle,
        ObjectAttributes, QueueConfig, STATUS_WDF_BUSY, TRUE,
    },
    allocation_failure::{self, Allocation},
    cancel,
    checks::{Call, violation},
    device::Device,
    dispatch::forward_or_refuse,
    file::FileObject,
    irql::DISPATCH_LEVEL,
    object::{Object, Ref, Typed, attributes},
    presenter::{Presentation, Presenter},
    request::{self, Request},
    settings::GIVE_BACK_LIMIT_MS,
};

/// A queue.
pub(crate) struct Queue {
    device: Ref<Device>,
    config: QueueConfig,
    /// A parallel queue's.
    presenter: Option<Presenter>,
    state: SpinLock<State>,
    /// Signalled while the queue holds no request and the driver has none of it.
    idle: Event,
}

impl Typed for Queue {
    const NAME: &str = "WDFQUEUE";

    fn undeletable(&self) -> Option<&'static str> {
        (self.config.default_queue != 0).then_some("a default queue cannot be deleted")
    }

    /// Removes the queue from its device. Requests were purged before.
    fn dispose(&self, object: &Object) {
        let mut queues = self.device.queues.lock();
        queues.all.retain(|queue| queue.handle() != object.handle);
        if queues.default.as_ref().is_some_and(|queue| queue.handle() == object.handle) {
            queues.default = None;
        }
        drop(queues);
        let state = self.state.lock();
        if let Some(handle) = state.owned.first().or(state.waiting.front()).map(Ref::handle) {
            violation!(Leak, "queue deletion", "WDFREQUEST {handle:#x} has not been completed");
        }
        drop(state);
        if let Some(presenter) = &self.presenter {
            presenter.stop();
        }
    }
}

// SAFETY: the configuration holds the driver's static callbacks; what changes is locked.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

struct State {
    accepting: bool,
    waiting: VecDeque<Ref<Request>>,
    /// Requests that the driver has.
    owned: Vec<Ref<Request>>,
    pump: Pump,
}

/// A sequential queue's delivery loop, which runs on one thread at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pump {
    Idle,
    Running,
    /// Running, and looks once more before it ends.
    Again,
}

/// Handles a device control packet that reached a device.
pub(crate) fn arrive(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    let Some(queue) = device.queues.lock().default.clone() else {
        return forward_or_refuse(device, irp);
    };
    if FileObject::is_missing(device, irp.file_object()) {
        // Wine keeps a handle whose create request failed; Windows would never send this.
        return irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    if allocation_failure::fails(Allocation::Framework) {
        return irp.complete(STATUS_INSUFFICIENT_RESOURCES, 0);
    }
    irp.mark_pending();
    let request = Request::create(device, irp);
    if queue.state.lock().accepting {
        Queue::add(&queue, &request);
        Queue::pump(&queue);
    } else {
        request::complete_for_framework(&request, STATUS_INVALID_DEVICE_STATE);
    }
    STATUS_PENDING
}

/// Purges a device's queues and waits for the driver to complete its requests.
pub(crate) fn purge_all(device: &Ref<Device>) {
    for queue in queues_of(device) {
        queue.state.lock().accepting = false;
        Queue::cancel_waiting(&queue, |_| true);
        Queue::check_idle(&queue);
        queue.wait_until_idle("removal");
    }
}

/// Cancels the requests of a file that wait in a device's queues, as cleanup of the file does.
pub(crate) fn cancel_by_file(device: &Ref<Device>, file: &Ref<FileObject>) {
    for queue in queues_of(device) {
        Queue::cancel_waiting(&queue, |request| request.is_of(file));
    }
}

fn queues_of(device: &Device) -> Vec<Ref<Queue>> {
    device.queues.lock().all.clone()
}

impl Queue {
    /// The device that the queue belongs to.
    pub(crate) fn device(&self) -> &Ref<Device> {
        &self.device
    }

    /// Puts a request that the driver owns into another queue.
    pub(crate) fn forward(request: &Ref<Request>, destination: &Ref<Self>) -> NTSTATUS {
        if !destination.state.lock().accepting {
            return STATUS_WDF_BUSY;
        }
        Self::add(destination, request);
        Self::pump(destination);
        STATUS_SUCCESS
    }

    /// The driver has completed or forwarded a request that came from this queue.
    pub(crate) fn request_done(queue: &Ref<Self>) {
        queue.state.lock().owned.retain(|request| {
            request.queue().is_some_and(|of| Arc::ptr_eq(of.object(), queue.object()))
        });
        Self::check_idle(queue);
        Self::pump(queue);
    }

    /// A waiting request was cancelled, and its cancel routine is off.
    pub(crate) fn cancelled(queue: &Ref<Self>, request: &Ref<Request>) {
        let is_it = |waiting: &Ref<Request>| Arc::ptr_eq(waiting.object(), request.object());
        queue.state.lock().waiting.retain(|waiting| !is_it(waiting));
        request::complete_for_framework(request, STATUS_CANCELLED);
        Self::check_idle(queue);
    }

    fn cancel_waiting(queue: &Ref<Self>, wanted: impl Fn(&Request) -> bool) {
        let waiting: Vec<_> = queue.state.lock().waiting.iter().cloned().collect();
        for request in waiting.iter().filter(|request| wanted(request)) {
            if cancel::disarm(request) {
                Self::cancelled(queue, request);
            }
        }
    }

    /// Waits until the driver has completed every request that it was handed.
    fn wait_until_idle(&self, function: &str) {
        let limit = GIVE_BACK_LIMIT_MS.get();
        if self.idle.wait_ms(limit) {
            return;
        }
        let owned: Vec<Handle> = self.state.lock().owned.iter().map(Ref::handle).collect();
        violation!(Leak, function, "WDFREQUESTs {owned:x?} were not completed within {limit} ms");
    }

    fn add(queue: &Ref<Self>, request: &Ref<Request>) {
        {
            let mut state = queue.state.lock();
            request.queued(queue);
            state.waiting.push_back(request.clone());
            queue.idle.reset();
        }
        if !cancel::arm(request) {
            Self::cancelled(queue, request);
        }
    }

    /// Delivers what a sequential queue can deliver, and everything that a parallel one has.
    fn pump(queue: &Ref<Self>) {
        let Some(callback) = queue.config.evt_device_control else { return };
        if let Some(presenter) = &queue.presenter {
            while let Some(request) = Self::take(queue, |_| true, |_| true) {
                let (code, input, output) =
                    request.with_irp(|irp| irp.device_control()).unwrap_or_default();
                let (queue, request) = (queue.handle(), request.handle());
                presenter.present(Presentation { callback, queue, request, output, input, code });
            }
            return;
        }
        {
            let mut state = queue.state.lock();
            if state.pump != Pump::Idle {
                state.pump = Pump::Again;
                return;
            }
            state.pump = Pump::Running;
        }
        loop {
            while let Some(request) = Self::take(queue, |state| state.owned.is_empty(), |_| true) {
                let (code, input, output) =
                    request.with_irp(|irp| irp.device_control()).unwrap_or_default();
                let (queue, request) = (queue.handle(), request.handle());
                // SAFETY: the driver's own callback, with live handles.
                unsafe { callback(queue, request, output as usize, input as usize, code) };
            }
            let mut state = queue.state.lock();
            if state.pump == Pump::Running {
                state.pump = Pump::Idle;
                return;
            }
            state.pump = Pump::Running;
        }
    }

    /// Takes the first waiting request that is not being cancelled, for the driver.
    fn take(
        queue: &Ref<Self>,
        allowed: impl Fn(&State) -> bool,
        wanted: impl Fn(&Request) -> bool,
    ) -> Option<Ref<Request>> {
        let mut state = queue.state.lock();
        if !allowed(&state) {
            return None;
        }
        // A request whose cancel routine runs stays for that routine to remove.
        let index =
            state.waiting.iter().position(|request| wanted(request) && cancel::disarm(request))?;
        let request = state.waiting.remove(index)?;
        state.owned.push(request.clone());
        drop(state);
        request.present();
        Some(request)
    }

    fn check_idle(queue: &Ref<Self>) {
        let state = queue.state.lock();
        if state.waiting.is_empty() && state.owned.is_empty() {
            queue.idle.set();
        }
    }
}

pub(crate) unsafe extern "system" fn io_queue_create(
    globals: *const DriverGlobals,
    device: Handle,
    config: *const QueueConfig,
    queue_attributes: *const ObjectAttributes,
    queue: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfIoQueueCreate", globals, DISPATCH_LEVEL);
    let device = call.typed::<Device>(device);
    // SAFETY: the driver's configuration.
    let config = unsafe { call.structure("WDF_IO_QUEUE_CONFIG", config) };
    // SAFETY: the driver's attributes.
    let queue_attributes = unsafe { attributes(&call, queue_attributes) };
    call.require_unset("a queue callback", &config.default_read_write);
    call.require_unset("a queue callback", &config.others);
    if !device.is_control() {
        violation!(Unimplemented, call.function, "the rig has no queues of PnP devices");
    }
    let kind = config.dispatch_type;
    if ![DISPATCH_SEQUENTIAL, DISPATCH_PARALLEL, DISPATCH_MANUAL].contains(&kind) {
        violation!(Unimplemented, call.function, "the rig has no queues of dispatch type {kind}");
    }
    if config.evt_device_control.is_some() == (config.dispatch_type == DISPATCH_MANUAL) {
        violation!(
            Parameter,
            call.function,
            "a manual queue has no request callback, and every other queue has one"
        );
    }
    let default = config.default_queue != 0;
    if !default && queue.is_null() {
        return STATUS_INVALID_PARAMETER_4;
    }
    // How many requests of a parallel queue the driver takes at once.
    if (config.presented_requests != 0) != (kind == DISPATCH_PARALLEL) {
        return STATUS_INVALID_PARAMETER;
    }
    if default && device.is_initialized() {
        return STATUS_INVALID_DEVICE_STATE;
    }
    let parent = match queue_attributes.as_ref().filter(|attributes| attributes.parent != 0) {
        Some(attributes) => call.object(attributes.parent),
        None => Arc::clone(device.object()),
    };
    if !Device::of(&parent).is_some_and(|of| Arc::ptr_eq(of.object(), device.object())) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    if default && device.queues.lock().default.is_some() {
        return STATUS_UNSUCCESSFUL;
    }
    if config.power_managed == TRUE {
        violation!(Parameter, call.function, "a control device's queue is not power-managed");
    }
    if allocation_failure::fails(Allocation::Framework) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let idle = Event::notification();
    idle.set();
    let state =
        State { accepting: true, waiting: VecDeque::new(), owned: Vec::new(), pump: Pump::Idle };
    let presenter = match (kind == DISPATCH_PARALLEL).then(Presenter::start).transpose() {
        Ok(presenter) => presenter,
        Err(failure) => return failure.0,
    };
    let state = SpinLock::new(state);
    let value = Queue { device: device.clone(), config, presenter, state, idle };
    let created = Object::create(value, call.client, Some(&parent), queue_attributes.as_ref());
    let mut queues = device.queues.lock();
    queues.all.push(created.clone());
    if default {
        queues.default = Some(created.clone());
    }
    drop(queues);
    if !queue.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { queue.write(created.handle()) };
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn io_queue_retrieve_request_by_file_object(
    globals: *const DriverGlobals,
    queue: Handle,
    file: Handle,
    request: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfIoQueueRetrieveRequestByFileObject", globals, DISPATCH_LEVEL);
    let file = call.typed::<FileObject>(file);
    let queue = call.typed::<Queue>(queue);
    // The driver may ask a sequential queue for more while it has a request of it.
    let taken = Queue::take(&queue, |_| true, |candidate| candidate.is_of(&file));
    // SAFETY: the driver's out parameter.
    unsafe { call.write("OutRequest", request, taken.as_ref().map_or(0, Ref::handle)) };
    if taken.is_some() { STATUS_SUCCESS } else { STATUS_NO_MORE_ENTRIES }
}

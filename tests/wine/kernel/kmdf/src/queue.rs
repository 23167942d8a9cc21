//! `WDFQUEUE`: parallel, sequential and manual queues.
//!
//! The rules: every queued packet is pended and cancellable by the framework; a queue that is purged or powered down
//! accepts or delivers nothing; a device does not go away before the driver gave back every request it was handed.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::ffi::c_void;

use nt::{
    event::Event,
    irp::Irp,
    spinlock::{Guard, SpinLock},
};
use wdk_sys::{
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE, NTSTATUS,
    STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_INVALID_PARAMETER_4,
    STATUS_NO_MORE_ENTRIES, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
};

use crate::{
    abi::{
        DISPATCH_MANUAL, DISPATCH_PARALLEL, DISPATCH_SEQUENTIAL, DriverGlobals, Handle,
        ObjectAttributes, QueueConfig, QueueState, TRUE, USE_DEFAULT, status,
    },
    cancel,
    checks::{Call, Rule, violation},
    device::Device,
    dispatch::forward_or_refuse,
    file::FileObject,
    irql::{DISPATCH_LEVEL, PASSIVE_LEVEL},
    object::{Kind, Object, Ref, attributes, typed},
    patience,
    request::{self, Request},
    scarcity::{self, Wanted},
};

/// A queue.
pub(crate) struct Queue {
    device: Ref<Device>,
    config: QueueConfig,
    power_managed: bool,
    state: SpinLock<State>,
    /// Signalled while the queue holds no request and the driver owns none of it.
    idle: Event,
}

typed!(Queue, Queue, "WDFQUEUE");

// SAFETY: the configuration holds the driver's static callbacks; what changes is locked.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

struct State {
    accepting: bool,
    /// The queue was purged: what the driver has of it cannot be made cancelable any more.
    cancelling: bool,
    powered: bool,
    waiting: VecDeque<Ref<Request>>,
    owned: Vec<Ref<Request>>,
    pump: Pump,
    on_idle: Option<(QueueState, *mut c_void)>,
}

/// A sequential queue's delivery loop, which runs on one thread at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pump {
    Idle,
    Running,
    /// Running, and to look once more before it ends.
    Again,
}

/// Which queues of a device a purge is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Managed {
    /// The power-managed ones.
    Yes,
    /// The others.
    No,
}

/// Handles a read, write or device control packet that reached a device.
pub(crate) fn arrive(device: &Ref<Device>, mut irp: Irp) -> NTSTATUS {
    let Some(queue) = device.queues.lock().default.clone() else {
        return forward_or_refuse(device, irp);
    };
    if FileObject::is_missing(device, irp.file_object()) {
        // Wine lets a handle live on whose create request failed; Windows would never send this.
        return irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    if scarcity::refuses(Wanted::Framework) {
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

/// Stops or restarts delivery of a device's power-managed queues.
pub(crate) fn set_power(device: &Ref<Device>, powered: bool) {
    for queue in queues_of(device) {
        if queue.power_managed {
            queue.state.lock().powered = powered;
            if powered {
                Queue::pump(&queue);
            }
        }
    }
}

/// Purges a device's queues and waits for the driver to complete what it owns.
pub(crate) fn purge_all(device: &Ref<Device>, which: Managed) {
    for queue in queues_of(device) {
        if queue.power_managed == (which == Managed::Yes) {
            Queue::purge(&queue);
            queue.wait_until_idle("removal");
        }
    }
}

/// Cancels the requests of a file that wait in a device's queues, as cleanup of the file does.
pub(crate) fn cancel_by_file(device: &Ref<Device>, file: &Ref<FileObject>) {
    for queue in queues_of(device) {
        let doomed: Vec<_> = queue
            .state
            .lock()
            .waiting
            .iter()
            .filter(|request| {
                request
                    .file
                    .as_ref()
                    .is_some_and(|other| Arc::ptr_eq(other.object(), file.object()))
            })
            .cloned()
            .collect();
        for request in doomed {
            if cancel::unwatch_queued(&request) {
                Queue::cancelled(&queue, &request);
            }
        }
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

    /// Whether this is the device's default queue.
    pub(crate) fn is_default(&self) -> bool {
        self.config.default_queue != 0
    }

    /// Whether requests of it are beyond being made cancelable.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.state.lock().cancelling
    }

    /// Puts a request that the driver owns into another queue.
    pub(crate) fn forward(request: &Ref<Request>, destination: &Ref<Self>) -> NTSTATUS {
        if !destination.state.lock().accepting {
            return status::WDF_BUSY;
        }
        Self::add(destination, request);
        Self::pump(destination);
        STATUS_SUCCESS
    }

    /// What happens when a request that was delivered from a queue leaves the driver's hands.
    pub(crate) fn request_done(queue: &Ref<Self>) {
        queue.state.lock().owned.retain(|request| {
            request.queue().is_some_and(|of| Arc::ptr_eq(of.object(), queue.object()))
        });
        Self::check_idle(queue);
        Self::pump(queue);
    }

    /// A waiting request was cancelled, and its cancel routine is off.
    pub(crate) fn cancelled(queue: &Ref<Self>, request: &Ref<Request>) {
        let mut state = queue.state.lock();
        state.waiting.retain(|waiting| !Arc::ptr_eq(waiting.object(), request.object()));
        match queue.config.evt_canceled_on_queue {
            Some(callback) if request.was_presented() => {
                state.owned.push(request.clone());
                drop(state);
                request.present();
                // SAFETY: the driver's own callback, with live handles.
                unsafe { callback(queue.handle(), request.handle()) };
            }
            _ => {
                drop(state);
                request::complete_for_framework(request, STATUS_CANCELLED);
            }
        }
        Self::check_idle(queue);
    }

    /// Stops accepting, cancels what waits and what the driver made cancelable.
    fn purge(queue: &Ref<Self>) {
        let (waiting, owned) = {
            let mut state = queue.state.lock();
            state.accepting = false;
            state.cancelling = true;
            (state.waiting.iter().cloned().collect::<Vec<_>>(), state.owned.clone())
        };
        for request in waiting {
            if cancel::unwatch_queued(&request) {
                Self::cancelled(queue, &request);
            }
        }
        cancel::cancel_marked_requests(owned);
        Self::check_idle(queue);
    }

    /// Waits until the driver has completed every request that it was handed.
    fn wait_until_idle(&self, function: &str) {
        let Err(limit) = patience::wait(&self.idle) else { return };
        let owned: Vec<Handle> = self.state.lock().owned.iter().map(Ref::handle).collect();
        violation(
            Rule::Leak,
            function,
            format_args!(
                "{} requests were not completed within {limit} ms; the first is WDFREQUEST {:#x}",
                owned.len(),
                owned.first().copied().unwrap_or_default()
            ),
        );
    }

    /// The end of a queue: its device forgets it. Requests were purged before.
    pub(crate) fn dispose(&self, object: &Object) {
        let mut queues = self.device.queues.lock();
        queues.all.retain(|queue| queue.handle() != object.handle);
        if queues.default.as_ref().is_some_and(|queue| queue.handle() == object.handle) {
            queues.default = None;
        }
        drop(queues);
        let state = self.state.lock();
        if let Some(request) = state.owned.first().or(state.waiting.front()) {
            violation(
                Rule::Leak,
                "queue deletion",
                format_args!(
                    "WDFREQUEST {:#x} has not been completed",
                    request::as_object(request).handle
                ),
            );
        }
    }

    fn add(queue: &Ref<Self>, request: &Ref<Request>) {
        {
            let mut state = queue.state.lock();
            request.queued(queue);
            state.waiting.push_back(request.clone());
            queue.idle.reset();
        }
        if !cancel::watch_queued(request) {
            Self::cancelled(queue, request);
        }
    }

    /// Delivers what can be delivered.
    fn pump(queue: &Ref<Self>) {
        if queue.config.dispatch_type == DISPATCH_MANUAL {
            return;
        }
        let sequential = queue.config.dispatch_type == DISPATCH_SEQUENTIAL;
        if sequential {
            let mut state = queue.state.lock();
            if state.pump != Pump::Idle {
                state.pump = Pump::Again;
                return;
            }
            state.pump = Pump::Running;
        }
        loop {
            while let Some(request) = Self::take(queue, Self::has_room, |_| true) {
                Self::deliver(queue, &request);
            }
            if !sequential {
                return;
            }
            let mut state = queue.state.lock();
            if state.pump == Pump::Running {
                state.pump = Pump::Idle;
                return;
            }
            state.pump = Pump::Running;
        }
    }

    /// Takes the first waiting request that the canceller has not got, for the driver, if the queue's state allows it.
    fn take(
        queue: &Ref<Self>,
        allowed: impl Fn(&Self, &Guard<'_, State>) -> bool,
        wanted: impl Fn(&Request) -> bool,
    ) -> Option<Ref<Request>> {
        let mut state = queue.state.lock();
        if !state.powered || !allowed(queue, &state) {
            return None;
        }
        // A request whose cancel routine is on its way stays for that routine to remove.
        let index = state
            .waiting
            .iter()
            .position(|request| wanted(request) && cancel::unwatch_queued(request))?;
        let request = state.waiting.remove(index)?;
        state.owned.push(request.clone());
        drop(state);
        request.present();
        Some(request)
    }

    fn has_room(&self, state: &Guard<'_, State>) -> bool {
        match self.config.dispatch_type {
            DISPATCH_SEQUENTIAL => state.owned.is_empty(),
            DISPATCH_PARALLEL => {
                let limit = self.config.presented_requests;
                limit == 0 || limit == u32::MAX || state.owned.len() < limit as usize
            }
            _ => true,
        }
    }

    /// A read or write of nothing, which the framework answers unless the driver wants to.
    fn is_for_the_framework(&self, request: &Request) -> bool {
        let is_empty = request.with_irp(|irp| {
            matches!(u32::from(irp.function().0), IRP_MJ_READ | IRP_MJ_WRITE)
                && irp.transfer().0 == 0
        });
        self.config.allow_zero_length == 0 && is_empty == Some(true)
    }

    fn deliver(queue: &Ref<Self>, request: &Ref<Request>) {
        if queue.is_for_the_framework(request) {
            return request::complete_for_framework(request, STATUS_SUCCESS);
        }
        let (major, length, control) = request
            .with_irp(|irp| {
                let major = u32::from(irp.function().0);
                match major {
                    IRP_MJ_READ | IRP_MJ_WRITE => (major, irp.transfer().0, (0, 0, 0)),
                    _ => (major, 0, irp.device_control()),
                }
            })
            .unwrap_or_default();
        let config = &queue.config;
        let (this, handle) = (queue.handle(), request.handle());
        let (code, input, output) = control;
        let transfer = match major {
            IRP_MJ_READ => config.evt_read,
            IRP_MJ_WRITE => config.evt_write,
            _ => None,
        };
        let device_control = match major {
            IRP_MJ_DEVICE_CONTROL => config.evt_device_control,
            IRP_MJ_INTERNAL_DEVICE_CONTROL => config.evt_internal_device_control,
            _ => None,
        };
        if let Some(callback) = transfer {
            // SAFETY: the driver's own callback, with live handles.
            unsafe { callback(this, handle, length as usize) };
        } else if let Some(callback) = device_control {
            // SAFETY: the driver's own callback, with live handles.
            unsafe { callback(this, handle, output as usize, input as usize, code) };
        } else if let Some(callback) = config.evt_default {
            // SAFETY: the driver's own callback, with live handles.
            unsafe { callback(this, handle) };
        } else {
            request::complete_for_framework(request, STATUS_INVALID_DEVICE_REQUEST);
        }
    }

    fn check_idle(queue: &Ref<Self>) {
        let callback = {
            let mut state = queue.state.lock();
            if !state.waiting.is_empty() || !state.owned.is_empty() {
                return;
            }
            queue.idle.set();
            state.on_idle.take()
        };
        if let Some((callback, context)) = callback {
            // SAFETY: the driver's own callback and context, with a live handle.
            unsafe { callback(queue.handle(), context) };
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
    if !(DISPATCH_SEQUENTIAL..=DISPATCH_MANUAL).contains(&config.dispatch_type) {
        call.violation(
            Rule::Parameter,
            format_args!("dispatch type {} does not exist", config.dispatch_type),
        );
    }
    let has_callback = config.evt_default.is_some()
        || config.evt_read.is_some()
        || config.evt_write.is_some()
        || config.evt_device_control.is_some()
        || config.evt_internal_device_control.is_some();
    if has_callback == (config.dispatch_type == DISPATCH_MANUAL) {
        call.violation(
            Rule::Parameter,
            format_args!("a manual queue has no request callbacks, and every other queue has one"),
        );
    }
    if config.default_queue == 0 && queue.is_null() {
        return STATUS_INVALID_PARAMETER_4;
    }
    if config.presented_requests != 0 && config.dispatch_type != DISPATCH_PARALLEL {
        return STATUS_INVALID_PARAMETER;
    }
    if config.default_queue != 0 && device.is_control() && device.is_initialized() {
        return STATUS_INVALID_DEVICE_STATE;
    }
    let parent = match queue_attributes.as_ref().filter(|attributes| attributes.parent != 0) {
        Some(attributes) => call.object(attributes.parent),
        None => Arc::clone(device.object()),
    };
    if !Device::of(&parent).is_some_and(|of| Arc::ptr_eq(of.object(), device.object())) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    if config.default_queue != 0 && device.queues.lock().default.is_some() {
        return STATUS_UNSUCCESSFUL;
    }
    if config.default_queue != 0 && !device.is_control() && device.pnp.lock().has_started() {
        call.violation(
            Rule::State,
            format_args!("a default queue is created before its device starts"),
        );
    }
    let power_managed = match config.power_managed {
        USE_DEFAULT => !device.is_control() && !device.is_filter(),
        chosen => chosen == TRUE,
    };
    if power_managed && device.is_control() {
        call.violation(
            Rule::Parameter,
            format_args!("a control device's queue cannot be power-managed"),
        );
    }
    if scarcity::refuses(Wanted::Framework) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let idle = Event::notification();
    idle.set();
    let powered = !power_managed || device.pnp.lock().is_powered();
    let value = Queue {
        device: device.clone(),
        config,
        power_managed,
        state: SpinLock::new(State {
            accepting: true,
            cancelling: false,
            powered,
            waiting: VecDeque::new(),
            owned: Vec::new(),
            pump: Pump::Idle,
            on_idle: None,
        }),
        idle,
    };
    let object =
        Object::create(Kind::Queue(value), call.client, Some(&parent), queue_attributes.as_ref());
    let created: Ref<Queue> = Ref::new(object).expect("the object is a queue");
    let mut queues = device.queues.lock();
    queues.all.push(created.clone());
    if config.default_queue != 0 {
        queues.default = Some(created.clone());
    }
    drop(queues);
    if !queue.is_null() {
        // SAFETY: the driver's out parameter.
        unsafe { queue.write(created.handle()) };
    }
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn io_queue_get_device(
    globals: *const DriverGlobals,
    queue: Handle,
) -> Handle {
    let call = Call::enter("WdfIoQueueGetDevice", globals, DISPATCH_LEVEL);
    call.typed::<Queue>(queue).device.handle()
}

fn retrieve(
    call: &Call,
    queue: Handle,
    request: *mut Handle,
    wanted: impl Fn(&Request) -> bool,
) -> NTSTATUS {
    let queue = call.typed::<Queue>(queue);
    // SAFETY: the driver's out parameter.
    unsafe { call.write("OutRequest", request, 0) };
    if queue.config.dispatch_type == DISPATCH_PARALLEL {
        return STATUS_INVALID_DEVICE_STATE;
    }
    {
        let state = queue.state.lock();
        if !state.powered {
            return status::WDF_PAUSED;
        }
    }
    // The driver may ask a sequential queue for more while it has a request of it.
    let taken = loop {
        match Queue::take(&queue, |_, _| true, &wanted) {
            Some(request) if queue.is_for_the_framework(&request) => {
                request::complete_for_framework(&request, STATUS_SUCCESS);
            }
            other => break other,
        }
    };
    // SAFETY: the driver's out parameter.
    unsafe { call.write("OutRequest", request, taken.as_ref().map_or(0, Ref::handle)) };
    if taken.is_some() { STATUS_SUCCESS } else { STATUS_NO_MORE_ENTRIES }
}

pub(crate) unsafe extern "system" fn io_queue_retrieve_next_request(
    globals: *const DriverGlobals,
    queue: Handle,
    request: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfIoQueueRetrieveNextRequest", globals, DISPATCH_LEVEL);
    retrieve(&call, queue, request, |_| true)
}

pub(crate) unsafe extern "system" fn io_queue_retrieve_request_by_file_object(
    globals: *const DriverGlobals,
    queue: Handle,
    file: Handle,
    request: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfIoQueueRetrieveRequestByFileObject", globals, DISPATCH_LEVEL);
    let file = call.typed::<FileObject>(file);
    retrieve(&call, queue, request, |candidate| {
        candidate.file.as_ref().is_some_and(|of| Arc::ptr_eq(of.object(), file.object()))
    })
}

pub(crate) unsafe extern "system" fn io_queue_purge(
    globals: *const DriverGlobals,
    queue: Handle,
    complete: Option<QueueState>,
    context: *mut c_void,
) {
    let call = Call::enter("WdfIoQueuePurge", globals, DISPATCH_LEVEL);
    let queue = call.typed::<Queue>(queue);
    if let Some(callback) = complete {
        let mut state = queue.state.lock();
        if state.on_idle.is_some() {
            drop(state);
            call.violation(
                Rule::State,
                format_args!("a purge or drain of this queue is not complete yet"),
            );
        }
        state.on_idle = Some((callback, context));
    }
    Queue::purge(&queue);
}

pub(crate) unsafe extern "system" fn io_queue_purge_synchronously(
    globals: *const DriverGlobals,
    queue: Handle,
) {
    let call = Call::enter("WdfIoQueuePurgeSynchronously", globals, PASSIVE_LEVEL);
    let queue = call.typed::<Queue>(queue);
    Queue::purge(&queue);
    queue.wait_until_idle(call.function);
}

pub(crate) unsafe extern "system" fn io_queue_start(globals: *const DriverGlobals, queue: Handle) {
    let call = Call::enter("WdfIoQueueStart", globals, DISPATCH_LEVEL);
    let queue = call.typed::<Queue>(queue);
    {
        let mut state = queue.state.lock();
        state.accepting = true;
        state.cancelling = false;
    }
    Queue::pump(&queue);
}

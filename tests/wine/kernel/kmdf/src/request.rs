//! `WDFREQUEST`: a device control packet that the framework gave to the driver.
//!
//! The rules: a request is completed once, by its owner; while it waits in a queue the framework
//! owns it. The rig supports no cancel callbacks of the driver, no reads and no writes as requests.

use alloc::sync::Arc;
use core::{ffi::c_void, ptr};

use nt::{irp::Irp, mdl, spinlock::SpinLock, status::is_success};
use wdk_sys::{
    METHOD_BUFFERED, METHOD_NEITHER, NTSTATUS, PMDL, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{
    abi::{DriverGlobals, Handle, STATUS_WDF_BUSY},
    checks::{Call, violation},
    device::Device,
    file::FileObject,
    irql::DISPATCH_LEVEL,
    object::{self, Object, Ref, Typed},
    queue::Queue,
};

/// A request.
pub(crate) struct Request {
    pub(crate) device: Ref<Device>,
    pub(crate) file: Option<Ref<FileObject>>,
    state: SpinLock<State>,
}

impl Typed for Request {
    const NAME: &str = "WDFREQUEST";

    fn undeletable(&self) -> Option<&'static str> {
        Some("a request that came from a queue is completed, not deleted")
    }
}

// SAFETY: the packet is the request's own; everything else is owned or locked.
unsafe impl Sync for Request {}

struct State {
    /// The packet, until it is completed.
    irp: Option<Irp>,
    owner: Owner,
    /// The queue that the request came from, or is in.
    queue: Option<Ref<Queue>>,
    /// Whether the driver has had the request.
    presented: bool,
}

/// Who may complete a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The framework: it waits in a queue.
    Queue,
    Driver,
    /// It was completed.
    Completed,
}

impl Request {
    /// Makes a request of a packet.
    pub(crate) fn create(device: &Ref<Device>, irp: Irp) -> Ref<Self> {
        let request = Self {
            device: device.clone(),
            file: FileObject::of_wdm(device, irp.file_object()),
            state: SpinLock::new(State {
                irp: Some(irp),
                owner: Owner::Queue,
                queue: None,
                presented: false,
            }),
        };
        let client = device.object().client;
        Object::create(request, client, Some(device.object()), None)
    }

    /// Uses the packet, while the request is not completed.
    pub(crate) fn with_irp<R>(&self, use_irp: impl FnOnce(&mut Irp) -> R) -> Option<R> {
        self.state.lock().irp.as_mut().map(use_irp)
    }

    /// Gives the request to a queue.
    pub(crate) fn queued(&self, queue: &Ref<Queue>) {
        let mut state = self.state.lock();
        state.owner = Owner::Queue;
        state.queue = Some(queue.clone());
    }

    /// Gives the request to the driver.
    pub(crate) fn present(&self) {
        let mut state = self.state.lock();
        state.owner = Owner::Driver;
        state.presented = true;
    }

    /// Whether the request was made on a file.
    pub(crate) fn is_of(&self, file: &Ref<FileObject>) -> bool {
        self.file.as_ref().is_some_and(|of| Arc::ptr_eq(of.object(), file.object()))
    }

    /// The queue that the request came from.
    pub(crate) fn queue(&self) -> Option<Ref<Queue>> {
        self.state.lock().queue.clone()
    }

    /// Completes the packet and deletes the request.
    pub(crate) fn complete(request: &Ref<Self>, function: &str, status: NTSTATUS, count: usize) {
        let (irp, queue, presented) = {
            let mut state = request.state.lock();
            state.owner = Owner::Completed;
            (state.irp.take(), state.queue.take(), state.presented)
        };
        let Some(irp) = irp else {
            violation!(Completion, function, "the request was completed before");
        };
        request.object().delete(function);
        irp.complete(status, count);
        if let Some(queue) = queue.filter(|_| presented) {
            Queue::request_done(&queue);
        }
    }
}

/// Completes a request that the driver has not seen, or that it left in a queue.
pub(crate) fn complete_for_framework(request: &Ref<Request>, status: NTSTATUS) {
    Request::complete(request, "the framework", status, 0);
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the driver.
    Input,
    /// From the driver.
    Output,
}

fn buffer_of(irp: &Irp, direction: Direction) -> Result<(*mut c_void, usize), NTSTATUS> {
    let (code, input, output) = irp.device_control();
    match (code & 3, direction) {
        (_, Direction::Input) if input == 0 => Ok((ptr::null_mut(), 0)),
        (_, Direction::Output) if output == 0 => Ok((ptr::null_mut(), 0)),
        (METHOD_NEITHER, _) => Err(STATUS_INVALID_DEVICE_REQUEST),
        (_, Direction::Input) => Ok((irp.system_buffer(), input as usize)),
        (METHOD_BUFFERED, Direction::Output) => Ok((irp.system_buffer(), output as usize)),
        // The framework lets the driver write to the MDL of both direct methods.
        (_, Direction::Output) => {
            // SAFETY: the MDL of a live packet, or null.
            let buffer =
                unsafe { mdl::system_buffer(irp.mdl()) }.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            Ok((buffer.start.cast(), buffer.length))
        }
    }
}

fn completed(call: &Call) -> ! {
    violation!(State, call.function, "the request was completed already")
}

/// The request of a call, which the driver must own.
fn owned(call: &Call, handle: Handle) -> Ref<Request> {
    let request = call.typed::<Request>(handle);
    let owner = request.state.lock().owner;
    match owner {
        Owner::Driver => request,
        Owner::Completed => completed(call),
        Owner::Queue => {
            violation!(State, call.function, "the request is in a queue, not with the driver")
        }
    }
}

fn complete_by_driver(call: &Call, handle: Handle, status: NTSTATUS, count: Option<usize>) {
    let function = call.function;
    if object::look_up(handle).is_none() {
        violation!(Completion, function, "{handle:#x} is no live request (completed before?)");
    }
    let request = call.typed::<Request>(handle);
    if status == STATUS_PENDING {
        violation!(Completion, function, "a request cannot be completed with STATUS_PENDING");
    }
    let owner = request.state.lock().owner;
    match owner {
        Owner::Driver => {}
        Owner::Completed => violation!(Completion, function, "the request was completed before"),
        Owner::Queue => {
            violation!(Completion, function, "the request is in a queue, not with the driver")
        }
    }
    let (count, limit) = request
        .with_irp(|irp| (count.unwrap_or(irp.information()), irp.device_control().2 as usize))
        .unwrap_or_default();
    // The I/O manager would copy foreign memory out.
    if is_success(status) && count > limit {
        violation!(Completion, function, "Information is {count}, the buffer has {limit} bytes");
    }
    Request::complete(&request, function, for_callers(status), count);
}

/// The framework replaces its own codes: they mean nothing to the sender of the request.
fn for_callers(status: NTSTATUS) -> NTSTATUS {
    const FACILITY: u32 = 0x0FFF_0000;
    const FRAMEWORK: u32 = 0x0020_0000;
    match status {
        STATUS_WDF_BUSY => STATUS_DEVICE_BUSY,
        _ if status.cast_unsigned() & FACILITY == FRAMEWORK => STATUS_INVALID_DEVICE_REQUEST,
        _ => status,
    }
}

pub(crate) unsafe extern "system" fn request_complete(
    globals: *const DriverGlobals,
    request: Handle,
    status: NTSTATUS,
) {
    let call = Call::enter("WdfRequestComplete", globals, DISPATCH_LEVEL);
    complete_by_driver(&call, request, status, None);
}

pub(crate) unsafe extern "system" fn request_complete_with_information(
    globals: *const DriverGlobals,
    request: Handle,
    status: NTSTATUS,
    information: usize,
) {
    let call = Call::enter("WdfRequestCompleteWithInformation", globals, DISPATCH_LEVEL);
    complete_by_driver(&call, request, status, Some(information));
}

unsafe fn retrieve(
    call: &Call,
    request: Handle,
    direction: Direction,
    minimum: usize,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> NTSTATUS {
    let request = owned(call, request);
    let found = request.with_irp(|irp| buffer_of(irp, direction));
    let (status, start, available) = match found.unwrap_or_else(|| completed(call)) {
        Err(status) => (status, ptr::null_mut(), 0),
        Ok((_, available)) if available == 0 || available < minimum => {
            (STATUS_BUFFER_TOO_SMALL, ptr::null_mut(), 0)
        }
        Ok((start, _)) if start.is_null() => (STATUS_INSUFFICIENT_RESOURCES, start, 0),
        Ok((start, available)) => (STATUS_SUCCESS, start, available),
    };
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Buffer", buffer, start) };
    if !length.is_null() {
        // SAFETY: the driver's optional out parameter.
        unsafe { length.write(available) };
    }
    status
}

pub(crate) unsafe extern "system" fn request_retrieve_input_buffer(
    globals: *const DriverGlobals,
    request: Handle,
    minimum: usize,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestRetrieveInputBuffer", globals, DISPATCH_LEVEL);
    // SAFETY: the driver's out parameters.
    unsafe { retrieve(&call, request, Direction::Input, minimum, buffer, length) }
}

pub(crate) unsafe extern "system" fn request_retrieve_output_buffer(
    globals: *const DriverGlobals,
    request: Handle,
    minimum: usize,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestRetrieveOutputBuffer", globals, DISPATCH_LEVEL);
    // SAFETY: the driver's out parameters.
    unsafe { retrieve(&call, request, Direction::Output, minimum, buffer, length) }
}

pub(crate) unsafe extern "system" fn request_retrieve_output_wdm_mdl(
    globals: *const DriverGlobals,
    request: Handle,
    list: *mut PMDL,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestRetrieveOutputWdmMdl", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    let found = request.with_irp(|irp| {
        let (code, _, output) = irp.device_control();
        match code & 3 {
            METHOD_NEITHER => Err(STATUS_INVALID_DEVICE_REQUEST),
            // The framework would build an MDL over the system buffer.
            METHOD_BUFFERED => violation!(
                Unimplemented,
                call.function,
                "MDLs of METHOD_BUFFERED requests are not built by the rig"
            ),
            _ if output == 0 || irp.mdl().is_null() => Err(STATUS_BUFFER_TOO_SMALL),
            _ => Ok(irp.mdl()),
        }
    });
    let found = found.unwrap_or_else(|| completed(&call));
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Mdl", list, found.unwrap_or(ptr::null_mut())) };
    found.err().unwrap_or(STATUS_SUCCESS)
}

pub(crate) unsafe extern "system" fn request_forward_to_io_queue(
    globals: *const DriverGlobals,
    request: Handle,
    destination: Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestForwardToIoQueue", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    let destination = call.typed::<Queue>(destination);
    if !Arc::ptr_eq(request.device.object(), destination.device().object()) {
        violation!(Parameter, call.function, "the queue belongs to another device");
    }
    let source = request.queue();
    if source.as_ref().is_some_and(|source| Arc::ptr_eq(source.object(), destination.object())) {
        violation!(State, call.function, "the request came from that queue");
    }
    let status = Queue::forward(&request, &destination);
    if let Some(source) = source.filter(|_| is_success(status)) {
        Queue::request_done(&source);
    }
    status
}

pub(crate) unsafe extern "system" fn request_get_file_object(
    globals: *const DriverGlobals,
    request: Handle,
) -> Handle {
    let call = Call::enter("WdfRequestGetFileObject", globals, DISPATCH_LEVEL);
    owned(&call, request).file.as_ref().map_or(0, Ref::handle)
}

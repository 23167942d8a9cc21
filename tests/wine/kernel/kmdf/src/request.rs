//! `WDFREQUEST`: a packet that the framework gave to the driver.
//!
//! The rules: a request is completed once, by whoever owns it; while it waits in a queue the framework owns it; a
//! request that the driver made cancelable is unmarked before it is completed.

use core::{ffi::c_void, ptr};

use alloc::sync::Arc;
use nt::{irp::Irp, mdl, spinlock::SpinLock, status::is_success};
use wdk_sys::{
    IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ,
    IRP_MJ_WRITE, METHOD_BUFFERED, METHOD_NEITHER, NTSTATUS, PIRP, PMDL, STATUS_BUFFER_TOO_SMALL,
    STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{
    abi::{
        DriverGlobals, Handle, Notify, RequestParameters,
        status::{WDF_BUSY, WDF_PAUSED},
    },
    cancel,
    checks::{Call, Rule, violation},
    device::Device,
    file::{self, FileObject},
    irql::DISPATCH_LEVEL,
    object::{self, Kind, Object, ObjectRef, Ref, typed},
    queue::Queue,
};

/// A request.
pub(crate) struct Request {
    pub(crate) device: Ref<Device>,
    pub(crate) file: Option<Ref<FileObject>>,
    state: SpinLock<State>,
}

typed!(Request, Request, "WDFREQUEST");

// SAFETY: the packet is the request's own; everything else is owned or locked.
unsafe impl Sync for Request {}

struct State {
    /// The packet, until it is completed.
    irp: Option<Irp>,
    owner: Owner,
    /// The queue that the request came from, or is in.
    queue: Option<Ref<Queue>>,
    /// Whether the driver has seen the request.
    presented: bool,
}

/// Who may complete a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It waits in a queue.
    Queue,
    /// The driver has it.
    Driver,
    /// The driver has it and lets the framework cancel it.
    Cancelable,
    /// The driver's cancel callback was or is being called.
    Cancelled,
    /// Nobody: it was completed.
    Completed,
}

impl Request {
    /// Makes a request of a packet.
    pub(crate) fn create(device: &Ref<Device>, irp: Irp) -> Ref<Self> {
        let file = FileObject::of_wdm(device, irp.file_object());
        let request = Self {
            device: device.clone(),
            file,
            state: SpinLock::new(State {
                irp: Some(irp),
                owner: Owner::Queue,
                queue: None,
                presented: false,
            }),
        };
        let attributes = device.request_attributes;
        let object = Object::create(
            Kind::Request(request),
            device.object().client,
            Some(device.object()),
            attributes.as_ref(),
        );
        Ref::new(object).expect("the object is a request")
    }

    /// Uses the packet, while the request is not completed.
    pub(crate) fn with_irp<R>(&self, use_irp: impl FnOnce(&mut Irp) -> R) -> Option<R> {
        self.state.lock().irp.as_mut().map(use_irp)
    }

    /// Puts the request into a queue's hands.
    pub(crate) fn queued(&self, queue: &Ref<Queue>) {
        let mut state = self.state.lock();
        state.owner = Owner::Queue;
        state.queue = Some(queue.clone());
    }

    /// Hands the request to the driver.
    pub(crate) fn present(&self) {
        let mut state = self.state.lock();
        state.owner = Owner::Driver;
        state.presented = true;
    }

    /// Whether the driver has ever had the request.
    pub(crate) fn was_presented(&self) -> bool {
        self.state.lock().presented
    }

    /// Moves the request from one owner to another; says who owned it if that was not `from`.
    pub(crate) fn change_owner(&self, from: Owner, to: Owner) -> Result<(), Owner> {
        let mut state = self.state.lock();
        if state.owner != from {
            return Err(state.owner);
        }
        state.owner = to;
        Ok(())
    }

    /// The queue that the request came from.
    pub(crate) fn queue(&self) -> Option<Ref<Queue>> {
        self.state.lock().queue.clone()
    }

    /// Completes the packet and deletes the request.
    pub(crate) fn complete(
        request: &Ref<Self>,
        function: &str,
        status: NTSTATUS,
        information: usize,
    ) {
        let (irp, queue, presented) = {
            let mut state = request.state.lock();
            state.owner = Owner::Completed;
            (state.irp.take(), state.queue.take(), state.presented)
        };
        let Some(irp) = irp else {
            violation(Rule::Completion, function, format_args!("the request was completed before"));
        };
        if u32::from(irp.function().0) == IRP_MJ_CREATE
            && !is_success(status)
            && let Some(file) = &request.file
        {
            file::open_failed(file);
        }
        request.object().clean_up(function);
        request.object().destroy_after_cleanup();
        irp.complete(status, information);
        if let Some(queue) = queue.filter(|_| presented) {
            Queue::request_done(&queue);
        }
    }

    /// The buffer of one direction, for the kinds of transfer that have a system address.
    fn buffer(&self, call: &Call, direction: Direction) -> Result<(*mut c_void, usize), NTSTATUS> {
        self.with_irp(|irp| buffer_of(&self.device, irp, direction))
            .unwrap_or_else(|| completed(call))
    }
}

/// Which way data goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the driver.
    Input,
    /// From the driver.
    Output,
}

fn buffer_of(
    device: &Device,
    irp: &mut Irp,
    direction: Direction,
) -> Result<(*mut c_void, usize), NTSTATUS> {
    match u32::from(irp.function().0) {
        IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL => {
            let (code, input, output) = irp.device_control();
            match (code & 3, direction) {
                (_, Direction::Input) if input == 0 => Ok((ptr::null_mut(), 0)),
                (_, Direction::Output) if output == 0 => Ok((ptr::null_mut(), 0)),
                (METHOD_NEITHER, _) => Err(STATUS_INVALID_DEVICE_REQUEST),
                (_, Direction::Input) => Ok((irp.system_buffer(), input as usize)),
                (METHOD_BUFFERED, Direction::Output) => Ok((irp.system_buffer(), output as usize)),
                // Both direct methods let the driver write to the MDL, as the framework has it.
                (_, Direction::Output) => mapped(irp.mdl()),
            }
        }
        major @ (IRP_MJ_READ | IRP_MJ_WRITE) => {
            if (major == IRP_MJ_READ) != (direction == Direction::Output) {
                return Err(STATUS_INVALID_DEVICE_REQUEST);
            }
            let (length, _) = irp.transfer();
            if device.uses_direct_io() {
                mapped(irp.mdl())
            } else {
                Ok((irp.system_buffer(), length as usize))
            }
        }
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    }
}

fn mapped(list: PMDL) -> Result<(*mut c_void, usize), NTSTATUS> {
    // SAFETY: the MDL of a live packet, or null.
    let buffer = unsafe { mdl::system_buffer(list) }.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    Ok((buffer.start.cast(), buffer.length))
}

fn completed(call: &Call) -> ! {
    call.violation(Rule::State, format_args!("the request was completed already"))
}

/// The request of a call, which the driver must own.
fn owned(call: &Call, handle: Handle) -> Ref<Request> {
    let request = call.typed::<Request>(handle);
    let owner = request.state.lock().owner;
    match owner {
        Owner::Driver | Owner::Cancelable | Owner::Cancelled => request,
        Owner::Completed => completed(call),
        Owner::Queue => call
            .violation(Rule::State, format_args!("the request is in a queue, not with the driver")),
    }
}

fn complete_by_driver(call: &Call, handle: Handle, status: NTSTATUS, information: Option<usize>) {
    if object::look_up(handle).is_none() {
        call.violation(
            Rule::Completion,
            format_args!(
                "{handle:#x} is no live request: it was completed before, or never was one"
            ),
        );
    }
    let request = call.typed::<Request>(handle);
    if status == STATUS_PENDING {
        call.violation(
            Rule::Completion,
            format_args!("a request cannot be completed with STATUS_PENDING"),
        );
    }
    let owner = request.state.lock().owner;
    match owner {
        Owner::Driver | Owner::Cancelled => {}
        Owner::Completed => {
            call.violation(Rule::Completion, format_args!("the request was completed before"))
        }
        Owner::Queue => call.violation(
            Rule::Completion,
            format_args!("the request is in a queue, not with the driver"),
        ),
        Owner::Cancelable => {
            call.violation(
                Rule::Completion,
                format_args!("the request is still marked cancelable: unmark it first"),
            );
        }
    }
    let information =
        information.or_else(|| request.with_irp(|irp| irp.information())).unwrap_or(0);
    check_information(call, &request, status, information);
    Request::complete(&request, call.function, for_callers(status), information);
}

/// The framework's own codes mean nothing to who sent the request: it replaces them.
fn for_callers(status: NTSTATUS) -> NTSTATUS {
    const FACILITY: u32 = 0x0FFF_0000;
    const FRAMEWORK: u32 = 0x0020_0000;
    match status {
        WDF_PAUSED | WDF_BUSY => STATUS_DEVICE_BUSY,
        _ if status.cast_unsigned() & FACILITY == FRAMEWORK => STATUS_INVALID_DEVICE_REQUEST,
        _ => status,
    }
}

/// A buffered request cannot report more bytes than its buffer has: the I/O manager would copy foreign memory out.
fn check_information(call: &Call, request: &Request, status: NTSTATUS, information: usize) {
    let limit = request.with_irp(|irp| match u32::from(irp.function().0) {
        IRP_MJ_DEVICE_CONTROL if is_success(status) => Some(irp.device_control().2 as usize),
        IRP_MJ_READ | IRP_MJ_WRITE if is_success(status) => Some(irp.transfer().0 as usize),
        _ => None,
    });
    if let Some(limit) = limit.flatten().filter(|&limit| information > limit) {
        call.violation(
            Rule::Completion,
            format_args!(
                "Information is {information}, but the request's buffer has only {limit} bytes"
            ),
        );
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

pub(crate) unsafe extern "system" fn request_set_information(
    globals: *const DriverGlobals,
    request: Handle,
    information: usize,
) {
    let call = Call::enter("WdfRequestSetInformation", globals, DISPATCH_LEVEL);
    owned(&call, request).with_irp(|irp| irp.set_information(information));
}

pub(crate) unsafe extern "system" fn request_is_canceled(
    globals: *const DriverGlobals,
    request: Handle,
) -> u8 {
    let call = Call::enter("WdfRequestIsCanceled", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    if matches!(request.state.lock().owner, Owner::Cancelable) {
        call.violation(Rule::State, format_args!("the request is marked cancelable"));
    }
    u8::from(request.with_irp(|irp| irp.is_cancelled()).unwrap_or(false))
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
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Buffer", buffer, ptr::null_mut()) };
    if !length.is_null() {
        // SAFETY: the driver's optional out parameter.
        unsafe { length.write(0) };
    }
    let (start, available) = match request.buffer(call, direction) {
        Ok(found) => found,
        Err(status) => return status,
    };
    if available == 0 || available < minimum {
        return STATUS_BUFFER_TOO_SMALL;
    }
    if start.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Buffer", buffer, start) };
    if !length.is_null() {
        // SAFETY: the driver's optional out parameter.
        unsafe { length.write(available) };
    }
    STATUS_SUCCESS
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
    // SAFETY: the driver's out parameter.
    unsafe { call.write("Mdl", list, ptr::null_mut()) };
    let found = request.with_irp(|irp| match u32::from(irp.function().0) {
        IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL => {
            let (code, _, output) = irp.device_control();
            match code & 3 {
                METHOD_NEITHER => Err(STATUS_INVALID_DEVICE_REQUEST),
                // The framework would build an MDL over the system buffer here; nothing under test wants one.
                METHOD_BUFFERED => call.violation(
                    Rule::Unimplemented,
                    format_args!("MDLs of METHOD_BUFFERED requests are not built by the rig"),
                ),
                _ if output == 0 || irp.mdl().is_null() => Err(STATUS_BUFFER_TOO_SMALL),
                _ => Ok(irp.mdl()),
            }
        }
        IRP_MJ_READ if !irp.mdl().is_null() => Ok(irp.mdl()),
        IRP_MJ_READ if request.device.uses_direct_io() => Err(STATUS_BUFFER_TOO_SMALL),
        // As for METHOD_BUFFERED.
        IRP_MJ_READ => call.violation(
            Rule::Unimplemented,
            format_args!("MDLs of buffered reads are not built by the rig"),
        ),
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    });
    match found {
        Some(Ok(found)) => {
            // SAFETY: the driver's out parameter.
            unsafe { call.write("Mdl", list, found) };
            STATUS_SUCCESS
        }
        Some(Err(status)) => status,
        None => completed(&call),
    }
}

pub(crate) unsafe extern "system" fn request_forward_to_io_queue(
    globals: *const DriverGlobals,
    request: Handle,
    destination: Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestForwardToIoQueue", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    let destination = call.typed::<Queue>(destination);
    if matches!(request.state.lock().owner, Owner::Cancelable) {
        call.violation(
            Rule::State,
            format_args!("the request is marked cancelable: unmark it first"),
        );
    }
    if !Arc::ptr_eq(request.device.object(), destination.device().object()) {
        call.violation(Rule::Parameter, format_args!("the queue belongs to another device"));
    }
    let source = request.queue();
    if source.as_ref().is_some_and(|source| Arc::ptr_eq(source.object(), destination.object())) {
        call.violation(
            Rule::State,
            format_args!("the request came from that queue: use WdfRequestRequeue to put it back"),
        );
    }
    let status = Queue::forward(&request, &destination);
    if is_success(status)
        && let Some(source) = source
    {
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

pub(crate) unsafe extern "system" fn request_get_parameters(
    globals: *const DriverGlobals,
    request: Handle,
    parameters: *mut RequestParameters,
) {
    let call = Call::enter("WdfRequestGetParameters", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    if parameters.is_null() {
        call.violation(Rule::Parameter, format_args!("the structure is null"));
    }
    // SAFETY: the driver's structure.
    let parameters = unsafe { &mut *parameters };
    if usize::from(parameters.size) != size_of::<RequestParameters>() {
        call.violation(
            Rule::Parameter,
            format_args!("WDF_REQUEST_PARAMETERS.Size is {}", parameters.size),
        );
    }
    request.with_irp(|irp| {
        let stack = irp.stack();
        parameters.request_type = i32::from(stack.MajorFunction);
        parameters.minor_function = stack.MinorFunction;
        // SAFETY: the union's first 32 bytes are what the framework copies, whatever they mean.
        parameters.words =
            unsafe { (&raw const stack.Parameters).cast::<[u64; 4]>().read_unaligned() };
    });
}

pub(crate) unsafe extern "system" fn request_get_requestor_mode(
    globals: *const DriverGlobals,
    request: Handle,
) -> i8 {
    let call = Call::enter("WdfRequestGetRequestorMode", globals, DISPATCH_LEVEL);
    owned(&call, request).with_irp(|irp| irp.requestor_mode()).unwrap_or(0)
}

pub(crate) unsafe extern "system" fn request_get_io_queue(
    globals: *const DriverGlobals,
    request: Handle,
) -> Handle {
    let call = Call::enter("WdfRequestGetIoQueue", globals, DISPATCH_LEVEL);
    owned(&call, request).queue().map_or(0, |queue| queue.handle())
}

pub(crate) unsafe extern "system" fn request_wdm_get_irp(
    globals: *const DriverGlobals,
    request: Handle,
) -> PIRP {
    let call = Call::enter("WdfRequestWdmGetIrp", globals, DISPATCH_LEVEL);
    owned(&call, request).with_irp(|irp| irp.raw()).unwrap_or(ptr::null_mut())
}

pub(crate) unsafe extern "system" fn request_mark_cancelable_ex(
    globals: *const DriverGlobals,
    request: Handle,
    callback: Option<Notify>,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestMarkCancelableEx", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    let Some(callback) = callback else {
        call.violation(Rule::Parameter, format_args!("the cancel callback is null"));
    };
    if request.change_owner(Owner::Driver, Owner::Cancelable).is_err() {
        call.violation(Rule::State, format_args!("the request is marked cancelable already"));
    }
    if request.queue().is_some_and(|queue| queue.is_cancelling()) {
        let _ = request.change_owner(Owner::Cancelable, Owner::Driver);
        return STATUS_CANCELLED;
    }
    if cancel::mark(&request, callback) {
        return STATUS_SUCCESS;
    }
    // Cancelled before: the driver keeps the request and completes it.
    let _ = request.change_owner(Owner::Cancelable, Owner::Driver);
    STATUS_CANCELLED
}

pub(crate) unsafe extern "system" fn request_unmark_cancelable(
    globals: *const DriverGlobals,
    request: Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfRequestUnmarkCancelable", globals, DISPATCH_LEVEL);
    let request = owned(&call, request);
    if matches!(request.state.lock().owner, Owner::Driver) {
        call.violation(Rule::State, format_args!("the request is not marked cancelable"));
    }
    if cancel::unmark(&request) {
        return STATUS_SUCCESS;
    }
    STATUS_CANCELLED
}

/// Completes a request that the driver was never asked about, or that it left in a queue.
pub(crate) fn complete_for_framework(request: &Ref<Request>, status: NTSTATUS) {
    Request::complete(request, "the framework", status, 0);
}

/// The objects that a leak report names.
pub(crate) fn as_object(request: &Ref<Request>) -> &ObjectRef {
    request.object()
}

//! The cases about I/O request packets and memory descriptor lists.
//!
//! The rule: see `lib.rs`. An unknown case panics.

use core::{ffi::c_void, ptr};

use nt::{irp::Irp, thread::Thread};
use wdk_sys::{
    _IO_PRIORITY_HINT::{IoPriorityLow, IoPriorityNormal},
    IRP_MJ_FLUSH_BUFFERS, IRP_MJ_READ, KPRIORITY, MDL, NTSTATUS, PDEVICE_OBJECT, PIRP,
    STATUS_PENDING, STATUS_SUCCESS,
    ntddk::{
        IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl, IoSetIoPriorityHint,
        IofCompleteRequest, KeSetPriorityThread,
    },
};

use crate::{
    cases::delete,
    device::{self, ControlDevice, Preprocess},
    framework::{Framework, Handle},
};

/// A thread's priority behind applications.
const BACKGROUND: KPRIORITY = 6;
/// A thread's priority before all applications.
const URGENT: KPRIORITY = 16;

/// Runs a case. Most do not return.
pub(crate) fn run(case: &str, framework: &Framework, driver: Handle) {
    match case {
        "irp-completed-twice" => flush(framework, driver, completed_twice),
        "irp-completed-as-pending" => flush(framework, driver, completed_as_pending),
        "irp-completed-with-cancel-routine" => flush(framework, driver, with_cancel_routine),
        "irp-completed-with-another-mdl" => flush(framework, driver, with_another_list),
        "pending-without-mark" => flush(framework, driver, pending_without_mark),
        "mark-without-pending" => flush(framework, driver, mark_without_pending),
        "neither-completed-nor-passed" => flush(framework, driver, neither),
        "own-irp-let-go" => send_own(framework, driver, |_| ()),
        "own-irp-without-completion-routine" => send_own(framework, driver, |irp| {
            irp.next_location_mut().CompletionRoutine = None;
        }),
        "own-irp-without-thread" => {
            send_own(framework, driver, |irp| irp.set_thread(ptr::null_mut()));
        }
        "background-read-without-hint" => read_at(BACKGROUND, IoPriorityNormal, framework, driver),
        "urgent-read-with-low-hint" => read_at(URGENT, IoPriorityLow, framework, driver),
        "irp-held-at-removal" => {
            let device = ControlDevice::create(framework, driver, device::complete, Some(held));
            device.start_flush();
            delete(framework, device.handle);
        }
        "irp-freed-twice" => {
            let irp = allocate();
            // SAFETY: ours, and not in use.
            unsafe { IoFreeIrp(irp) };
            // SAFETY: the mistake: the rig reports it before it touches the packet.
            unsafe { IoFreeIrp(irp) };
        }
        "irp-leak" => {
            allocate();
        }
        "mdl-freed-twice" => {
            let list = allocate_list(framework);
            // SAFETY: ours, and not in use.
            unsafe { IoFreeMdl(list) };
            // SAFETY: the mistake: the rig reports it before it touches the list.
            unsafe { IoFreeMdl(list) };
        }
        "mdl-leak" => {
            allocate_list(framework);
        }
        unknown => panic!("no case is called {unknown:?}"),
    }
}

/// A correct preprocess callback.
pub(crate) unsafe extern "system" fn complete(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    unsafe { Irp::from_raw(raw) }.complete(STATUS_SUCCESS, 0)
}

fn flush(framework: &Framework, driver: Handle, callback: Preprocess) {
    ControlDevice::create(framework, driver, device::complete, Some(callback)).flush();
}

/// Sends a packet of the driver's own to the driver's own device, once a case has made its mistake.
fn send_own(framework: &Framework, driver: Handle, mistake: impl FnOnce(&mut Irp)) {
    let device = ControlDevice::create(framework, driver, device::complete, Some(complete));
    // SAFETY: ours.
    let mut irp = unsafe { Irp::from_raw(allocate()) };
    irp.next_location_mut().MajorFunction = IRP_MJ_FLUSH_BUFFERS as u8;
    // SAFETY: the routine ignores its context.
    unsafe { irp.set_completion_routine(Some(let_go), ptr::null_mut()) };
    irp.set_thread(nt::thread::current());
    mistake(&mut irp);
    let _ = irp.call(device.wdm());
}

/// Sends a read with a priority hint, from a thread of the driver's with a priority of its own.
fn read_at(priority: i32, hint: i32, framework: &Framework, driver: Handle) {
    let framework = ptr::from_ref(framework) as usize;
    let sender = Thread::spawn(move || {
        // SAFETY: the framework outlives this thread, which is joined.
        let framework = unsafe { &*(framework as *const Framework) };
        // SAFETY: this thread's own object.
        unsafe { KeSetPriorityThread(nt::thread::current().cast(), priority) };
        send_own(framework, driver, |irp| {
            irp.next_location_mut().MajorFunction = IRP_MJ_READ as u8;
            // SAFETY: ours, and with no device.
            let _ = unsafe { IoSetIoPriorityHint(irp.raw(), hint) };
        });
    });
    sender.expect("a thread starts").join();
}

fn allocate() -> PIRP {
    // SAFETY: has no preconditions.
    unsafe { IoAllocateIrp(2, 0) }
}

fn allocate_list(framework: &Framework) -> *mut MDL {
    let somewhere = ptr::from_ref(framework).cast_mut().cast();
    // SAFETY: describes memory that is never touched through it.
    unsafe { IoAllocateMdl(somewhere, 16, 0, 0, ptr::null_mut()) }
}

unsafe extern "C" fn let_go(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    _context: *mut c_void,
) -> NTSTATUS {
    STATUS_SUCCESS
}

unsafe extern "system" fn completed_twice(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.set_status(STATUS_SUCCESS);
    irp.complete_as_is();
    // SAFETY: the mistake: the rig reports it before it touches the packet.
    unsafe { IofCompleteRequest(raw, 0) };
    STATUS_SUCCESS
}

unsafe extern "system" fn completed_as_pending(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.set_status(STATUS_PENDING);
    irp.complete_as_is();
    STATUS_PENDING
}

unsafe extern "system" fn with_cancel_routine(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.set_cancel_routine(Some(no_cancel));
    irp.complete(STATUS_SUCCESS, 0)
}

unsafe extern "system" fn with_another_list(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given; the rig reports the mistake before it uses
    // the list, which is none.
    unsafe { (*raw).MdlAddress = ptr::without_provenance_mut(8) };
    // SAFETY: as above.
    unsafe { Irp::from_raw(raw) }.complete(STATUS_SUCCESS, 0)
}

unsafe extern "C" fn no_cancel(_device: PDEVICE_OBJECT, _irp: PIRP) {}

unsafe extern "system" fn held(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given; it is kept for good.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.mark_pending();
    let _ = irp.into_raw();
    STATUS_PENDING
}

unsafe extern "system" fn pending_without_mark(_device: Handle, _raw: PIRP) -> NTSTATUS {
    STATUS_PENDING
}

unsafe extern "system" fn mark_without_pending(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.mark_pending();
    irp.complete(STATUS_SUCCESS, 0)
}

unsafe extern "system" fn neither(_device: Handle, _raw: PIRP) -> NTSTATUS {
    STATUS_SUCCESS
}

//! System threads of the driver, counted.
//!
//! The rules: a thread ends at PASSIVE_LEVEL; the driver waits for its threads before it is
//! unloaded.

use alloc::boxed::Box;
use core::ffi::c_void;

use wdk_sys::{
    CLIENT_ID, HANDLE, KSTART_ROUTINE, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    ntddk::{PsCreateSystemThread, PsTerminateSystemThread},
};

use crate::{
    allocation_failure::{self, Allocation},
    irql::{PASSIVE_LEVEL, require_at_most},
    ledger,
};

struct Start {
    routine: unsafe extern "C" fn(*mut c_void),
    context: *mut c_void,
}

pub(crate) unsafe extern "system" fn create(
    thread: *mut HANDLE,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    process: HANDLE,
    client: *mut CLIENT_ID,
    routine: KSTART_ROUTINE,
    context: *mut c_void,
) -> NTSTATUS {
    require_at_most("PsCreateSystemThread", PASSIVE_LEVEL);
    if allocation_failure::fails(Allocation::Kernel) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let Some(routine) = routine else { return STATUS_INVALID_PARAMETER };
    let start = Box::into_raw(Box::new(Start { routine, context }));
    ledger::thread_started();
    // SAFETY: the driver's arguments, but for the start routine, which takes over the box.
    let status = unsafe {
        PsCreateSystemThread(thread, access, attributes, process, client, Some(run), start.cast())
    };
    if !nt::status::is_success(status) {
        ledger::thread_ended();
        // SAFETY: no thread took it.
        drop(unsafe { Box::from_raw(start) });
    }
    status
}

pub(crate) unsafe extern "system" fn terminate(status: NTSTATUS) -> NTSTATUS {
    end(status)
}

unsafe extern "C" fn run(context: *mut c_void) {
    // SAFETY: `create` handed this box to this thread.
    let start = *unsafe { Box::from_raw(context.cast::<Start>()) };
    // SAFETY: the driver's own start routine and context.
    unsafe { (start.routine)(start.context) };
    end(0);
}

fn end(status: NTSTATUS) -> NTSTATUS {
    require_at_most("PsTerminateSystemThread", PASSIVE_LEVEL);
    ledger::thread_ended();
    // SAFETY: called on a system thread.
    unsafe { PsTerminateSystemThread(status) }
}

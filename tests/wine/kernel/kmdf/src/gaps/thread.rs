//! System threads of the driver, counted.
//!
//! The rules: a thread ends at PASSIVE_LEVEL; the driver waits for its threads before it is
//! unloaded; each has a priority that the driver chose: writes may wait for it.

use alloc::{boxed::Box, collections::BTreeMap};
use core::{
    ffi::c_void,
    sync::atomic::{AtomicUsize, Ordering},
};

use nt::spinlock::SpinLock;
use wdk_sys::{
    CLIENT_ID, HANDLE, KPRIORITY, KSTART_ROUTINE, NTSTATUS, OBJECT_ATTRIBUTES,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    ntddk::{PsCreateSystemThread, PsTerminateSystemThread},
};

use crate::{
    allocation_failure::{self, Allocation},
    checks::violation,
    irql::{PASSIVE_LEVEL, require_at_most},
    ledger,
};

/// Threads that the driver started and has not chosen a priority for.
static WITHOUT_PRIORITY: AtomicUsize = AtomicUsize::new(0);

/// The priorities of the driver's threads, by the address of the thread's object.
static CHOSEN: SpinLock<BTreeMap<usize, KPRIORITY>> = SpinLock::new(BTreeMap::new());

/// The priorities that a thread may have: 0 is the system's own.
const PRIORITIES: core::ops::RangeInclusive<KPRIORITY> = 1..=31;
/// What a system thread has at first.
const DEFAULT_PRIORITY: KPRIORITY = 8;

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
    // Relaxed, here and below: only the count matters, which is read when the driver unbinds.
    WITHOUT_PRIORITY.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the driver's arguments, but for the start routine, which takes over the box.
    let status = unsafe {
        PsCreateSystemThread(thread, access, attributes, process, client, Some(run), start.cast())
    };
    if !nt::status::is_success(status) {
        ledger::thread_ended();
        WITHOUT_PRIORITY.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: no thread took it.
        drop(unsafe { Box::from_raw(start) });
    }
    status
}

/// `KeSetPriorityThread`: Wine has no priorities. The driver's threads call it once each.
pub(crate) unsafe extern "system" fn set_priority(
    thread: *mut c_void,
    priority: KPRIORITY,
) -> KPRIORITY {
    let function = "KeSetPriorityThread";
    require_at_most(function, PASSIVE_LEVEL);
    if thread.is_null() || !PRIORITIES.contains(&priority) {
        violation!(Parameter, function, "no thread takes priority {priority}");
    }
    let counted = |count: usize| count.checked_sub(1);
    if WITHOUT_PRIORITY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_err() {
        violation!(State, function, "every thread has its priority already");
    }
    CHOSEN.lock().insert(thread as usize, priority);
    DEFAULT_PRIORITY
}

/// Whether the driver made the calling thread's priority lower than that of applications; `None`
/// for a thread whose priority it did not choose.
pub(crate) fn is_low() -> Option<bool> {
    CHOSEN
        .lock()
        .get(&(nt::thread::current() as usize))
        .map(|&priority| priority < DEFAULT_PRIORITY)
}

/// Reports threads that ran without a priority of the driver's choice.
pub(crate) fn require_priorities(function: &str) {
    let count = WITHOUT_PRIORITY.swap(0, Ordering::Relaxed);
    if count > 0 {
        violation!(State, function, "{count} threads had no priority that the driver chose");
    }
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
    CHOSEN.lock().remove(&(nt::thread::current() as usize));
    // SAFETY: called on a system thread.
    unsafe { PsTerminateSystemThread(status) }
}

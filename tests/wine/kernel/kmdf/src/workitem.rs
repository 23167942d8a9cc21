//! `WDFWORKITEM`: work at PASSIVE_LEVEL on a thread of the system.
//!
//! The rules: a work item that is enqueued again before it ran runs once; flushing waits for the
//! queued and the running call; a work item is not deleted while it runs.

use alloc::boxed::Box;
use core::ffi::c_void;

use nt::{event::Event, spinlock::SpinLock};
use wdk_sys::{
    _WORK_QUEUE_TYPE::DelayedWorkQueue,
    NTSTATUS, PDEVICE_OBJECT, PIO_WORKITEM, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};

use crate::{
    abi::{DriverGlobals, Handle, ObjectAttributes, WorkItemConfig},
    checks::{Call, violation},
    device::Device,
    irql::{self, DISPATCH_LEVEL, PASSIVE_LEVEL},
    object::{Object, Ref, Typed},
};

/// A work item.
pub(crate) struct WorkItem {
    config: WorkItemConfig,
    raw: PIO_WORKITEM,
    state: SpinLock<State>,
    idle: Event,
}

impl Typed for WorkItem {
    const NAME: &str = "WDFWORKITEM";

    fn dispose(&self, _object: &Object) {
        self.wait_until_idle();
    }
}

// SAFETY: the kernel's work item may be queued from any thread; what changes is locked.
unsafe impl Send for WorkItem {}
// SAFETY: as above.
unsafe impl Sync for WorkItem {}

#[derive(Default)]
struct State {
    queued: bool,
    running: bool,
    /// The thread that runs the callback now.
    runner: u32,
}

impl WorkItem {
    /// Waits for the queued and the running call.
    fn wait_until_idle(&self) {
        let own = {
            let state = self.state.lock();
            state.running && state.runner == current_thread()
        };
        // A callback may delete its own work item; it does not wait for itself.
        if !own {
            self.idle.wait();
        }
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: allocated with the object and neither queued nor running any more.
        unsafe { IoFreeWorkItem(self.raw) };
    }
}

unsafe extern "C" fn run(_device: PDEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: `enqueue` boxed this reference for this call.
    let item = *unsafe { Box::from_raw(context.cast::<Ref<WorkItem>>()) };
    {
        let mut state = item.state.lock();
        state.queued = false;
        state.running = true;
        state.runner = current_thread();
    }
    irql::set(PASSIVE_LEVEL);
    if let Some(callback) = item.config.evt_work_item {
        // SAFETY: the driver's own callback, with a live handle: deletion waits for this call.
        unsafe { callback(item.handle()) };
    }
    if irql::current() != PASSIVE_LEVEL {
        violation!(Irql, "EvtWorkItem", "returned at {}", irql::name(irql::current()));
    }
    let mut state = item.state.lock();
    state.running = false;
    if !state.queued {
        item.idle.set();
    }
}

fn current_thread() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { nt::win32::GetCurrentThreadId() }
}

pub(crate) unsafe extern "system" fn work_item_create(
    globals: *const DriverGlobals,
    config: *const WorkItemConfig,
    item_attributes: *const ObjectAttributes,
    item: *mut Handle,
) -> NTSTATUS {
    let call = Call::enter("WdfWorkItemCreate", globals, DISPATCH_LEVEL);
    // SAFETY: the driver's configuration.
    let config = unsafe { call.structure("WDF_WORKITEM_CONFIG", config) };
    // SAFETY: the driver's attributes.
    let item_attributes = unsafe { call.structure("WDF_OBJECT_ATTRIBUTES", item_attributes) };
    if item_attributes.parent == 0 || config.evt_work_item.is_none() {
        violation!(Parameter, call.function, "a work item needs a parent object and a callback");
    }
    let parent = call.object(item_attributes.parent);
    let Some(device) = Device::of(&parent) else {
        violation!(Parameter, call.function, "the parent belongs to no device");
    };
    // SAFETY: the device object is live.
    let raw = unsafe { IoAllocateWorkItem(device.wdm.raw()) };
    if raw.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let idle = Event::notification();
    idle.set();
    let value = WorkItem { config, raw, state: SpinLock::new(State::default()), idle };
    let object = Object::create(value, call.client, Some(&parent), Some(&item_attributes));
    // SAFETY: the driver's out parameter.
    unsafe { call.write("WorkItem", item, object.handle()) };
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn work_item_enqueue(
    globals: *const DriverGlobals,
    item: Handle,
) {
    let call = Call::enter("WdfWorkItemEnqueue", globals, DISPATCH_LEVEL);
    let item = call.typed::<WorkItem>(item);
    if item.object().is_deleted() {
        violation!(State, call.function, "the work item is being deleted");
    }
    {
        let mut state = item.state.lock();
        if core::mem::replace(&mut state.queued, true) {
            return;
        }
        item.idle.reset();
    }
    let context = Box::into_raw(Box::new(item.clone()));
    // SAFETY: the kernel's work item is live; the call takes over the boxed reference.
    unsafe { IoQueueWorkItem(item.raw, Some(run), DelayedWorkQueue, context.cast()) };
}

pub(crate) unsafe extern "system" fn work_item_flush(globals: *const DriverGlobals, item: Handle) {
    let call = Call::enter("WdfWorkItemFlush", globals, PASSIVE_LEVEL);
    let item = call.typed::<WorkItem>(item);
    if item.state.lock().runner == current_thread() && item.state.lock().running {
        violation!(
            State,
            call.function,
            "called from the work item's own callback: it would wait for itself"
        );
    }
    item.wait_until_idle();
}

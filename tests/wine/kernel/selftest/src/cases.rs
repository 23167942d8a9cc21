//! The cases: what each does wrong.
//!
//! The rule: see `lib.rs`. A case that is not known stops the driver's start with a panic, not with success.

use core::{ffi::c_void, ptr};

use nt::{
    irp::Irp, pool::ExAllocatePoolWithTag, pool::ExFreePoolWithTag, pool::NON_PAGED_POOL_NX,
    time::sleep_us,
};
use wdk_sys::{
    HANDLE, KSPIN_LOCK, NTSTATUS, PIRP, STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS,
    THREAD_ALL_ACCESS,
    ntddk::{
        IoAllocateMdl, IofCompleteRequest, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock,
        PsCreateSystemThread, ZwClose,
    },
};

use crate::{
    device::{self, ControlDevice},
    framework::{Attributes, Framework, Handle, QueueConfig, WorkItemConfig, index},
};

const TAG: u32 = u32::from_le_bytes(*b"tslS");
const OTHER_TAG: u32 = u32::from_le_bytes(*b"rhtO");
const BLOCK: usize = 100;

/// Runs a case. Most do not return.
pub(crate) fn run(case: &str, framework: &Framework, driver: Handle) {
    match case {
        "clean" => clean(framework, driver),
        "stale-handle" => {
            let key = open_key(framework, driver);
            close_key(framework, key);
            close_key(framework, key);
        }
        "wrong-handle-type" => close_key(framework, driver),
        "foreign-globals" => {
            let mut nobodys = [0_u64; 8];
            // SAFETY: the call is reported before it uses anything.
            unsafe {
                framework.call_with(nobodys.as_mut_ptr().cast(), index::REGISTRY_CLOSE, &[driver])
            };
        }
        "framework-call-with-spin-lock" => with_spin_lock(|_| {
            open_key(framework, driver);
        }),
        "wait-with-spin-lock" => with_spin_lock(|_| sleep_us(1)),
        "system-service-with-spin-lock" => with_spin_lock(|_| {
            // SAFETY: closing no handle fails, which is fine.
            let _ = unsafe { ZwClose(ptr::null_mut()) };
        }),
        "return-raised" => control(framework, driver, return_raised),
        "device-init-after-free" => {
            let init = device::allocate_init(framework, driver);
            // SAFETY: what `WdfDeviceInitFree` takes.
            unsafe { framework.call(index::DEVICE_INIT_FREE, &[init]) };
            // SAFETY: the stale structure is reported before it is used.
            unsafe { framework.call(index::DEVICE_INIT_SET_EXCLUSIVE, &[init, 1]) };
        }
        "request-completed-twice" => control(framework, driver, |framework, request| {
            device::complete(framework, request);
            device::complete(framework, request);
        }),
        "irp-completed-twice" => flush(framework, driver, completed_twice),
        "too-much-information" => control(framework, driver, |framework, request| {
            // SAFETY: what `WdfRequestCompleteWithInformation` takes.
            unsafe { framework.call(index::REQUEST_COMPLETE_WITH_INFORMATION, &[request, 0, 9]) };
        }),
        "pending-without-mark" => flush(framework, driver, pending_without_mark),
        "neither-completed-nor-passed" => flush(framework, driver, neither),
        "structure-size" => {
            let config = QueueConfig { size: 8, ..QueueConfig::default() };
            let device = ControlDevice::create(framework, driver, device::complete, None);
            // SAFETY: what `WdfIoQueueCreate` takes, but for the size, which is reported.
            unsafe {
                framework.call(
                    index::IO_QUEUE_CREATE,
                    &[device.handle, &raw const config as usize, 0, 0],
                )
            };
        }
        "spin-lock-twice" => with_spin_lock(|lock| {
            // SAFETY: reported instead of waiting for ever.
            unsafe { KeAcquireSpinLockRaiseToDpc(lock) };
        }),
        "pool-freed-twice" => {
            let block = allocate();
            free(block, TAG);
            free(block, TAG);
        }
        "pool-written-past-its-end" => {
            let block = allocate();
            // SAFETY: not the block's byte, but the bench keeps guard bytes there for this.
            unsafe { block.cast::<u8>().wrapping_add(BLOCK).write(1) };
            free(block, TAG);
        }
        "pool-freed-with-another-tag" => free(allocate(), OTHER_TAG),
        "pool-leak" => {
            allocate();
        }
        "mdl-leak" => {
            // SAFETY: describes memory that is never touched through it.
            unsafe {
                IoAllocateMdl(ptr::from_ref(framework).cast_mut().cast(), 16, 0, 0, ptr::null_mut())
            };
        }
        "thread-left-running" => start_sleeper(),
        "object-reference-left" => {
            let key = open_key(framework, driver);
            // SAFETY: what `WdfObjectReferenceActual` takes.
            unsafe { framework.call(index::OBJECT_REFERENCE, &[key]) };
        }
        "unimplemented-function" => {
            // SAFETY: reported before it uses anything.
            unsafe { framework.call(index::ADD_BUS_INFORMATION, &[]) };
        }
        unknown => panic!("no case is called {unknown:?}"),
    }
}

/// Everything right, a little of each.
fn clean(framework: &Framework, driver: Handle) {
    close_key(framework, open_key(framework, driver));
    let device = ControlDevice::create(framework, driver, device::complete, Some(complete_flush));
    assert_eq!(device.control(), STATUS_SUCCESS, "a completed request");
    device.flush();
    run_work_item(framework, device.handle);
    delete(framework, device.handle);
    let device = ControlDevice::create(framework, driver, device::leave_waiting, None);
    assert_eq!(
        device.control_and_cancel(),
        STATUS_CANCELLED,
        "a request that is cancelled in a manual queue"
    );
    free(allocate(), TAG);
    with_spin_lock(|_| ());
}

fn run_work_item(framework: &Framework, parent: Handle) {
    let config = WorkItemConfig {
        size: size_of::<WorkItemConfig>() as u32,
        callback: no_work as *const () as usize,
        serialized: 0,
    };
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        callbacks: [0; 2],
        execution_level: 1,
        synchronization_scope: 1,
        parent,
        context: [0; 2],
    };
    let mut item = 0_usize;
    // SAFETY: what `WdfWorkItemCreate` takes.
    let status = unsafe {
        framework.call(
            index::WORK_ITEM_CREATE,
            &[&raw const config as usize, &raw const attributes as usize, &raw mut item as usize],
        )
    };
    assert_eq!(status as NTSTATUS, STATUS_SUCCESS, "WdfWorkItemCreate");
    // SAFETY: what `WdfWorkItemEnqueue` takes.
    unsafe { framework.call(index::WORK_ITEM_ENQUEUE, &[item]) };
    // SAFETY: what `WdfWorkItemFlush` takes.
    unsafe { framework.call(index::WORK_ITEM_FLUSH, &[item]) };
}

unsafe extern "system" fn no_work(_item: Handle) {}

fn open_key(framework: &Framework, driver: Handle) -> Handle {
    const KEY_READ: usize = 0x20019;
    let mut key = 0_usize;
    // SAFETY: what `WdfDriverOpenParametersRegistryKey` takes.
    let status = unsafe {
        framework
            .call(index::DRIVER_OPEN_PARAMETERS_KEY, &[driver, KEY_READ, 0, &raw mut key as usize])
    };
    assert_eq!(status as NTSTATUS, STATUS_SUCCESS, "WdfDriverOpenParametersRegistryKey");
    key
}

fn close_key(framework: &Framework, key: Handle) {
    // SAFETY: what `WdfRegistryClose` takes.
    unsafe { framework.call(index::REGISTRY_CLOSE, &[key]) };
}

fn delete(framework: &Framework, object: Handle) {
    // SAFETY: what `WdfObjectDelete` takes.
    unsafe { framework.call(index::OBJECT_DELETE, &[object]) };
}

fn control(framework: &Framework, driver: Handle, action: device::Action) {
    ControlDevice::create(framework, driver, action, None).control();
}

fn flush(framework: &Framework, driver: Handle, callback: device::Preprocess) {
    ControlDevice::create(framework, driver, device::complete, Some(callback)).flush();
}

fn return_raised(framework: &Framework, request: Handle) {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a lock of our own, which is never released: that is the mistake.
    unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    device::complete(framework, request);
}

unsafe extern "system" fn complete_flush(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    unsafe { Irp::from_raw(raw) }.complete(STATUS_SUCCESS, 0)
}

unsafe extern "system" fn completed_twice(_device: Handle, raw: PIRP) -> NTSTATUS {
    // SAFETY: the packet that the callback was given.
    let mut irp = unsafe { Irp::from_raw(raw) };
    irp.set_status(STATUS_SUCCESS);
    irp.complete_as_is();
    // SAFETY: the mistake: the bench reports it before it touches the packet.
    unsafe { IofCompleteRequest(raw, 0) };
    STATUS_SUCCESS
}

unsafe extern "system" fn pending_without_mark(_device: Handle, _raw: PIRP) -> NTSTATUS {
    STATUS_PENDING
}

unsafe extern "system" fn neither(_device: Handle, _raw: PIRP) -> NTSTATUS {
    STATUS_SUCCESS
}

fn with_spin_lock(body: impl FnOnce(*mut KSPIN_LOCK)) {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a lock of our own.
    let level = unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    body(&raw mut lock);
    // SAFETY: taken above.
    unsafe { KeReleaseSpinLock(&raw mut lock, level) };
}

fn allocate() -> *mut c_void {
    // SAFETY: has no preconditions.
    unsafe { ExAllocatePoolWithTag(NON_PAGED_POOL_NX, BLOCK, TAG) }
}

fn free(block: *mut c_void, tag: u32) {
    // SAFETY: a block of `allocate`, or the mistake that the case is about.
    unsafe { ExFreePoolWithTag(block, tag) };
}

fn start_sleeper() {
    let mut handle: HANDLE = ptr::null_mut();
    // SAFETY: everything is valid for the call; the routine needs no context.
    let status = unsafe {
        PsCreateSystemThread(
            &raw mut handle,
            THREAD_ALL_ACCESS,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            Some(sleep_for_ever),
            ptr::null_mut(),
        )
    };
    assert_eq!(status, STATUS_SUCCESS, "PsCreateSystemThread");
    // SAFETY: the handle is ours.
    let _ = unsafe { ZwClose(handle) };
}

unsafe extern "C" fn sleep_for_ever(_context: *mut c_void) {
    loop {
        sleep_us(1_000_000);
    }
}

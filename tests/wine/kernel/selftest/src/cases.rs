//! The cases, each with one mistake.
//!
//! The rule: see `lib.rs`. Those that are about I/O request packets are in `packets.rs`.

use core::{ffi::c_void, ptr};

use nt::{
    pool::ExAllocatePoolWithTag, pool::ExFreePoolWithTag, pool::NON_PAGED_POOL_NX, thread::Thread,
    time::sleep_us,
};
use wdk_sys::{
    KSPIN_LOCK, NTSTATUS, STATUS_CANCELLED, STATUS_SUCCESS,
    ntddk::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, ZwClose},
};

use crate::{
    answers,
    device::{self, ControlDevice},
    framework::{Attributes, Framework, Handle, QueueConfig, WorkItemConfig, index},
    packets,
};

const TAG: u32 = u32::from_le_bytes(*b"tslS");
const OTHER_TAG: u32 = u32::from_le_bytes(*b"rhtO");
const BLOCK: usize = 100;
const PAGED_POOL: i32 = 1;

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
            let mut foreign = [0_u64; 8];
            framework.call_with(foreign.as_mut_ptr().cast(), index::REGISTRY_CLOSE, &[driver]);
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
            framework.call(index::DEVICE_INIT_FREE, &[init]);
            framework.call(index::DEVICE_INIT_ASSIGN_NAME, &[init, 0]);
        }
        "request-completed-twice" => control(framework, driver, |framework, request| {
            device::complete(framework, request);
            device::complete(framework, request);
        }),
        "request-never-completed" => {
            let device = ControlDevice::create(framework, driver, device::keep, None);
            device.start_control();
            delete(framework, device.handle);
        }
        "request-completed-after-removal" => {
            let device =
                ControlDevice::create(framework, driver, device::complete_and_remember, None);
            device.control();
            delete(framework, device.handle);
            device::complete_remembered(framework);
        }
        "too-much-information" => control(framework, driver, |framework, request| {
            framework.call(index::REQUEST_COMPLETE_WITH_INFORMATION, &[request, 0, 9]);
        }),
        "thread-without-priority" => Thread::spawn(|| ()).expect("a thread starts").join(),
        "structure-size" => {
            let config = QueueConfig { size: 8, ..QueueConfig::default() };
            let device = ControlDevice::create(framework, driver, device::complete, None);
            framework
                .call(index::IO_QUEUE_CREATE, &[device.handle, &raw const config as usize, 0, 0]);
        }
        "paged-pool-with-spin-lock" => with_spin_lock(|_| {
            // SAFETY: has no preconditions but the level, which is the mistake.
            unsafe { ExAllocatePoolWithTag(PAGED_POOL, BLOCK, TAG) };
        }),
        "work-item-returns-raised" => {
            let device = ControlDevice::create(framework, driver, device::complete, None);
            run_work_item(framework, device.handle, work_that_stays_raised);
        }
        "spin-lock-not-held" => with_spin_lock(|_| {
            let mut other: KSPIN_LOCK = 0;
            // SAFETY: a lock of our own, which was not taken: that is the mistake.
            unsafe { KeReleaseSpinLock(&raw mut other, 0) };
        }),
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
            // SAFETY: not the block's byte, but the rig keeps guard bytes there for this.
            unsafe { block.cast::<u8>().wrapping_add(BLOCK).write(1) };
            free(block, TAG);
        }
        "pool-freed-with-another-tag" => free(allocate(), OTHER_TAG),
        "pool-without-tag" => {
            // SAFETY: has no preconditions; the tag is the mistake.
            unsafe { ExAllocatePoolWithTag(NON_PAGED_POOL_NX, BLOCK, 0) };
        }
        "pool-leak" => {
            allocate();
        }
        "thread-left-running" => start_sleeper(),
        "object-reference-left" => {
            let key = open_key(framework, driver);
            framework.call(index::OBJECT_REFERENCE, &[key]);
        }
        "unimplemented-function" => {
            framework.call(index::ADD_BUS_INFORMATION, &[]);
        }
        other => packets::run(other, framework, driver),
    }
}

/// Correct calls of each kind.
fn clean(framework: &Framework, driver: Handle) {
    close_key(framework, open_key(framework, driver));
    let device =
        ControlDevice::create(framework, driver, device::complete, Some(packets::complete));
    assert_eq!(device.control(), STATUS_SUCCESS, "a completed request");
    device.flush();
    run_work_item(framework, device.handle, no_work);
    delete(framework, device.handle);
    answers::check(framework, driver);
    let device = ControlDevice::create(framework, driver, device::leave_waiting, None);
    assert_eq!(
        device.control_and_cancel(),
        STATUS_CANCELLED,
        "a request that is cancelled in a manual queue"
    );
    free(allocate(), TAG);
    with_spin_lock(|_| ());
}

fn run_work_item(framework: &Framework, parent: Handle, work: unsafe extern "system" fn(Handle)) {
    let config = WorkItemConfig {
        size: size_of::<WorkItemConfig>() as u32,
        callback: work as usize,
        serialized: 0,
    };
    let attributes = Attributes::below(parent);
    let mut item = 0_usize;
    let status = framework.call(
        index::WORK_ITEM_CREATE,
        &[&raw const config as usize, &raw const attributes as usize, &raw mut item as usize],
    );
    assert_eq!(status as NTSTATUS, STATUS_SUCCESS, "WdfWorkItemCreate");
    framework.call(index::WORK_ITEM_ENQUEUE, &[item]);
    framework.call(index::WORK_ITEM_FLUSH, &[item]);
}

unsafe extern "system" fn no_work(_item: Handle) {}

unsafe extern "system" fn work_that_stays_raised(_item: Handle) {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a lock of our own, which is never released: that is the mistake.
    unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
}

fn open_key(framework: &Framework, driver: Handle) -> Handle {
    const KEY_READ: usize = 0x20019;
    let mut key = 0_usize;
    let status = framework
        .call(index::DRIVER_OPEN_PARAMETERS_KEY, &[driver, KEY_READ, 0, &raw mut key as usize]);
    assert_eq!(status as NTSTATUS, STATUS_SUCCESS, "WdfDriverOpenParametersRegistryKey");
    key
}

fn close_key(framework: &Framework, key: Handle) {
    framework.call(index::REGISTRY_CLOSE, &[key]);
}

pub(crate) fn delete(framework: &Framework, object: Handle) {
    framework.call(index::OBJECT_DELETE, &[object]);
}

fn control(framework: &Framework, driver: Handle, action: device::Action) {
    ControlDevice::create(framework, driver, action, None).control();
}

fn return_raised(framework: &Framework, request: Handle) {
    let mut lock: KSPIN_LOCK = 0;
    // SAFETY: a lock of our own, which is never released: that is the mistake.
    unsafe { KeAcquireSpinLockRaiseToDpc(&raw mut lock) };
    device::complete(framework, request);
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
    let sleeper = Thread::spawn(|| {
        loop {
            sleep_us(1_000_000);
        }
    });
    let _ = sleeper.expect("a thread starts");
}

//! Spin locks and IRQL.
//!
//! The rules: taking a lock raises the thread to DISPATCH_LEVEL and releasing it restores the level; a lock is not
//! taken twice by one thread, and is released by its holder.

use core::sync::atomic::{AtomicUsize, Ordering};

use nt::win32::{GetCurrentThreadId, SwitchToThread};
use wdk_sys::{
    KIRQL, KLOCK_QUEUE_HANDLE, PKSPIN_LOCK,
    ntddk::{IoAcquireCancelSpinLock, IoReleaseCancelSpinLock},
};

use crate::{
    checks::{Rule, violation},
    irql::{self, DISPATCH_LEVEL, Irql, require_at_least, require_at_most},
};

const SPINS_BEFORE_YIELD: u32 = 64;

pub(crate) unsafe extern "system" fn acquire_raise(lock: PKSPIN_LOCK) -> KIRQL {
    let function = "KeAcquireSpinLockRaiseToDpc";
    require_at_most(function, DISPATCH_LEVEL);
    let before = irql::set(DISPATCH_LEVEL);
    // SAFETY: the driver's lock.
    take(function, unsafe { cell(lock) });
    before
}

pub(crate) unsafe extern "system" fn release(lock: PKSPIN_LOCK, level: KIRQL) {
    let function = "KeReleaseSpinLock";
    require_at_least(function, DISPATCH_LEVEL);
    // SAFETY: the driver's lock.
    give_back(function, unsafe { cell(lock) });
    restore(function, level);
}

pub(crate) unsafe extern "system" fn acquire_at_dpc_level(lock: PKSPIN_LOCK) {
    let function = "KeAcquireSpinLockAtDpcLevel";
    require_at_least(function, DISPATCH_LEVEL);
    // SAFETY: the driver's lock.
    take(function, unsafe { cell(lock) });
}

pub(crate) unsafe extern "system" fn release_from_dpc_level(lock: PKSPIN_LOCK) {
    let function = "KeReleaseSpinLockFromDpcLevel";
    require_at_least(function, DISPATCH_LEVEL);
    // SAFETY: the driver's lock.
    give_back(function, unsafe { cell(lock) });
}

pub(crate) unsafe extern "system" fn try_acquire_at_dpc_level(lock: PKSPIN_LOCK) -> u8 {
    require_at_least("KeTryToAcquireSpinLockAtDpcLevel", DISPATCH_LEVEL);
    // SAFETY: the driver's lock.
    u8::from(try_take(unsafe { cell(lock) }))
}

pub(crate) unsafe extern "system" fn test(lock: PKSPIN_LOCK) -> u8 {
    // SAFETY: the driver's lock. Relaxed: the answer is old when it arrives.
    u8::from(unsafe { cell(lock) }.load(Ordering::Relaxed) == 0)
}

pub(crate) unsafe extern "system" fn acquire_in_stack(
    lock: PKSPIN_LOCK,
    handle: *mut KLOCK_QUEUE_HANDLE,
) {
    // SAFETY: the driver's lock.
    let before = unsafe { acquire_raise(lock) };
    // SAFETY: the driver's handle, which is its own until the release.
    unsafe { (*handle).OldIrql = before };
    // SAFETY: as above.
    unsafe { (*handle).LockQueue.Lock = lock };
}

pub(crate) unsafe extern "system" fn release_in_stack(handle: *mut KLOCK_QUEUE_HANDLE) {
    // SAFETY: the handle was filled in by `acquire_in_stack`.
    let handle = unsafe { &*handle };
    // SAFETY: the lock that was taken with it.
    unsafe { release(handle.LockQueue.Lock, handle.OldIrql) };
}

pub(crate) unsafe extern "system" fn acquire_in_stack_at_dpc_level(
    lock: PKSPIN_LOCK,
    handle: *mut KLOCK_QUEUE_HANDLE,
) {
    // SAFETY: the driver's lock.
    unsafe { acquire_at_dpc_level(lock) };
    // SAFETY: the driver's handle, which is its own until the release.
    unsafe { (*handle).LockQueue.Lock = lock };
}

pub(crate) unsafe extern "system" fn release_in_stack_from_dpc_level(
    handle: *mut KLOCK_QUEUE_HANDLE,
) {
    // SAFETY: the handle was filled in when the lock was taken.
    let lock = unsafe { (*handle).LockQueue.Lock };
    // SAFETY: the driver's lock.
    unsafe { release_from_dpc_level(lock) };
}

/// The cancel spin lock is Wine's own, since Wine's `IoCancelIrp` takes it; the level is kept here.
pub(crate) unsafe extern "system" fn acquire_cancel_lock(level: *mut KIRQL) {
    require_at_most("IoAcquireCancelSpinLock", DISPATCH_LEVEL);
    let before = irql::set(DISPATCH_LEVEL);
    let mut ignored = 0;
    // SAFETY: the pointer is valid for the call.
    unsafe { IoAcquireCancelSpinLock(&raw mut ignored) };
    // SAFETY: the driver's out parameter.
    unsafe { level.write(before) };
}

pub(crate) unsafe extern "system" fn release_cancel_lock(level: KIRQL) {
    // SAFETY: the driver holds the lock, or was called by the canceller, which took it for it.
    unsafe { IoReleaseCancelSpinLock(level) };
    irql::set(level);
}

pub(crate) unsafe extern "system" fn raise_irql(level: KIRQL) -> KIRQL {
    require_at_most("KfRaiseIrql", level);
    irql::set(level)
}

pub(crate) unsafe extern "system" fn lower_irql(level: KIRQL) {
    require_at_least("KeLowerIrql", level);
    irql::set(level);
}

pub(crate) unsafe extern "system" fn current_irql() -> KIRQL {
    irql::current()
}

/// # Safety
/// `lock` points at a spin lock.
unsafe fn cell<'a>(lock: PKSPIN_LOCK) -> &'a AtomicUsize {
    // SAFETY: the caller says so; a spin lock is one aligned word that is only touched atomically.
    unsafe { AtomicUsize::from_ptr(lock.cast()) }
}

/// A held lock names its holder; a free one is zero, as the kernel initialises it.
fn holder() -> usize {
    // SAFETY: has no preconditions.
    unsafe { GetCurrentThreadId() as usize }
}

fn try_take(lock: &AtomicUsize) -> bool {
    // Acquire: what the last holder wrote is seen. Relaxed on failure: nothing is read then.
    lock.compare_exchange(0, holder(), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

fn take(function: &str, lock: &AtomicUsize) {
    let mut spins = 0_u32;
    while !try_take(lock) {
        // Relaxed: only this thread can have stored its own id.
        if lock.load(Ordering::Relaxed) == holder() {
            violation(
                Rule::SpinLock,
                function,
                format_args!("{lock:p} is held by this thread already"),
            );
        }
        spins += 1;
        if spins.is_multiple_of(SPINS_BEFORE_YIELD) {
            // SAFETY: has no preconditions. A holder may have lost its time slice, which a kernel's cannot.
            unsafe { SwitchToThread() };
        } else {
            core::hint::spin_loop();
        }
    }
}

fn give_back(function: &str, lock: &AtomicUsize) {
    // Release: what was written under the lock is seen by the next holder. Relaxed on failure.
    if lock.compare_exchange(holder(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
        violation(Rule::SpinLock, function, format_args!("{lock:p} is not held by this thread"));
    }
}

fn restore(function: &str, level: Irql) {
    if level > DISPATCH_LEVEL {
        violation(
            Rule::SpinLock,
            function,
            format_args!("{level} is no level that a lock was taken at"),
        );
    }
    irql::set(level);
}

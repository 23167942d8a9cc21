//! Spin locks and IRQL.
//!
//! The rules: taking a lock raises the thread to DISPATCH_LEVEL and releasing it restores the
//! level; a lock is not taken twice by one thread, and is released by its holder.

use core::sync::atomic::{AtomicUsize, Ordering};

use nt::win32::{GetCurrentThreadId, SwitchToThread};
use wdk_sys::{
    KIRQL, PKSPIN_LOCK,
    ntddk::{IoAcquireCancelSpinLock, IoReleaseCancelSpinLock},
};

use crate::{
    checks::violation,
    irql::{self, DISPATCH_LEVEL, Irql, require_at_most, require_dispatch},
    preempt,
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
    require_dispatch(function);
    // SAFETY: the driver's lock.
    give_back(function, unsafe { cell(lock) });
    restore(function, level);
    preempt::point();
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
            violation!(SpinLock, function, "{lock:p} is held by this thread already");
        }
        spins += 1;
        if spins.is_multiple_of(SPINS_BEFORE_YIELD) {
            // SAFETY: has no preconditions. A holder may have lost its time slice, which a kernel's
            // cannot.
            unsafe { SwitchToThread() };
        } else {
            core::hint::spin_loop();
        }
    }
}

fn give_back(function: &str, lock: &AtomicUsize) {
    // Release: what was written under the lock is seen by the next holder. Relaxed on failure.
    if lock.compare_exchange(holder(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
        violation!(SpinLock, function, "{lock:p} is not held by this thread");
    }
}

fn restore(function: &str, level: Irql) {
    if level > DISPATCH_LEVEL {
        violation!(SpinLock, function, "{level} is no level that a lock was taken at");
    }
    irql::set(level);
}

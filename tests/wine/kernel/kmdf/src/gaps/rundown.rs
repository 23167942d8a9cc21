//! Rundown protection, which Wine only exports as stubs.
//!
//! The rule: once rundown has begun nobody acquires protection, and the waiter goes on when the last holder released.

use core::sync::atomic::{AtomicUsize, Ordering};

use nt::time::sleep_us;

use crate::{
    checks::{Rule, violation},
    irql::{APC_LEVEL, require_at_most},
};

/// The lowest bit says that rundown has begun; the rest counts holders.
const ACTIVE: usize = 1;
const ONE_HOLDER: usize = 2;
const POLL_US: u32 = 500;

pub(crate) unsafe extern "system" fn initialize(reference: *mut usize) {
    // SAFETY: the driver's rundown reference. Relaxed: nobody else knows it yet.
    unsafe { cell(reference) }.store(0, Ordering::Relaxed);
}

pub(crate) unsafe extern "system" fn acquire(reference: *mut usize) -> u8 {
    // SAFETY: the driver's rundown reference.
    let cell = unsafe { cell(reference) };
    // Acquire: a holder sees what was set up before protection was given out.
    let taken = cell.fetch_update(Ordering::Acquire, Ordering::Relaxed, |value| {
        (value & ACTIVE == 0).then_some(value + ONE_HOLDER)
    });
    u8::from(taken.is_ok())
}

pub(crate) unsafe extern "system" fn release(reference: *mut usize) {
    // SAFETY: the driver's rundown reference. Release: the waiter sees what holders did.
    let before = unsafe { cell(reference) }.fetch_sub(ONE_HOLDER, Ordering::Release);
    if before < ONE_HOLDER {
        violation(
            Rule::State,
            "ExReleaseRundownProtection",
            format_args!("{reference:p} has no holder"),
        );
    }
}

pub(crate) unsafe extern "system" fn wait_for_release(reference: *mut usize) {
    require_at_most("ExWaitForRundownProtectionRelease", APC_LEVEL);
    // SAFETY: the driver's rundown reference.
    let cell = unsafe { cell(reference) };
    // Acquire: pairs with the holders' releases.
    cell.fetch_or(ACTIVE, Ordering::Acquire);
    while cell.load(Ordering::Acquire) != ACTIVE {
        sleep_us(POLL_US);
    }
}

pub(crate) unsafe extern "system" fn reinitialize(reference: *mut usize) {
    // SAFETY: the driver's rundown reference. Release: what was set up anew is seen by the next holder.
    unsafe { cell(reference) }.store(0, Ordering::Release);
}

pub(crate) unsafe extern "system" fn completed(reference: *mut usize) {
    // SAFETY: the driver's rundown reference. Relaxed: nobody holds or waits.
    unsafe { cell(reference) }.store(ACTIVE, Ordering::Relaxed);
}

/// # Safety
/// `reference` points at an `EX_RUNDOWN_REF`.
unsafe fn cell<'a>(reference: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the caller says so; it is one aligned word that is only touched atomically.
    unsafe { AtomicUsize::from_ptr(reference) }
}

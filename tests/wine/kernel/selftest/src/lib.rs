//! `snapless-rig-selftest.sys`: a framework client that breaks one rule at a time.
//!
//! The rule: each case does one thing wrong and everything else right, so that the report that it
//! must end in can only be about that. `protocol::selftest` lists the cases and the rule that each
//! breaks.

#![no_std]

extern crate alloc;

mod answers;
mod cases;
mod device;
mod framework;
mod packets;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicPtr, Ordering};

use nt::{
    println,
    registry::Key,
    status::{Failure, Result, check},
    unicode::Wide,
};
use protocol::selftest::CASE;
use wdk_sys::{DRIVER_UNLOAD, NTSTATUS, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_SUCCESS};

use crate::framework::{DriverConfig, Framework, index};

/// The bound framework and the unload routine that it set, between start and end.
struct Running {
    framework: Framework,
    unload: DRIVER_UNLOAD,
}

static RUNNING: AtomicPtr<Running> = AtomicPtr::new(core::ptr::null_mut());

/// The driver's entry point.
///
/// # Safety
/// Called by the kernel, once.
#[unsafe(export_name = "DriverEntry")]
pub(crate) unsafe extern "system" fn driver_entry(
    driver: PDRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    if let Some(answer) = nt::entry::answer_to_library_call(registry_path.cast()) {
        return answer;
    }
    // SAFETY: the kernel's string.
    let registry_path = unsafe { Wide::copy_of(registry_path) };
    // SAFETY: the kernel's driver object.
    match unsafe { start(driver, registry_path) } {
        Ok(()) => STATUS_SUCCESS,
        Err(Failure(status)) => status,
    }
}

/// # Safety
/// `driver` is this driver's object, in its entry point.
unsafe fn start(driver: PDRIVER_OBJECT, registry_path: Wide) -> Result {
    let case = Key::open(&registry_path.with(r"\Parameters"))?.string(&Wide::new(CASE))?.to_text();
    // SAFETY: the caller vouches for the driver object.
    let framework = unsafe { Framework::bind(driver, registry_path) }?;
    let config = DriverConfig {
        size: size_of::<DriverConfig>() as u32,
        device_add: 0,
        unload: no_op as *const () as usize,
        flags: 1,
        tag: 0,
    };
    let mut handle = 0_usize;
    let path = framework.registry_path().clone();
    let status = framework.call(
        index::DRIVER_CREATE,
        &[
            driver as usize,
            path.borrow().as_ptr() as usize,
            0,
            &raw const config as usize,
            &raw mut handle as usize,
        ],
    );
    check(status as NTSTATUS)?;
    println!("snapless-rig-selftest: {case}");
    cases::run(&case, &framework, handle);
    // SAFETY: the framework has filled in the driver object.
    let unload_routine = unsafe { (*driver).DriverUnload };
    let running = Box::new(Running { framework, unload: unload_routine });
    // Release: pairs with `unload`.
    RUNNING.store(Box::into_raw(running), Ordering::Release);
    // SAFETY: this driver's object.
    unsafe { (*driver).DriverUnload = Some(unload) };
    Ok(())
}

unsafe extern "system" fn no_op(_driver: usize) {}

/// Unloading as the framework's entry stub does it: the framework's routine, then unbinding.
unsafe extern "C" fn unload(driver: PDRIVER_OBJECT) {
    // AcqRel: taken once.
    let running = RUNNING.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if running.is_null() {
        return;
    }
    // SAFETY: `start` leaked this box.
    let running = *unsafe { Box::from_raw(running) };
    if let Some(routine) = running.unload {
        // SAFETY: the framework's own routine.
        unsafe { routine(driver) };
    }
    running.framework.unbind();
}

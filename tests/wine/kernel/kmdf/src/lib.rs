//! KMDF for Wine: the rig's `wdfldr.sys`.
//!
//! The driver under test, the file that ships, binds to this one as it would to Microsoft's
//! framework on Windows. What it calls is implemented here with the documented behaviour, one file
//! per kind of object, and every rule that the framework's verifier or Driver Verifier would check
//! is checked always. A broken rule ends the device process.
//!
//! The rule: nothing here makes a wrong driver look right. Where Wine differs from Windows, the
//! difference is closed here or reported.

#![no_std]
// The framework's exports keep the names that drivers import.
#![allow(non_snake_case)]

extern crate alloc;

mod abi;
mod allocation_failure;
mod cancel;
mod checks;
mod client;
mod code;
mod collection;
mod device;
mod dispatch;
mod driver;
mod file;
mod gaps;
mod imports;
mod init;
mod irql;
mod irql_guard;
mod late_cancel;
mod ledger;
mod object;
mod pnp;
mod preempt;
mod presenter;
mod queue;
mod redirects;
mod registry;
mod removelock;
mod request;
mod settings;
mod shutdown;
mod table;
mod watch;
mod workitem;

/// The image's entry point. The image is a library to drivers and has nothing to set up.
///
/// # Safety
/// Called by the loader or by the kernel.
#[unsafe(export_name = "DriverEntry")]
pub(crate) unsafe extern "system" fn driver_entry(
    _module: *mut core::ffi::c_void,
    reason: *const core::ffi::c_void,
) -> wdk_sys::NTSTATUS {
    nt::entry::answer_to_library_call(reason).unwrap_or(wdk_sys::STATUS_SUCCESS)
}

//! COM in this thread and process.

use std::sync::{Mutex, PoisonError};

use windows::Win32::Foundation::{HLOCAL, LocalFree};
use windows::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows::Win32::Security::{
    ACL, GetSecurityDescriptorDacl, GetSecurityDescriptorGroup, GetSecurityDescriptorOwner,
    InitializeSecurityDescriptor, PSECURITY_DESCRIPTOR, PSID, SECURITY_DESCRIPTOR,
    SetSecurityDescriptorDacl, SetSecurityDescriptorGroup, SetSecurityDescriptorOwner,
};
use windows::Win32::System::Com::{
    COINIT_MULTITHREADED, CoIncrementMTAUsage, CoInitializeEx, CoInitializeSecurity,
    CoUninitialize, EOAC_NONE, RPC_C_AUTHN_LEVEL_PKT_PRIVACY, RPC_C_IMP_LEVEL_IDENTIFY,
};
use windows::Win32::System::SystemServices::SECURITY_DESCRIPTOR_REVISION;
use windows::core::{BOOL, Error, w};

use crate::conductor::StepError;

/// COM is used by this thread, in the multithreaded apartment: VSS calls back on other threads.
pub(super) struct Apartment;

impl Apartment {
    /// Enters it; the first one of the process says who may call the process.
    pub(super) fn enter() -> Result<Self, StepError> {
        static IS_SET_UP: Mutex<bool> = Mutex::new(false);
        // SAFETY: undone in `drop`, on the same thread: the value is not `Send`able to another one
        // by its users, which keep it on their stacks.
        unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.ok()?;
        let apartment = Self;
        let mut is_set_up = IS_SET_UP.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_set_up {
            // SAFETY: COM is initialized in this thread. The use is for ever: who may call is said
            // once in a process, and COM could forget it with its last apartment.
            unsafe { CoIncrementMTAUsage() }?;
            allow_callers()?;
            *is_set_up = true;
        }
        drop(is_set_up);
        Ok(apartment)
    }
}

impl Drop for Apartment {
    fn drop(&mut self) {
        // SAFETY: `enter` has entered it.
        unsafe { CoUninitialize() };
    }
}

/// VSS runs as SYSTEM; writers call the requestor as SYSTEM, LOCAL SERVICE, NETWORK SERVICE or an
/// administrator (docs: "Security Considerations for Requesters"). No other account may.
fn allow_callers() -> Result<(), Error> {
    let text = w!("O:BAG:BAD:(A;;0x3;;;SY)(A;;0x3;;;BA)(A;;0x3;;;LS)(A;;0x3;;;NS)");
    let mut parsed = PSECURITY_DESCRIPTOR::default();
    // SAFETY: the text is NUL-terminated and `parsed` a valid place; the size is optional.
    unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text,
            SDDL_REVISION_1,
            &raw mut parsed,
            None,
        )
    }?;
    let done = with_absolute(parsed, |descriptor| {
        // SAFETY: the descriptor is valid and has owner and group; the others are optional.
        unsafe {
            CoInitializeSecurity(
                Some(descriptor),
                -1,
                None,
                None,
                RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
                RPC_C_IMP_LEVEL_IDENTIFY,
                None,
                EOAC_NONE,
                None,
            )
        }
    });
    // SAFETY: allocated by `LocalAlloc`; no longer used, COM has its own copy.
    unsafe { LocalFree(Some(HLOCAL(parsed.0))) };
    done
}

/// Calls `with` with the same descriptor in the absolute form, which COM asks for.
fn with_absolute(
    parsed: PSECURITY_DESCRIPTOR,
    with: impl FnOnce(PSECURITY_DESCRIPTOR) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut owner, mut group) = (PSID::default(), PSID::default());
    let (mut list, mut is_there, mut is_default) = (std::ptr::null_mut::<ACL>(), BOOL(0), BOOL(0));
    // SAFETY: the descriptor is valid, and the places are.
    unsafe { GetSecurityDescriptorOwner(parsed, &raw mut owner, &raw mut is_default) }?;
    // SAFETY: the same.
    unsafe { GetSecurityDescriptorGroup(parsed, &raw mut group, &raw mut is_default) }?;
    // SAFETY: the same.
    unsafe {
        GetSecurityDescriptorDacl(parsed, &raw mut is_there, &raw mut list, &raw mut is_default)
    }?;
    let mut absolute = SECURITY_DESCRIPTOR::default();
    let descriptor = PSECURITY_DESCRIPTOR((&raw mut absolute).cast());
    // SAFETY: `absolute` is a place of the right size, and outlives all uses.
    unsafe { InitializeSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION) }?;
    // SAFETY: the parts belong to `parsed`, which outlives `absolute`.
    unsafe { SetSecurityDescriptorOwner(descriptor, Some(owner), false) }?;
    // SAFETY: the same.
    unsafe { SetSecurityDescriptorGroup(descriptor, Some(group), false) }?;
    // SAFETY: the same.
    unsafe { SetSecurityDescriptorDacl(descriptor, is_there.as_bool(), Some(list), false) }?;
    with(descriptor)
}

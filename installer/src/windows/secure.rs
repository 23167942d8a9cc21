//! A folder for SYSTEM and Administrators only.
//!
//! Ordinary users may make folders in `%ProgramData%`. The configuration says which server receives the volumes'
//! content, so its folder is taken over, with its ownership, even if somebody made it before.

use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, SetFileSecurityW,
};

use super::wide::{path_with_nul, with_nul};

/// Owned by Administrators; nothing inherited from above; full access for SYSTEM and Administrators, also to
/// what is in the folder.
const ADMINISTRATORS_ONLY: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// Makes the folder if it is not there, and closes it to everybody else.
pub(super) fn folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let descriptor = Descriptor::parse(ADMINISTRATORS_ONLY)?;
    let path = path_with_nul(folder);
    let parts = OWNER_SECURITY_INFORMATION
        | DACL_SECURITY_INFORMATION
        | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends with a zero; the descriptor is whole and lives through the call.
    let done = unsafe { SetFileSecurityW(path.as_ptr(), parts, descriptor.0) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A security descriptor that Windows made from its text form.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    fn parse(text: &str) -> io::Result<Self> {
        let text = with_nul(text);
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends with a zero; the place for the answer is valid; its size is not asked.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor was allocated for us to free this way.
        unsafe { LocalFree(self.0 as HLOCAL) };
    }
}

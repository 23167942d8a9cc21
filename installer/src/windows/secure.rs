//! A folder for SYSTEM and Administrators only.
//!
//! Every user may create folders in `%ProgramData%`. The configuration names the server that
//! receives the volumes' content, so the setup takes ownership of the folder even if it exists
//! already.

use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

use snapless_driver_client::{access_list, wine::is_wine};
use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, SetFileSecurityW,
};

use crate::access::{ADMINISTRATORS_ONLY, is_administrators_only};
use crate::system::Found;

/// Creates the folder if necessary, and sets owner and access.
pub(super) fn folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let descriptor = Descriptor::parse(ADMINISTRATORS_ONLY)?;
    let path = HSTRING::from(folder);
    let parts = OWNER_SECURITY_INFORMATION
        | DACL_SECURITY_INFORMATION
        | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path is NUL-terminated; the descriptor is valid and outlives the call.
    let done = unsafe { SetFileSecurityW(path.as_ptr(), parts, descriptor.0) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the folder exists and is for SYSTEM and Administrators only.
pub(super) fn access(folder: &Path) -> io::Result<Found> {
    if !folder.is_dir() {
        return Ok(Found::Other);
    }
    if is_wine() {
        // It makes permissions of a list, and another list of these.
        return Ok(Found::Unsupported);
    }
    let found = is_administrators_only(&access_list::text(folder)?);
    Ok(if found { Found::AsWanted } else { Found::Other })
}

/// A security descriptor allocated by Windows.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    fn parse(text: &str) -> io::Result<Self> {
        let text = HSTRING::from(text);
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text is NUL-terminated and `descriptor` is a valid place; the size is
        // optional.
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
        // SAFETY: `ConvertStringSecurityDescriptorToSecurityDescriptorW` allocated it by
        // `LocalAlloc`.
        unsafe { LocalFree(self.0 as HLOCAL) };
    }
}

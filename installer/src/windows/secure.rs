//! A folder for SYSTEM and Administrators only.
//!
//! Every user may create folders in `%ProgramData%`. The configuration names the server that
//! receives the volumes' content, so the setup takes ownership of the folder even if it exists
//! already.

use std::fs;
use std::io;
use std::path::Path;

use snapless_driver_client::access_list::{self, Descriptor};
use snapless_driver_client::wine::is_wine;
use windows_strings::HSTRING;
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    SetFileSecurityW,
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
    let done = unsafe { SetFileSecurityW(path.as_ptr(), parts, descriptor.as_ptr()) };
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

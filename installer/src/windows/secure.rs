//! A folder for SYSTEM and Administrators only.
//!
//! Every user may create folders in `%ProgramData%`. The configuration names the server that
//! receives the volumes' content, so the setup takes ownership of the folder even if it exists
//! already.

use std::fs;
use std::io;
use std::path::Path;
use std::ptr;

use windows_strings::{HSTRING, PCWSTR};
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, SetFileSecurityW,
};

use super::wine::is_wine;
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
    let found = is_administrators_only(&text(folder)?);
    Ok(if found { Found::AsWanted } else { Found::Other })
}

/// A folder's owner and access list as text.
fn text(folder: &Path) -> io::Result<String> {
    let path = HSTRING::from(folder);
    let parts = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let mut descriptor = ptr::null_mut();
    // SAFETY: the path is NUL-terminated; the places that are not asked for are optional.
    let status = unsafe {
        GetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            parts,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if status != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    let descriptor = Descriptor(descriptor);
    let mut text = ptr::null_mut();
    // SAFETY: the descriptor is valid, and so is the place; the length is optional.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0,
            SDDL_REVISION_1,
            parts,
            &raw mut text,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: Windows has written a NUL-terminated text there.
    let copy = unsafe { PCWSTR::from_raw(text).to_string() };
    // SAFETY: allocated by `LocalAlloc`; not used afterwards.
    unsafe { LocalFree(text as HLOCAL) };
    copy.map_err(io::Error::other)
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

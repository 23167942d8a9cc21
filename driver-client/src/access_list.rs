//! The access list of a file or a folder, as text (docs: "Security Descriptor String Format").

use std::io;
use std::path::Path;
use std::ptr;

use windows_strings::{HSTRING, PCWSTR};
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION};

/// The owner and the access list of a file or a folder.
///
/// # Errors
/// The system's.
pub fn text(of: &Path) -> io::Result<String> {
    let path = HSTRING::from(of);
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
    let mut text = ptr::null_mut();
    // SAFETY: the descriptor is valid, and so is the place; the length is optional.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            parts,
            &raw mut text,
            ptr::null_mut(),
        )
    };
    let error = io::Error::last_os_error();
    // SAFETY: `GetNamedSecurityInfoW` allocated it by `LocalAlloc`; not used afterwards.
    unsafe { LocalFree(descriptor as HLOCAL) };
    if done == 0 {
        return Err(error);
    }
    // SAFETY: Windows has written a NUL-terminated text there.
    let copy = unsafe { PCWSTR::from_raw(text).to_string() };
    // SAFETY: allocated by `LocalAlloc`; not used afterwards.
    unsafe { LocalFree(text as HLOCAL) };
    copy.map_err(io::Error::other)
}

//! Access lists of files and folders, and their text (docs: "Security Descriptor String Format").

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
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR,
};

/// A security descriptor that Windows allocated.
pub struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// That of a text.
    ///
    /// # Errors
    /// The system's.
    pub fn parse(text: &str) -> io::Result<Self> {
        let text = HSTRING::from(text);
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text is NUL-terminated, the place is valid, the size is optional.
        let parsed = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if parsed == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// One that a call has made.
    ///
    /// # Safety
    /// It is from `LocalAlloc`, and nothing else frees it.
    pub(crate) unsafe fn from_raw(descriptor: PSECURITY_DESCRIPTOR) -> Self {
        Self(descriptor)
    }

    /// For calls, while `self` lives.
    pub fn as_ptr(&self) -> PSECURITY_DESCRIPTOR {
        self.0
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: from `LocalAlloc`, and not used afterwards.
        unsafe { LocalFree(self.0 as HLOCAL) };
    }
}

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
    // SAFETY: the call above allocated it, and nothing else frees it.
    let descriptor = unsafe { Descriptor::from_raw(descriptor) };
    let mut text = ptr::null_mut();
    // SAFETY: the descriptor is valid, and so is the place; the length is optional.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.as_ptr(),
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

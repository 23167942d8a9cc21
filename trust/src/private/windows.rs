//! Windows' side of privacy: access lists and DPAPI.
#![allow(unsafe_code, reason = "calls of Windows")]

use std::io;
use std::path::Path;
use std::ptr;
use std::slice;

use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR,
    SetFileSecurityW,
};

/// No inherited entries. Full access for SYSTEM and Administrators to the folder and its content.
const ADMINISTRATORS_ONLY: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// The machine's key, whatever account the service has; no window ever asks.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Lets only SYSTEM and Administrators open the folder and what will be in it.
pub(super) fn administrators_only(folder: &Path) -> io::Result<()> {
    let text = HSTRING::from(ADMINISTRATORS_ONLY);
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the text is NUL-terminated and `descriptor` is a valid place; the size is optional.
    let parsed = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            ptr::null_mut(),
        )
    };
    if parsed == 0 {
        return Err(io::Error::last_os_error());
    }
    let path = HSTRING::from(folder);
    let parts = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path is NUL-terminated; the descriptor is valid until it is freed below.
    let set = unsafe { SetFileSecurityW(path.as_ptr(), parts, descriptor) };
    let error = io::Error::last_os_error();
    // SAFETY: Windows allocated the descriptor by `LocalAlloc`; it is not used afterwards.
    unsafe { LocalFree(descriptor as HLOCAL) };
    if set == 0 { Err(error) } else { Ok(()) }
}

/// Seals bytes with the machine's key.
pub(super) fn seal(secret: &[u8]) -> io::Result<Vec<u8>> {
    let input = blob(secret)?;
    let mut output = empty();
    // SAFETY: `input` describes `secret`, which Windows only reads; `output` is a valid place; the
    // other parameters are optional.
    let done = unsafe {
        CryptProtectData(
            &raw const input,
            ptr::null(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            FLAGS,
            &raw mut output,
        )
    };
    take(done, output)
}

/// Opens what [`seal`] sealed.
pub(super) fn unseal(sealed: &[u8]) -> io::Result<Vec<u8>> {
    let input = blob(sealed)?;
    let mut output = empty();
    // SAFETY: as in `seal`.
    let done = unsafe {
        CryptUnprotectData(
            &raw const input,
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            FLAGS,
            &raw mut output,
        )
    };
    take(done, output)
}

fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: len, pbData: bytes.as_ptr().cast_mut() })
}

fn empty() -> CRYPT_INTEGER_BLOB {
    CRYPT_INTEGER_BLOB { cbData: 0, pbData: ptr::null_mut() }
}

/// The bytes that Windows allocated, which are freed.
fn take(done: i32, output: CRYPT_INTEGER_BLOB) -> io::Result<Vec<u8>> {
    if done == 0 || output.pbData.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded: `output` describes bytes that Windows allocated.
    let bytes = unsafe { slice::from_raw_parts_mut(output.pbData, output.cbData as usize) };
    let copy = bytes.to_vec();
    bytes.fill(0);
    // SAFETY: allocated by `LocalAlloc`; not used afterwards.
    unsafe { LocalFree(output.pbData.cast()) };
    Ok(copy)
}

//! What Windows says of a driver's embedded signature.
//!
//! A driver that starts with the machine is checked by its embedded signature, before any catalogue
//! can be read (docs: "Signing a Boot-Start Driver"). Catalogues are not looked at here.

use std::io;
use std::path::Path;
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Wdk::System::SystemInformation::{
    NtQuerySystemInformation, SYSTEM_INFORMATION_CLASS,
};
use windows_sys::Win32::Security::WinTrust::{
    WINTRUST_ACTION_GENERIC_VERIFY_V2, WINTRUST_DATA, WINTRUST_DATA_0, WINTRUST_FILE_INFO,
    WTD_CHOICE_FILE, WTD_REVOKE_NONE, WTD_STATEACTION_CLOSE, WTD_STATEACTION_VERIFY, WTD_UI_NONE,
    WinVerifyTrust,
};

use crate::system::Signature;

/// `SystemCodeIntegrityInformation`
const CODE_INTEGRITY: SYSTEM_INFORMATION_CLASS = 103;
/// `CODEINTEGRITY_OPTION_TESTSIGN`
const TEST_SIGNING: u32 = 2;

/// `SYSTEM_CODEINTEGRITY_INFORMATION`
#[repr(C)]
struct CodeIntegrity {
    length: u32,
    options: u32,
}

/// What Windows says of the signature of `file`.
pub(super) fn of(file: &Path) -> Signature {
    let status = verify(file);
    if status == 0 {
        return Signature::Trusted;
    }
    // An HRESULT, which the system has a message for.
    let why = io::Error::from_raw_os_error(status).to_string();
    if test_signing() { Signature::Test(why) } else { Signature::Refused(why) }
}

fn verify(file: &Path) -> i32 {
    let path = HSTRING::from(file);
    let mut subject = WINTRUST_FILE_INFO {
        cbStruct: size_in_u32::<WINTRUST_FILE_INFO>(),
        pcwszFilePath: path.as_ptr(),
        ..WINTRUST_FILE_INFO::default()
    };
    let mut data = WINTRUST_DATA {
        cbStruct: size_in_u32::<WINTRUST_DATA>(),
        dwUIChoice: WTD_UI_NONE,
        // A machine that is being set up may be without a network.
        fdwRevocationChecks: WTD_REVOKE_NONE,
        dwUnionChoice: WTD_CHOICE_FILE,
        Anonymous: WINTRUST_DATA_0 { pFile: &raw mut subject },
        dwStateAction: WTD_STATEACTION_VERIFY,
        ..WINTRUST_DATA::default()
    };
    let mut action = WINTRUST_ACTION_GENERIC_VERIFY_V2;
    // SAFETY: all structures are complete and outlive the call; no window is needed.
    let status =
        unsafe { WinVerifyTrust(ptr::null_mut(), &raw mut action, (&raw mut data).cast()) };
    data.dwStateAction = WTD_STATEACTION_CLOSE;
    // SAFETY: as above; frees what the first call has kept.
    let _ = unsafe { WinVerifyTrust(ptr::null_mut(), &raw mut action, (&raw mut data).cast()) };
    status
}

/// True if the machine takes drivers with test signatures.
fn test_signing() -> bool {
    let mut found = CodeIntegrity { length: size_in_u32::<CodeIntegrity>(), options: 0 };
    let mut len = 0;
    // SAFETY: the structure has the length that is given.
    let status = unsafe {
        NtQuerySystemInformation(
            CODE_INTEGRITY,
            (&raw mut found).cast(),
            size_in_u32::<CodeIntegrity>(),
            &raw mut len,
        )
    };
    status >= 0 && found.options & TEST_SIGNING != 0
}

fn size_in_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}

//! Installing the driver by its INF, with Windows' own result.
//!
//! From Windows 10 1903 on, `DiInstallDriver` installs a primitive driver and says how that ended
//! (docs: "Creating a primitive driver"). Earlier versions, Windows Server 2019 included, take it
//! for a device's driver and install nothing; `SetupAPI` carries the sections out there. So it does
//! on Wine, whose `DiInstallDriver` succeeds without an effect.

use std::io;
use std::path::Path;
use std::ptr;

use snapless_driver_client::wine::is_wine;
use windows_registry::LOCAL_MACHINE;
use windows_strings::HSTRING;
use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    DiInstallDriverW, INF_STYLE_WIN4, SPINST_ALL, SetupCloseInfFile, SetupDefaultQueueCallbackW,
    SetupGetLineTextW, SetupInitDefaultQueueCallbackEx, SetupInstallFromInfSectionW,
    SetupInstallServicesFromInfSectionW, SetupOpenInfFileW, SetupTermDefaultQueueCallback,
};
use windows_sys::Win32::Foundation::{
    ERROR_SUCCESS_REBOOT_REQUIRED, GetLastError, INVALID_HANDLE_VALUE,
};

use crate::error::SetupError;

/// The section of the files.
const SECTION: &str = "DefaultInstall.NTamd64";
/// The section of the services.
pub(super) const SERVICES_SECTION: &str = "DefaultInstall.NTamd64.Services";
/// Longer than any line of the driver's INF that is read, in UTF-16 units.
const LINE_MAX: u32 = 256;
/// Windows 10 1903.
const BUILD_OF_PRIMITIVE_DRIVERS: u32 = 18_362;

/// Installs the driver; true if Windows wants a restart.
pub(super) fn install(inf: &Path) -> Result<bool, SetupError> {
    let installed = match build() {
        Ok(build) if build >= BUILD_OF_PRIMITIVE_DRIVERS && !is_wine() => by_driver_store(inf),
        Ok(_) => by_sections(inf),
        Err(error) => Err(error),
    };
    installed.map_err(|error| SetupError::Driver { inf: inf.to_owned(), why: error.to_string() })
}

/// The number of this Windows.
fn build() -> io::Result<u32> {
    let key = LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion");
    let text =
        key.and_then(|key| key.get_string("CurrentBuildNumber")).map_err(io::Error::other)?;
    text.parse().map_err(|_| io::Error::other(format!("Windows has no build number: {text:?}")))
}

fn by_driver_store(inf: &Path) -> io::Result<bool> {
    let inf = HSTRING::from(inf);
    let mut restart = 0;
    // SAFETY: the path is NUL-terminated, the place is valid, and no window is needed.
    let done = unsafe { DiInstallDriverW(ptr::null_mut(), inf.as_ptr(), 0, &raw mut restart) };
    if done == 0 { Err(last_error()) } else { Ok(restart != 0) }
}

fn by_sections(inf: &Path) -> io::Result<bool> {
    let file = Inf::open(inf)?;
    let callback = Callback::new()?;
    let (section, services) = (HSTRING::from(SECTION), HSTRING::from(SERVICES_SECTION));
    let folder = HSTRING::from(inf.parent().unwrap_or(Path::new(".")));
    // SAFETY: the INF and the callback's context are open, the strings are NUL-terminated; window,
    // key and devices are optional.
    let done = unsafe {
        SetupInstallFromInfSectionW(
            ptr::null_mut(),
            file.0,
            section.as_ptr(),
            SPINST_ALL,
            ptr::null_mut(),
            folder.as_ptr(),
            0,
            Some(SetupDefaultQueueCallbackW),
            callback.0,
            0,
            ptr::null(),
        )
    };
    if done == 0 {
        return Err(last_error());
    }
    // SAFETY: the INF is open, the name is NUL-terminated.
    let done = unsafe { SetupInstallServicesFromInfSectionW(file.0, services.as_ptr(), 0) };
    // SAFETY: always sound. It says more of a success, too.
    let status = unsafe { GetLastError() };
    if done == 0 { Err(error_of(status)) } else { Ok(status == ERROR_SUCCESS_REBOOT_REQUIRED) }
}

/// The last error of `SetupAPI`, whose own numbers the system has no text for.
pub(super) fn last_error() -> io::Error {
    // SAFETY: always sound.
    error_of(unsafe { GetLastError() })
}

fn error_of(status: u32) -> io::Error {
    let said = io::Error::from_raw_os_error(status.cast_signed());
    io::Error::new(said.kind(), format!("{said} (0x{status:08X})"))
}

/// An open INF.
pub(super) struct Inf(*mut core::ffi::c_void);

impl Inf {
    pub(super) fn open(inf: &Path) -> io::Result<Self> {
        let path = HSTRING::from(inf);
        let mut line = 0;
        // SAFETY: the path is NUL-terminated, the place is valid; the class is optional.
        let file =
            unsafe { SetupOpenInfFileW(path.as_ptr(), ptr::null(), INF_STYLE_WIN4, &raw mut line) };
        if file == INVALID_HANDLE_VALUE {
            let error = last_error();
            return Err(io::Error::new(error.kind(), format!("line {line}: {error}")));
        }
        Ok(Self(file))
    }

    /// The value of a key, with strings in the place of their names; `None` if there is none, or a
    /// long one.
    pub(super) fn line(&self, section: &str, key: &str) -> Option<String> {
        let (section, key) = (HSTRING::from(section), HSTRING::from(key));
        let mut units = [0_u16; LINE_MAX as usize];
        // SAFETY: the INF is open, the names are NUL-terminated, and the buffer has `LINE_MAX`
        // units; context and length are optional.
        let done = unsafe {
            SetupGetLineTextW(
                ptr::null(),
                self.0,
                section.as_ptr(),
                key.as_ptr(),
                units.as_mut_ptr(),
                LINE_MAX,
                ptr::null_mut(),
            )
        };
        let len = units.iter().position(|unit| *unit == 0).filter(|_| done != 0)?;
        Some(String::from_utf16_lossy(&units[..len]))
    }
}

impl Drop for Inf {
    fn drop(&mut self) {
        // SAFETY: it is open and is closed only here.
        unsafe { SetupCloseInfFile(self.0) };
    }
}

/// The context of the default callback, without a window.
struct Callback(*mut core::ffi::c_void);

impl Callback {
    fn new() -> io::Result<Self> {
        // SAFETY: an invalid progress window means that there is none.
        let context = unsafe {
            SetupInitDefaultQueueCallbackEx(
                ptr::null_mut(),
                INVALID_HANDLE_VALUE,
                0,
                0,
                ptr::null(),
            )
        };
        if context.is_null() { Err(last_error()) } else { Ok(Self(context)) }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: it was made by `SetupInitDefaultQueueCallbackEx` and is freed only here.
        unsafe { SetupTermDefaultQueueCallback(self.0) };
    }
}

//! Installing the driver by its INF.
//!
//! The Windows function reports no errors: the caller must check that the driver is installed.

use std::path::Path;
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Win32::Devices::DeviceAndDriverInstallation::InstallHinfSectionW;
use windows_sys::Win32::UI::WindowsAndMessaging::SW_HIDE;

/// The decorated section: since Windows 10 1903 it installs a primitive driver.
const SECTION: &str = "DefaultInstall.NTamd64";
/// The files are in the INF's folder (128); never restart the machine (0).
const MODE: u32 = 128;

/// Runs the install section of `inf`.
pub(super) fn install(inf: &Path) {
    let line = HSTRING::from(format!("{SECTION} {MODE} {}", inf.display()));
    // SAFETY: the line is NUL-terminated and outlives the call; window and module are optional.
    unsafe { InstallHinfSectionW(ptr::null_mut(), ptr::null_mut(), line.as_ptr(), SW_HIDE) };
}

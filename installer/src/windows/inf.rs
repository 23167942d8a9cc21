//! Carrying out the driver's INF.
//!
//! The call reports nothing; whoever makes it looks whether the driver is in place afterwards.

use std::path::Path;
use std::ptr;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::InstallHinfSectionW;
use windows_sys::Win32::UI::WindowsAndMessaging::SW_HIDE;

use super::wide::with_nul;

/// The section, decorated: from Windows 10 1903 on that makes it the installation of a primitive driver.
const SECTION: &str = "DefaultInstall.NTamd64";
/// The INF's own folder is where its files are (128); never restart the machine (0).
const MODE: u32 = 128;

/// Carries out the install section of `inf`.
pub(super) fn install(inf: &Path) {
    let line = with_nul(&format!("{SECTION} {MODE} {}", inf.display()));
    // SAFETY: the line ends with a zero and lives through the call; no window, no module are needed.
    unsafe { InstallHinfSectionW(ptr::null_mut(), ptr::null_mut(), line.as_ptr(), SW_HIDE) };
}

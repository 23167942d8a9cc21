//! The driver's packages in the driver store (docs: "How Devices and Driver Packages are
//! Uninstalled"). Windows publishes the INF of each as `oemN.inf`.
//!
//! Wine has no driver store and no `DiUninstallDriver`; it knows published INFs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;

use snapless_driver_client::paths;
use snapless_driver_client::wine::is_wine;
use windows_strings::HSTRING;
use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    DiUninstallDriverW, SUOI_FORCEDELETE, SetupUninstallOEMInfW,
};

use super::inf::{Inf, SERVICES_SECTION, last_error};
use crate::error::SetupError;
use crate::names::{DRIVER, PROVIDER};

/// The names of the published INFs that install the driver.
pub(super) fn packages() -> Result<Vec<String>, SetupError> {
    let folder = folder();
    let listed = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = listed.map_err(SetupError::file("list", &folder))?;
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_published(name) && is_ours(&folder.join(name)))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Removes a package; true if Windows wants a restart.
pub(super) fn remove(name: &str) -> Result<bool, SetupError> {
    let removed = if is_wine() { unpublish(name) } else { uninstall(name) };
    removed.map_err(|error| SetupError::Package { name: name.to_owned(), why: error.to_string() })
}

fn uninstall(name: &str) -> io::Result<bool> {
    let inf = HSTRING::from(folder().join(name).as_path());
    let mut restart = 0;
    // SAFETY: the path is NUL-terminated, the place is valid, and no window is needed.
    let done = unsafe { DiUninstallDriverW(ptr::null_mut(), inf.as_ptr(), 0, &raw mut restart) };
    if done == 0 { Err(last_error()) } else { Ok(restart != 0) }
}

fn unpublish(name: &str) -> io::Result<bool> {
    let name = HSTRING::from(name);
    // SAFETY: the name is NUL-terminated; the last argument is reserved.
    let done = unsafe { SetupUninstallOEMInfW(name.as_ptr(), SUOI_FORCEDELETE, ptr::null()) };
    if done == 0 { Err(last_error()) } else { Ok(false) }
}

/// Where Windows publishes INFs.
fn folder() -> PathBuf {
    paths::windows_dir().join("INF")
}

/// True for `oemN.inf`.
fn is_published(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let number = name.strip_prefix("oem").and_then(|rest| rest.strip_suffix(".inf"));
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()))
}

/// True if it is this product's and adds the driver's service; an INF that cannot be read is not.
fn is_ours(inf: &Path) -> bool {
    let Ok(inf) = Inf::open(inf) else { return false };
    let service = inf.line(SERVICES_SECTION, "AddService");
    let name = service.as_deref().and_then(|line| line.split(',').next()).map(str::trim);
    name.is_some_and(|name| name.eq_ignore_ascii_case(DRIVER))
        && inf.line("Version", "Provider").as_deref() == Some(PROVIDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_windows_gives_are_published() {
        for (name, is) in [("oem7.inf", true), ("OEM12.INF", true), ("oem.inf", false)] {
            assert_eq!(is_published(name), is, "{name}");
        }
        for name in ["oem7.pnf", "oemx.inf", "snapless.inf", "oem7.inf.bak"] {
            assert!(!is_published(name), "{name}");
        }
    }
}

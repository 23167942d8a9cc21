//! Whether Windows loads a driver: it is loaded and unloaded under a name of its own.
//!
//! Loading starts nothing: the driver opens its control device with the first volume that it is put
//! on, and the trial is no filter. So it does not disturb one that runs, and its start is not
//! counted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use windows_service::service::{
    ServiceAccess, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceType,
};
use windows_service::service_manager::ServiceManagerAccess;
use windows_sys::Win32::Foundation::{
    ERROR_BAD_EXE_FORMAT, ERROR_DRIVER_BLOCKED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_IMAGE_HASH,
    ERROR_MOD_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_PROC_NOT_FOUND,
};

use super::files;
use super::services::{self, code, failed, manager};
use crate::error::SetupError;
use crate::names::TRIAL;
use crate::system::ServiceState;

/// Has Windows load `driver`, and unload it.
pub(super) fn run(driver: &Path) -> Result<(), SetupError> {
    clear()?;
    let copy = file();
    files::copy(driver, &copy)?;
    let loaded = register(&copy).and_then(|()| load(driver));
    let cleared = clear();
    loaded.and(cleared)
}

/// True if a trial has left something.
pub(super) fn is_left() -> Result<bool, SetupError> {
    Ok(file().is_file() || services::state(TRIAL)? != ServiceState::Absent)
}

/// Removes what a trial has left.
pub(super) fn clear() -> Result<(), SetupError> {
    services::stop(TRIAL)?;
    services::delete(TRIAL)?;
    files::delete(&file(), false).map(|_| ())
}

/// The copy, where drivers are.
fn file() -> PathBuf {
    snapless_driver_client::paths::driver_file().with_file_name(format!("{TRIAL}.sys"))
}

fn register(copy: &Path) -> Result<(), SetupError> {
    let info = ServiceInfo {
        name: TRIAL.into(),
        display_name: TRIAL.into(),
        service_type: ServiceType::KERNEL_DRIVER,
        start_type: ServiceStartType::OnDemand,
        error_control: ServiceErrorControl::Normal,
        executable_path: copy.to_owned(),
        launch_arguments: Vec::<OsString>::new(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    manager(access)
        .and_then(|manager| manager.create_service(&info, ServiceAccess::START))
        .map(|_| ())
        .map_err(failed("register", TRIAL))
}

fn load(driver: &Path) -> Result<(), SetupError> {
    let Some(service) = services::open(TRIAL, ServiceAccess::START)? else {
        let why = "its service is gone".to_owned();
        return Err(SetupError::NotLoaded { file: driver.to_owned(), why });
    };
    let started = service.start::<&str>(&[]).map_err(|error| match code(&error) {
        Some(code) => SetupError::NotLoaded { file: driver.to_owned(), why: loader_status(code) },
        None => failed("start", TRIAL)(error),
    });
    started?;
    if services::state(TRIAL)? == ServiceState::Running {
        return Ok(());
    }
    let why = "it does not run after its start".to_owned();
    Err(SetupError::NotLoaded { file: driver.to_owned(), why })
}

/// The loader's status in words.
fn loader_status(code: u32) -> String {
    let words = match code {
        ERROR_INVALID_IMAGE_HASH => {
            "it does not accept the signature. Install a driver that is signed for this version of \
             Windows; on a test machine, `bcdedit /set testsigning on`, and restart"
        }
        ERROR_DRIVER_BLOCKED => "a policy of this machine blocks the driver",
        ERROR_PROC_NOT_FOUND | ERROR_MOD_NOT_FOUND => {
            "it lacks a routine that the driver imports. Snapless needs Windows 10 1809, Windows \
             Server 2019 or later"
        }
        ERROR_BAD_EXE_FORMAT => "the file is damaged, or not for this processor",
        ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND => "the file is not there",
        _ => "the driver or the system refused",
    };
    let said = std::io::Error::from_raw_os_error(code.cast_signed());
    format!("{words} ({said})")
}

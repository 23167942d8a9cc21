//! How services are registered.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use snapless_driver_client::paths;
use windows_registry::LOCAL_MACHINE;
use windows_service::service::{
    ServiceAccess, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceType,
};
use windows_service::service_manager::ServiceManagerAccess;
use windows_sys::Win32::Foundation::ERROR_SERVICE_EXISTS;

use super::services::{code, failed, manager, open};
use crate::error::SetupError;
use crate::image_path;
use crate::names::{SERVICE, SERVICE_DISPLAY, SERVICE_PROGRAM};
use crate::system::{Registration, Start};

/// Reads a service's registration; `None` if it has none.
pub(super) fn read(name: &str) -> Result<Option<Registration>, SetupError> {
    let Some(service) = open(name, ServiceAccess::QUERY_CONFIG)? else { return Ok(None) };
    let config = service.query_config().map_err(failed("query", name))?;
    let start = match config.start_type {
        ServiceStartType::BootStart => Start::Boot,
        ServiceStartType::AutoStart => Start::Automatic,
        ServiceStartType::OnDemand | ServiceStartType::SystemStart | ServiceStartType::Disabled => {
            Start::Other
        }
    };
    Ok(Some(Registration { file: file(&config.executable_path), start }))
}

/// True if the service is deleted and waits for the restart: the service manager marks it so.
pub(super) fn is_deleted(name: &str) -> bool {
    let key = LOCAL_MACHINE.open(format!(r"SYSTEM\CurrentControlSet\Services\{name}"));
    key.and_then(|key| key.get_u32("DeleteFlag")).is_ok_and(|flag| flag != 0)
}

/// The file that an image path means, if it is one of ours; else the path as it is.
fn file(image_path: &Path) -> PathBuf {
    let windows = paths::windows_dir();
    let ours = [paths::driver_file(), paths::program_dir().join(SERVICE_PROGRAM)];
    let means = |file: &PathBuf| {
        image_path::means(
            &image_path.to_string_lossy(),
            &file.to_string_lossy(),
            &windows.to_string_lossy(),
        )
    };
    ours.into_iter().find(means).unwrap_or_else(|| image_path.to_owned())
}

/// Registers the service with `program` and automatic start; updates an earlier registration.
pub(super) fn write(program: &Path) -> Result<(), SetupError> {
    let info = ServiceInfo {
        name: SERVICE.into(),
        display_name: SERVICE_DISPLAY.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program.to_owned(),
        launch_arguments: Vec::<OsString>::new(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::CHANGE_CONFIG;
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)
        .map_err(failed("register", SERVICE))?;
    match manager.create_service(&info, access) {
        Err(error) if code(&error) == Some(ERROR_SERVICE_EXISTS) => manager
            .open_service(SERVICE, access)
            .and_then(|service| service.change_config(&info))
            .map_err(failed("update", SERVICE)),
        created => created.map(|_| ()).map_err(failed("register", SERVICE)),
    }
}

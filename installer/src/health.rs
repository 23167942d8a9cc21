//! Whether the machine boots with what is installed.

use crate::error::SetupError;
use crate::names::DRIVER;
use crate::system::{Start, System};

/// True if some list of filters names the driver.
pub fn is_filter(system: &dyn System) -> Result<bool, SetupError> {
    Ok(system.class_filters()?.contains(DRIVER) || system.device_filters(DRIVER)? > 0)
}

/// True unless the driver is a filter and not installed: Windows starts no volume without it then,
/// the system's included.
pub fn boots(system: &dyn System) -> Result<bool, SetupError> {
    if !is_filter(system)? {
        return Ok(true);
    }
    let file = system.driver_file();
    let registration = system.registration(DRIVER)?;
    Ok(registration.is_some_and(|found| found.start == Start::Boot && found.file == file)
        && system.read_file(&file)?.is_some()
        && !system.is_service_deleted_at_restart(DRIVER)?
        && !system.is_deleted_at_restart(&file)?)
}

/// Adds a warning to an error that leaves a machine which does not boot.
pub fn guard<T>(system: &dyn System, outcome: Result<T, SetupError>) -> Result<T, SetupError> {
    outcome.map_err(|error| match boots(system) {
        Ok(true) => error,
        Ok(false) | Err(_) => SetupError::Danger(Box::new(error)),
    })
}

//! Services: start, stop, delete.

use std::thread;
use std::time::{Duration, Instant};

use windows_service::service::{Service, ServiceAccess, ServiceState as Running};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_MARKED_FOR_DELETE,
    ERROR_SERVICE_NOT_ACTIVE,
};

use crate::error::SetupError;
use crate::system::{Deleted, ServiceState};

/// Longer than the service's flush before it stops.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How often the state of a stopping service is queried.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Starts a service; does nothing if it runs.
pub(super) fn start(name: &str) -> Result<(), SetupError> {
    let Some(service) = open(name, ServiceAccess::START)? else {
        let why = "it is not registered".to_owned();
        return Err(SetupError::Service { verb: "start", name: name.to_owned(), why });
    };
    match service.start::<&str>(&[]) {
        Err(error) if code(&error) != Some(ERROR_SERVICE_ALREADY_RUNNING) => {
            Err(failed("start", name)(error))
        }
        _ => Ok(()),
    }
}

/// Stops a service and waits for it; does nothing if it is absent or not running.
pub(super) fn stop(name: &str) -> Result<(), SetupError> {
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS;
    let Some(service) = open(name, access)? else { return Ok(()) };
    match service.stop() {
        Ok(_) => {}
        Err(error) if code(&error) == Some(ERROR_SERVICE_NOT_ACTIVE) => return Ok(()),
        // It may be stopping already; the wait below tells.
        Err(error) => {
            if running(&service, name)? == Running::Running {
                return Err(failed("stop", name)(error));
            }
        }
    }
    let limit = Instant::now() + STOP_LIMIT;
    while running(&service, name)? != Running::Stopped {
        if Instant::now() >= limit {
            let why = format!("it did not stop within {} s", STOP_LIMIT.as_secs());
            return Err(SetupError::Service { verb: "stop", name: name.to_owned(), why });
        }
        thread::sleep(STOP_POLL);
    }
    Ok(())
}

/// Deletes a service; Windows deletes a running one when it has stopped.
pub(super) fn delete(name: &str) -> Result<Deleted, SetupError> {
    let access = ServiceAccess::DELETE | ServiceAccess::QUERY_STATUS;
    let Some(service) = open(name, access)? else { return Ok(Deleted::Absent) };
    let stopped = running(&service, name)? == Running::Stopped;
    match service.delete() {
        Ok(()) if stopped => Ok(Deleted::Now),
        Ok(()) => Ok(Deleted::AtRestart),
        Err(error) if code(&error) == Some(ERROR_SERVICE_MARKED_FOR_DELETE) => Ok(Deleted::Pending),
        Err(error) => Err(failed("delete", name)(error)),
    }
}

/// The state of a service.
pub(super) fn state(name: &str) -> Result<ServiceState, SetupError> {
    let Some(service) = open(name, ServiceAccess::QUERY_STATUS)? else {
        return Ok(ServiceState::Absent);
    };
    Ok(match running(&service, name)? {
        Running::Stopped => ServiceState::Stopped,
        _ => ServiceState::Running,
    })
}

/// The service manager.
pub(super) fn manager(access: ServiceManagerAccess) -> windows_service::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access)
}

/// The service; `None` if it is not registered.
pub(super) fn open(name: &str, access: ServiceAccess) -> Result<Option<Service>, SetupError> {
    let opened = manager(ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(name, access));
    match opened {
        Ok(service) => Ok(Some(service)),
        Err(error) if code(&error) == Some(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(failed("open", name)(error)),
    }
}

fn running(service: &Service, name: &str) -> Result<Running, SetupError> {
    service.query_status().map(|status| status.current_state).map_err(failed("query", name))
}

/// The system's number of an error.
pub(super) fn code(error: &windows_service::Error) -> Option<u32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error().map(i32::cast_unsigned),
        _ => None,
    }
}

/// For `map_err`: adds operation and service to an error.
pub(super) fn failed(
    verb: &'static str,
    name: &str,
) -> impl FnOnce(windows_service::Error) -> SetupError {
    let name = name.to_owned();
    move |error| {
        let why = match &error {
            windows_service::Error::Winapi(system) => system.to_string(),
            other => other.to_string(),
        };
        SetupError::Service { verb, name, why }
    }
}

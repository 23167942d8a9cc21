//! Services: register, stop, delete.

use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use windows_registry::LOCAL_MACHINE;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType,
    ServiceState as Running, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_EXE_FORMAT, ERROR_DRIVER_BLOCKED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_IMAGE_HASH,
    ERROR_MOD_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_PROC_NOT_FOUND, ERROR_SERVICE_ALREADY_RUNNING,
    ERROR_SERVICE_DISABLED, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS,
    ERROR_SERVICE_MARKED_FOR_DELETE, ERROR_SERVICE_NOT_ACTIVE,
};

use crate::error::SetupError;
use crate::names::{SERVICE, SERVICE_DISPLAY};
use crate::system::{Deleted, DriverStart, ServiceState};

const DESCRIPTION: &str = "Copies protected volumes to the Snapless server while they are in use";
/// Longer than the service's flush before it stops.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How often the state of a stopping service is queried.
const STOP_POLL: Duration = Duration::from_millis(100);
/// Delays before the first, second and each further restart after a crash.
const RESTART_DELAYS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(1)];
/// After this time without a crash the first delay applies again.
const CRASHES_FORGOTTEN: Duration = Duration::from_hours(24);

/// The event source in the application log. `EventCreate.exe` is on every Windows, and its messages
/// 1 to 1000 consist of the event's own text.
const EVENT_SOURCE_KEY: &str =
    r"SYSTEM\CurrentControlSet\Services\EventLog\Application\SnaplessService";
/// The driver's settings.
const DRIVER_PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\snapless\Parameters";
const STARTS_VALUE: &str = snapless_driver_logic::starts::VALUE;
const EVENT_MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Error, warning, information.
const EVENT_TYPES: u32 = 7;

/// Registers the service with `program` and automatic start; updates an earlier registration.
pub(super) fn register(program: &Path) -> Result<(), SetupError> {
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
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)
        .map_err(failed("register", SERVICE))?;
    let service = match manager.create_service(&info, access) {
        Err(error) if code(&error) == Some(ERROR_SERVICE_EXISTS) => {
            let service = manager.open_service(SERVICE, access).map_err(failed("open", SERVICE))?;
            service.change_config(&info).map_err(failed("update", SERVICE))?;
            service
        }
        created => created.map_err(failed("register", SERVICE))?,
    };
    describe(&service).map_err(failed("describe", SERVICE))
}

/// Registers the service's event source.
pub(super) fn register_events() -> Result<(), SetupError> {
    let written = LOCAL_MACHINE.create(EVENT_SOURCE_KEY).and_then(|key| {
        key.set_expand_string("EventMessageFile", EVENT_MESSAGES)?;
        key.set_u32("TypesSupported", EVENT_TYPES)
    });
    written.map_err(|error| SetupError::Registry {
        verb: "register",
        what: "the event source".into(),
        why: error.to_string(),
    })
}

/// Has Windows load a driver.
pub(super) fn start_driver(name: &str) -> Result<DriverStart, SetupError> {
    let not_loaded = |why| SetupError::NotLoaded { name: name.to_owned(), why, left: "" };
    let Some(service) = open(name, ServiceAccess::START)? else {
        return Err(not_loaded("it has no service".into()));
    };
    match service.start::<&str>(&[]) {
        Ok(()) => Ok(DriverStart::Now),
        Err(error) => match code(&error) {
            Some(ERROR_SERVICE_ALREADY_RUNNING) => Ok(DriverStart::Before),
            Some(code) => Err(not_loaded(loader_status(code))),
            None => Err(failed("start", name)(error)),
        },
    }
}

/// Deletes the driver's count (`snapless-driver-logic`, `starts`).
pub(super) fn forget_failed_starts() -> Result<(), SetupError> {
    let Ok(key) = LOCAL_MACHINE.options().read().write().open(DRIVER_PARAMETERS) else {
        return Ok(());
    };
    match key.remove_value(STARTS_VALUE) {
        Ok(()) => Ok(()),
        // It is not there.
        Err(_) if key.get_value(STARTS_VALUE).is_err() => Ok(()),
        Err(error) => Err(SetupError::Registry {
            verb: "remove",
            what: STARTS_VALUE.into(),
            why: error.to_string(),
        }),
    }
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
        ERROR_SERVICE_DISABLED => "its service is disabled",
        _ => "the driver or the system refused",
    };
    let said = std::io::Error::from_raw_os_error(code.cast_signed());
    format!("{words} ({said})")
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
        Ok(()) => {}
        Err(error) if code(&error) == Some(ERROR_SERVICE_MARKED_FOR_DELETE) => {}
        Err(error) => return Err(failed("delete", name)(error)),
    }
    if name == SERVICE {
        remove_events()?;
    }
    Ok(if stopped { Deleted::Now } else { Deleted::AtRestart })
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

/// Sets the description and the restarts after a crash, which `CreateService` does not take.
fn describe(service: &Service) -> windows_service::Result<()> {
    service.set_description(DESCRIPTION)?;
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(CRASHES_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTART_DELAYS.map(restart).to_vec()),
    })
}

fn remove_events() -> Result<(), SetupError> {
    match LOCAL_MACHINE.remove_tree(EVENT_SOURCE_KEY) {
        Ok(()) => Ok(()),
        // It does not exist.
        Err(_) if LOCAL_MACHINE.open(EVENT_SOURCE_KEY).is_err() => Ok(()),
        Err(error) => Err(SetupError::Registry {
            verb: "remove",
            what: "the event source".into(),
            why: error.to_string(),
        }),
    }
}

fn manager(access: ServiceManagerAccess) -> windows_service::Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access)
}

/// The service; `None` if it is not registered.
fn open(name: &str, access: ServiceAccess) -> Result<Option<Service>, SetupError> {
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

fn code(error: &windows_service::Error) -> Option<u32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error().map(i32::cast_unsigned),
        _ => None,
    }
}

fn failed(verb: &'static str, name: &str) -> impl FnOnce(windows_service::Error) -> SetupError {
    let name = name.to_owned();
    move |error| {
        let why = match &error {
            windows_service::Error::Winapi(system) => system.to_string(),
            other => other.to_string(),
        };
        SetupError::Service { verb, name, why }
    }
}

//! The service under the service manager.
//!
//! Rule: the manager always knows where we are: it is told that we start, run, stop and have stopped, with
//! an honest estimate of how long stopping takes, and with an error if we could not run.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use snapless_service::event::Event;
use snapless_service::logging::Audience;
use snapless_service::stop::StopSignal;
use snapless_service::{SERVICE_NAME, notice};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

use crate::Arguments;
use crate::host::{self, HostError};

/// Reading the configuration and starting the threads.
const START_HINT: Duration = Duration::from_secs(10);
/// The flush (10 s), one chunk on its way (30 s), and some.
const STOP_HINT: Duration = Duration::from_secs(45);
/// What the manager is told when the service could not run.
const COULD_NOT_RUN: u32 = 1;

/// The process's arguments: the manager's entry point takes none from us.
static ARGUMENTS: OnceLock<Arguments> = OnceLock::new();

/// Hands the process to the service manager; returns when the service has stopped.
pub(crate) fn run(arguments: Arguments) -> Result<(), HostError> {
    // Set once: this function runs once.
    let _first = ARGUMENTS.set(arguments);
    Ok(service_dispatcher::start(SERVICE_NAME, service_main_entry)?)
}

define_windows_service!(service_main_entry, service_main);

fn service_main(_start_parameters: Vec<OsString>) {
    if let Err(error) = serve() {
        notice::tell(Event::ServiceFailed, &format!("the service could not run: {error}"));
    }
}

fn serve() -> Result<(), HostError> {
    let stop = StopSignal::new();
    let manager = Manager::register(stop.clone())?;
    manager.tell(ServiceState::StartPending, START_HINT, ServiceExitCode::NO_ERROR)?;
    let none = Duration::ZERO;
    let outcome = match ARGUMENTS.get() {
        Some(arguments) => host::run(arguments, Audience::FileOnly, &stop, || {
            Ok(manager.tell(ServiceState::Running, none, ServiceExitCode::NO_ERROR)?)
        }),
        None => unreachable!("`run` sets the arguments before the manager calls"),
    };
    let code = match outcome {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(_) => ServiceExitCode::ServiceSpecific(COULD_NOT_RUN),
    };
    manager.tell(ServiceState::Stopped, none, code)?;
    outcome
}

/// Our line to the service manager.
struct Manager {
    handle: Arc<Mutex<Option<ServiceStatusHandle>>>,
}

impl Manager {
    /// Registers for stop and shutdown, which set `stop`.
    fn register(stop: StopSignal) -> windows_service::Result<Self> {
        let handle = Arc::new(Mutex::new(None));
        let for_handler = Self { handle: Arc::clone(&handle) };
        let registered =
            service_control_handler::register(SERVICE_NAME, move |control| match control {
                ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
                    let code = ServiceExitCode::NO_ERROR;
                    if let Err(error) = for_handler.tell(ServiceState::StopPending, STOP_HINT, code)
                    {
                        log::warn!("the service manager was not told that we stop: {error}");
                    }
                    stop.set();
                    ServiceControlHandlerResult::NoError
                }
                ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
                _ => ServiceControlHandlerResult::NotImplemented,
            })?;
        *handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(registered);
        Ok(Self { handle })
    }

    fn tell(
        &self,
        current_state: ServiceState,
        wait_hint: Duration,
        exit_code: ServiceExitCode,
    ) -> windows_service::Result<()> {
        let controls_accepted = if current_state == ServiceState::Running {
            ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN
        } else {
            ServiceControlAccept::empty()
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint,
            process_id: None,
        };
        let handle = *self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.map_or(Ok(()), |handle| handle.set_service_status(status))
    }
}

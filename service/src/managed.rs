//! The service under the service manager.
//!
//! Rule: every change of state is reported to the service manager, with a wait hint that covers the
//! longest flush, and with an error code if the service could not run.

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

use crate::arguments::Arguments;
use crate::host::{self, HostError};

/// Wait hint of a start: read the configuration, start the threads.
const START_HINT: Duration = Duration::from_secs(10);
/// Wait hint of a stop: the flush (10 s), a chunk in transit (30 s), and a margin.
const STOP_HINT: Duration = Duration::from_secs(45);
/// Service-specific exit code: the service could not run.
const COULD_NOT_RUN: u32 = 1;

/// The process's arguments; `service_main` is called by the service manager and gets none of them.
static ARGUMENTS: OnceLock<Arguments> = OnceLock::new();

/// Connects the process to the service manager; returns when the service has stopped.
pub(crate) fn run(arguments: Arguments) -> Result<(), HostError> {
    // This function runs once.
    let _first = ARGUMENTS.set(arguments);
    Ok(service_dispatcher::start(SERVICE_NAME, service_main_entry)?)
}

define_windows_service!(service_main_entry, service_main);

fn service_main(_start_parameters: Vec<OsString>) {
    if let Err(error) = serve() {
        notice::report(Event::ServiceFailed, &format!("the service cannot run: {error}"));
    }
}

fn serve() -> Result<(), HostError> {
    let stop = StopSignal::new();
    let manager = Manager::register(stop.clone())?;
    manager.report(ServiceState::StartPending, START_HINT, ServiceExitCode::NO_ERROR)?;
    let none = Duration::ZERO;
    let outcome = match ARGUMENTS.get() {
        Some(arguments) => host::run(arguments, Audience::FileOnly, &stop, || {
            Ok(manager.report(ServiceState::Running, none, ServiceExitCode::NO_ERROR)?)
        }),
        None => {
            unreachable!("`run` sets the arguments before the service manager calls `service_main`")
        }
    };
    let code = match outcome {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(_) => ServiceExitCode::ServiceSpecific(COULD_NOT_RUN),
    };
    manager.report(ServiceState::Stopped, none, code)?;
    outcome
}

/// Reports the service's state to the service manager.
struct Manager {
    handle: Arc<Mutex<Option<ServiceStatusHandle>>>,
}

impl Manager {
    /// Registers the control handler: stop and shutdown set `stop`.
    fn register(stop: StopSignal) -> windows_service::Result<Self> {
        let handle = Arc::new(Mutex::new(None));
        let for_handler = Self { handle: Arc::clone(&handle) };
        let registered =
            service_control_handler::register(SERVICE_NAME, move |control| match control {
                ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
                    let code = ServiceExitCode::NO_ERROR;
                    if let Err(error) =
                        for_handler.report(ServiceState::StopPending, STOP_HINT, code)
                    {
                        log::warn!("cannot report the stop to the service manager: {error}");
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

    fn report(
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

//! What both ways of running the service share: configuration, log, driver, pipelines.

use std::sync::Arc;

use snapless_driver_client::control::WindowsDriver;
use snapless_driver_client::{Driver, paths};
use snapless_service::config::{Config, ConfigError};
use snapless_service::event::Event;
use snapless_service::logging::{self, Audience};
use snapless_service::pipeline::Limits;
use snapless_service::runner::{self, RunError};
use snapless_service::stop::StopSignal;
use snapless_service::{SERVICE_NAME, notice};

use crate::Arguments;

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the log in {folder} cannot be written: {source}")]
    Log { folder: std::path::PathBuf, source: flexi_logger::FlexiLoggerError },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "the service manager did not take this program as {SERVICE_NAME} ({}). Start it with \
         `sc start {SERVICE_NAME}`, or run it here with --console",
        reason(.0)
    )]
    Manager(#[from] windows_service::Error),
    #[error("Ctrl-C cannot be handled: {0}")]
    CtrlC(#[from] ctrlc::Error),
}

/// Runs the service until `stop` is set. `ready` is called when it is on its way.
pub(crate) fn run(
    arguments: &Arguments,
    audience: Audience,
    stop: &StopSignal,
    ready: impl FnOnce() -> Result<(), HostError>,
) -> Result<(), HostError> {
    let file = arguments.config.clone().unwrap_or_else(paths::config_file);
    let failed = |error: &dyn std::fmt::Display| {
        notice::tell(Event::ServiceFailed, &error.to_string());
    };
    let config = Config::load(&file).inspect_err(|error| failed(error))?;
    let _log = logging::start(&config.log_dir, audience)
        .map_err(|source| HostError::Log { folder: config.log_dir.clone(), source })
        .inspect_err(|error| failed(error))?;
    ready()?;
    let driver: Arc<dyn Driver> = Arc::new(WindowsDriver);
    runner::run(&config, &driver, Limits::default(), stop).inspect_err(|error| failed(error))?;
    Ok(())
}

/// The system's words, which `windows_service` keeps one level down.
fn reason(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(system) => system.to_string(),
        other => other.to_string(),
    }
}

//! The service itself, below the service manager or a console: configuration, log, pipelines.

use std::path::Path;
use std::sync::Arc;

use snapless_control::channel::PIPE;
use snapless_driver_client::control::WindowsDriver;
use snapless_driver_client::{Driver, paths};
use snapless_service::config::ConfigError;
use snapless_service::event::Event;
use snapless_service::local_time::machine_clock;
use snapless_service::logging::{self, Audience};
use snapless_service::pipeline::Limits;
use snapless_service::runner::{self, RunError};
use snapless_service::settings_file::SettingsFile;
use snapless_service::stop::StopSignal;
use snapless_service::{SERVICE_NAME, notice};

use crate::arguments::Arguments;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot write the log in {folder}: {source}")]
    Log { folder: std::path::PathBuf, source: flexi_logger::FlexiLoggerError },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "the service manager did not start this program as {SERVICE_NAME} ({}); start it with \
         `sc start {SERVICE_NAME}`, or run it here with --console",
        reason(.0)
    )]
    Manager(#[from] windows_service::Error),
    #[error("cannot handle Ctrl-C: {0}")]
    CtrlC(#[from] ctrlc::Error),
}

/// Runs the service until `stop` is set. Calls `ready` once configuration and log are usable.
pub(crate) fn run(
    arguments: &Arguments,
    audience: Audience,
    stop: &StopSignal,
    ready: impl FnOnce() -> Result<(), HostError>,
) -> Result<(), HostError> {
    let settings = match &arguments.config {
        Some(file) => SettingsFile::named(file.clone()),
        None => SettingsFile::default_at(paths::config_file()),
    };
    let failed = |error: &dyn std::fmt::Display| {
        notice::report(Event::ServiceFailed, &error.to_string());
    };
    let config = settings.config().inspect_err(|error| failed(error))?;
    let _log = logging::start(&config.log_dir, audience)
        .map_err(|source| HostError::Log { folder: config.log_dir.clone(), source })
        .inspect_err(|error| failed(error))?;
    ready()?;
    let driver: Arc<dyn Driver> = Arc::new(WindowsDriver);
    let (limits, clock) = (Limits::default(), machine_clock());
    runner::run(settings, config, Path::new(PIPE), &driver, limits, clock, stop)
        .inspect_err(|error| failed(error))?;
    Ok(())
}

/// The system's message, which `windows_service` does not print itself.
fn reason(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(system) => system.to_string(),
        other => other.to_string(),
    }
}

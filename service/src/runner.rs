//! Runs one pipeline per configured volume until the service is asked to stop, and reports on them.
//!
//! Rule: pipelines share nothing but the stop signal: trouble with one volume leaves the others alone.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use snapless_driver_client::Driver;

use crate::config::Config;
use crate::counters::Counters;
use crate::event::Event;
use crate::notice;
use crate::pipeline::{Limits, Pipeline};
use crate::state::SessionStore;
use crate::stop::StopSignal;

/// How often the reports are written.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `stop` is set and every pipeline has flushed and ended.
pub fn run(
    config: &Config,
    driver: &Arc<dyn Driver>,
    limits: Limits,
    stop: &StopSignal,
) -> Result<(), RunError> {
    fs::create_dir_all(&config.state_dir)
        .map_err(|source| RunError::StateDir { folder: config.state_dir.clone(), source })?;
    let (volumes, server) = (config.volumes.len(), &config.server);
    let release = env!("CARGO_PKG_VERSION");
    notice::tell(
        Event::ServiceStarted,
        &format!("Snapless service {release} protects {volumes} volume(s), to server {server}"),
    );
    let reporter = Reporter { config, counters: counters_of(config) };
    thread::scope(|scope| {
        for (volume, counters) in config.volumes.iter().zip(&reporter.counters) {
            let pipeline = Pipeline {
                config: volume.clone(),
                server: config.server.clone(),
                driver: Arc::clone(driver),
                store: SessionStore::new(&config.state_dir, volume.guid),
                counters: Arc::clone(counters),
                stop: stop.clone(),
                limits,
            };
            scope.spawn(move || pipeline.run());
        }
        while !stop.wait_for(REPORT_INTERVAL) {
            reporter.write();
        }
    });
    reporter.write();
    notice::tell(
        Event::ServiceStopped,
        "Snapless service has stopped; the driver keeps its sessions for the next start",
    );
    Ok(())
}

/// Why the service cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is nowhere to keep state.
    #[error("the state folder {folder} cannot be made: {source}")]
    StateDir {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn counters_of(config: &Config) -> Vec<Arc<Counters>> {
    let of = |guid| Arc::new(Counters::new(guid, &config.server));
    config.volumes.iter().map(|volume| of(volume.guid)).collect()
}

/// Writes the reports that the command line reads.
struct Reporter<'a> {
    config: &'a Config,
    counters: Vec<Arc<Counters>>,
}

impl Reporter<'_> {
    fn write(&self) {
        for counters in &self.counters {
            let report = counters.report();
            if let Err(error) = report.write(&self.config.state_dir) {
                log::debug!("the report of {} was not written: {error}", report.volume);
            }
        }
    }
}

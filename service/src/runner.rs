//! Runs one pipeline per configured volume until the service stops, and writes their reports.
//!
//! Rule: pipelines share only the stop signal, so that a failure of one volume does not affect
//! others.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use snapless_driver_client::Driver;
use snapless_trust::private;

use crate::config::Config;
use crate::counters::Counters;
use crate::event::Event;
use crate::notice;
use crate::pipeline::{Limits, Pipeline};
use crate::renewal;
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
    private::create_folders(&config.state_dir)
        .map_err(|source| RunError::StateDir { folder: config.state_dir.clone(), source })?;
    let (volumes, server) = (config.volumes.len(), &config.server);
    let release = env!("CARGO_PKG_VERSION");
    notice::report(
        Event::ServiceStarted,
        &format!("Snapless service {release} started: {volumes} volume(s), server {server}"),
    );
    let reporter = Reporter { config, counters: counters_of(config) };
    let connector = config.connector();
    thread::scope(|scope| {
        scope.spawn(|| renewal::run(&connector, &limits.link, stop));
        for (volume, counters) in config.volumes.iter().zip(&reporter.counters) {
            let pipeline = Pipeline {
                config: volume.clone(),
                connector: connector.clone(),
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
    notice::report(
        Event::ServiceStopped,
        "Snapless service stopped; the driver keeps its sessions until the next start",
    );
    Ok(())
}

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder cannot be created.
    #[error("cannot create the state folder {folder}: {source}")]
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

/// Writes the reports that `snapless status` reads.
struct Reporter<'a> {
    config: &'a Config,
    counters: Vec<Arc<Counters>>,
}

impl Reporter<'_> {
    fn write(&self) {
        for counters in &self.counters {
            let report = counters.report();
            if let Err(error) = report.write(&self.config.state_dir) {
                log::debug!("cannot write the report of {}: {error}", report.volume);
            }
        }
    }
}

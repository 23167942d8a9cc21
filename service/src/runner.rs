//! Runs the service until it stops: the pipelines, the requests of administrators, the reports.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use snapless_control::channel::Channel;
use snapless_driver_client::Driver;
use snapless_trust::private;

use crate::administration::Administration;
use crate::administration::meeting::attend_all;
use crate::config::Config;
use crate::event::Event;
use crate::local_time::LocalClock;
use crate::notice;
use crate::performance::Performance;
use crate::pipeline::Limits;
use crate::settings_file::SettingsFile;
use crate::stop::StopSignal;
use crate::supervisor::Supervisor;

/// How often the reports are written, the performance counters updated, and the clock is looked at
/// for the rate of sending.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stop waits for a bookmark with prepared applications: the script `after` has to run.
const THAW_LIMIT: Duration = Duration::from_mins(1);

/// Runs until `stop` is set and every pipeline has flushed and ended. `channel`: where the requests
/// of administrators come in. `clock`: what decides the schedule of the rate of sending.
pub fn run(
    settings: SettingsFile,
    config: Config,
    channel: &Path,
    driver: &Arc<dyn Driver>,
    limits: Limits,
    clock: LocalClock,
    stop: &StopSignal,
) -> Result<(), RunError> {
    private::create_folders(&config.state_dir)
        .map_err(|source| RunError::StateDir { folder: config.state_dir.clone(), source })?;
    notice::report(Event::ServiceStarted, &started(&config));
    let (calls, called) = mpsc::channel();
    let supervisor = Supervisor::start(config, Arc::clone(driver), limits, clock, calls);
    let administration = Administration::new(settings, Arc::clone(driver), supervisor);
    let administration = Arc::new(administration);
    listen(channel, &administration);
    let attending = Arc::clone(&administration);
    thread::spawn(move || attend_all(&attending, &called));
    clean_up();
    let mut performance = Performance::start();
    while !stop.wait_for(REPORT_INTERVAL) {
        // A request may wait for a flush.
        if let Some(mut supervisor) = administration.try_supervisor() {
            supervisor.follow_clock();
            supervisor.write_reports();
            performance.update(&**driver, &supervisor);
        }
    }
    let mut supervisor = administration.supervisor();
    supervisor.end();
    supervisor.write_reports();
    drop(supervisor);
    administration.wait_until_thawed(THAW_LIMIT);
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

/// Takes off what a freeze that was cut short has left with VSS. VSS may have to be started for it.
fn clean_up() {
    thread::spawn(|| {
        if let Err(error) = snapless_vss::clean_up() {
            log::warn!(
                "the VSS provider of a freeze that was cut short stays registered, and may be in \
                 the way of other backup programs until this service is started again: {error}"
            );
        }
    });
}

fn started(config: &Config) -> String {
    let release = env!("CARGO_PKG_VERSION");
    let servers = config.servers();
    if servers.is_empty() {
        return format!(
            "Snapless service {release} started: nothing is configured yet; `snapless enroll` and \
             `snapless protect` do that"
        );
    }
    let (volumes, servers) = (config.volumes.len(), servers.join(", "));
    format!("Snapless service {release} started: {volumes} volume(s), server {servers}")
}

/// Takes the requests of administrators. Protection goes on without them.
fn listen(channel: &Path, administration: &Arc<Administration>) {
    match Channel::open(channel) {
        Ok(open) => {
            let administration = Arc::clone(administration);
            thread::spawn(move || open.serve(move |request| administration.carry_out(request)));
        }
        Err(error) => notice::report(
            Event::ChannelFailed,
            &format!(
                "cannot listen at {}: {error}; `snapless protect` and others do not work until the \
                 service is started again, protection does",
                channel.display()
            ),
        ),
    }
}

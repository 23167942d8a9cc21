//! Runs one pipeline for each configured volume, and follows changes of the configuration.
//!
//! Rule: pipelines share nothing but the driver, so that a failure of one volume does not affect
//! others, nor does a change of its settings. A pipeline that ends leaves its session in the
//! driver, and the next one resumes it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use snapless_driver_client::Driver;
use snapless_link::client::LinkLimits;
use snapless_wire::id::VolumeGuid;

use crate::config::{Config, VolumeConfig};
use crate::connector::Connector;
use crate::counters::Counters;
use crate::local_time::LocalClock;
use crate::pipeline::{Limits, Pipeline};
use crate::renewal;
use crate::report::{Activity, Report};
use crate::schedule::InForce;
use crate::state::SessionStore;
use crate::stop::StopSignal;
use crate::throttle::Throttle;

/// The pipelines of a configuration.
pub struct Supervisor {
    driver: Arc<dyn Driver>,
    limits: Limits,
    throttle: Arc<Throttle>,
    clock: LocalClock,
    /// What `throttle` keeps to, and why.
    rate: InForce,
    config: Config,
    volumes: Vec<Supervised>,
    renewal: Option<Thread>,
}

/// One volume.
struct Supervised {
    config: VolumeConfig,
    counters: Arc<Counters>,
    /// `None` while it is paused.
    pipeline: Option<Thread>,
}

/// A thread that ends when it is told to.
struct Thread {
    stop: StopSignal,
    handle: JoinHandle<()>,
}

impl Supervisor {
    /// Begins to run a configuration, whose schedule of rates `clock` decides.
    pub fn start(
        config: Config,
        driver: Arc<dyn Driver>,
        limits: Limits,
        clock: LocalClock,
    ) -> Self {
        let mut supervisor = Self {
            driver,
            limits,
            throttle: Arc::default(),
            clock,
            rate: InForce::default(),
            config: Config { server: None, volumes: Vec::new(), ..config.clone() },
            volumes: Vec::new(),
            renewal: None,
        };
        supervisor.apply(config);
        supervisor
    }

    /// What runs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs another configuration: volumes that are in both with the same settings go on
    /// undisturbed. Waits until the others have flushed and ended.
    pub fn apply(&mut self, config: Config) {
        // What still flushes keeps to it, too.
        self.keep_to(config.send_rate_at((self.clock)()));
        let reaches = |config: &Config| (config.server.clone(), config.insecure);
        let is_elsewhere = reaches(&self.config) != reaches(&config);
        let (stay, go) = std::mem::take(&mut self.volumes)
            .into_iter()
            .partition(|it: &Supervised| !is_elsewhere && config.volumes.contains(&it.config));
        self.volumes = stay;
        let renewal = self.renewal.take_if(|_| is_elsewhere);
        end(go.into_iter().filter_map(|it| it.pipeline).chain(renewal));
        self.config = config;
        let Some(connector) = self.config.connector() else { return };
        if self.renewal.is_none() {
            let (connector, link) = (connector.clone(), self.limits.link);
            self.renewal = Some(Thread::begin(move |stop| renewal::run(&connector, &link, stop)));
        }
        let mut running = std::mem::take(&mut self.volumes);
        for volume in &self.config.volumes {
            let place = running.iter().position(|it| it.config == *volume);
            let supervised = match place {
                Some(place) => running.swap_remove(place),
                None => self.begin(volume, &connector),
            };
            self.volumes.push(supervised);
        }
    }

    /// Sends at the rate that the configuration has for this instant.
    pub fn follow_clock(&mut self) {
        self.keep_to(self.config.send_rate_at((self.clock)()));
    }

    /// How fast is sent, and why.
    pub fn send_rate(&self) -> InForce {
        self.rate
    }

    fn keep_to(&mut self, rate: InForce) {
        self.throttle.set(rate.rate);
        if rate.entry != self.rate.entry {
            log::info!("sending: {rate}");
        }
        self.rate = rate;
    }

    /// Begins again with a volume whose session an administrator has ended; true if it had been.
    pub fn begin_again(&mut self, volume: VolumeGuid) -> bool {
        let Some(connector) = self.config.connector() else { return false };
        let is_over = |it: &Supervised| it.config.guid == volume && it.is_over();
        let Some(place) = self.volumes.iter().position(is_over) else { return false };
        let config = self.volumes[place].config.clone();
        self.volumes[place] = self.begin(&config, &connector);
        true
    }

    /// The volumes that are configured, with their counters.
    pub fn volumes(&self) -> impl Iterator<Item = (&VolumeConfig, &Counters)> {
        self.volumes.iter().map(|it| (&it.config, &*it.counters))
    }

    /// Writes the report of each volume.
    pub fn write_reports(&self) {
        for volume in &self.volumes {
            let report = volume.counters.report();
            if let Err(error) = report.write(&self.config.state_dir) {
                log::debug!("cannot write the report of {}: {error}", report.volume);
            }
        }
    }

    /// Ends every pipeline: each flushes first.
    pub fn end(&mut self) {
        let pipelines = self.volumes.iter_mut().filter_map(|it| it.pipeline.take());
        end(pipelines.chain(self.renewal.take()));
    }

    /// The counters of a volume that is configured.
    pub fn counters(&self, volume: VolumeGuid) -> Option<Arc<Counters>> {
        let found = self.volumes.iter().find(|it| it.config.guid == volume);
        found.map(|it| Arc::clone(&it.counters))
    }

    /// Time limits of links.
    pub fn link_limits(&self) -> LinkLimits {
        self.limits.link
    }

    /// What is remembered of a volume's session.
    pub fn store(&self, volume: VolumeGuid) -> SessionStore {
        SessionStore::new(&self.config.state_dir, volume)
    }

    /// Removes the report of a volume that is configured no longer.
    pub fn remove_report(&self, volume: VolumeGuid) {
        if let Err(error) = Report::remove(&self.config.state_dir, volume) {
            log::warn!("cannot remove the report of {volume}: {error}");
        }
    }

    fn begin(&self, config: &VolumeConfig, connector: &Connector) -> Supervised {
        let counters = Arc::new(Counters::new(config.guid, connector.server()));
        let mut supervised =
            Supervised { config: config.clone(), counters: Arc::clone(&counters), pipeline: None };
        if config.paused {
            counters.set_activity(Activity::Paused);
            return supervised;
        }
        let (config, connector) = (config.clone(), connector.clone());
        let (driver, limits) = (Arc::clone(&self.driver), self.limits);
        let (store, throttle) = (self.store(config.guid), Arc::clone(&self.throttle));
        supervised.pipeline = Some(Thread::begin(move |stop| {
            let stop = stop.clone();
            Pipeline { config, connector, driver, store, throttle, counters, stop, limits }.run();
        }));
        supervised
    }
}

impl Supervised {
    /// True if an administrator has ended the session.
    fn is_over(&self) -> bool {
        self.pipeline.as_ref().is_some_and(|pipeline| pipeline.handle.is_finished())
    }
}

impl Thread {
    fn begin(run: impl FnOnce(&StopSignal) + Send + 'static) -> Self {
        let stop = StopSignal::new();
        let of_thread = stop.clone();
        Self { stop, handle: thread::spawn(move || run(&of_thread)) }
    }
}

/// Ends threads, all at the same time.
fn end(threads: impl Iterator<Item = Thread>) {
    let threads: Vec<_> = threads.inspect(|thread| thread.stop.set()).collect();
    for thread in threads {
        if thread.handle.join().is_err() {
            log::error!("a thread of the service has panicked");
        }
    }
}

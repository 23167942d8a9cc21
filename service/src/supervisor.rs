//! Runs one pipeline for each configured volume, and follows changes of the configuration.
//!
//! Rule: pipelines share nothing but the driver, so that a failure of one volume does not affect
//! others, nor does a change of its settings. A pipeline that ends leaves its session in the
//! driver, and the next one resumes it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use snapless_driver_client::Driver;
use snapless_link::client::LinkLimits;
use snapless_wire::id::VolumeGuid;

use crate::config::{Config, VolumeConfig};
use crate::connector::Connector;
use crate::counters::Counters;
use crate::local_time::LocalClock;
use crate::meeting::Call;
use crate::pipeline::{Limits, Pipeline};
use crate::renewal;
use crate::report::{Activity, Report};
use crate::schedule::InForce;
use crate::state::SessionStore;
use crate::stop::StopSignal;
use crate::sweep::Sweep;
use crate::throttle::Throttle;

/// The pipelines of a configuration.
pub struct Supervisor {
    driver: Arc<dyn Driver>,
    limits: Limits,
    throttle: Arc<Throttle>,
    clock: LocalClock,
    /// What `throttle` keeps to, and why.
    rate: InForce,
    /// What each sweep keeps to at most, and why.
    sweep_rate: InForce,
    config: Config,
    volumes: Vec<Supervised>,
    /// Where it is told to what servers call the volumes.
    calls: Sender<Call>,
    /// One for each server.
    renewals: Vec<Renewal>,
}

/// What renews the machine's certificate at a server.
struct Renewal {
    connector: Connector,
    thread: Thread,
}

/// One volume.
struct Supervised {
    config: VolumeConfig,
    connector: Connector,
    counters: Arc<Counters>,
    sweep: Arc<Sweep>,
    /// `None` while it is paused.
    pipeline: Option<Thread>,
}

/// A thread that ends when it is told to.
struct Thread {
    stop: StopSignal,
    handle: JoinHandle<()>,
}

impl Supervisor {
    /// Begins to run a configuration, whose schedules of rates `clock` decides. `calls` is
    /// told to what servers call the volumes.
    pub fn start(
        config: Config,
        driver: Arc<dyn Driver>,
        limits: Limits,
        clock: LocalClock,
        calls: Sender<Call>,
    ) -> Self {
        let mut supervisor = Self {
            calls,
            driver,
            limits,
            throttle: Arc::default(),
            clock,
            rate: InForce::default(),
            sweep_rate: InForce::default(),
            config: Config { server: None, volumes: Vec::new(), ..config.clone() },
            volumes: Vec::new(),
            renewals: Vec::new(),
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
        self.keep_to(rates(&config, &self.clock));
        let (mut running, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.volumes).into_iter().partition(|it: &Supervised| {
                config.volumes.iter().any(|volume| it.goes_on_as(volume, &config))
            });
        let connectors = config.connectors();
        let (stay, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.renewals)
            .into_iter()
            .partition(|it: &Renewal| connectors.iter().any(|to| it.connector.is_same(to)));
        self.renewals = stay;
        for it in &go {
            if config.volumes.iter().any(|volume| volume.guid == it.config.guid && volume.paused) {
                it.counters.set_activity(Activity::Paused);
            }
        }
        let pipelines = go.into_iter().filter_map(|it| it.pipeline);
        end(pipelines.chain(over.into_iter().map(|it| it.thread)));
        for connector in connectors {
            if !self.renewals.iter().any(|it| it.connector.is_same(&connector)) {
                let (to, link) = (connector.clone(), self.limits.link);
                let thread = Thread::begin(move |stop| renewal::run(&to, &link, stop));
                self.renewals.push(Renewal { connector, thread });
            }
        }
        for volume in &config.volumes {
            let place = running.iter().position(|it| it.goes_on_as(volume, &config));
            let supervised = match place {
                Some(place) => {
                    let running = running.swap_remove(place);
                    running.counters.set_group(volume.group.clone());
                    Supervised { config: volume.clone(), ..running }
                }
                None => match config.connector_of(volume) {
                    Some(connector) => self.begin(volume, connector),
                    None => continue,
                },
            };
            self.volumes.push(supervised);
        }
        self.config = config;
        self.limit_sweeps();
    }

    /// Sends and reads at the rates that the configuration has for this instant.
    pub fn follow_clock(&mut self) {
        self.keep_to(rates(&self.config, &self.clock));
        self.limit_sweeps();
    }

    /// How fast is sent, and why.
    pub fn send_rate(&self) -> InForce {
        self.rate
    }

    fn keep_to(&mut self, [rate, sweep_rate]: [InForce; 2]) {
        self.throttle.set(rate.rate);
        if rate.entry != self.rate.entry {
            log::info!("sending: {}", rate.text("send_rates"));
        }
        if sweep_rate.entry != self.sweep_rate.entry {
            log::info!("sweeps: {}", sweep_rate.text("sweep_rates"));
        }
        (self.rate, self.sweep_rate) = (rate, sweep_rate);
    }

    fn limit_sweeps(&self) {
        for volume in &self.volumes {
            volume.sweep.set(volume.config.sweep_at(self.sweep_rate));
        }
    }

    /// Begins again with a volume whose session an administrator has ended; true if it had been.
    pub fn begin_again(&mut self, volume: VolumeGuid) -> bool {
        let is_over = |it: &Supervised| it.config.guid == volume && it.is_over();
        let Some(place) = self.volumes.iter().position(is_over) else { return false };
        let Supervised { config, connector, .. } = &self.volumes[place];
        self.volumes[place] = self.begin(config, connector.clone());
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
        end(pipelines.chain(self.renewals.drain(..).map(|it| it.thread)));
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

    fn begin(&self, config: &VolumeConfig, connector: Connector) -> Supervised {
        let counters = Arc::new(Counters::new(config.guid, connector.server()));
        counters.set_group(config.group.clone());
        let mut supervised = Supervised {
            config: config.clone(),
            connector: connector.clone(),
            counters: Arc::clone(&counters),
            sweep: Arc::new(Sweep::new(config.sweep_at(self.sweep_rate))),
            pipeline: None,
        };
        if config.paused {
            counters.set_activity(Activity::Paused);
            return supervised;
        }
        let config = config.clone();
        let (driver, limits) = (Arc::clone(&self.driver), self.limits);
        let (store, throttle) = (self.store(config.guid), Arc::clone(&self.throttle));
        let (sweep, calls) = (Arc::clone(&supervised.sweep), self.calls.clone());
        supervised.pipeline = Some(Thread::begin(move |stop| {
            let stop = stop.clone();
            let pipeline = Pipeline {
                config,
                connector,
                driver,
                store,
                sweep,
                throttle,
                counters,
                calls,
                stop,
                limits,
            };
            pipeline.run();
        }));
        supervised
    }
}

impl Supervised {
    /// True if it goes on undisturbed as this volume of a configuration.
    fn goes_on_as(&self, volume: &VolumeConfig, config: &Config) -> bool {
        self.config.runs_as(volume)
            && config.connector_of(volume).is_some_and(|it| it.is_same(&self.connector))
    }

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

/// How fast is sent now, and how fast each sweep may read.
fn rates(config: &Config, clock: &LocalClock) -> [InForce; 2] {
    let now = clock();
    [config.send_rate_at(now), config.sweep_rate_at(now)]
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

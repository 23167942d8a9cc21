//! A harness for pipelines: a fake driver and a fake server that keep to the contracts in
//! `snapless_wire` and record what happens.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod driver;
pub mod log;
pub mod server;

use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use snapless_driver_client::VolumeName;
use snapless_link::client::LinkLimits;
use snapless_service::backoff::BackoffLimits;
use snapless_service::config::VolumeConfig;
use snapless_service::connector::Connector;
use snapless_service::counters::Counters;
use snapless_service::pipeline::{Limits, Pipeline};
use snapless_service::state::SessionStore;
use snapless_service::stop::StopSignal;
use snapless_service::sweep::Sweep;
use snapless_service::window::AnswerLimits;
use snapless_types::Overflow;
use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::SweepLimits;
use tempfile::TempDir;

use driver::FakeDriver;
use server::FakeServer;

pub const DEVICE: &str = r"\Device\HarddiskVolume3";
pub const VOLUME: VolumeGuid = VolumeGuid([7; 16]);

/// A driver, a server and a state folder for one pipeline after another.
pub struct Harness {
    pub driver: Arc<FakeDriver>,
    pub server: FakeServer,
    /// The service asks the server what it has.
    pub compare: bool,
    /// How long it waits for the answer.
    pub answer: Duration,
    /// Limits of every link.
    pub limits: LinkLimits,
    /// Bytes of a block in the configuration.
    pub block_size: u32,
    /// What no file has is not read.
    pub used_blocks_only: bool,
    /// How hard the driver may read the disk.
    pub sweep: Arc<Sweep>,
    folder: TempDir,
}

impl Harness {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = LinkLimits::default();
        let (driver, server) = (FakeDriver::new(DEVICE), FakeServer::new());
        // A test's machine may be busy.
        let answer = Duration::from_mins(1);
        Self {
            driver,
            server,
            compare: true,
            answer,
            limits,
            block_size: 64 << 10,
            used_blocks_only: true,
            sweep: Arc::new(Sweep::new(SweepLimits::DEFAULT)),
            folder,
        }
    }

    /// Starts a pipeline, as a start of the service would.
    pub fn start(&self) -> Running {
        self.start_to(self.server.address())
    }

    /// Cuts the link, and has the server refuse each further one; waits until that was tried.
    #[track_caller]
    pub fn cut_off(&self, running: &Running) {
        self.server.behave(|manners| manners.refuse = Some("busy".into()));
        self.server.cut();
        wait_until("it was refused", || running.counters.report().last_error.is_some());
    }

    /// Starts a pipeline to another server than the fake one.
    pub fn start_to(&self, server: &str) -> Running {
        let counters = Arc::new(Counters::new(VOLUME, server));
        let stop = StopSignal::new();
        let pipeline = Pipeline {
            config: VolumeConfig {
                compare: self.compare,
                block_size: self.block_size,
                used_blocks_only: self.used_blocks_only,
                ..config()
            },
            connector: Connector::insecure(server),
            driver: Arc::clone(&self.driver) as _,
            store: self.store(),
            sweep: Arc::clone(&self.sweep),
            throttle: Arc::default(),
            counters: Arc::clone(&counters),
            calls: mpsc::channel().0,
            stop: stop.clone(),
            limits: limits(self.limits, self.answer),
        };
        let thread = thread::spawn(move || pipeline.run());
        Running { counters, stop, thread: Some(thread) }
    }

    pub fn store(&self) -> SessionStore {
        SessionStore::new(self.folder.path(), VOLUME)
    }
}

/// A running pipeline; stopped on drop.
pub struct Running {
    pub counters: Arc<Counters>,
    stop: StopSignal,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Stops the pipeline and waits for it; returns how long that took.
    pub fn stop(mut self) -> Duration {
        let begun = Instant::now();
        self.stop.set();
        self.thread.take().unwrap().join().unwrap();
        begun.elapsed()
    }

    pub fn is_over(&self) -> bool {
        self.thread.as_ref().unwrap().is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the pipeline panicked");
        }
    }
}

/// Waits until `condition` holds; panics with `what` after a time limit.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < limit, "timed out: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The volume with the defaults of a configuration, more or less.
pub fn config() -> VolumeConfig {
    VolumeConfig {
        name: VolumeName::Device(DEVICE.into()),
        guid: VOLUME,
        server: None,
        group: None,
        block_size: 64 << 10,
        queue_bytes: 64 << 20,
        hold_limit_ms: 200,
        overflow: Overflow::Gap,
        sweep: SweepLimits::DEFAULT,
        resend_window: 16 << 20,
        compress: true,
        compare: true,
        write_intent_log: true,
        used_blocks_only: true,
        paused: false,
    }
}

pub fn limits(link: LinkLimits, answer: Duration) -> Limits {
    Limits {
        link,
        backoff: BackoffLimits { min: Duration::from_millis(5), max: Duration::from_millis(40) },
        flush: Duration::from_secs(2),
        watermark: Duration::from_millis(5),
        answer: AnswerLimits::both(answer),
    }
}

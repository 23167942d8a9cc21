//! What the performance counters take from the driver and from the pipelines.

mod support;

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use jiff::civil::DateTime;
use snapless_driver_client::Driver;
use snapless_link::client::LinkLimits;
use snapless_service::config::Config;
use snapless_service::performance::Snapshot;
use snapless_service::performance::sets::VolumeValues;
use snapless_service::schedule::Schedule;
use snapless_service::scripts::Scripts;
use snapless_service::supervisor::Supervisor;
use snapless_wire::id::SessionId;
use tempfile::TempDir;

use support::driver::FakeDriver;
use support::server::FakeServer;
use support::{DEVICE, VOLUME, config, limits, wait_until};

/// A service with one volume.
struct Service {
    driver: Arc<FakeDriver>,
    supervisor: Supervisor,
    _folder: TempDir,
}

impl Service {
    fn start(driver: Arc<FakeDriver>, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            server: Some(server.to_owned()),
            insecure: true,
            send_rate: Some(64 << 20),
            send_rates: Schedule::default(),
            sweep_rates: Schedule::default(),
            scripts: Scripts::default(),
            state_dir: folder.path().to_owned(),
            log_dir: folder.path().to_owned(),
            volumes: vec![config()],
        };
        let limits = limits(LinkLimits::default(), Duration::from_mins(1));
        let shared = Arc::clone(&driver) as Arc<dyn Driver>;
        let (clock, calls) = (Arc::new(DateTime::default), mpsc::channel().0);
        let supervisor = Supervisor::start(config, shared, limits, clock, calls);
        Self { driver, supervisor, _folder: folder }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(&*self.driver, &self.supervisor)
    }

    fn volume(&self) -> VolumeValues {
        let volumes = self.snapshot().volumes;
        assert_eq!(volumes.len(), 1);
        assert_eq!(volumes[0].0, VOLUME);
        volumes[0].1
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.supervisor.end();
    }
}

#[test]
fn a_volume_that_streams_shows_what_is_drained_and_sent() {
    let service = Service::start(FakeDriver::new(DEVICE), FakeServer::new().address());
    wait_until("it streams", || service.snapshot().service.volumes_streaming == 1);
    service.driver.write(4096, &[7; 8]);
    service.driver.end_epoch();
    wait_until("it is drained and sent", || {
        let values = service.volume();
        values.bytes_drained_per_second > 4096 && values.bytes_sent_per_second > 4096
    });
    let of_service = service.snapshot().service;
    assert_eq!((of_service.volumes, of_service.send_rate_limit), (1, 64 << 20));
}

#[test]
fn the_queue_of_a_session_that_the_service_has_not_claimed_yet_is_shown() {
    let driver = FakeDriver::new(DEVICE);
    driver.begin_by_itself(SessionId([9; 16]), false);
    driver.write(4096, &[7; 8]);
    let queued = driver.queued() as u64;
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = Service::start(driver, &nowhere.to_string());
    let values = service.volume();
    assert!(queued > 0);
    assert_eq!((values.queue_bytes_used, values.bytes_drained_per_second), (queued, 0));
    assert_eq!(service.snapshot().service.volumes_streaming, 0);
}

#[test]
fn without_the_driver_the_values_of_the_service_are_shown() {
    let driver = FakeDriver::new(DEVICE);
    driver.set_present(false);
    let service = Service::start(driver, FakeServer::new().address());
    let values = service.volume();
    assert_eq!((values.queue_bytes_used, values.first_sync_percent), (0, 0));
    assert_eq!(service.snapshot().service.volumes, 1);
}

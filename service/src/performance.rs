//! Performance counters of the service, for `typeperf`, Performance Monitor and monitoring agents.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`sets`] | the counters, listed once |
//! | [`values`] | what they show |
//! | `provider` | Windows' side of them |
//!
//! Rule: a failure here is logged once and affects nothing else.

pub mod sets;
pub mod values;

#[cfg(windows)]
mod provider;

use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, VolumeName};
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::report::Report;
use crate::supervisor::Supervisor;
use sets::{ServiceValues, VolumeValues};

/// All values at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Those of each volume that is configured.
    pub volumes: Vec<(VolumeGuid, VolumeValues)>,
    /// Those of the service.
    pub service: ServiceValues,
}

impl Snapshot {
    /// What runs, as it is now. Without the driver, what it knows is missing.
    pub fn take(driver: &dyn Driver, supervisor: &Supervisor) -> Self {
        // Closed again: an open port keeps a driver loaded whose volumes are all removed.
        let port = driver.open().ok();
        let mut reports = Vec::new();
        let mut volumes = Vec::new();
        for (config, counters) in supervisor.volumes() {
            let report = counters.report();
            let status = port
                .as_ref()
                .and_then(|port| status(driver, &**port, &report, &config.name).ok().flatten());
            let values = VolumeValues::of(&report, counters.age(), status.as_ref());
            volumes.push((config.guid, values));
            reports.push(report);
        }
        let service = ServiceValues::of(&reports, supervisor.send_rate().rate);
        Self { volumes, service }
    }
}

/// The driver's status of a volume's session, if there is one.
fn status(
    driver: &dyn Driver,
    port: &dyn DriverPort,
    report: &Report,
    name: &VolumeName,
) -> Result<Option<SessionStatus>, DriverError> {
    let mut session = report.session.as_deref().and_then(SessionId::parse);
    if session.is_none() {
        // The service has not claimed it yet: its server is away.
        let device = driver.device_of(name)?;
        session = port.find(&device)?.and_then(|volume| volume.session);
    }
    session.map(|session| port.status(session)).transpose()
}

/// The counters of this machine, as the service provides them.
#[derive(Default)]
pub struct Performance {
    #[cfg(windows)]
    provider: Option<provider::Provider>,
    #[cfg(windows)]
    has_failed: bool,
}

#[cfg(windows)]
impl Performance {
    /// Registers the service as their provider.
    pub fn start() -> Self {
        let mut performance = Self::default();
        match provider::Provider::start() {
            Ok(provider) => performance.provider = Some(provider),
            Err(error) => performance.report(&error),
        }
        performance
    }

    /// Shows what runs, as it is now, also while nobody reads it. That takes the driver two
    /// requests a second and one for each volume, as many as the watermark (`watermark`). Windows
    /// tells a provider of its readers (`PERF_ADD_COUNTER`), but just before they read: values that
    /// were left until then would be old in a reader's first look, and its first rates wrong.
    pub fn update(&mut self, driver: &dyn Driver, supervisor: &Supervisor) {
        let Some(provider) = &mut self.provider else { return };
        if let Err(error) = provider.show(&Snapshot::take(driver, supervisor)) {
            self.report(&error);
        }
    }

    fn report(&mut self, error: &provider::ProviderError) {
        if !std::mem::replace(&mut self.has_failed, true) {
            log::warn!("performance counters are missing: {error}; protection needs none");
        }
    }
}

#[cfg(not(windows))]
impl Performance {
    /// This system has none.
    pub fn start() -> Self {
        Self::default()
    }

    /// Does nothing.
    pub fn update(&mut self, _driver: &dyn Driver, _supervisor: &Supervisor) {}
}

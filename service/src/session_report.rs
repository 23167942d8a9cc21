//! What the server is told of a session, for its console ([`SessionReport`]): the driver's status
//! and map, and what the pipeline has counted.

use snapless_driver_client::{Driver, DriverPort, VolumeName};
use snapless_link::report::{EXCLUDED_MAX, SessionReport};
use snapless_types::Extent;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{DeviceName, MapCell};

use crate::counters::Counters;
use crate::report::Activity;

/// Makes the reports of a session that `port` has claimed.
pub struct Reporter<'a> {
    port: &'a dyn DriverPort,
    session: SessionId,
    counters: &'a Counters,
    name: String,
    excluded: Vec<(u64, u64)>,
}

impl<'a> Reporter<'a> {
    /// Of a volume of this name, which is this device now; its session excludes these extents.
    pub fn new(
        (driver, device): (&dyn Driver, &DeviceName),
        configured: &VolumeName,
        (port, session): (&'a dyn DriverPort, SessionId),
        counters: &'a Counters,
        excluded: impl Iterator<Item = Extent>,
    ) -> Self {
        let name = name(driver, device, configured).to_string();
        let excluded = excluded.take(EXCLUDED_MAX).map(|it| (it.offset(), it.len())).collect();
        Self { port, session, counters, name, excluded }
    }

    /// A report's payload; `None` if the driver does not answer. The drain then says why.
    pub fn payload(&self) -> Option<Vec<u8>> {
        let status = self.port.status(self.session).ok()?;
        let counted = self.counters.report();
        let report = SessionReport {
            name: self.name.clone(),
            group: self.counters.group(),
            meets: true,
            phase: status.phase.name().to_owned(),
            is_paused: counted.activity == Activity::Paused,
            last_error: counted.last_error,
            age_ms: u64::try_from(self.counters.age().as_millis()).unwrap_or(u64::MAX),
            bytes_drained: counted.bytes_drained,
            bytes_sent: counted.bytes_sent,
            map: self.map(),
            excluded: self.excluded.clone(),
            ..SessionReport::of(&status.counters, &status.holds)
        };
        report.to_bytes()
    }

    /// Empty if the driver is older and has no map.
    fn map(&self) -> Vec<MapCell> {
        self.port.map(self.session).map(|reply| reply.cells.to_vec()).unwrap_or_default()
    }
}

/// What people call the volume: its first drive letter, if it is configured by another name.
fn name(driver: &dyn Driver, device: &DeviceName, configured: &VolumeName) -> VolumeName {
    let is_it = |letter: &VolumeName| driver.device_of(letter).is_ok_and(|it| it.matches(device));
    let mut letters = ('A'..='Z').map(VolumeName::Drive);
    match configured {
        VolumeName::Drive(_) => configured.clone(),
        _ => letters.find(is_it).unwrap_or_else(|| configured.clone()),
    }
}

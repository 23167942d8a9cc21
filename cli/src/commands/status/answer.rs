//! The state of the sessions: what the driver, Windows and the service's reports say.
//!
//! Rule: a session that ends between two calls is left out; every other failure is an error.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use snapless_driver_client::status::Rate;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume};
use snapless_service::report::{self, DamagedReport, Report};
use snapless_wire::id::{FileTime, SessionId};
use snapless_wire::ioctl::MapReply;

use crate::commands::common::{guid_of, restart_needed};
use crate::error::CliError;
use crate::format;

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: i128 = 1_000_000;

/// The answer, as printed in JSON.
#[derive(Serialize)]
pub(super) struct Answer {
    /// The loaded driver is older than this program.
    pub(super) restart_needed: bool,
    pub(super) sessions: Vec<SessionLine>,
    /// Reports of the service that cannot be read.
    pub(super) damaged_reports: Vec<DamagedReport>,
}

/// One session.
#[derive(Serialize)]
pub(super) struct SessionLine {
    pub(super) device: String,
    /// The volume's GUID at the server; `null` if neither the service nor Windows knows one.
    pub(super) volume: Option<String>,
    pub(super) session: String,
    /// t0 in RFC 3339; `null` if the session continues one of an earlier start.
    pub(super) t0: Option<String>,
    /// Share of blocks that are synced, 0 to 1.
    pub(super) progress: f64,
    /// While blocks are being synced: since the last call, or since t0.
    pub(super) rate_bytes_per_second: Option<f64>,
    /// At this rate.
    pub(super) seconds_left: Option<u64>,
    pub(super) hold_median_us: Option<u64>,
    /// The latest instant that the server can restore, in RFC 3339.
    pub(super) latest: Option<String>,
    /// The RPO: seconds from it until now.
    pub(super) rpo_seconds: Option<u64>,
    /// In which state the blocks of each part of the volume are; `None` of a driver that does not
    /// say.
    #[serde(skip)]
    pub(super) map: Option<MapReply>,
    #[serde(flatten)]
    pub(super) status: SessionStatus,
    /// The service's counters; `null` if no service serves the session.
    pub(super) service: Option<Report>,
}

/// Queries the sessions; remembers the last answer, for the rates.
pub(super) struct Query<'a> {
    driver: &'a dyn Driver,
    port: &'a dyn DriverPort,
    state_dir: &'a Path,
    before: HashMap<SessionId, (Instant, SessionStatus)>,
}

impl<'a> Query<'a> {
    /// Queries the driver through `port`, and the service's reports in `state_dir`.
    pub(super) fn new(
        driver: &'a dyn Driver,
        port: &'a dyn DriverPort,
        state_dir: &'a Path,
    ) -> Self {
        Self { driver, port, state_dir, before: HashMap::new() }
    }

    /// The sessions now.
    pub(super) fn answer(&mut self) -> Result<Answer, CliError> {
        let reports = report::read_all(self.state_dir)
            .map_err(|source| CliError::Reports { folder: self.state_dir.to_owned(), source })?;
        let mut sessions = Vec::new();
        for volume in self.port.list()? {
            let Some(session) = volume.session else { continue };
            match self.port.status(session) {
                Ok(status) => sessions.push(self.line(&volume, session, status, &reports.sound)?),
                Err(DriverError::NotFound(_) | DriverError::SessionEnded(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let damaged_reports = reports.damaged;
        Ok(Answer { restart_needed: restart_needed(self.port), sessions, damaged_reports })
    }

    fn line(
        &mut self,
        volume: &Volume,
        session: SessionId,
        status: SessionStatus,
        reports: &[Report],
    ) -> Result<SessionLine, CliError> {
        let rate = self.rate(session, &status);
        let name = session.to_string();
        let service = reports.iter().find(|report| report.session.as_ref() == Some(&name)).cloned();
        let guid = guid_of(self.driver, volume)?.map(|guid| guid.to_string());
        let latest = service.as_ref().and_then(|report| report.latest_point_unix_ms);
        let latest = latest.and_then(|ms| FileTime::from_unix_nanos(i128::from(ms) * NANOS_PER_MS));
        Ok(SessionLine {
            device: volume.device.clone(),
            volume: service.as_ref().map(|report| report.volume.clone()).or(guid),
            session: name,
            t0: status.t0.filter(|_| !status.continues).and_then(format::instant),
            progress: status.progress(),
            rate_bytes_per_second: rate.map(Rate::bytes_per_second),
            seconds_left: rate.and_then(|rate| status.time_left(rate)).map(|left| left.as_secs()),
            latest: latest.and_then(format::instant),
            rpo_seconds: latest.map(|latest| file_time_now().seconds_since(latest)),
            hold_median_us: status.holds.median_us(),
            // It is shown only: whatever keeps it from being had keeps nothing else.
            map: self.port.map(session).ok(),
            status,
            service,
        })
    }

    /// The rate since the last call that saw the session, or since its t0.
    fn rate(&mut self, session: SessionId, status: &SessionStatus) -> Option<Rate> {
        let now = Instant::now();
        let before = self.before.insert(session, (now, status.clone()));
        if !status.is_syncing() {
            return None;
        }
        match before {
            Some((then, earlier)) => status.rate_since(&earlier, now.duration_since(then)),
            None => status.mean_rate(file_time_now()),
        }
    }
}

fn file_time_now() -> FileTime {
    let now = Timestamp::now().as_nanosecond();
    FileTime::from_unix_nanos(now).unwrap_or(FileTime::UNIX_EPOCH)
}

//! `snapless status`: each session's progress, holds, rate and time left, once or until Ctrl-C.
//!
//! Rule: a session that ends between two calls is left out, not an error; anything else that fails is.

mod text;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use snapless_driver_client::report::{self, Report};
use snapless_driver_client::status::Rate;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::arguments::StatusArguments;
use crate::error::CliError;
use crate::format;

/// Prints the sessions.
pub(crate) fn run(
    arguments: &StatusArguments,
    driver: &dyn Driver,
    state_dir: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let port = driver.open()?;
    let mut looker = Looker { driver, port: &*port, state_dir, before: HashMap::new() };
    let mut shown = text::Screen::new(arguments.watch && std::io::stdout().is_terminal());
    loop {
        let answer = looker.look()?;
        match (arguments.json, arguments.watch) {
            (true, true) => writeln!(out, "{}", serde_json::to_string(&answer)?)?,
            (true, false) => writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?,
            (false, _) => shown.show(&answer, out)?,
        }
        out.flush()?;
        if !arguments.watch {
            return Ok(());
        }
        thread::sleep(arguments.interval);
    }
}

/// The GUID that Windows knows a volume by.
pub(crate) fn guid_of(
    driver: &dyn Driver,
    volume: &Volume,
) -> Result<Option<VolumeGuid>, DriverError> {
    match snapless_wire::ioctl::DeviceName::new(volume.device.encode_utf16()) {
        Some(name) => driver.guid_of(&name),
        None => Ok(None),
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Answer {
    /// The driver is of an older release, which stays until the machine restarts.
    restart_needed: bool,
    sessions: Vec<SessionLine>,
}

/// One session.
#[derive(Serialize)]
struct SessionLine {
    device: String,
    /// GUID under which the server knows the volume; `null` if neither Windows nor the service says.
    volume: Option<String>,
    session: String,
    /// t0 in RFC 3339.
    t0: Option<String>,
    /// Share of blocks that are synced, 0 to 1.
    progress: f64,
    /// While blocks are being synced: since the last look, or since t0.
    rate_bytes_per_second: Option<f64>,
    /// At that rate.
    seconds_left: Option<u64>,
    hold_median_us: Option<u64>,
    #[serde(flatten)]
    status: SessionStatus,
    /// The service's own counters; `null` if it does not serve the session.
    service: Option<Report>,
}

/// Looks at the sessions, and remembers the last look for the rates.
struct Looker<'a> {
    driver: &'a dyn Driver,
    port: &'a dyn DriverPort,
    state_dir: &'a Path,
    before: HashMap<SessionId, (Instant, SessionStatus)>,
}

impl Looker<'_> {
    fn look(&mut self) -> Result<Answer, CliError> {
        let reports = report::read_all(self.state_dir)
            .map_err(|source| CliError::Reports { folder: self.state_dir.to_owned(), source })?;
        let mut sessions = Vec::new();
        for volume in self.port.list()? {
            let Some(session) = volume.session else { continue };
            match self.port.status(session) {
                Ok(status) => sessions.push(self.line(&volume, session, status, &reports)?),
                Err(DriverError::NotFound(_) | DriverError::SessionEnded(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Answer { restart_needed: super::restart_needed(self.port), sessions })
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
        Ok(SessionLine {
            device: volume.device.clone(),
            volume: service.as_ref().map(|report| report.volume.clone()).or(guid),
            session: name,
            t0: status.t0.and_then(format::instant),
            progress: status.progress(),
            rate_bytes_per_second: rate.map(Rate::bytes_per_second),
            seconds_left: rate.and_then(|rate| status.time_left(rate)).map(|left| left.as_secs()),
            hold_median_us: status.hold_histogram.median_us(),
            status,
            service,
        })
    }

    /// The rate since the last look that saw the session, or since its t0.
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let nanos = i128::try_from(since.as_nanos()).unwrap_or(0);
    FileTime::from_unix_nanos(nanos).unwrap_or(FileTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_driver::{DEVICE, GUID, SESSION, TestDriver};
    use snapless_driver_client::report::{Activity, REPORT_VERSION};

    fn arguments(json: bool) -> StatusArguments {
        StatusArguments { json, watch: false, interval: Duration::from_secs(1) }
    }

    fn answer(json: bool, driver: &TestDriver, state_dir: &Path) -> String {
        let mut out = Vec::new();
        run(&arguments(json), driver, state_dir, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn report() -> Report {
        Report {
            version: REPORT_VERSION,
            volume: "0a0b0c0d-0000-4000-8000-000000000000".into(),
            device: Some(DEVICE.into()),
            session: Some(SESSION.into()),
            server: "backup:4850".into(),
            activity: Activity::Streaming,
            last_error: None,
            bytes_drained: 100,
            bytes_sent: 90,
            bytes_elided: 10,
            frames_sent: 3,
            connections: 1,
            acknowledged_epoch: 2,
            acknowledged_seq: 20,
            written_unix_ms: 0,
        }
    }

    #[test]
    fn scripts_see_counters_figures_and_the_service() {
        let folder = tempfile::tempdir().unwrap();
        report().write(folder.path()).unwrap();
        let text = answer(true, &TestDriver::protecting(), folder.path());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let session = &json["sessions"][0];
        assert_eq!(session["session"], SESSION);
        assert_eq!(session["phase"], "first_sync");
        assert_eq!(session["blocks_synced"], 400);
        assert_eq!(session["progress"], 0.25);
        assert_eq!(session["hold_median_us"], 5461);
        assert_eq!((&session["paused"], &session["outgrown"]), (&true.into(), &true.into()));
        assert_eq!(session["blocks_unallocated"], 77);
        assert_eq!(session["protection"], "possible");
        assert_eq!(session["service"]["bytes_sent"], 90);
        assert_eq!(session["volume"], report().volume, "the service's name for it counts");
        assert!(session["rate_bytes_per_second"].as_f64().unwrap() > 0.0);
        assert!(session["seconds_left"].as_u64().is_some());
    }

    #[test]
    fn people_see_progress_holds_and_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let alone = answer(false, &TestDriver::protecting(), folder.path());
        for part in [
            DEVICE,
            GUID,
            SESSION,
            "25.0 %",
            "3 held",
            "5.4 ms",
            "no service",
            "paused",
            "has grown",
            "77 blocks without data",
            "paging",
        ] {
            assert!(alone.contains(part), "{part}: {alone}");
        }
        report().write(folder.path()).unwrap();
        let served = answer(false, &TestDriver::protecting(), folder.path());
        assert!(served.contains("backup:4850"), "{served}");
        assert!(
            answer(false, &TestDriver::idle(), folder.path()).contains("No volume is protected")
        );
    }

    #[test]
    fn an_older_driver_asks_for_a_restart() {
        let text = answer(false, &TestDriver::protecting().older(), Path::new("absent"));
        assert!(text.contains("estart the machine") && !text.contains("paused"), "{text}");
    }

    #[test]
    fn the_second_look_has_the_rate_between_the_two() {
        let driver = TestDriver::protecting();
        let port = driver.open().unwrap();
        let state_dir = Path::new("absent");
        let mut looker =
            Looker { driver: &driver, port: &*port, state_dir, before: HashMap::new() };
        assert!(looker.look().unwrap().sessions[0].rate_bytes_per_second.is_some());
        let still = looker.look().unwrap();
        assert_eq!(still.sessions[0].rate_bytes_per_second, None, "nothing moved");
        driver.sync_more(100);
        let moved = looker.look().unwrap();
        assert!(moved.sessions[0].rate_bytes_per_second.unwrap() > 0.0);
    }
}

//! What `snapless doctor` finds of volumes: those that are configured, and those that have a
//! session all the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snapless_driver_client::protection::obstacle;
use snapless_driver_client::{Driver, DriverPort, Volume};
use snapless_service::config::{Config, VolumeConfig};
use snapless_service::report::{Report, read_all};
use snapless_types::GapReason;
use snapless_wire::ioctl::{DeviceName, SessionPhase};

use super::finding::Finding;
use crate::format;

/// A latest point that is older shows that nothing arrives. The service names one each second, also
/// while nothing is written.
const OLD: Duration = Duration::from_mins(5);
/// A report that is older is of a service that does not run.
const SILENT: Duration = Duration::from_mins(1);

/// Looks at every volume.
pub(super) fn look(
    driver: &dyn Driver,
    port: &dyn DriverPort,
    config: &Config,
    now: SystemTime,
) -> Vec<Finding> {
    let volumes = match port.list() {
        Ok(volumes) => volumes,
        Err(error) => return vec![Finding::failed("volumes", error.to_string())],
    };
    let reports = read_all(&config.state_dir).unwrap_or_default().sound;
    let mut findings = Vec::new();
    let mut configured = Vec::new();
    for volume in &config.volumes {
        let name = volume.name.to_string();
        let device = match driver.device_of(&volume.name) {
            Ok(device) => device,
            Err(error) => {
                let text = format!("{error}; it is protected again when it is back");
                findings.push(Finding::warning(name, text));
                continue;
            }
        };
        let report = reports.iter().find(|report| report.volume == volume.guid.to_string());
        findings.push(one(port, &volumes, &device, volume, report, now));
        configured.push(device);
    }
    let is_other = |it: &&Volume| !configured.iter().any(|device| it.is(device));
    for Volume { device, .. } in volumes.iter().filter(|it| it.session.is_some()).filter(is_other) {
        let text = format!(
            "the driver has a session, and the configuration does not have the volume: \
             `snapless protect {device}`, or `snapless unprotect {device}`"
        );
        findings.push(Finding::warning(device.clone(), text));
    }
    findings
}

fn one(
    port: &dyn DriverPort,
    volumes: &[Volume],
    device: &DeviceName,
    config: &VolumeConfig,
    report: Option<&Report>,
    now: SystemTime,
) -> Finding {
    let name = config.name.to_string();
    let Some(volume) = volumes.iter().find(|volume| volume.is(device)) else {
        let text = "the driver does not filter it: restart the machine, if it was not restarted \
                    since the setup";
        return Finding::failed(name, text);
    };
    let Some(session) = volume.session else {
        let why = match volume.protection.and_then(obstacle) {
            Some(obstacle) => format!("it cannot be protected: {obstacle}"),
            None => format!("it has no session{}", trouble(report)),
        };
        return Finding::failed(name, why);
    };
    if config.paused {
        let text = format!("paused: nothing is sent until `snapless resume {name}`");
        return Finding::warning(name, text);
    }
    if let Some(report) = report.filter(|report| report.last_error.is_some()) {
        return Finding::failed(name, format!("nothing is sent{}", trouble(Some(report))));
    }
    if let Some(text) = report.and_then(|report| late(report, now)) {
        return Finding::failed(name, text);
    }
    match volume.phase {
        SessionPhase::Live => Finding::ok(name, "protected"),
        SessionPhase::Starting | SessionPhase::FirstSync => {
            Finding::ok(name, "protected; the first sync is under way")
        }
        SessionPhase::Failed => {
            Finding::failed(name, "its session could not begin; the service begins another one")
        }
        SessionPhase::Detached => Finding::failed(
            name,
            "the driver captures, and no service drains it: once the queue is full, a gap begins",
        ),
        _ => {
            let reason = port.status(session).ok().and_then(|status| status.gap_reason);
            let why = reason.map_or("for an unknown reason", GapReason::text);
            Finding::warning(name, format!("in a gap: {why}; it ends by itself"))
        }
    }
}

/// What is wrong if what the service reports, or has last sent, is old.
fn late(report: &Report, now: SystemTime) -> Option<String> {
    let ago = |unix_ms: u64| {
        let then = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms))?;
        now.duration_since(then).ok()
    };
    if let Some(age) = ago(report.written_unix_ms).filter(|age| *age > SILENT) {
        return Some(format!("the service has last reported {} ago", format::duration(age)));
    }
    let age = ago(report.latest_point_unix_ms?).filter(|age| *age > OLD)?;
    Some(format!(
        "its latest point at the server is {} old: is the link too slow, or the server's disk?",
        format::duration(age)
    ))
}

fn trouble(report: Option<&Report>) -> String {
    let error = report.and_then(|report| report.last_error.as_deref());
    error.map_or_else(String::new, |error| format!(": {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use snapless_service::counters::Counters;
    use snapless_wire::id::{SessionId, VolumeGuid};
    use snapless_wire::ioctl::Protection;

    use super::super::finding::Verdict;
    use super::*;
    use crate::test_driver::{DEVICE, SESSION, TestDriver};

    fn config(volumes: &str) -> (Config, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("server = \"s:1\"\nstate_dir = '{}'\n{volumes}", folder.path().display());
        (Config::parse(Path::new("service.toml"), &text).unwrap(), folder)
    }

    fn with(lines: &str) -> (Config, tempfile::TempDir) {
        config(&format!("[[volumes]]\ndevice = '{DEVICE}'\n{lines}"))
    }

    fn of(driver: &TestDriver, config: &Config, now: SystemTime) -> (Verdict, String) {
        let findings = look(driver, driver, config, now);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!(finding.part, DEVICE);
        (finding.verdict, finding.text.clone())
    }

    /// A report of now, after a success or a failure.
    fn report(config: &Config, error: Option<&str>) {
        let guid = config.volumes.first().map_or(VolumeGuid([1; 16]), |it| it.guid);
        let counters = Counters::new(guid, "s:1");
        counters.streaming(DEVICE, SessionId::parse(SESSION).unwrap());
        if let Some(error) = error {
            counters.failed(error);
        }
        counters.report().write(&config.state_dir).unwrap();
    }

    #[test]
    fn a_volume_is_protected_or_it_is_said_why_not() {
        let now = SystemTime::now();
        let (config, _folder) = with("");
        report(&config, None);
        let (verdict, text) = of(&TestDriver::protecting(), &config, now);
        assert!(verdict == Verdict::Ok && text.contains("first sync"), "{text}");
        let later = now + Duration::from_mins(2);
        let (verdict, text) = of(&TestDriver::protecting(), &config, later);
        assert!(verdict == Verdict::Failed && text.contains("last reported"), "{text}");
        report(&config, Some("no route"));
        for driver in [TestDriver::protecting(), TestDriver::idle()] {
            let (verdict, text) = of(&driver, &config, now);
            assert!(verdict == Verdict::Failed && text.contains("no route"), "{text}");
        }
        let dax = TestDriver::idle().with_obstacle(Protection::Dax);
        assert!(of(&dax, &config, now).1.contains("DAX"));
        let unfiltered = of(&TestDriver::empty(), &config, now);
        assert!(unfiltered.0 == Verdict::Failed && unfiltered.1.contains("restart"));
    }

    #[test]
    fn a_point_that_is_old_shows_that_nothing_arrives() {
        let now = SystemTime::now();
        let minutes_ago = |minutes: u64| {
            let then = now.checked_sub(Duration::from_mins(minutes)).unwrap();
            let unix = then.duration_since(UNIX_EPOCH).unwrap();
            Some(u64::try_from(unix.as_millis()).unwrap())
        };
        let counters = Counters::new(VolumeGuid([1; 16]), "s:1");
        let at = |latest| Report { latest_point_unix_ms: latest, ..counters.report() };
        for latest in [None, minutes_ago(0), minutes_ago(4)] {
            assert_eq!(late(&at(latest), now), None);
        }
        assert!(late(&at(minutes_ago(6)), now).unwrap().contains("latest point"));
    }

    #[test]
    fn a_paused_volume_and_one_that_is_not_configured_are_noticed() {
        let (paused, _folder) = with("paused = true");
        let (verdict, text) = of(&TestDriver::protecting(), &paused, SystemTime::now());
        assert!(verdict == Verdict::Warning && text.contains("snapless resume"), "{text}");
        let (none, _folder) = config("");
        let (verdict, text) = of(&TestDriver::protecting(), &none, SystemTime::now());
        assert!(verdict == Verdict::Warning && text.contains("snapless unprotect"), "{text}");
        assert_eq!(look(&TestDriver::idle(), &TestDriver::idle(), &none, SystemTime::now()), []);
    }
}

//! `snapless restore`: a point of a volume comes back from the server, to a volume or a file.
//!
//! The program asks the server itself, with the machine's identity: it needs neither the service
//! nor, for the restore of a machine that was set up anew, the driver.
//!
//! Rule: no target is written that is protected, that Windows runs from, or that another program
//! uses; and nothing that is there, without `--force`.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use snapless_driver_client::identity::volume_of_device;
use snapless_driver_client::volume::device_text;
use snapless_driver_client::{Driver, DriverError, VolumeName};
use snapless_link::client::LinkLimits;
use snapless_link::question::Opened;
use snapless_restore::{Disk, FileDisk, Options, Progress, Report, RestoreError, Stage, Wanted};
use snapless_service::config::Config;
use snapless_service::connector::Connector;
use snapless_trust::keystore::KeyStore;
use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::DeviceName;

use super::common::{Line, print_json};
use crate::arguments::{RestoreArguments, RestoreTarget};
use crate::error::CliError;
use crate::format;

/// Time between two lines of progress.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// Restores; `config` is the service's configuration.
pub(crate) fn run(
    arguments: &RestoreArguments,
    driver: &dyn Driver,
    config: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let config = load(config)?;
    let volume = guid_of(&arguments.volume, driver, &config)?;
    let connector = connector(&config, volume)?;
    let wanted = Wanted { volume, session: arguments.session, at: arguments.at.clone() };
    let options =
        Options { whole: arguments.whole, compare: !arguments.no_compare, ..Options::default() };
    let target = Target::checked(arguments, driver, &config)?;
    let limits = LinkLimits::default();
    let connect = || connector.connect(&limits, &|| false);
    let mut watch = Watch::new(arguments.json);
    let restored = snapless_restore::restore(
        &connect,
        &wanted,
        |opened| target.open(opened),
        &options,
        &|| false,
        &mut |progress| watch.show(progress),
    );
    watch.line.end();
    let report = restored?;
    let printed = if arguments.json { print_json(&report, out) } else { print(&report, out) };
    // What the image lacks counts for more than a report that cannot be printed.
    match report.unreadable_bytes {
        0 => printed,
        bytes => Err(CliError::Unreadable(bytes)),
    }
}

/// The configuration; without a file, that of a service with nothing to do.
fn load(file: &Path) -> Result<Config, CliError> {
    match Config::load(file) {
        Err(error) if error.is_missing() => Ok(Config::parse(file, "")?),
        config => Ok(config?),
    }
}

/// The server: that of the volume or else of the configuration, or the one at which the machine has
/// enrolled.
fn connector(config: &Config, volume: VolumeGuid) -> Result<Connector, CliError> {
    let of_volume = config.volumes.iter().find(|it| it.guid == volume);
    if let Some(server) = of_volume.map_or(config.server.as_deref(), |it| config.server_of(it)) {
        return Ok(config.connector_to(server));
    }
    let credentials = KeyStore::new(&config.state_dir).load()?;
    Ok(Connector::tls(&credentials.server, &config.state_dir))
}

/// The volume's name at the server.
fn guid_of(
    name: &VolumeName,
    driver: &dyn Driver,
    config: &Config,
) -> Result<VolumeGuid, CliError> {
    let device = driver.device_of(name);
    let is_it = |of: &VolumeName| {
        *of == *name
            || device
                .as_ref()
                .is_ok_and(|device| driver.device_of(of).is_ok_and(|other| other.matches(device)))
    };
    if let Some(volume) = config.volumes.iter().find(|volume| is_it(&volume.name)) {
        return Ok(volume.guid);
    }
    // The volume of a disk that is gone is known by its GUID alone.
    if let VolumeName::Guid(guid) = name {
        return Ok(*guid);
    }
    let device = device?;
    let guid = driver.guid_of(&device)?;
    Ok(guid.unwrap_or_else(|| volume_of_device(&device_text(&device).unwrap_or_default())))
}

/// A target that may be written.
enum Target<'a> {
    Volume { name: &'a VolumeName, device: Box<DeviceName>, other_sector_size: bool },
    File { path: &'a Path, force: bool },
}

impl<'a> Target<'a> {
    fn checked(
        arguments: &'a RestoreArguments,
        driver: &dyn Driver,
        config: &Config,
    ) -> Result<Self, CliError> {
        let force = arguments.force;
        let name = match &arguments.to {
            RestoreTarget::File(path) => return Ok(Self::File { path, force }),
            RestoreTarget::Volume(name) => name,
        };
        let device = driver.device_of(name)?;
        let is_it = |of: &VolumeName| driver.device_of(of).is_ok_and(|it| it.matches(&device));
        let is_configured = config.volumes.iter().any(|volume| is_it(&volume.name));
        if is_configured || has_session(driver, &device)? {
            return Err(CliError::TargetProtected(name.to_string()));
        }
        if system_drive().is_some_and(|letter| is_it(&VolumeName::Drive(letter))) {
            return Err(CliError::TargetSystem(name.to_string()));
        }
        if !force {
            return Err(RestoreError::Exists(name.to_string()).into());
        }
        let other_sector_size = arguments.other_sector_size;
        Ok(Self::Volume { name, device: Box::new(device), other_sector_size })
    }

    fn open(self, opened: &Opened) -> Result<Box<dyn Disk>, RestoreError> {
        match self {
            Self::File { path, force } => Ok(Box::new(FileDisk::open(path, opened.length, force)?)),
            Self::Volume { name, device, other_sector_size } => {
                let sector_size = (!other_sector_size).then_some(opened.sector_size);
                open_volume(name, &device, opened.length, sector_size)
            }
        }
    }
}

/// True if a session captures what is written to a device.
fn has_session(driver: &dyn Driver, device: &DeviceName) -> Result<bool, CliError> {
    let port = match driver.open() {
        // Without the driver nothing is captured.
        Err(DriverError::Absent) => return Ok(false),
        port => port?,
    };
    Ok(port.find(device)?.is_some_and(|volume| volume.session.is_some()))
}

#[cfg(windows)]
use snapless_restore::volume::{Volume, system_drive};

#[cfg(windows)]
fn open_volume(
    name: &VolumeName,
    device: &DeviceName,
    length: u64,
    sector_size: Option<u32>,
) -> Result<Box<dyn Disk>, RestoreError> {
    let device = device_text(device).unwrap_or_default();
    let volume = Volume::open(&device, &name.to_string(), length, sector_size)?;
    Ok(Box::new(volume))
}

#[cfg(not(windows))]
fn system_drive() -> Option<char> {
    None
}

#[cfg(not(windows))]
fn open_volume(
    name: &VolumeName,
    _: &DeviceName,
    _: u64,
    _: Option<u32>,
) -> Result<Box<dyn Disk>, RestoreError> {
    let why = "a volume of Windows is one on Windows only: restore to a file".to_owned();
    Err(RestoreError::Unfit { target: name.to_string(), why })
}

fn print(report: &Report, out: &mut dyn Write) -> Result<(), CliError> {
    let bytes = format::bytes;
    let Report { target, time, session, .. } = report;
    writeln!(out, "restored {} as of {time} to {target}", report.volume)?;
    writeln!(out, "session {session}: {} of the volume", bytes(report.bytes))?;
    writeln!(
        out,
        "the target had {} of it; {} differed and came over the link as {}; {} were written",
        bytes(report.same_bytes),
        bytes(report.fetched_bytes),
        bytes(report.received_bytes),
        bytes(report.written_bytes)
    )?;
    let compared = if report.compared { "the same" } else { "not compared" };
    writeln!(out, "compared with the point: {compared}")?;
    if report.reconnects > 0 {
        writeln!(out, "the link was made anew {} time(s)", report.reconnects)?;
    }
    if let Some(since) = &report.gap_since {
        writeln!(out, "the point is the last one before a gap that began at {since}")?;
    }
    let size = report.sector_size;
    Ok(writeln!(out, "sectors of {size} bytes: Windows reads it on a disk with such sectors")?)
}

/// What is under way, on standard error.
struct Watch {
    line: Line,
    begun: Instant,
    shown: Option<Instant>,
    stage: Option<Stage>,
}

impl Watch {
    fn new(json: bool) -> Self {
        Self { line: Line::new(json), begun: Instant::now(), shown: None, stage: None }
    }

    fn show(&mut self, progress: Progress) {
        if !self.line.is_shown() {
            return;
        }
        if self.stage.replace(progress.stage) != Some(progress.stage) {
            self.begun = Instant::now();
        } else if self.shown.is_some_and(|shown| shown.elapsed() < SHOWN_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        self.line.show(&line(&progress, self.begun.elapsed()));
    }
}

/// A line of progress. The rate is that of the volume, not of the link.
// A rate and an estimate need no more digits than a float has.
#[allow(clippy::cast_precision_loss)]
fn line(progress: &Progress, elapsed: Duration) -> String {
    let Progress { stage, done, total, received } = *progress;
    let stage = match stage {
        Stage::Restoring => "restoring",
        Stage::Comparing => "comparing",
        Stage::Reconnecting => return "the link was cut; the server is called again".to_owned(),
    };
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = (total - done.min(total)) as f64 / rate.max(1.0);
    let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
    format!(
        "{stage} {} of {}, {}, {} left; {} received",
        format::bytes(done),
        format::bytes(total),
        format::rate(rate),
        format::duration(left),
        format::bytes(received)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_driver::{DEVICE, GUID, TestDriver};

    fn arguments(to: RestoreTarget, force: bool) -> RestoreArguments {
        RestoreArguments {
            volume: "D:".parse().unwrap(),
            at: "latest".to_owned(),
            to,
            session: None,
            force,
            other_sector_size: false,
            whole: false,
            no_compare: false,
            json: false,
        }
    }

    /// Why a restore on a machine whose server does not answer fails.
    fn refused(to: &str, force: bool, driver: &TestDriver, config: &str) -> CliError {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("service.toml");
        let state = dir.path().display();
        std::fs::write(&file, format!("state_dir = '{state}'\n{config}")).unwrap();
        let to = match to.parse() {
            Ok(volume) => RestoreTarget::Volume(volume),
            Err(_) => RestoreTarget::File(dir.path().join(to)),
        };
        run(&arguments(to, force), driver, &file, &mut Vec::new()).unwrap_err()
    }

    const SERVER: &str = "server = '127.0.0.1:1'\ninsecure = true\n";

    #[test]
    fn a_target_that_must_not_be_written_is_refused_before_the_server_is_asked() {
        let protecting = TestDriver::protecting();
        let why = refused("D:", true, &protecting, SERVER);
        assert!(matches!(why, CliError::TargetProtected(_)), "{why}");
        assert!(why.to_string().contains("snapless unprotect D:"), "{why}");
        // Of a service that does not run now.
        let configured = format!("{SERVER}[[volumes]]\ndevice = '{DEVICE}'\n");
        let why = refused("D:", true, &TestDriver::idle(), &configured);
        assert!(matches!(why, CliError::TargetProtected(_)), "{why}");
        let why = refused("D:", false, &TestDriver::idle(), SERVER);
        assert!(why.to_string().contains("--force"), "{why}");
        // What may be written is not looked at before there is a point.
        let why = refused("volume.img", false, &protecting, SERVER);
        assert!(matches!(why, CliError::Restore(RestoreError::Link(_))), "{why}");
    }

    #[test]
    fn a_machine_without_a_server_is_told_to_enrol() {
        let why = refused("volume.img", false, &TestDriver::idle(), "").to_string();
        assert!(why.contains("snapless enroll"), "{why}");
    }

    fn report() -> Report {
        Report {
            volume: GUID.to_owned(),
            session: crate::test_driver::SESSION.to_owned(),
            time: "2026-11-23T14:00:00Z".to_owned(),
            target: "E:".to_owned(),
            bytes: 1 << 30,
            sector_size: 512,
            same_bytes: 1 << 29,
            fetched_bytes: 1 << 20,
            received_bytes: 1 << 19,
            written_bytes: 3 << 20,
            unreadable_bytes: 0,
            compared: true,
            reconnects: 2,
            gap_since: Some("2026-11-23T14:00:01Z".to_owned()),
        }
    }

    #[test]
    fn a_report_says_what_differed_and_has_its_schema() {
        let (mut text, mut json) = (Vec::new(), Vec::new());
        print(&report(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in ["had 512 MiB", "1.0 MiB differed", "anew 2", "before a gap", "512 bytes"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        print_json(&report(), &mut json).unwrap();
        crate::schema::parse("restore", &String::from_utf8(json).unwrap());
    }

    #[test]
    fn progress_is_a_line_with_a_rate_and_the_time_left() {
        let (done, total, received) = (1 << 30, 3 << 30, 5 << 20);
        let restoring = Progress { stage: Stage::Restoring, done, total, received };
        let said = line(&restoring, Duration::from_secs(10));
        assert!(said.contains("1.0 GiB of 3.0 GiB") && said.contains("20 s left"), "{said}");
        let begins = Progress { done: 0, ..restoring };
        assert!(!line(&begins, Duration::ZERO).is_empty());
    }
}

//! Carries out what administrators ask for by `snapless`: the configuration changes, and what runs
//! follows it.
//!
//! Rule: a change is carried out as a whole or refused in words, one after the other. What is
//! configured is written before it runs, so that it counts after a crash too. What the server is
//! asked for holds up no change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snapless_control::message::{Answer, Done, Refusal, RefusalKind, Request, Scheduled};
use snapless_driver_client::volume::{NotAVolumeName, device_text};
use snapless_driver_client::{Driver, DriverError, VolumeName};
use snapless_link::question::{Consistency, RefusedKind};
use snapless_trust::TrustError;
use snapless_trust::keystore::KeyStore;
use snapless_wire::id::{FileTime, VolumeGuid};
use snapless_wire::ioctl::DeviceName;

use crate::config::{Config, ConfigError, VolumeConfig};
use crate::event::Event;
use crate::inquiry::{ARRIVAL_LIMIT, InquiryError};
use crate::notice;
use crate::schedule::InForce;
use crate::session::{SessionError, find, permits};
use crate::settings_file::{Change, Edited, SettingsError, SettingsFile};
use crate::size::Size;
use crate::state::StateError;
use crate::supervisor::Supervisor;
use crate::verification::unix_ms;

mod groups;
mod instant;
pub mod meeting;
mod points;

/// The service as administrators see it.
pub struct Administration {
    settings: SettingsFile,
    driver: Arc<dyn Driver>,
    supervisor: Mutex<Supervisor>,
    /// One at a time has applications prepared for an instant.
    preparing: Mutex<()>,
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
enum AdministrationError {
    #[error(transparent)]
    Name(#[from] NotAVolumeName),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("volume {0} is not configured: `snapless protect {0}`")]
    NotConfigured(VolumeName),
    #[error(
        "no server is configured: name it by --to host:port, or enrol this machine first with \
         `snapless enroll`"
    )]
    NoServer,
    #[error(
        "{volume} goes to {configured}, not to {asked}: to begin anew there, run `snapless \
         unprotect {volume}` and protect it again; if {configured} itself has another address now, \
         change `server` in {file} and run `snapless reload`"
    )]
    OtherServer { volume: VolumeName, configured: String, asked: String, file: String },
    #[error(
        "no volume is in group {0}: `snapless protect D: --group {0}` puts one into it, also one \
         that is protected already"
    )]
    NoGroup(String),
    #[error(
        "the volumes have no instant in common: a session of theirs has begun anew meanwhile; try \
         again once `snapless status` shows that all stream"
    )]
    NoCommonInstant,
    #[error(
        "{volume} is not in group {group} on its machine: `snapless protect {volume} --group \
         {group}` there puts it into it"
    )]
    NotInGroup { volume: VolumeName, group: String },
    #[error(
        "the clock of the server is not known well enough from this machine: its answers take too \
         long; try again when the network is less busy"
    )]
    ClocksUnknown,
    #[error(
        "the clocks of this machine and of the server ran apart meanwhile: one of them was paused, \
         perhaps; try again"
    )]
    ClocksApart,
    #[error(
        "a write that must not wait, to a paging file perhaps, has come at the instant; try again"
    )]
    PastCut,
    #[error("{what} has changed: that counts when the service is started again")]
    Folder { what: &'static str },
    #[error(transparent)]
    Inquiry(#[from] InquiryError),
    #[error("{volume} is paused, and nothing of it reaches the server: `snapless resume {volume}`")]
    Paused { volume: VolumeName },
    #[error("{volume} has no session yet: `snapless status` shows what the service is doing")]
    NoSession { volume: VolumeName },
    #[error(
        "the first sync of {volume} is not complete, and before that no instant of it can be \
         restored: `snapless status --watch` shows how far it is"
    )]
    FirstSync { volume: VolumeName },
    #[error(
        "{volume} is in a gap, and no instant in it can be restored: `snapless status` shows why \
         and how far the resync is"
    )]
    Gap { volume: VolumeName },
    #[error(
        "within {} s the server has not got what was captured before this instant{}: `snapless \
         status` shows how far it is behind; try again then",
        ARRIVAL_LIMIT.as_secs(), reached(*.latest)
    )]
    NotArrived { latest: Option<FileTime> },
    #[error(
        "no scripts are configured: add `[scripts]` to {}, or ask for another consistency",
        file.display()
    )]
    NoScripts { file: PathBuf },
    #[error("no bookmark was made: {why}")]
    NotConsistent { why: String },
}

/// Up to when the server has the volume.
fn reached(latest: Option<FileTime>) -> String {
    let Some(latest) = latest.and_then(unix_ms) else { return String::new() };
    let latest = UNIX_EPOCH + Duration::from_millis(latest);
    let behind = SystemTime::now().duration_since(latest).unwrap_or_default();
    format!(", and is {} s behind", behind.as_secs())
}

impl From<ConfigError> for AdministrationError {
    fn from(error: ConfigError) -> Self {
        Self::Settings(error.into())
    }
}

impl AdministrationError {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Name(_) => RefusalKind::Request,
            Self::Driver(DriverError::NoSuchVolume(_))
            | Self::Session(SessionError::NotFiltered(_))
            | Self::NotConfigured(_)
            | Self::NoGroup(_) => RefusalKind::NoSuchVolume,
            Self::Session(_) => RefusalKind::Unprotectable,
            Self::Driver(_) => RefusalKind::Driver,
            Self::Settings(_)
            | Self::NoServer
            | Self::OtherServer { .. }
            | Self::Folder { .. }
            | Self::NoScripts { .. } => RefusalKind::Configuration,
            Self::Inquiry(InquiryError::Refused(refused)) => match refused.kind {
                RefusedKind::NoSuchVolume | RefusedKind::NoGroup => RefusalKind::NoSuchVolume,
                RefusedKind::NotRestorable => RefusalKind::NotRestorable,
                RefusedKind::Name => RefusalKind::Name,
                RefusedKind::Question
                | RefusedKind::NotAllowed
                | RefusedKind::Busy
                | RefusedKind::Damaged
                | RefusedKind::Other => RefusalKind::Server,
            },
            Self::Inquiry(_) => RefusalKind::Server,
            Self::Paused { .. }
            | Self::NoSession { .. }
            | Self::FirstSync { .. }
            | Self::Gap { .. }
            | Self::NoCommonInstant
            | Self::NotInGroup { .. }
            | Self::ClocksUnknown
            | Self::ClocksApart
            | Self::PastCut
            | Self::NotArrived { .. } => RefusalKind::NotRestorable,
            Self::NotConsistent { .. } => RefusalKind::NotConsistent,
            Self::State(_) | Self::Trust(_) => RefusalKind::Other,
        }
    }
}

/// How an instant is to be made.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// How the applications are to be prepared.
    consistency: Consistency,
    /// If they cannot be: an instant without that.
    or_crash: bool,
}

/// Where a volume is to go, and with which others.
#[derive(Clone, Copy)]
struct Placement<'a> {
    server: Option<&'a str>,
    group: Option<&'a str>,
}

/// Whether anything has changed, and for which volume.
struct Outcome {
    volume: Option<VolumeGuid>,
    changed: bool,
}

impl Administration {
    /// Of a service that runs `supervisor`, as the file says.
    pub fn new(settings: SettingsFile, driver: Arc<dyn Driver>, supervisor: Supervisor) -> Self {
        let (supervisor, preparing) = (Mutex::new(supervisor), Mutex::default());
        Self { settings, driver, supervisor, preparing }
    }

    /// What runs. A request that is being carried out is waited for.
    pub fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        // A panic in a request leaves pipelines that run.
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What runs, unless a request is being carried out.
    pub fn try_supervisor(&self) -> Option<MutexGuard<'_, Supervisor>> {
        self.supervisor.try_lock().ok()
    }

    /// Carries out a request.
    pub fn carry_out(&self, request: Request) -> Answer {
        let answer = match &request {
            Request::Protect { volume, server, group } => {
                let asked = Placement { server: server.as_deref(), group: group.as_deref() };
                self.change(|supervisor| self.protect(supervisor, volume, asked))
            }
            Request::Unprotect { volume } => {
                self.change(|supervisor| self.unprotect(supervisor, volume))
            }
            Request::Pause { volume } => {
                self.change(|supervisor| self.pause(supervisor, volume, true))
            }
            Request::Resume { volume } => {
                self.change(|supervisor| self.pause(supervisor, volume, false))
            }
            Request::Throttle { bytes_per_second } => {
                self.change(|supervisor| self.throttle(supervisor, *bytes_per_second))
            }
            Request::Reload => self.change(|supervisor| self.reload(supervisor)),
            Request::Points { volume } => self.points(volume).map(Answer::Points),
            Request::Bookmark { volume, name, consistency, or_crash } => {
                let wanted = Wanted { consistency: *consistency, or_crash: *or_crash };
                let made = self.bookmark(volume, name, wanted);
                made.map(|made| Answer::Bookmarked(Box::new(made)))
            }
            Request::GroupPoints { group } => {
                self.group_points(group).map(|points| Answer::GroupPoints(Box::new(points)))
            }
            Request::GroupBookmark { group, name } => {
                self.group_bookmark(group, name).map(Answer::GroupBookmarked)
            }
        };
        answer.unwrap_or_else(|error| {
            log::warn!("a request of an administrator was refused: {error}");
            Answer::Refused(Refusal::new(error.kind(), error))
        })
    }

    /// Carries out what changes the configuration or what runs.
    fn change(
        &self,
        how: impl FnOnce(&mut Supervisor) -> Result<Outcome, AdministrationError>,
    ) -> Result<Answer, AdministrationError> {
        let mut supervisor = self.supervisor();
        let Outcome { volume, changed } = how(&mut supervisor)?;
        let config = supervisor.config();
        let is_it = |it: &&VolumeConfig| Some(it.guid) == volume;
        let found = config.volumes.iter().find(is_it);
        let paused = found.is_some_and(|it| it.paused);
        let server = found.map_or(config.server.as_deref(), |it| config.server_of(it));
        let (server, volumes) = (server.map(str::to_owned), config.volumes.len());
        let volume = volume.map(|volume| format!("{{{volume}}}"));
        let schedule = scheduled(&supervisor);
        Ok(Answer::Done(Done { volume, server, changed, paused, volumes, schedule }))
    }

    fn protect(
        &self,
        supervisor: &mut Supervisor,
        volume: &str,
        asked: Placement<'_>,
    ) -> Result<Outcome, AdministrationError> {
        let name: VolumeName = volume.parse()?;
        let device = self.driver.device_of(&name)?;
        let config = self.settings.config()?;
        if let Some((place, volume)) = self.configured(&config, &name, Some(&device)) {
            let guid = volume.guid;
            let configured = config.server_of(volume).unwrap_or_default();
            if let Some(asked) = asked.server.filter(|asked| *asked != configured) {
                let (configured, asked) = (configured.to_owned(), asked.to_owned());
                let (volume, file) = (name, self.settings.path().display().to_string());
                return Err(AdministrationError::OtherServer { volume, configured, asked, file });
            }
            let mut changed = match asked.group {
                Some(group) if volume.group.as_deref() != Some(group) => {
                    let edited = self.settings.edit(Change::Group(place, group))?;
                    self.write_and_run(supervisor, edited)?;
                    let text = format!("{name}: an administrator has put it into group {group}");
                    notice::report(Event::ConfigurationChanged, &text);
                    true
                }
                _ => run(supervisor, config)?,
            };
            // Its session may have been ended.
            changed |= supervisor.begin_again(guid);
            return Ok(Outcome { volume: Some(guid), changed });
        }
        let server = match asked.server.map(str::to_owned).or_else(|| config.server.clone()) {
            Some(server) => server,
            None => KeyStore::new(&config.state_dir)
                .find()?
                .map(|it| it.server)
                .ok_or(AdministrationError::NoServer)?,
        };
        if config.server.as_ref().is_some_and(|main| *main != server)
            && let Some(store) = config.connector_to(&server).identity()?
        {
            store.load()?;
        }
        let name = self.lasting_name(&device)?;
        let add = Change::Add { name: &name, server: &server, group: asked.group };
        let edited = self.settings.edit(add)?;
        let Some(added) = edited.config.volumes.last() else {
            return Err(AdministrationError::NotConfigured(name));
        };
        self.check(added, &device)?;
        let guid = added.guid;
        self.write_and_run(supervisor, edited)?;
        notice::report(
            Event::ConfigurationChanged,
            &format!("{name}: an administrator has it protected: server {server}"),
        );
        Ok(Outcome { volume: Some(guid), changed: true })
    }

    fn unprotect(
        &self,
        supervisor: &mut Supervisor,
        volume: &str,
    ) -> Result<Outcome, AdministrationError> {
        let name: VolumeName = volume.parse()?;
        // A volume that is away is taken out too.
        let device = self.driver.device_of(&name);
        let config = self.settings.config()?;
        let found = self.configured(&config, &name, device.as_ref().ok());
        let guid = match found {
            Some((place, volume)) => {
                let guid = volume.guid;
                let edited = self.settings.edit(Change::Remove(place))?;
                self.write_and_run(supervisor, edited)?;
                Some(guid)
            }
            None => None,
        };
        let ended = match &device {
            Ok(device) => self.end_session(device)?,
            Err(_) => false,
        };
        let Some(guid) = guid else {
            // Of an earlier configuration.
            let outcome = Outcome { volume: None, changed: true };
            return if ended { Ok(outcome) } else { Err(not_configured(name, device)) };
        };
        supervisor.store(guid).forget()?;
        supervisor.remove_report(guid);
        notice::report(
            Event::SessionEnded,
            &format!("{name}: an administrator has it protected no longer"),
        );
        Ok(Outcome { volume: Some(guid), changed: true })
    }

    fn pause(
        &self,
        supervisor: &mut Supervisor,
        volume: &str,
        paused: bool,
    ) -> Result<Outcome, AdministrationError> {
        let name: VolumeName = volume.parse()?;
        let device = self.driver.device_of(&name);
        let config = self.settings.config()?;
        let Some((place, volume)) = self.configured(&config, &name, device.as_ref().ok()) else {
            return Err(not_configured(name, device));
        };
        let (guid, changed) = (volume.guid, volume.paused != paused);
        if changed {
            let edited = self.settings.edit(Change::Pause(place, paused))?;
            self.write_and_run(supervisor, edited)?;
            let text = if paused {
                "an administrator has paused it: nothing is sent until `snapless resume`"
            } else {
                "an administrator has it sent again"
            };
            notice::report(Event::ConfigurationChanged, &format!("{name}: {text}"));
        }
        Ok(Outcome { volume: Some(guid), changed })
    }

    fn throttle(
        &self,
        supervisor: &mut Supervisor,
        rate: Option<u64>,
    ) -> Result<Outcome, AdministrationError> {
        let changed = self.settings.config()?.send_rate != rate;
        if changed {
            let edited = self.settings.edit(Change::SendRate(rate))?;
            self.write_and_run(supervisor, edited)?;
            let mut text = rate.map_or_else(
                || "an administrator has taken away the limit of the rate of sending".to_owned(),
                |rate| format!("an administrator has limited sending to {} a second", Size(rate)),
            );
            if scheduled(supervisor).is_some() {
                text.push_str(", outside of the times of `send_rates`");
            }
            notice::report(Event::ConfigurationChanged, &text);
        }
        Ok(Outcome { volume: None, changed })
    }

    fn reload(&self, supervisor: &mut Supervisor) -> Result<Outcome, AdministrationError> {
        let changed = run(supervisor, self.settings.config()?)?;
        if changed {
            let volumes = supervisor.config().volumes.len();
            let text = format!("the configuration was read again: {volumes} volume(s)");
            notice::report(Event::ConfigurationChanged, &text);
        }
        Ok(Outcome { volume: None, changed })
    }

    /// Writes a change, and runs it: neither if what runs cannot follow.
    fn write_and_run(
        &self,
        supervisor: &mut Supervisor,
        edited: Edited,
    ) -> Result<(), AdministrationError> {
        can_run(supervisor, &edited.config)?;
        self.settings.write(&edited)?;
        supervisor.apply(edited.config);
        Ok(())
    }

    /// The volume in the configuration, and its place.
    fn configured<'a>(
        &self,
        config: &'a Config,
        name: &VolumeName,
        device: Option<&DeviceName>,
    ) -> Option<(usize, &'a VolumeConfig)> {
        let is_it = |volume: &VolumeConfig| {
            let has_guid = *name == VolumeName::Guid(volume.guid);
            has_guid
                || volume.name == *name
                || device.is_some_and(|device| {
                    self.driver.device_of(&volume.name).is_ok_and(|it| it.matches(device))
                })
        };
        config.volumes.iter().enumerate().find(|(_, volume)| is_it(volume))
    }

    /// The name of a device's volume that survives restarts, if it has one.
    fn lasting_name(&self, device: &DeviceName) -> Result<VolumeName, DriverError> {
        let path = || VolumeName::Device(device_text(device).unwrap_or_default());
        Ok(self.driver.guid_of(device)?.map_or_else(path, VolumeName::Guid))
    }

    /// An error if the volume cannot be protected.
    fn check(&self, volume: &VolumeConfig, device: &DeviceName) -> Result<(), AdministrationError> {
        let volumes = self.driver.open()?.list()?;
        let found = find(&volumes, device, volume)?;
        if found.session.is_none() {
            permits(found, self.driver.file_system_protection(device)?)?;
        }
        Ok(())
    }

    /// Ends the driver's session of a volume, if there is one.
    fn end_session(&self, device: &DeviceName) -> Result<bool, DriverError> {
        let port = match self.driver.open() {
            // No session outlives it.
            Err(DriverError::Absent) => return Ok(false),
            opened => opened?,
        };
        let Some(session) = port.find(device)?.and_then(|it| it.session) else { return Ok(false) };
        port.stop(session)?;
        Ok(true)
    }
}

/// What the schedule says now, if there is one.
fn scheduled(supervisor: &Supervisor) -> Option<Scheduled> {
    let InForce { entry, rate: bytes_per_second } = supervisor.send_rate();
    let is_there = !supervisor.config().send_rates.entries().is_empty();
    is_there.then_some(Scheduled { entry, bytes_per_second })
}

/// An error if a configuration counts only when the service is started again.
fn can_run(supervisor: &Supervisor, config: &Config) -> Result<(), AdministrationError> {
    let now = supervisor.config();
    if config.state_dir != now.state_dir {
        return Err(AdministrationError::Folder { what: "state_dir" });
    }
    if config.log_dir != now.log_dir {
        return Err(AdministrationError::Folder { what: "log_dir" });
    }
    Ok(())
}

/// Runs a configuration; false if it runs already.
fn run(supervisor: &mut Supervisor, config: Config) -> Result<bool, AdministrationError> {
    can_run(supervisor, &config)?;
    let changed = config != *supervisor.config();
    if changed {
        supervisor.apply(config);
    }
    Ok(changed)
}

/// Why a volume is not found in the configuration.
fn not_configured(
    name: VolumeName,
    device: Result<DeviceName, DriverError>,
) -> AdministrationError {
    match device {
        Ok(_) => AdministrationError::NotConfigured(name),
        Err(error) => error.into(),
    }
}

//! The choice of a pipeline's session: resume the one in the driver, or begin a new one.
//!
//! The driver knows what it protects ([`plan`]), the server knows what is durable ([`judge`]), the
//! service remembers the last acknowledged epoch. Rule RESUME (rules.md#resume): a session
//! continues only if driver and server both still have their part of it; otherwise a new session
//! begins and an event says why. A session that continues does so behind what is durable, without
//! a gap if the driver has kept all that follows ([`go_on`]).

use snapless_driver_client::identity::random_session;
use snapless_driver_client::protection::obstacle;
use snapless_driver_client::{DriverError, DriverPort, Volume};
use snapless_types::{Geometry, Overflow, Seq};
use snapless_wire::frame::{Hello, Welcome};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, DeviceName, DrainFrom, ExcludedExtents, Protection, SPECIAL_FILE_PAGING,
    SessionPhase, StartRequest,
};
use zerocopy::little_endian::{U32, U64};

use crate::config::VolumeConfig;
use crate::state::Remembered;

/// The entry of `device` in the driver's list.
pub fn find<'a>(
    volumes: &'a [Volume],
    device: &DeviceName,
    config: &VolumeConfig,
) -> Result<&'a Volume, SessionError> {
    let volume = volumes
        .iter()
        .find(|volume| volume.is(device))
        .ok_or_else(|| SessionError::NotFiltered(config.name.to_string()))?;
    if volume.length.is_none() || volume.sector_size.is_none() {
        return Err(SessionError::Silent(volume.device.clone()));
    }
    // A session that is there already goes on.
    if let Some(protection) = volume.protection.filter(|_| volume.session.is_none()) {
        permits(volume, protection)?;
    }
    // HANG (rules.md#hang): the system would wait for memory that waits for the server.
    let has_paging_file = volume.special_files & SPECIAL_FILE_PAGING != 0;
    if config.overflow == Overflow::Hold && has_paging_file && volume.session.is_none() {
        return Err(SessionError::HoldWithPagingFile(volume.device.clone()));
    }
    Ok(volume)
}

/// An error unless this permits that the volume is protected.
pub fn permits(volume: &Volume, protection: Protection) -> Result<(), SessionError> {
    let Some(why) = obstacle(protection) else { return Ok(()) };
    let device = volume.device.clone();
    Err(match protection {
        Protection::StartsFailed => SessionError::StartsFailed { device, why },
        _ => SessionError::Unprotectable { device, why },
    })
}

/// How the pipeline gets its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Begin a new session.
    Start,
    /// Claim the driver's session.
    Resume(SessionId),
    /// Stop the session that failed to start, then begin a new one.
    Replace(SessionId),
}

/// The plan that the volume's state in the driver calls for.
pub fn plan(volume: &Volume) -> Result<Plan, SessionError> {
    match (volume.phase, volume.session) {
        (_, None) | (SessionPhase::None, _) => Ok(Plan::Start),
        (SessionPhase::Detached, Some(session)) => Ok(Plan::Resume(session)),
        (SessionPhase::Failed, Some(session)) => Ok(Plan::Replace(session)),
        (_, Some(session)) => Err(SessionError::Claimed { device: volume.device.clone(), session }),
    }
}

/// A session that this port has claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// The volume's geometry.
    pub geometry: Geometry,
    /// True if the session began before this claim.
    pub resumed: bool,
}

impl Claim {
    /// Claims the session as planned; a new one excludes these extents.
    pub fn take(
        port: &dyn DriverPort,
        plan: Plan,
        device: &DeviceName,
        config: &VolumeConfig,
        excluded: &ExcludedExtents,
    ) -> Result<Self, DriverError> {
        match plan {
            Plan::Resume(session) => {
                Ok(Self { session, geometry: port.resume(session)?, resumed: true })
            }
            Plan::Start => Self::start(port, device, config, excluded),
            Plan::Replace(session) => {
                port.stop(session)?;
                Self::start(port, device, config, excluded)
            }
        }
    }

    /// The greeting to the server.
    pub fn hello(&self, config: &VolumeConfig) -> Hello {
        Hello::new(config.guid, self.session, &self.geometry)
    }

    fn start(
        port: &dyn DriverPort,
        device: &DeviceName,
        config: &VolumeConfig,
        excluded: &ExcludedExtents,
    ) -> Result<Self, DriverError> {
        let session = random_session();
        let geometry = port.start(&start_request(session, device, config, excluded))?;
        Ok(Self { session, geometry, resumed: false })
    }
}

/// Whether the claimed session can continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It continues.
    Continue,
    /// The server lacks its part: stop the session and begin a new one.
    StartOver(Reason),
}

/// Why a session cannot continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing of the session is durable at the server, and the driver has not kept all of it.
    Unknown,
    /// Less is durable now than the server acknowledged before.
    Lost {
        /// The last durable epoch.
        durable: u64,
        /// An epoch that the server acknowledged.
        acknowledged: u64,
    },
    /// Less is durable now than the driver was told.
    LostRecords {
        /// The server's last record.
        durable: Seq,
        /// The last record that the driver knows to be durable.
        acknowledged: Seq,
    },
    /// The server has records that the driver has not made.
    Ahead {
        /// The server's last record.
        durable: Seq,
        /// The driver's last record.
        captured: Seq,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("the server has nothing of it"),
            Self::Lost { durable, acknowledged } => write!(
                f,
                "the server has it up to epoch {durable} only, but acknowledged epoch \
                 {acknowledged} before: was its repository restored from an older copy?"
            ),
            Self::LostRecords { durable, acknowledged } => write!(
                f,
                "the server has it up to record {durable} only, but acknowledged record \
                 {acknowledged} before: was its repository restored from an older copy?"
            ),
            Self::Ahead { durable, captured } => write!(
                f,
                "the server has it up to record {durable}, but the driver has made {captured} \
                 records only: was this machine put back to an older state, or copied?"
            ),
        }
    }
}

/// What the driver knows of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Driven {
    /// The last record that it knows to be durable.
    pub acknowledged: Seq,
    /// Its last record.
    pub captured: Seq,
}

/// Compares the server's welcome with what the service remembers, and with what the driver knows.
pub fn judge(
    claim: &Claim,
    remembered: Option<&Remembered>,
    driven: &Driven,
    welcome: &Welcome,
) -> Verdict {
    let Driven { acknowledged, captured } = *driven;
    if welcome.durable_seq() > captured {
        let durable = welcome.durable_seq();
        return Verdict::StartOver(Reason::Ahead { durable, captured });
    }
    let durable = welcome.durable_epoch().get();
    if !claim.resumed {
        return Verdict::Continue;
    }
    match remembered.filter(|state| state.session == claim.session) {
        Some(state) if durable < state.acknowledged_epoch => {
            Verdict::StartOver(Reason::Lost { durable, acknowledged: state.acknowledged_epoch })
        }
        _ if welcome.durable_seq() < acknowledged => {
            let durable = welcome.durable_seq();
            Verdict::StartOver(Reason::LostRecords { durable, acknowledged })
        }
        _ => Verdict::Continue,
    }
}

/// Lets a resumed session go on behind what is durable; true if it does so without a gap. If
/// `lose`, the records there are of no use.
///
/// A session of which nothing is durable starts over if a record is missing: its base image can
/// never be complete.
pub fn go_on(
    port: &dyn DriverPort,
    welcome: &Welcome,
    lose: bool,
) -> Result<Result<bool, Reason>, DriverError> {
    let has_all = port.drain_from(DrainFrom { durable: welcome.durable_seq(), lose })?;
    let is_lost = !has_all && welcome.durable_epoch().get() == 0;
    Ok(if is_lost { Err(Reason::Unknown) } else { Ok(has_all) })
}

/// Why there is no session to serve.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The driver is not in the volume's device stack.
    #[error(
        "the driver does not filter volume {0}: restart the machine if the driver was installed \
         after the last start, and check `snapless volumes`"
    )]
    NotFiltered(String),
    /// The volume does not report its length or sector size.
    #[error("volume {0} does not answer: is it online and unlocked?")]
    Silent(String),
    /// The driver cannot protect a volume of this kind.
    #[error("volume {device} cannot be protected: {why}")]
    Unprotectable {
        /// The volume's device.
        device: String,
        /// The obstacle.
        why: &'static str,
    },
    /// The driver passes all requests through.
    #[error("volume {device} is not protected: {why}")]
    StartsFailed {
        /// The volume's device.
        device: String,
        /// What has happened, and what to do.
        why: &'static str,
    },
    /// Writes to a volume with a paging file are not made to wait for the server.
    #[error(
        "volume {0} has a paging file, so `overflow = \"hold\"` is refused: choose `gap`, or move \
         the paging file"
    )]
    HoldWithPagingFile(String),
    /// Another handle has claimed the session.
    #[error("another program has claimed session {session} of volume {device}; stop that program")]
    Claimed {
        /// The volume's device.
        device: String,
        /// The session.
        session: SessionId,
    },
}

fn start_request(
    session: SessionId,
    device: &DeviceName,
    config: &VolumeConfig,
    excluded: &ExcludedExtents,
) -> StartRequest {
    StartRequest {
        version: U32::new(ABI_VERSION),
        block_size: U32::new(config.block_size),
        session,
        device: *device,
        queue_bytes: U64::new(config.queue_bytes),
        hold_limit_ms: U32::new(config.hold_limit_ms),
        overflow: U32::new(config.overflow as u32),
        sweep_bytes_per_second: U64::new(config.sweep.bytes_per_second),
        sweep_latency_ms: U32::new(config.sweep.latency_ms),
        excluded: *excluded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_driver_client::VolumeName;
    use snapless_types::EpochId;
    use snapless_wire::id::VolumeGuid;
    use snapless_wire::ioctl::SweepLimits;

    const SESSION: SessionId = SessionId([5; 16]);
    const DEVICE: &str = r"\Device\HarddiskVolume3";

    fn volume(phase: SessionPhase, session: Option<SessionId>) -> Volume {
        let device = DEVICE.to_owned();
        Volume {
            device,
            length: Some(1 << 30),
            sector_size: Some(512),
            phase,
            session,
            protection: Some(Protection::Possible),
            special_files: 0,
        }
    }

    fn config() -> VolumeConfig {
        VolumeConfig {
            name: VolumeName::Device(DEVICE.into()),
            guid: VolumeGuid([1; 16]),
            block_size: 128 << 10,
            queue_bytes: 64 << 20,
            hold_limit_ms: 300,
            overflow: Overflow::Hold,
            sweep: SweepLimits { bytes_per_second: 50 << 20, latency_ms: 7 },
            resend_window: 32 << 20,
            compare: true,
        }
    }

    fn name(text: &str) -> DeviceName {
        DeviceName::new(text.encode_utf16()).unwrap()
    }

    fn welcome(epoch: u64) -> Welcome {
        Welcome::new(EpochId::new(epoch), Seq::new(epoch * 10))
    }

    fn claim(resumed: bool) -> Claim {
        let geometry = Geometry::new(1 << 30, 512, 65_536).unwrap();
        Claim { session: SESSION, geometry, resumed }
    }

    #[test]
    fn the_phase_decides_between_start_resume_and_replace() {
        use SessionPhase::{Detached, Failed, FirstSync, Gap, Live, None as NoSession, Resync};
        assert_eq!(plan(&volume(NoSession, None)), Ok(Plan::Start));
        assert_eq!(plan(&volume(Detached, Some(SESSION))), Ok(Plan::Resume(SESSION)));
        assert_eq!(plan(&volume(Failed, Some(SESSION))), Ok(Plan::Replace(SESSION)));
        for phase in [SessionPhase::Starting, FirstSync, Live, Gap, Resync] {
            let error = plan(&volume(phase, Some(SESSION))).unwrap_err();
            assert!(matches!(error, SessionError::Claimed { .. }), "{phase:?}");
        }
    }

    #[test]
    fn an_error_names_a_volume_that_is_absent_or_silent() {
        let mut volumes = [volume(SessionPhase::None, None)];
        assert!(find(&volumes, &name(r"\device\harddiskvolume3"), &config()).is_ok());
        let error = find(&volumes, &name(r"\Device\Other"), &config()).unwrap_err();
        assert_eq!(error, SessionError::NotFiltered(DEVICE.into()));
        volumes[0].length = None;
        let error = find(&volumes, &name(DEVICE), &config()).unwrap_err();
        assert_eq!(error, SessionError::Silent(DEVICE.into()));
    }

    #[test]
    fn an_obstacle_prevents_a_new_session_but_not_a_resumed_one() {
        let mut volumes = [volume(SessionPhase::None, None)];
        volumes[0].protection = Some(Protection::Removable);
        let error = find(&volumes, &name(DEVICE), &config()).unwrap_err();
        assert!(error.to_string().contains("taken out"), "{error}");
        volumes[0].session = Some(SESSION);
        assert!(find(&volumes, &name(DEVICE), &config()).is_ok());
        // An older driver does not say.
        (volumes[0].session, volumes[0].protection) = (None, None);
        assert!(find(&volumes, &name(DEVICE), &config()).is_ok());
    }

    #[test]
    fn writes_to_a_volume_with_a_paging_file_are_not_made_to_wait() {
        let mut volumes = [volume(SessionPhase::None, None)];
        volumes[0].special_files = SPECIAL_FILE_PAGING;
        let error = find(&volumes, &name(DEVICE), &config()).unwrap_err();
        assert_eq!(error, SessionError::HoldWithPagingFile(DEVICE.into()));
        let gap = VolumeConfig { overflow: Overflow::Gap, ..config() };
        assert!(find(&volumes, &name(DEVICE), &gap).is_ok());
        volumes[0].session = Some(SESSION);
        assert!(find(&volumes, &name(DEVICE), &config()).is_ok(), "a session goes on");
    }

    #[test]
    fn a_start_request_has_the_settings_of_the_configuration() {
        let request = start_request(SESSION, &name(DEVICE), &config(), &ExcludedExtents::NONE);
        let settings = request.settings().unwrap();
        assert_eq!((settings.session, settings.block_size), (SESSION, 128 << 10));
        assert_eq!((settings.queue_bytes, settings.hold_limit_ms), (64 << 20, 300));
        assert_eq!(settings.overflow, Overflow::Hold);
        assert_eq!(settings.sweep, config().sweep);
    }

    #[test]
    fn a_session_continues_only_if_the_server_has_its_part() {
        let volume = VolumeGuid([1; 16]);
        let state = Remembered::new(volume, SESSION).acknowledged(8);
        let other = Remembered::new(volume, SessionId([6; 16])).acknowledged(8);
        let lost = Reason::Lost { durable: 7, acknowledged: 8 };
        for (resumed, remembered, durable, verdict) in [
            (false, None, 0, Verdict::Continue),
            (true, None, 0, Verdict::Continue),
            (true, Some(&state), 7, Verdict::StartOver(lost)),
            (true, Some(&state), 8, Verdict::Continue),
            (true, Some(&other), 1, Verdict::Continue),
            (true, None, 1, Verdict::Continue),
        ] {
            let driven = Driven { acknowledged: Seq::new(0), captured: Seq::new(80) };
            let judged = judge(&claim(resumed), remembered, &driven, &welcome(durable));
            assert_eq!(judged, verdict);
        }
        let driven = Driven { acknowledged: Seq::new(80), captured: Seq::new(89) };
        let lost = Reason::LostRecords { durable: Seq::new(70), acknowledged: Seq::new(80) };
        for remembered in [None, Some(&other)] {
            let judged = judge(&claim(true), remembered, &driven, &welcome(7));
            assert_eq!(judged, Verdict::StartOver(lost), "the driver knows better");
            let judged = judge(&claim(true), remembered, &driven, &welcome(8));
            assert_eq!(judged, Verdict::Continue);
        }
        let ahead = Reason::Ahead { durable: Seq::new(90), captured: Seq::new(89) };
        for resumed in [false, true] {
            let judged = judge(&claim(resumed), Some(&state), &driven, &welcome(9));
            assert_eq!(judged, Verdict::StartOver(ahead));
        }
    }
}

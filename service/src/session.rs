//! The choice of a pipeline's session: resume the driver's, continue the server's, or begin one.
//!
//! The driver knows what it protects ([`plan`]), the server knows what is durable ([`judge`]), the
//! service remembers the session and its last acknowledged epoch. Rule RESUME (rules.md#resume): a
//! session continues as long as the server has something of it, and does so behind that.
//!
//! | the driver has | the session goes on |
//! | --- | --- |
//! | all that the server lacks | without a gap |
//! | the session, but not all of that | with a gap, until what changed in it was read |
//! | what it saved when the machine went down, or its write-intent log | with a gap, until what the server may lack was compared |
//! | nothing of it | with a gap, until every block was compared |
//! | what contradicts the server, or cannot be known to agree with it | it is stopped, and then as above |
//!
//! Only if the server has nothing, the volume has other sectors or blocks, or the numbers of its
//! records are used up, a new session begins, and an event says why. A volume whose length has
//! changed is followed: the session continues with the new length.
//!
//! A session that continues skips numbers, at random ([`origin_behind`]): another copy of the
//! server's repository may have records behind that one, of a past that was left, and come back. No
//! record of this past has a number of that one, so [`judge`] tells them apart.
//!
//! A machine that is put back with its memory makes records with the numbers of the past that it
//! left. So the driver compares when the server's last record was made ([`go_on`]), and the window
//! of a claim does ([`crate::window`]).

use snapless_driver_client::identity::{random_number, random_session};
use snapless_driver_client::protection::obstacle;
use snapless_driver_client::status::Saved;
use snapless_driver_client::{DriverError, DriverPort, SessionStatus, Volume};
use snapless_types::{GapReason, Geometry, Overflow, Seq};
use snapless_wire::frame::{Hello, Welcome};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, DeviceName, DrainFrom, ExcludedExtents, Protection, SPECIAL_FILE_PAGING,
    SessionPhase, SettingsLe, StartRequest, SweepLimits, origin_behind,
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
    /// Start a session of which the driver has nothing: it continues behind what the server has.
    Continue(SessionId, GapReason),
    /// Claim the driver's session.
    Resume(SessionId),
}

/// The plan that the volume's state in the driver calls for, and what the service remembers.
/// `reason`: why a session that the driver has no more would be continued.
pub fn plan(
    volume: &Volume,
    remembered: Option<&Remembered>,
    config: &VolumeConfig,
    reason: GapReason,
) -> Result<Plan, SessionError> {
    match (volume.phase, volume.session) {
        (_, None) | (SessionPhase::None | SessionPhase::Failed, _) => {
            let sector_size = volume.sector_size;
            let has_shape = |state: &&Remembered| {
                sector_size.is_some_and(|bytes| state.has_shape(bytes, config.block_size))
            };
            let Some(state) = remembered.filter(has_shape) else { return Ok(Plan::Start) };
            let is_resized = volume.length != Some(state.length());
            let reason = if is_resized { GapReason::Resized } else { reason };
            Ok(Plan::Continue(state.session, reason))
        }
        (SessionPhase::Detached, Some(session)) => Ok(Plan::Resume(session)),
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
    /// How it came to be claimed.
    pub plan: Plan,
}

impl Claim {
    /// Claims the session as planned, by this request if it is started. What is in its way is
    /// stopped first: a session that failed to start, and one that the driver has begun on a copy
    /// of the volume.
    pub fn take(
        port: &dyn DriverPort,
        plan: Plan,
        (volume, volumes): (&Volume, &[Volume]),
        request: &StartRequest,
    ) -> Result<Self, DriverError> {
        let (session, geometry) = match plan {
            Plan::Resume(session) => (session, port.resume(session)?),
            Plan::Start | Plan::Continue(..) => {
                if let Some(failed) = volume.session {
                    port.stop(failed)?;
                }
                let is_of_copy = |it: &&Volume| {
                    it.phase == SessionPhase::Detached && it.session == Some(request.session)
                };
                if let Some(copy) = volumes.iter().find(is_of_copy) {
                    log::warn!(
                        "{}: it has what a copy of {} has: its session is stopped",
                        copy.device,
                        volume.device
                    );
                    port.stop(request.session)?;
                }
                (request.session, port.start(request)?)
            }
        };
        Ok(Self { session, geometry, plan })
    }

    /// The greeting to the server.
    pub fn hello(&self, config: &VolumeConfig) -> Hello {
        Hello::new(config.guid, self.session, &self.geometry)
    }
}

/// Whether the claimed session can continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It continues.
    Continue,
    /// The driver's part of it is of no use: stop it, and let the session continue behind what the
    /// server has.
    Verify(Reason),
    /// The server lacks its part: stop the session and begin a new one.
    StartOver(Reason),
}

/// Why a session cannot continue as it is.
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
    /// The server's last record is not known to be of this past: it was made at another time than
    /// the one with its number, or nothing is known of that one any more.
    OtherPast {
        /// The server's last record.
        durable: Seq,
    },
    /// Too few numbers are left behind the server's last record.
    UsedUp {
        /// The server's last record.
        durable: Seq,
    },
    /// What the driver continues with is a write-intent log that is not to be trusted.
    LogDistrusted {
        /// The server's last record.
        durable: Seq,
    },
}

impl Reason {
    /// What becomes of the session. If the server has something of it, that is what it continues
    /// behind; if not, there is nothing to compare with. Without numbers nothing can follow.
    pub fn verdict(self) -> Verdict {
        let durable = match self {
            Self::Unknown | Self::UsedUp { .. } => 0,
            Self::Lost { durable, .. } => durable,
            Self::LostRecords { durable, .. }
            | Self::Ahead { durable, .. }
            | Self::OtherPast { durable }
            | Self::LogDistrusted { durable } => durable.get(),
        };
        if durable == 0 { Verdict::StartOver(self) } else { Verdict::Verify(self) }
    }
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
            Self::OtherPast { durable } => write!(
                f,
                "the server has it up to record {durable}, which this machine's driver has not \
                 made, or does not remember: was this machine put back to an older state, or \
                 copied?"
            ),
            Self::LogDistrusted { .. } => f.write_str(
                "the disk had failed the volume's write-intent log before the machine went down",
            ),
            Self::UsedUp { durable } => write!(
                f,
                "the server has it up to record {durable}, and too few record numbers are left"
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
    /// The numbers of its records are known; if not, the session continues one of an earlier start
    /// and goes on behind whatever the server has.
    pub placed: bool,
    /// What it continues with: it reads only what a server may lack whose stream ends as that says.
    pub saved: Option<Saved>,
}

impl Driven {
    /// From the driver's status.
    pub fn of(status: &SessionStatus) -> Self {
        let SessionStatus { acknowledged_seq, last_seq, placed, saved, .. } = *status;
        Self { acknowledged: acknowledged_seq, captured: last_seq, placed, saved }
    }
}

/// Compares the server's welcome with what the service remembers, and with what the driver knows.
pub fn judge(
    claim: &Claim,
    remembered: Option<&Remembered>,
    driven: &Driven,
    welcome: &Welcome,
) -> Verdict {
    let (durable, durable_epoch) = (welcome.durable_seq(), welcome.durable_epoch().get());
    let Driven { acknowledged, captured, placed, saved } = *driven;
    if !placed {
        return if durable_epoch == 0 {
            Reason::Unknown.verdict()
        } else if origin_behind(durable, u64::MAX).is_none() {
            Reason::UsedUp { durable }.verdict()
        } else {
            let distrusts_log = remembered.is_some_and(|state| state.distrusts_log);
            saved.map_or(Verdict::Continue, |saved| judge_saved(&saved, durable, distrusts_log))
        };
    }
    if durable > captured {
        return Reason::Ahead { durable, captured }.verdict();
    }
    if claim.plan == Plan::Start && durable > Seq::new(0) {
        // The server has nothing of a session that has just begun, unless its number was given
        // before.
        return Reason::OtherPast { durable }.verdict();
    }
    match remembered.filter(|state| state.session == claim.session) {
        Some(state) if durable_epoch < state.acknowledged_epoch => {
            let acknowledged = state.acknowledged_epoch;
            Reason::Lost { durable: durable_epoch, acknowledged }.verdict()
        }
        _ if durable < acknowledged => Reason::LostRecords { durable, acknowledged }.verdict(),
        _ if welcome.is_put_aside() => Reason::Unknown.verdict(),
        _ => Verdict::Continue,
    }
}

/// A state that was saved speaks of the server as it was then: of one that has lost records since,
/// or has some that the driver had not made, it does not know what may differ. Of the records
/// between, the driver knows which it has made ([`go_on`]).
///
/// A driver that has begun the session before the service was there does not know that the service
/// does not trust the log.
fn judge_saved(saved: &Saved, durable: Seq, distrusts_log: bool) -> Verdict {
    let Saved { acknowledged, captured, after_crash, .. } = *saved;
    if after_crash && distrusts_log {
        Reason::LogDistrusted { durable }.verdict()
    } else if durable < acknowledged {
        Reason::LostRecords { durable, acknowledged }.verdict()
    } else if durable > captured {
        Reason::Ahead { durable, captured }.verdict()
    } else {
        Verdict::Continue
    }
}

/// Lets a session go on behind what is durable; true if it does so without a gap, or begins with
/// one. If `lose`, the records there are of no use.
///
/// Not so if the driver says that the last record there is none of its own: the session is stopped
/// and continues with a verification, whatever else driver and server agree about.
///
/// A session of which nothing is durable starts over if a record is missing: its base image can
/// never be complete.
pub fn go_on(
    port: &dyn DriverPort,
    welcome: &Welcome,
    lose: bool,
) -> Result<Result<bool, Reason>, DriverError> {
    let durable = welcome.durable_seq();
    // Only a session that continues takes it; `judge` lets none pass that has no numbers left.
    let origin = origin_behind(durable, random_number()).unwrap_or_default();
    let made = welcome.durable_made();
    match port.drain_from(DrainFrom { durable, made, origin, lose }) {
        Err(DriverError::ImpossibleSeq) => Ok(Err(Reason::OtherPast { durable })),
        Ok(false) if welcome.durable_epoch().get() == 0 => Ok(Err(Reason::Unknown)),
        has_all => has_all.map(Ok),
    }
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

/// The settings of a volume's session, whose sweep has these limits.
pub fn settings(config: &VolumeConfig, sweep: SweepLimits) -> SettingsLe {
    SettingsLe {
        queue_bytes: U64::new(config.queue_bytes),
        hold_limit_ms: U32::new(config.hold_limit_ms),
        overflow: U32::new(config.overflow as u32),
        sweep_bytes_per_second: U64::new(sweep.bytes_per_second),
        sweep_latency_ms: U32::new(sweep.latency_ms),
    }
}

/// The request that starts a session as planned.
pub fn start_request(
    plan: Plan,
    device: &DeviceName,
    (config, sweep): (&VolumeConfig, SweepLimits),
    excluded: &ExcludedExtents,
) -> StartRequest {
    let (session, continues) = match plan {
        Plan::Continue(session, reason) => (session, reason.to_wire()),
        Plan::Start | Plan::Resume(_) => (random_session(), 0),
    };
    StartRequest {
        version: U32::new(ABI_VERSION),
        block_size: U32::new(config.block_size),
        session,
        device: *device,
        settings: settings(config, sweep),
        continues: U32::new(continues.into()),
        excluded: *excluded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_driver_client::VolumeName;
    use snapless_types::{EpochId, ORIGIN_MAX};
    use snapless_wire::id::VolumeGuid;

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
            server: None,
            group: None,
            name: VolumeName::Device(DEVICE.into()),
            guid: VolumeGuid([1; 16]),
            block_size: 128 << 10,
            queue_bytes: 64 << 20,
            hold_limit_ms: 300,
            overflow: Overflow::Hold,
            sweep: SweepLimits { bytes_per_second: 50 << 20, latency_ms: 7 },
            resend_window: 32 << 20,
            compress: true,
            compare: true,
            write_intent_log: true,
            used_blocks_only: true,
            paused: false,
        }
    }

    fn name(text: &str) -> DeviceName {
        DeviceName::new(text.encode_utf16()).unwrap()
    }

    fn welcome(epoch: u64) -> Welcome {
        Welcome::new(EpochId::new(epoch), Seq::new(epoch * 10))
    }

    fn geometry() -> Geometry {
        Geometry::new(1 << 30, 512, 128 << 10).unwrap()
    }

    fn claim(plan: Plan) -> Claim {
        Claim { session: SESSION, geometry: geometry(), plan }
    }

    fn remembered(session: SessionId) -> Remembered {
        Remembered::new(VolumeGuid([1; 16]), session, &geometry()).acknowledged(8)
    }

    const RESTARTED: GapReason = GapReason::Restarted;

    #[test]
    fn the_phase_decides_between_start_and_resume() {
        use SessionPhase::{Detached, Failed, FirstSync, Gap, Live, None as NoSession, Resync};
        let plan = |volume: &Volume| plan(volume, None, &config(), RESTARTED);
        assert_eq!(plan(&volume(NoSession, None)), Ok(Plan::Start));
        assert_eq!(plan(&volume(Detached, Some(SESSION))), Ok(Plan::Resume(SESSION)));
        assert_eq!(plan(&volume(Failed, Some(SESSION))), Ok(Plan::Start));
        for phase in [SessionPhase::Starting, FirstSync, Live, Gap, Resync] {
            let error = plan(&volume(phase, Some(SESSION))).unwrap_err();
            assert!(matches!(error, SessionError::Claimed { .. }), "{phase:?}");
        }
    }

    #[test]
    fn a_remembered_session_that_the_driver_lacks_continues_if_the_volume_has_its_shape() {
        use SessionPhase::{Detached, Failed, None as NoSession};
        let state = remembered(SESSION);
        let plan = |volume: &Volume, config: &VolumeConfig| {
            plan(volume, Some(&state), config, RESTARTED).unwrap()
        };
        let none = volume(NoSession, None);
        let continues = Plan::Continue(SESSION, RESTARTED);
        assert_eq!(plan(&none, &config()), continues);
        let other = SessionId([6; 16]);
        assert_eq!(plan(&volume(Failed, Some(other)), &config()), continues);
        assert_eq!(plan(&volume(Detached, Some(other)), &config()), Plan::Resume(other));
        for length in [512, 2 << 30] {
            let resized = Volume { length: Some(length), ..none.clone() };
            let continues = Plan::Continue(SESSION, GapReason::Resized);
            assert_eq!(plan(&resized, &config()), continues);
        }
        let of_4k = Volume { sector_size: Some(4096), ..none.clone() };
        assert_eq!(plan(&of_4k, &config()), Plan::Start);
        assert_eq!(plan(&none, &VolumeConfig { block_size: 64 << 10, ..config() }), Plan::Start);
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
        let plan = Plan::Continue(SESSION, RESTARTED);
        let sweep = SweepLimits { bytes_per_second: 10 << 20, latency_ms: 7 };
        let (device, of) = (name(DEVICE), (&config(), sweep));
        let start = |plan| start_request(plan, &device, of, &ExcludedExtents::NONE);
        let settings = start(plan).settings().unwrap();
        assert_eq!((settings.session, settings.block_size), (SESSION, 128 << 10));
        assert_eq!(settings.continues, Some(RESTARTED));
        let new = start(Plan::Start).settings().unwrap();
        assert!(new.session != SESSION && new.continues.is_none());
        assert_eq!((settings.queue_bytes, settings.hold_limit_ms), (64 << 20, 300));
        assert_eq!(settings.overflow, Overflow::Hold);
        assert_eq!(settings.sweep, sweep, "the schedule may have another rate");
    }

    #[test]
    fn a_session_goes_on_as_it_is_only_if_driver_and_server_agree() {
        let (state, other) = (remembered(SESSION), remembered(SessionId([6; 16])));
        let lost = Reason::Lost { durable: 7, acknowledged: 8 };
        let resumed = Plan::Resume(SESSION);
        for (plan, remembered, durable, verdict) in [
            (Plan::Start, None, 0, Verdict::Continue),
            (Plan::Start, None, 1, Verdict::Verify(Reason::OtherPast { durable: Seq::new(10) })),
            (resumed, None, 0, Verdict::Continue),
            (resumed, Some(&state), 7, Verdict::Verify(lost)),
            (resumed, Some(&state), 8, Verdict::Continue),
            (resumed, Some(&other), 1, Verdict::Continue),
            (resumed, None, 1, Verdict::Continue),
        ] {
            let driven = Driven {
                acknowledged: Seq::new(0),
                captured: Seq::new(80),
                placed: true,
                saved: None,
            };
            assert_eq!(judge(&claim(plan), remembered, &driven, &welcome(durable)), verdict);
        }
        let driven = Driven {
            acknowledged: Seq::new(80),
            captured: Seq::new(89),
            placed: true,
            saved: None,
        };
        let lost = Reason::LostRecords { durable: Seq::new(70), acknowledged: Seq::new(80) };
        let judged =
            |remembered, epoch| judge(&claim(resumed), remembered, &driven, &welcome(epoch));
        for remembered in [None, Some(&other)] {
            assert_eq!(judged(remembered, 7), Verdict::Verify(lost), "the driver knows better");
            assert_eq!(judged(remembered, 8), Verdict::Continue);
        }
        let ahead = Reason::Ahead { durable: Seq::new(90), captured: Seq::new(89) };
        assert_eq!(judged(Some(&state), 9), Verdict::Verify(ahead));
    }

    #[test]
    fn a_log_that_is_not_trusted_is_no_use_to_a_session_that_the_driver_has_begun() {
        let (trusted, durable) = (remembered(SESSION), Seq::new(80));
        let mut distrusted = trusted.clone();
        distrusted.distrusts_log = true;
        let judged = |remembered, after_crash| {
            let saved = Saved { acknowledged: durable, captured: durable, bytes: 1, after_crash };
            let driven = Driven {
                acknowledged: Seq::new(0),
                captured: Seq::new(7),
                placed: false,
                saved: Some(saved),
            };
            judge(&claim(Plan::Resume(SESSION)), Some(remembered), &driven, &welcome(8))
        };
        let verify = Verdict::Verify(Reason::LogDistrusted { durable });
        assert_eq!(judged(&distrusted, true), verify);
        assert_eq!(judged(&distrusted, false), Verdict::Continue, "it was shut down in order");
        assert_eq!(judged(&trusted, true), Verdict::Continue);
    }

    #[test]
    fn a_server_that_has_nothing_gets_a_new_session() {
        let state = remembered(SESSION);
        let driven = Driven {
            acknowledged: Seq::new(80),
            captured: Seq::new(89),
            placed: true,
            saved: None,
        };
        let judged = judge(&claim(Plan::Resume(SESSION)), Some(&state), &driven, &welcome(0));
        assert_eq!(judged, Verdict::StartOver(Reason::Lost { durable: 0, acknowledged: 8 }));
        let unplaced = Driven { placed: false, ..driven };
        let claim = claim(Plan::Continue(SESSION, RESTARTED));
        let judged = |epoch| judge(&claim, Some(&state), &unplaced, &welcome(epoch));
        assert_eq!(judged(0), Verdict::StartOver(Reason::Unknown));
        // Wherever the server stands, it goes on there.
        for epoch in [1, 7, 8, 9] {
            assert_eq!(judged(epoch), Verdict::Continue);
        }
        // Unless no number is left.
        let last = Seq::new(ORIGIN_MAX);
        let judged = judge(&claim, Some(&state), &unplaced, &Welcome::new(EpochId::new(9), last));
        assert_eq!(judged, Verdict::StartOver(Reason::UsedUp { durable: last }));
    }
}

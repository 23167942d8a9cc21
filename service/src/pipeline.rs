//! One volume's pipeline: connect, claim a session, stream; after a failure wait and try again.
//!
//! Rule: a pipeline ends only on a stop request, or when an administrator ended its session. A
//! volume that was removed is waited for. Every other end is reported and tried again. A port is
//! open for exactly one attempt, which outlasts a broken link: after its closing the driver keeps
//! what is not acknowledged, and the next attempt drains it again (rule RESUME, rules.md#resume).

use std::sync::Arc;
use std::time::Duration;

use crate::report::Activity;
use snapless_driver_client::file_layout::are_still;
use snapless_driver_client::{Driver, DriverError, DriverPort, Volume};
use snapless_link::LinkError;
use snapless_link::client::LinkLimits;
use snapless_types::Extent;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{ABI_VERSION, DeviceName, ExcludedExtents, SessionPhase};

use crate::attempt::guarded;
use crate::backoff::BackoffLimits;
use crate::config::VolumeConfig;
use crate::connector::Connector;
use crate::counters::Counters;
use crate::event::Event;
use crate::links::Dialling;
use crate::notice;
use crate::session::{
    Claim, Driven, Plan, Reason, SessionError, Verdict, find, go_on, judge, permits, plan,
};
use crate::state::{Remembered, SessionStore, StateError};
use crate::stop::StopSignal;
use crate::stream::{Stream, StreamEnd, StreamError, WATERMARK_INTERVAL};
use crate::watch::{Resized, Watch};
use crate::window::ANSWER_LIMIT;

/// How often it is looked whether a volume that was removed is there again.
const VOLUME_POLL: Duration = Duration::from_secs(1);
/// How often it is looked whether t0 has come.
const T0_POLL: Duration = Duration::from_millis(20);

/// Time limits of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Limits of the link.
    pub link: LinkLimits,
    /// Waits between attempts.
    pub backoff: BackoffLimits,
    /// How long a flush before a stop may take.
    pub flush: Duration,
    /// How often the server is told that nothing is written.
    pub watermark: Duration,
    /// How long a frame waits until the server says what it has of it.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            link: LinkLimits::default(),
            backoff: BackoffLimits::default(),
            flush: Duration::from_secs(10),
            watermark: WATERMARK_INTERVAL,
            answer: ANSWER_LIMIT,
        }
    }
}

/// One volume's pipeline.
pub struct Pipeline {
    /// The volume and its settings.
    pub config: VolumeConfig,
    /// How the server is reached.
    pub connector: Connector,
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// Where the session is remembered.
    pub store: SessionStore,
    /// The pipeline's counters.
    pub counters: Arc<Counters>,
    /// The stop request.
    pub stop: StopSignal,
    /// Time limits.
    pub limits: Limits,
}

impl Pipeline {
    /// Runs until the stop signal, or until an administrator ends the session.
    pub fn run(&self) {
        let name = &self.config.name;
        let mut delays = self.limits.backoff.delays();
        let mut served = Served::default();
        while !self.stop.is_set() {
            self.counters.set_activity(Activity::Connecting);
            let before = self.counters.last_acknowledged();
            match self.guarded_attempt(&mut served) {
                Ok(StreamEnd::Stopped { flushed: true }) => {
                    log::info!("{name}: stopped; everything captured is durable");
                    break;
                }
                Ok(StreamEnd::Stopped { flushed: false }) => {
                    log::warn!(
                        "{name}: stopped; not everything became durable within {:?}: the driver \
                         keeps the rest for the next start, as long as its queue has room",
                        self.limits.flush
                    );
                    break;
                }
                Ok(StreamEnd::SessionEnded) if self.is_gone() => {
                    served = Served::default();
                    self.wait_for_volume();
                    continue;
                }
                Ok(StreamEnd::SessionEnded) => {
                    self.end();
                    return;
                }
                Ok(StreamEnd::StartOver(reason)) => {
                    let text = format!(
                        "{name}: the session cannot continue: {reason}; a new one begins with a \
                         full first sync"
                    );
                    notice::report(Event::SessionReplaced, &text);
                    continue;
                }
                Err(error) => {
                    served.lose = error.is_about_records();
                    self.report_failure(&error);
                }
            }
            if self.counters.last_acknowledged() != before {
                delays = self.limits.backoff.delays();
            }
            let delay = delays.next().unwrap_or(self.limits.backoff.max);
            log::info!("{name}: next attempt in {:.1} s", delay.as_secs_f64());
            self.stop.wait_for(delay);
        }
        self.counters.set_activity(Activity::Stopped);
    }

    /// One attempt; a panic is an error like others and does not end protection.
    fn guarded_attempt(&self, served: &mut Served) -> Result<StreamEnd, PipelineError> {
        guarded(|| self.attempt(served)).unwrap_or_else(|text| Err(PipelineError::Panicked(text)))
    }

    fn attempt(&self, served: &mut Served) -> Result<StreamEnd, PipelineError> {
        let name = &self.config.name;
        let port = self.driver.open()?;
        self.check_release(&*port);
        let device = self.driver.device_of(name)?;
        let volumes = port.list()?;
        let volume = find(&volumes, &device, &self.config)?;
        let plan = plan(volume)?;
        if plan == Plan::Start && served.session.is_some() {
            // An administrator ended it between two attempts, while nothing was drained.
            return Ok(StreamEnd::SessionEnded);
        }
        if !matches!(plan, Plan::Resume(_)) {
            // A session that is there already goes on.
            permits(volume, self.driver.file_system_protection(&device)?)?;
        }
        let cancelled = || self.stop.is_set();
        let mut link = self.connector.connect(&self.limits.link, &cancelled)?;

        let remembered = self.store.load()?.filter(|state| plan == Plan::Resume(state.session));
        let excluded = ExcludedExtents::longest(&self.special_extents(&device, volume));
        let claim = Claim::take(&*port, plan, &device, &self.config, &excluded)?;
        served.session = Some(claim.session);
        let mut state =
            remembered.clone().unwrap_or_else(|| Remembered::new(self.config.guid, claim.session));
        self.store.save(&state)?;
        if !claim.resumed {
            self.review(&*port, claim.session, &excluded, || {
                self.special_extents(&device, volume)
            })?;
        }

        let hello = claim.hello(&self.config);
        let welcome = link.greet(&hello, &self.limits.link, &cancelled)?;
        let status = port.status(claim.session)?;
        let driven = Driven { acknowledged: status.acknowledged_seq, captured: status.last_seq };
        let verdict = judge(&claim, remembered.as_ref(), &driven, &welcome);
        if let Verdict::StartOver(reason) = verdict {
            return self.start_over(&*port, served, reason);
        }
        let continuation = match claim
            .resumed
            .then(|| go_on(&*port, &welcome, std::mem::take(&mut served.lose)))
            .transpose()?
        {
            Some(Err(reason)) => return self.start_over(&*port, served, reason),
            Some(Ok(has_all)) => Some(has_all),
            None => None,
        };
        self.announce(&claim, &volume.device, continuation, remembered.is_some());

        let linked = || {
            log::info!("{name}: linked again; the server gets what it lacks, without a gap");
            self.counters.streaming(&volume.device, claim.session);
        };
        let failed = |error: StreamError| self.report_failure(&error.into());
        let stream = Stream {
            port: &*port,
            session: claim.session,
            dialling: Dialling {
                connector: &self.connector,
                limits: &self.limits.link,
                backoff: self.limits.backoff,
                hello,
                compare: self.config.compare,
                linked: &linked,
                failed: &failed,
            },
            resend_window: self.config.resend_window,
            counters: &self.counters,
            stop: &self.stop,
            flush_limit: self.limits.flush,
            watermark_interval: self.limits.watermark,
            answer_limit: self.limits.answer,
        };
        let mut save = || self.save(&mut state);
        // Without an answer nothing is known to have changed.
        let resized = || {
            let status = port.status(claim.session).ok();
            status.map_or(Resized::default(), |it| Resized {
                outgrown: it.outgrown,
                shrunk: it.shrunk,
            })
        };
        let sector_size = claim.geometry.sector_size();
        let watch = Watch::new(&name.to_string(), sector_size, &resized, &notice::report);
        let end = stream.run(link, &welcome, watch, &mut save);
        save();
        match end? {
            StreamEnd::StartOver(reason) => self.start_over(&*port, served, reason),
            end => Ok(end),
        }
    }

    /// Stops the session, for the reason given; the next attempt begins a new one.
    fn start_over(
        &self,
        port: &dyn DriverPort,
        served: &mut Served,
        reason: Reason,
    ) -> Result<StreamEnd, PipelineError> {
        if let Some(session) = std::mem::take(served).session {
            port.stop(session)?;
        }
        self.store.forget()?;
        Ok(StreamEnd::StartOver(reason))
    }

    /// Where the volume's paging, swap and hibernation files are.
    fn special_extents(&self, device: &DeviceName, volume: &Volume) -> Vec<Extent> {
        let extents = self.driver.special_extents(device, volume.special_files);
        extents.unwrap_or_else(|why| {
            let name = &self.config.name;
            log::warn!("{name}: {why}; writes to it before the first sync is done make a gap");
            Vec::new()
        })
    }

    /// Looks again after t0 (rule T0, rules.md#t0) whether the files have all that the start
    /// excluded: what was theirs before and after is a don't-care.
    fn review(
        &self,
        port: &dyn DriverPort,
        session: SessionId,
        excluded: &ExcludedExtents,
        now: impl FnOnce() -> Vec<Extent>,
    ) -> Result<(), DriverError> {
        if excluded.iter().next().is_none() {
            return Ok(());
        }
        // Writes from before the session are waited for; the driver gives up by itself.
        loop {
            let status = port.status(session)?;
            if status.t0.is_some() {
                break;
            }
            if status.phase == SessionPhase::Failed || self.stop.wait_for(T0_POLL) {
                return Ok(());
            }
        }
        let are_still = are_still(&now(), excluded.iter());
        if !are_still {
            log::warn!("{}: its paging file has changed meanwhile, and is read", self.config.name);
        }
        port.review(are_still)
    }

    /// Reports what becomes of the session: `continuation` is false if one that was there goes on
    /// with a gap.
    fn announce(&self, claim: &Claim, device: &str, continuation: Option<bool>, known: bool) {
        let (name, session) = (&self.config.name, claim.session);
        self.counters.streaming(device, session);
        let how = match continuation {
            Some(false) => "with a gap: the driver has not kept all that the server lacks",
            _ => "without a gap",
        };
        match (continuation.is_some(), known) {
            (false, _) => notice::report(
                Event::SessionStarted,
                &format!(
                    "{name} ({device}): session {session} has begun, server {}",
                    self.connector.server()
                ),
            ),
            (true, true) => notice::report(
                Event::SessionResumed,
                &format!("{name} ({device}): session {session} continues {how}"),
            ),
            (true, false) => notice::report(
                Event::SessionFound,
                &format!(
                    "{name} ({device}): session {session} continues {how}; the driver has it, \
                     although the service did not remember it"
                ),
            ),
        }
    }

    /// Saves the last acknowledged epoch. A failure loses no data, but weakens [`judge`] after a
    /// restart.
    fn save(&self, state: &mut Remembered) {
        let acknowledged = self.counters.last_acknowledged().epoch().get();
        if acknowledged <= state.acknowledged_epoch {
            return;
        }
        state.acknowledged_epoch = acknowledged;
        if let Err(error) = self.store.save(state) {
            log::warn!("{}: {error}", self.config.name);
        }
    }

    /// True if the volume is not there. A driver without any volume is unloaded.
    fn is_gone(&self) -> bool {
        let port = match self.driver.open() {
            Ok(port) => port,
            Err(error) => return matches!(error, DriverError::Absent),
        };
        match self.driver.device_of(&self.config.name) {
            Ok(device) => port.list().is_ok_and(|volumes| !volumes.iter().any(|it| it.is(&device))),
            Err(error) => matches!(error, DriverError::NoSuchVolume(_)),
        }
    }

    /// Waits until a volume that was removed is there again, or for the stop signal.
    fn wait_for_volume(&self) {
        let name = &self.config.name;
        if let Err(error) = self.store.forget() {
            log::warn!("{name}: {error}");
        }
        let text = format!(
            "{name}: the volume was removed, and its session has ended; when the volume is there \
             again, it is protected in a new one"
        );
        self.counters.failed(&text);
        notice::report(Event::SessionEnded, &text);
        while self.is_gone() && !self.stop.wait_for(VOLUME_POLL) {}
    }

    /// Ends the pipeline after its session was ended.
    fn end(&self) {
        let name = &self.config.name;
        if let Err(error) = self.store.forget() {
            log::warn!("{name}: {error}");
        }
        self.counters.set_activity(Activity::Ended);
        let text = format!(
            "{name}: the session was ended by an administrator: the volume is no longer protected; \
             restart the service to protect it again"
        );
        notice::report(Event::SessionEnded, &text);
    }

    /// Logs why an attempt failed; reports an event if the reason is a new one.
    fn report_failure(&self, error: &PipelineError) {
        let text = error.to_string();
        let line = format!("{}: {text}", self.config.name);
        if self.counters.failed(&text) {
            notice::report(error.event(), &line);
        } else {
            log::warn!("{line}");
        }
    }

    /// Reports once that an older driver is still loaded after an upgrade.
    fn check_release(&self, port: &dyn DriverPort) {
        if port.version() < ABI_VERSION && self.counters.report_older_driver() {
            let text = format!(
                "{}: the loaded driver is older than the service: restart the machine to load the \
                 new one; protection continues meanwhile",
                self.config.name
            );
            notice::report(Event::DriverOlder, &text);
        }
    }
}

/// What earlier attempts leave to the next one.
#[derive(Default)]
struct Served {
    /// The session that they claimed.
    session: Option<SessionId>,
    /// The records that the driver kept are of no use: with them the next attempt would fail as the
    /// last one did.
    lose: bool,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum PipelineError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a bug ended this attempt ({0}); please report it with the log lines above")]
    Panicked(String),
}

impl PipelineError {
    /// True if the records that were drained may have been the cause.
    fn is_about_records(&self) -> bool {
        matches!(
            self,
            Self::Panicked(_)
                | Self::Stream(
                    StreamError::Records(_) | StreamError::Panicked(_) | StreamError::Unexplained
                )
        )
    }

    /// The event for the event log.
    fn event(&self) -> Event {
        match self {
            Self::Driver(error) | Self::Stream(StreamError::Driver(error)) => of_driver(error),
            Self::Session(SessionError::Unprotectable { .. }) => Event::Unprotectable,
            Self::Session(SessionError::StartsFailed { .. }) => Event::StartsFailed,
            Self::Session(_) | Self::Stream(StreamError::Records(_)) => Event::DriverFailed,
            Self::Link(LinkError::Untrusted(_))
            | Self::Stream(StreamError::Link(LinkError::Untrusted(_))) => Event::Untrusted,
            Self::Link(_)
            | Self::Stream(
                StreamError::Link(_)
                | StreamError::ImpossibleEpoch(_)
                | StreamError::WindowExceeded,
            ) => Event::LinkFailed,
            Self::State(_) => Event::StateFailed,
            Self::Stream(StreamError::Panicked(_) | StreamError::Unexplained)
            | Self::Panicked(_) => Event::Bug,
        }
    }
}

fn of_driver(error: &DriverError) -> Event {
    match error {
        DriverError::Absent | DriverError::AccessDenied(_) => Event::DriverAbsent,
        DriverError::NoMemory(_) => Event::OutOfMemory,
        DriverError::FileSystem { .. } => Event::Unprotectable,
        _ => Event::DriverFailed,
    }
}

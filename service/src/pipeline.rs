//! The life of one volume's pipeline: connect, claim a session, stream; when that breaks, wait and
//! begin again.
//!
//! Rule: a pipeline gives up only when it is asked to stop or an administrator ended its session; every
//! other end is logged, with what it means, and tried again. The port to the driver lives
//! exactly as long as an attempt: closing it is how the driver learns that what it
//! handed over may be lost.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use snapless_driver_client::report::Activity;
use snapless_driver_client::{Driver, DriverError, DriverPort};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::ABI_VERSION;

use crate::backoff::{Backoff, BackoffLimits};
use crate::config::VolumeConfig;
use crate::counters::Counters;
use crate::event::Event;
use crate::notice;
use crate::session::{Claim, Plan, Reason, SessionError, Verdict, find, judge, plan};
use crate::state::{Remembered, SessionStore, StateError};
use crate::stop::StopSignal;
use crate::stream::{Stream, StreamEnd, StreamError};
use crate::transport::{Link, LinkError, LinkLimits};
use crate::watch::Watch;

/// How long a pipeline may take over things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The link.
    pub link: LinkLimits,
    /// Waits between attempts.
    pub backoff: BackoffLimits,
    /// Making durable what was captured before a stop.
    pub flush: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            link: LinkLimits::default(),
            backoff: BackoffLimits::default(),
            flush: Duration::from_secs(10),
        }
    }
}

/// One volume's pipeline.
pub struct Pipeline {
    /// What to protect, and how.
    pub config: VolumeConfig,
    /// Address of the server.
    pub server: String,
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// Where the session is remembered.
    pub store: SessionStore,
    /// What was done so far.
    pub counters: Arc<Counters>,
    /// When to stop.
    pub stop: StopSignal,
    /// How long things may take.
    pub limits: Limits,
}

impl Pipeline {
    /// Runs until the stop signal, or until an administrator ends the session.
    pub fn run(&self) {
        let name = &self.config.name;
        let mut backoff = Backoff::new(self.limits.backoff);
        let mut served = None;
        while !self.stop.is_set() {
            self.counters.turn(Activity::Connecting);
            let before = self.counters.last_acknowledged();
            match self.guarded_attempt(&mut served) {
                Ok(End::Stream(StreamEnd::Stopped { flushed: true })) => {
                    log::info!("{name}: stopped; everything captured so far is durable");
                    break;
                }
                Ok(End::Stream(StreamEnd::Stopped { flushed: false })) => {
                    log::warn!(
                        "{name}: stopped; not everything became durable within {:?}: the driver \
                         re-reads those blocks at the next start",
                        self.limits.flush
                    );
                    break;
                }
                Ok(End::Stream(StreamEnd::SessionEnded)) => {
                    self.end();
                    return;
                }
                Ok(End::StartOver(reason)) => {
                    let text = format!(
                        "{name}: the session cannot go on: {reason}. A new one begins with a full \
                         first sync"
                    );
                    notice::tell(Event::SessionReplaced, &text);
                    continue;
                }
                Err(error) => self.complain(&error),
            }
            if self.counters.last_acknowledged() != before {
                backoff.reset();
            }
            let delay = backoff.next_delay();
            log::info!("{name}: next attempt in {:.1} s", delay.as_secs_f64());
            self.stop.wait_for(delay);
        }
        self.counters.turn(Activity::Stopped);
    }

    /// One attempt; a panic in it is an error like others, not the end of protection.
    fn guarded_attempt(&self, served: &mut Option<SessionId>) -> Result<End, PipelineError> {
        panic::catch_unwind(AssertUnwindSafe(|| self.attempt(served)))
            .unwrap_or(Err(PipelineError::Panicked))
    }

    /// `served` is the session that an earlier attempt has claimed.
    fn attempt(&self, served: &mut Option<SessionId>) -> Result<End, PipelineError> {
        let name = &self.config.name;
        let port = self.driver.open()?;
        self.check_release(&*port);
        let device = self.driver.device_of(name)?;
        let volumes = port.list()?;
        let volume = find(&volumes, &device, &self.config)?;
        let plan = plan(volume)?;
        if plan == Plan::Start && served.is_some() {
            // It was ended while there was no link: no drain was there to say so.
            return Ok(End::Stream(StreamEnd::SessionEnded));
        }
        let mut link = Link::connect(&self.server, &self.limits.link)?;

        let remembered = self.store.load()?.filter(|state| plan == Plan::Resume(state.session));
        let claim = Claim::take(&*port, plan, &device, &self.config)?;
        *served = Some(claim.session);
        let mut state =
            remembered.clone().unwrap_or_else(|| Remembered::new(self.config.guid, claim.session));
        self.store.save(&state)?;

        let welcome = link.greet(&claim.hello(&self.config), &self.limits.link)?;
        if let Verdict::StartOver(reason) = judge(&claim, remembered.as_ref(), &welcome) {
            port.stop(claim.session)?;
            *served = None;
            self.store.forget()?;
            return Ok(End::StartOver(reason));
        }
        self.announce(&claim, &volume.device, remembered.is_some());

        let stream = Stream {
            port: &*port,
            session: claim.session,
            counters: &self.counters,
            stop: &self.stop,
            flush_limit: self.limits.flush,
        };
        let mut save = || self.save(&mut state);
        let status = || port.status(claim.session).ok();
        let sector_size = claim.geometry.sector_size;
        let label = name.to_string();
        let watch = Watch::new(&label, sector_size, claim.resumed, &status, &notice::tell);
        let end = stream.run(link, watch, &mut save);
        save();
        Ok(End::Stream(end?))
    }

    fn announce(&self, claim: &Claim, device: &str, known: bool) {
        let (name, session) = (&self.config.name, claim.session);
        self.counters.streaming(device, session);
        match (claim.resumed, known) {
            (false, _) => notice::tell(
                Event::SessionStarted,
                &format!(
                    "{name} ({device}): session {session} has begun, to server {}",
                    self.server
                ),
            ),
            (true, true) => notice::tell(
                Event::SessionResumed,
                &format!("{name} ({device}): session {session} goes on"),
            ),
            (true, false) => notice::tell(
                Event::SessionFound,
                &format!(
                    "{name} ({device}): session {session} goes on; the driver kept it, though this \
                     service did not remember it"
                ),
            ),
        }
    }

    /// Remembers the last acknowledged epoch. A failure costs a later check its sharpness, no data.
    fn save(&self, state: &mut Remembered) {
        let acknowledged = self.counters.last_acknowledged().epoch.get();
        if acknowledged <= state.acknowledged_epoch {
            return;
        }
        state.acknowledged_epoch = acknowledged;
        if let Err(error) = self.store.save(state) {
            log::warn!("{}: {error}", self.config.name);
        }
    }

    /// The session is over.
    fn end(&self) {
        let name = &self.config.name;
        if let Err(error) = self.store.forget() {
            log::warn!("{name}: {error}");
        }
        self.counters.turn(Activity::Ended);
        let text = format!(
            "{name}: the session was ended by an administrator, or the volume was removed: it is no \
             longer protected. Restart the service to protect it again"
        );
        notice::tell(Event::SessionEnded, &text);
    }

    /// Logs why an attempt failed; tells the event log too, once for each reason.
    fn complain(&self, error: &PipelineError) {
        let text = error.to_string();
        let line = format!("{}: {text}", self.config.name);
        if self.counters.failed(&text) {
            notice::tell(error.event(), &line);
        } else {
            log::warn!("{line}");
        }
    }

    /// Tells once of a driver that stayed loaded when newer programs were installed.
    fn check_release(&self, port: &dyn DriverPort) {
        if port.version() < ABI_VERSION && self.counters.first_time_older() {
            let text = format!(
                "{}: the driver is of an older release than the service: restart the machine to load \
                 the new one. Protection goes on meanwhile",
                self.config.name
            );
            notice::tell(Event::DriverOlder, &text);
        }
    }
}

/// How an attempt ended without an error.
enum End {
    Stream(StreamEnd),
    StartOver(Reason),
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
    #[error("a bug ended this attempt; the lines above say where. Please report it")]
    Panicked,
}

impl PipelineError {
    /// The event that tells of it.
    fn event(&self) -> Event {
        match self {
            Self::Driver(error) | Self::Stream(StreamError::Driver(error)) => of_driver(error),
            Self::Session(SessionError::Unprotectable { .. }) => Event::Unprotectable,
            Self::Session(_) | Self::Stream(StreamError::Records(_)) => Event::DriverFailed,
            Self::Link(_) | Self::Stream(StreamError::Link(_)) => Event::LinkFailed,
            Self::State(_) => Event::StateFailed,
            Self::Stream(StreamError::Panicked) | Self::Panicked => Event::Bug,
        }
    }
}

fn of_driver(error: &DriverError) -> Event {
    match error {
        DriverError::Absent | DriverError::AccessDenied(_) => Event::DriverAbsent,
        DriverError::NoMemory(_) => Event::OutOfMemory,
        _ => Event::DriverFailed,
    }
}

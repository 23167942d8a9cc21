//! One volume's pipeline: connect, claim a session, stream; after a failure wait and try again.
//!
//! Rule: a pipeline ends only on a stop request, or when an administrator ended its session. A
//! volume that was removed is waited for. Every other end is reported and tried again. A port is
//! open for exactly one attempt, which outlasts a broken link: after its closing the driver keeps
//! what is not acknowledged, and the next attempt drains it again (rule RESUME, rules.md#resume).

mod beginning;
mod error;

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Activity;
use snapless_driver_client::file_layout::are_still;
use snapless_driver_client::status::Saved;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume};
use snapless_link::client::{Link, LinkLimits};
use snapless_link::meeting::Invitation;
use snapless_types::{Extent, GapReason};
use snapless_wire::frame::{Hello, Welcome};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{ABI_VERSION, DeviceName, ExcludedExtents, SessionPhase};

use crate::attempt::guarded;
use crate::backoff::BackoffLimits;
use crate::config::VolumeConfig;
use crate::connector::Connector;
use crate::counters::Counters;
use crate::event::Event;
use crate::links::Dialling;
use crate::meeting::Call;
use crate::notice;
use crate::session::{
    Claim, Driven, Plan, Reason, Verdict, find, go_on, judge, permits, plan, settings,
    start_request,
};
use crate::session_report::Reporter;
use crate::state::{Remembered, SessionStore};
use crate::state_keeper::StateKeeper;
use crate::stop::StopSignal;
use crate::stream::{Stream, StreamEnd, StreamError, WATERMARK_INTERVAL};
use crate::sweep::Sweep;
use crate::throttle::Throttle;
use crate::unused::Unused;
use crate::watch::Watch;
use crate::window::AnswerLimits;

use beginning::Beginning;
use error::PipelineError;

/// How often it is looked whether a volume that was removed is there again.
const VOLUME_POLL: Duration = Duration::from_secs(1);
/// How long a link may be idle before the greeting: the volume's flush may take longer.
const LINK_IDLE: Duration = Duration::from_secs(3);
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
    pub answer: AnswerLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            link: LinkLimits::default(),
            backoff: BackoffLimits::default(),
            flush: Duration::from_secs(10),
            watermark: WATERMARK_INTERVAL,
            answer: AnswerLimits::default(),
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
    /// How hard the driver may read the disk of its own accord, in place of what `config` has.
    pub sweep: Arc<Sweep>,
    /// How fast all pipelines together send.
    pub throttle: Arc<Throttle>,
    /// The pipeline's counters.
    pub counters: Arc<Counters>,
    /// Where it is told to what the server calls the volume.
    pub calls: Sender<Call>,
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
                Ok(StreamEnd::VolumeChanged) => {
                    log::warn!("{name}: {}", GapReason::Slept.text());
                    continue;
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
                Ok(StreamEnd::Diverged(reason)) => {
                    if let Verdict::StartOver(_) = reason.verdict() {
                        let text = format!(
                            "{name}: the session cannot continue: {reason}; a new one begins with \
                             a full first sync"
                        );
                        notice::report(Event::SessionReplaced, &text);
                    } else {
                        log::warn!("{name}: the session has to be verified: {reason}");
                    }
                    continue;
                }
                Ok(StreamEnd::Resized { shrunk }) => {
                    self.report_resized(shrunk);
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
        let remembered = self.store.load()?;
        // The driver uses what the volume has kept for a restarted session only.
        let distrusts_log = remembered.as_ref().is_some_and(|state| state.distrusts_log);
        let is_doubtful = served.diverged.is_some() || distrusts_log;
        let reason = if is_doubtful { GapReason::Diverged } else { GapReason::Restarted };
        let plan = plan(volume, remembered.as_ref(), &self.config, reason)?;
        let plan = self.begins_anew(&*port, plan)?.unwrap_or(plan);
        if !matches!(plan, Plan::Resume(_)) {
            if served.session.is_some() && volume.session.is_none() {
                // An administrator ended it between two attempts, while nothing was drained.
                return Ok(StreamEnd::SessionEnded);
            }
            // A session that is there already goes on.
            permits(volume, self.driver.file_system_protection(&device)?)?;
        }
        let cancelled = || self.stop.is_set();
        let mut link = self.connector.connect(&self.limits.link, &cancelled)?;

        let excluded = ExcludedExtents::longest(&self.special_extents(&device, volume));
        let request = start_request(plan, &device, (&self.config, self.sweep.limits()), &excluded);
        let begun = Instant::now();
        let unused = self.unused(&*port, plan, &device);
        if begun.elapsed() > LINK_IDLE {
            // The server has waited too long to be greeted.
            link = self.connector.connect(&self.limits.link, &cancelled)?;
        }
        let claim = Claim::take(&*port, plan, (volume, &volumes), &request)?;
        served.session = Some(claim.session);
        if plan == Plan::Start && remembered.is_some() {
            self.report_other_shape();
        }
        let remembered = remembered.filter(|state| state.session == claim.session);
        let fresh = Remembered::new(self.config.guid, claim.session, &claim.geometry);
        let mut state = remembered.clone().unwrap_or(fresh).of_length(claim.geometry.length());
        if !matches!(plan, Plan::Resume(_)) {
            state.set_excluded(excluded.iter());
        }
        self.store.save(&state)?;
        self.review(&*port, &claim, &state, || self.special_extents(&device, volume))?;
        let unused = self.say_unused(&*port, claim.session, unused)?;

        let hello = claim.hello(&self.config);
        let welcome = link.greet(&hello, &self.limits.link, &cancelled)?;
        let status = port.status(claim.session)?;
        let driven = Driven::of(&status);
        match judge(&claim, remembered.as_ref(), &driven, &welcome) {
            Verdict::Continue => {}
            Verdict::Verify(reason) | Verdict::StartOver(reason) => {
                return self.give_up(&*port, served, reason);
            }
        }
        let beginning = if plan == Plan::Start {
            Beginning::New
        } else {
            let lose = std::mem::take(&mut served.lose);
            match go_on(&*port, &welcome, lose)? {
                Err(reason) => return self.give_up(&*port, served, reason),
                Ok(_) if !driven.placed => {
                    // What the server acknowledged before counts no more.
                    self.counters.forget_acknowledged();
                    state.acknowledged_epoch = welcome.durable_epoch().get();
                    self.store.save(&state)?;
                    let (why, diverged) = (status.gap_reason, served.diverged.take());
                    match status.saved {
                        Some(Saved { bytes, after_crash, .. }) => {
                            Beginning::CaughtUp { bytes, after_crash }
                        }
                        None => Beginning::Verified { why, diverged, length: status.length },
                    }
                }
                Ok(false) if has_slept(&status) => {
                    let (why, length) = (status.gap_reason, status.length);
                    Beginning::Verified { why, diverged: None, length }
                }
                Ok(has_all) => Beginning::Resumed { has_all, is_known: remembered.is_some() },
            }
        };
        self.announce(&claim, &volume.device, &beginning);

        let is_first_sync = !status.base_complete && !status.continues;
        let synced = status.counters.blocks_synced.saturating_mul(status.block_size.into());
        let captured = is_first_sync.then_some(synced);
        let claimed = Claimed { port: &*port, device: &device, volume, claim, hello, captured };
        let end = self.stream(&claimed, (link, &welcome), &mut state, unused);
        self.save(&mut state);
        match end? {
            StreamEnd::Diverged(reason) => self.give_up(&*port, served, reason),
            end @ StreamEnd::Resized { .. } => {
                // The next attempt continues it with the new length.
                port.stop(claim.session)?;
                *served = Served::default();
                Ok(end)
            }
            end => Ok(end),
        }
    }

    /// A new session in place of one that the driver has begun by itself, in blocks of another size
    /// than the configured one.
    fn begins_anew(&self, port: &dyn DriverPort, plan: Plan) -> Result<Option<Plan>, DriverError> {
        let Plan::Resume(session) = plan else { return Ok(None) };
        let status = port.status(session)?;
        let is_other = !status.placed && status.block_size != self.config.block_size;
        Ok(is_other.then_some(Plan::Start))
    }

    /// Streams the claimed session, and keeps a place for its state meanwhile.
    fn stream(
        &self,
        claimed: &Claimed<'_>,
        (link, welcome): (Link, &Welcome),
        state: &mut Remembered,
        mut unused: Option<Unused>,
    ) -> Result<StreamEnd, StreamError> {
        let Claimed { port, device, volume, claim, hello, captured } = *claimed;
        let name = &self.config.name;
        let linked = || {
            log::info!("{name}: linked again; the server gets what it lacks, without a gap");
            self.counters.streaming(&volume.device, claim.session);
        };
        let failed = |error: StreamError| self.report_failure(&error.into());
        let (driver, counters) = (&*self.driver, &*self.counters);
        let of = (port, claim.session);
        let reporter =
            Reporter::new((driver, device), &self.config.name, of, counters, state.excluded());
        let stream = Stream {
            port,
            session: claim.session,
            dialling: Dialling {
                connector: &self.connector,
                limits: &self.limits.link,
                backoff: self.limits.backoff,
                hello,
                compare: self.config.compare,
                compress: self.config.compress,
                throttle: &self.throttle,
                linked: &linked,
                differs: &|text| self.report_difference(text),
                called: &|invitation| self.pass_on(invitation),
                failed: &failed,
            },
            resend_window: self.config.resend_window,
            counters,
            report: &|| reporter.payload(),
            stop: &self.stop,
            flush_limit: self.limits.flush,
            watermark_interval: self.limits.watermark,
            answer_limits: self.limits.answer,
        };
        let sector_size = claim.geometry.sector_size();
        let mut watch = Watch::new(&name.to_string(), sector_size, &notice::report);
        if let Some(captured) = captured {
            watch = watch.of_first_sync(captured, claim.geometry.length());
        }
        let state = Mutex::new(state);
        let keeper = StateKeeper {
            name: &name.to_string(),
            device,
            driver: &self.driver,
            port,
            session: claim.session,
            has_log: self.config.write_intent_log,
            settings: &|| settings(&self.config, self.sweep.limits()),
            distrust: &|distrusts| self.distrust_log(&mut lock(&state), distrusts),
        };
        let over = StopSignal::new();
        thread::scope(|scope| {
            scope.spawn(|| keeper.run(&over));
            scope.spawn(|| self.sweep.keep_driver_to_it(&name.to_string(), port, &over));
            if let Some(unused) = &mut unused {
                scope.spawn(|| unused.say_rest(&name.to_string(), port, &over));
            }
            let end = stream.run(link, welcome, watch, || self.save(&mut lock(&state)));
            over.set();
            end
        })
    }

    /// Passes on to what the server calls the volume. Nobody hears it if the service stops.
    fn pass_on(&self, invitation: Invitation) {
        let _unheard = self.calls.send(Call { volume: self.config.guid, invitation });
    }

    /// Stops the driver's session, for the reason given; the next attempt continues it behind what
    /// the server has, or begins a new one.
    fn give_up(
        &self,
        port: &dyn DriverPort,
        served: &mut Served,
        reason: Reason,
    ) -> Result<StreamEnd, PipelineError> {
        if let Some(session) = std::mem::take(served).session {
            port.stop(session)?;
        }
        match reason.verdict() {
            Verdict::StartOver(_) => self.store.forget()?,
            _ => served.diverged = Some(reason),
        }
        Ok(StreamEnd::Diverged(reason))
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
    /// excluded: what was theirs before and after is a don't-care. So of a session that the driver
    /// has begun itself when the machine came up, with the extents of the start before.
    fn review(
        &self,
        port: &dyn DriverPort,
        claim: &Claim,
        state: &Remembered,
        now: impl FnOnce() -> Vec<Extent>,
    ) -> Result<(), DriverError> {
        let is_open = match claim.plan {
            Plan::Resume(session) => !port.status(session)?.placed,
            Plan::Start | Plan::Continue(..) => state.excluded().next().is_some(),
        };
        if !is_open {
            return Ok(());
        }
        if !self.wait_for_t0(port, claim.session)? {
            return Ok(());
        }
        // Of a session that is not remembered it is not known.
        let is_known = state.excluded().next().is_some();
        let are_still = is_known && are_still(&now(), state.excluded());
        if is_known && !are_still {
            log::warn!("{}: its paging file has changed meanwhile, and is read", self.config.name);
        }
        port.review(are_still)
    }

    /// The blocks that no file has, of a volume on which a session starts next.
    fn unused(&self, port: &dyn DriverPort, plan: Plan, device: &DeviceName) -> Option<Unused> {
        if matches!(plan, Plan::Resume(_)) || !self.config.used_blocks_only {
            return None;
        }
        let VolumeConfig { name, block_size, .. } = &self.config;
        Unused::find(&name.to_string(), &*self.driver, port, (device, *block_size))
    }

    /// Tells the driver of them after t0; returns what is left to tell it.
    fn say_unused(
        &self,
        port: &dyn DriverPort,
        session: SessionId,
        unused: Option<Unused>,
    ) -> Result<Option<Unused>, DriverError> {
        let Some(mut unused) = unused else { return Ok(None) };
        if !self.wait_for_t0(port, session)? {
            return Ok(None);
        }
        match unused.say(port) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(unused)),
            Err(why) => {
                log::info!("{}: {why}; free space is read as well", self.config.name);
                Ok(None)
            }
        }
    }

    /// True once the session has begun. Writes from before it are waited for; the driver gives up
    /// by itself.
    fn wait_for_t0(&self, port: &dyn DriverPort, session: SessionId) -> Result<bool, DriverError> {
        loop {
            let status = port.status(session)?;
            if status.t0.is_some() {
                return Ok(true);
            }
            if status.phase == SessionPhase::Failed || self.stop.wait_for(T0_POLL) {
                return Ok(false);
            }
        }
    }

    /// Reports what becomes of the session.
    fn announce(&self, claim: &Claim, device: &str, beginning: &Beginning) {
        let name = &self.config.name;
        self.counters.streaming(device, claim.session);
        let (event, text) = beginning.told(claim, self.connector.server());
        notice::report(event, &format!("{name} ({device}): {text}"));
    }

    /// Reports that the session of before is not of this volume as it is now.
    fn report_other_shape(&self) {
        let text = format!(
            "{}: the volume has another sector size or block size than its session: a new one \
             begins with a full first sync",
            self.config.name
        );
        notice::report(Event::SessionReplaced, &text);
    }

    /// Reports that the volume's length has changed.
    fn report_resized(&self, shrunk: bool) {
        let (event, how) =
            if shrunk { (Event::Shrunk, "become shorter") } else { (Event::Outgrown, "grown") };
        let text = format!(
            "{}: the volume has {how}: its session goes on with the new length, and earlier points \
             keep theirs",
            self.config.name
        );
        notice::report(event, &text);
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

    /// Remembers at once whether the volume's write-intent log is not to be trusted.
    fn distrust_log(&self, state: &mut Remembered, distrusts: bool) {
        if state.distrusts_log != distrusts {
            state.distrusts_log = distrusts;
            if let Err(error) = self.store.save(state) {
                log::warn!("{}: {error}", self.config.name);
            }
        }
    }

    /// True if the volume is not there. A driver without any volume is unloaded.
    fn is_gone(&self) -> bool {
        let port = match self.driver.open() {
            Ok(port) => port,
            Err(error) => return matches!(error, DriverError::Absent),
        };
        match self.driver.device_of(&self.config.name) {
            Ok(device) => port.find(&device).is_ok_and(|found| found.is_none()),
            Err(error) => matches!(error, DriverError::NoSuchVolume(_)),
        }
    }

    /// Waits until a volume that was removed is there again, or for the stop signal.
    fn wait_for_volume(&self) {
        let name = &self.config.name;
        let text = format!(
            "{name}: the volume was removed; when it is there again, its session continues, and \
             every block is compared with the server's content"
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

    /// Reports that the copy is not what the volume is.
    fn report_difference(&self, text: &str) {
        notice::report(Event::CopyDiffers, &format!("{}: {text}", self.config.name));
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

/// True if every block of the session is read again because the machine has slept.
fn has_slept(status: &SessionStatus) -> bool {
    status.gap_reason == Some(GapReason::Slept) && !status.consistent
}

/// A session that is claimed, of a volume.
struct Claimed<'a> {
    port: &'a dyn DriverPort,
    device: &'a DeviceName,
    volume: &'a Volume,
    claim: Claim,
    hello: Hello,
    /// Bytes that a first sync has captured; `None` if there is none under way.
    captured: Option<u64>,
}

/// What earlier attempts leave to the next one.
#[derive(Default)]
struct Served {
    /// The session that they claimed.
    session: Option<SessionId>,
    /// Why the session was stopped, to be continued behind what the server has.
    diverged: Option<Reason>,
    /// The records that the driver kept are of no use: with them the next attempt would fail as the
    /// last one did.
    lose: bool,
}

/// A panic elsewhere leaves a state that was remembered.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

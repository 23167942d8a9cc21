//! Does what the policy says while the server runs, on a thread of its own.
//!
//! One session at a time, and for half of the time at most, so that what comes from services finds
//! the disk idle enough. The policy is read each time: a change needs no restart.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use snapless_wire::id::{SessionId, VolumeGuid};

use super::engine::{Engine, Refused};
use super::gc;
use super::idle::{Idle, Look};
use super::policy::Policy;
use super::run::{How, Others, Outcome, Session, WORTH_BYTES, When, policy_of, run};
use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::indexer::Indexer;
use crate::occupancy::Occupancy;
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::time;

/// The longest rest after a step of a fold.
const REST_MAX: Duration = Duration::from_secs(1);
/// The longest rest in a fold before it looks whether it must stop.
const STEP: Duration = Duration::from_millis(100);

/// Lets the thread work, and ends it; clones share it.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Protects whether the thread must end.
    is_closed: Mutex<bool>,
    changed: Condvar,
    every: Duration,
}

/// What else works on a server's repository.
#[derive(Debug)]
pub struct InServer<'a> {
    /// Makes indices and maps.
    pub indexer: &'a Indexer,
    /// Which connections serve which sessions.
    pub occupancy: &'a Occupancy,
}

impl Others for InServer<'_> {
    fn hold_off(&self, session: &SessionHeader) -> Box<dyn Any> {
        Box::new(self.indexer.hold_off(session))
    }

    fn claim(&self, volume: VolumeGuid, session: SessionId) -> Option<Box<dyn Any>> {
        Some(Box::new(self.occupancy.claim_idle(volume, session)?))
    }
}

impl Keeper {
    /// One that works every so often.
    pub fn new(every: Duration) -> Self {
        let (is_closed, changed) = (Mutex::new(false), Condvar::new());
        Self(Arc::new(Shared { is_closed, changed, every }))
    }

    /// Lets [`Self::run`] return once its stop flag is set.
    pub fn close(&self) {
        *self.0.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Works until it is closed.
    pub fn run(
        &self,
        repository: &Repository,
        engine: &dyn Engine,
        others: &dyn Others,
        stop: &StopFlag,
    ) {
        let mut idle = Idle::new(repository.store());
        while self.rest() {
            match work(repository, engine, others, &mut idle, stop) {
                Ok(()) => {}
                Err(Error::Stopped) => return,
                Err(error) => warn!("retention: {error}"),
            }
        }
    }

    /// Waits for the next time; false once it is closed.
    fn rest(&self) -> bool {
        let closed = self.0.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(closed, self.0.every, |closed| !*closed);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Does what the policy says to every volume, and removes what crashes and readers have left.
fn work(
    repository: &Repository,
    engine: &dyn Engine,
    others: &dyn Others,
    idle: &mut Idle,
    stop: &StopFlag,
) -> Result<()> {
    let now = time::now();
    let policy_of = policy_of(repository, now)?;
    let how = How { engine, others, when: When::Worth(WORTH_BYTES), now, stop };
    for volume in repository.volumes()? {
        let (policy, began) = (policy_of(volume), Instant::now());
        if !idle.is_due(volume, &policy, began) {
            continue;
        }
        let look = match look_at(repository, volume, policy.clone(), how) {
            Ok(look) => look,
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                warn!("retention of volume {volume}: {error}");
                Look::Hindered
            }
        };
        idle.looked(volume, policy, began, look);
    }
    Ok(())
}

/// Does what the policy says to a volume, and removes its garbage.
fn look_at(
    repository: &Repository,
    volume: VolumeGuid,
    policy: Policy,
    how: How<'_>,
) -> Result<Look> {
    let How { engine, others, stop, .. } = how;
    let mut pace = Pace::new(stop);
    let report = run(repository, volume, policy, how, |_, _| pace.keep())?;
    for session in &report.sessions {
        tell(&session.session, &session.outcome);
    }
    let collected = gc::collect_of(repository, Some(volume), engine, Some(others), stop)?;
    if collected.removed_bytes > 0 {
        info!("retention: {} bytes of garbage are removed", collected.removed_bytes);
    }
    tell_refused(&collected.refused);
    let was_hindered = |it: &Session| matches!(it.outcome, Outcome::NotFolded { .. });
    let is_hindered = !collected.pins.is_empty() || report.sessions.iter().any(was_hindered);
    Ok(if is_hindered { Look::Hindered } else { Look::Done })
}

fn tell_refused(refused: &Refused) {
    if let Refused { files, bytes, why: Some(why) } = refused {
        info!(
            "retention: the store does not let {files} object(s) of garbage, {bytes} bytes, be \
             removed, and they are tried again: {why}"
        );
    }
}

fn tell(session: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Kept | Outcome::NotWorth { .. } | Outcome::Served => {}
        Outcome::Folded { from, points, removed_bytes, refused, .. } => {
            info!(
                "session {session}: folded up to {from}, {points} point(s) before it, \
                 {removed_bytes} bytes removed"
            );
            tell_refused(refused);
        }
        Outcome::Removed { removed_bytes, refused, .. } => {
            info!("session {session}: removed, {removed_bytes} bytes");
            tell_refused(refused);
        }
        Outcome::NotFolded { error } | Outcome::Damaged { error } => {
            warn!("session {session}: not folded: {error}");
        }
    }
}

/// Lets work go on for half of the time.
struct Pace<'a> {
    since: Instant,
    stop: &'a StopFlag,
}

impl<'a> Pace<'a> {
    fn new(stop: &'a StopFlag) -> Self {
        Self { since: Instant::now(), stop }
    }

    /// Rests as long as the work took since the last rest.
    fn keep(&mut self) {
        let mut left = self.since.elapsed().min(REST_MAX);
        while !left.is_zero() && !self.stop.is_set() {
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        self.since = Instant::now();
    }
}

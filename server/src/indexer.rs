//! Makes the indices that finished segments lack, keeps maps and compares checks
//! ([`crate::verification`]), on a thread of the server.
//!
//! A finished segment never changes, so that the thread needs no claim of its session. An index is
//! missing after an update from a release that had none, and after its making failed. One segment
//! is read at a time, one map made, or one stretch compared, whatever the number of sessions; they
//! take turns.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use log::{info, warn};

use crate::error::{Error, Result};
use crate::floor::{Floor, LOOK_AGAIN};
use crate::format::index::ChunkBuilder;
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};
use crate::format::session::SessionHeader;
use crate::point::keep::keep_due;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::verification::{self, Verifying};

/// Hands sessions to the thread; clones hand them to the same one.
#[derive(Clone, Debug)]
pub struct Indexer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Protects the sessions that wait.
    waiting: Mutex<Waiting>,
    changed: Condvar,
    map_bytes: u64,
    floor: Floor,
}

#[derive(Default, Debug)]
struct Waiting {
    sessions: VecDeque<Job>,
    /// The session that is worked on.
    at_work: Option<SessionHeader>,
    /// The session that is left alone.
    held_off: Option<SessionHeader>,
    is_closed: bool,
}

/// A session to look at.
#[derive(Debug)]
struct Job {
    session: SessionReader,
    verifying: Arc<Verifying>,
}

/// Keeps the thread from a session; dropping it lets it go on.
#[derive(Debug)]
#[must_use]
pub struct HeldOff(Indexer);

impl Drop for HeldOff {
    fn drop(&mut self) {
        self.0.waiting().held_off = None;
        self.0.0.changed.notify_all();
    }
}

impl Indexer {
    /// A map of a session is kept after so many bytes of its stream at least: see [`keep_due`].
    /// While there is less free space than `floor`, none is, and no index.
    pub fn new(map_bytes: u64, floor: Floor) -> Self {
        let (waiting, changed) = Default::default();
        Self(Arc::new(Shared { waiting, changed, map_bytes, floor }))
    }

    /// Bytes of a session's stream after which a map may be due.
    pub fn map_bytes(&self) -> u64 {
        self.0.map_bytes
    }

    /// Has the session looked at, as far as this reader's acknowledged end. What comes of its
    /// checks is told to `verifying`.
    pub fn look_at(&self, session: SessionReader, verifying: &Arc<Verifying>) {
        let mut waiting = self.waiting();
        let job = Job { session, verifying: Arc::clone(verifying) };
        // One that waits already keeps its turn.
        match waiting.sessions.iter_mut().find(|it| it.is_of(job.session.header())) {
            Some(waits) => *waits = job,
            None => waiting.sessions.push_back(job),
        }
        self.0.changed.notify_all();
    }

    /// Keeps the thread from a session, once it has done what it is doing there. One session can be
    /// held off at a time: a second call waits for the first one's result to be dropped.
    pub fn hold_off(&self, session: &SessionHeader) -> HeldOff {
        let mut waiting = self.waiting();
        while waiting.at_work == Some(*session) || waiting.held_off.is_some() {
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.held_off = Some(*session);
        HeldOff(self.clone())
    }

    /// Lets [`Self::run`] return once its stop flag is set.
    pub fn close(&self) {
        self.waiting().is_closed = true;
        self.0.changed.notify_all();
    }

    /// Looks at the sessions until it is closed.
    pub fn run(&self, stop: &StopFlag) {
        while let Some(job) = self.next() {
            while !stop.is_set() && !self.0.floor.admits(0) {
                thread::sleep(LOOK_AGAIN);
            }
            if stop.is_set() {
                self.done();
                return;
            }
            // A fold may have ended since it was handed in.
            let (header, begun) = (*job.session.header(), Instant::now());
            let mut has_more = false;
            let looked = SessionReader::open(job.session.store(), header).and_then(|newest| {
                make_missing(&newest, stop)?;
                let has_kept = keep_due(&newest, self.0.map_bytes, stop)?;
                has_more = verification::go_on(&newest, &job.verifying, stop)?;
                Ok(has_kept)
            });
            job.verifying.rest(begun.elapsed(), has_more);
            self.done();
            match looked {
                // Another map may be due.
                Ok(true) => self.take_turns(job),
                Ok(false) => {}
                Err(Error::Stopped) => return,
                Err(error) => warn!("session {}: {error}", header.session),
            }
        }
    }

    /// Nothing is worked on.
    fn done(&self) {
        self.waiting().at_work = None;
        self.0.changed.notify_all();
    }

    /// Lets the other sessions go first, and one that was handed in meanwhile stand for this one.
    fn take_turns(&self, job: Job) {
        let mut waiting = self.waiting();
        if !waiting.sessions.iter().any(|it| it.is_of(job.session.header())) {
            waiting.sessions.push_back(job);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            let held_off = waiting.held_off;
            let may = |it: &Job| held_off.is_none_or(|held_off| !it.is_of(&held_off));
            if let Some(job) = waiting
                .sessions
                .iter()
                .position(may)
                .and_then(|index| waiting.sessions.remove(index))
            {
                waiting.at_work = Some(*job.session.header());
                return Some(job);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one call: a panic leaves no half-made change.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn is_of(&self, session: &SessionHeader) -> bool {
        self.session.header() == session
    }
}

/// Makes the indices that the session's finished segments lack; returns how many were made.
///
/// # Errors
/// [`Error::Stopped`], or a failure other than damage of a segment: that one gets no index.
pub(crate) fn make_missing(session: &SessionReader, stop: &StopFlag) -> Result<u64> {
    let missing = session.unindexed()?;
    if let Some(first) = missing.first() {
        let (name, count) = (session.header().session, missing.len());
        info!("session {name}: {count} segment(s) get an index, from {} on", first.0);
    }
    let mut made = 0;
    for number in missing {
        match make(session, number, stop) {
            Err(error) if error.is_damage() => warn!("a segment gets no index: {error}"),
            Err(error) => return Err(error),
            Ok(()) => made += 1,
        }
    }
    Ok(made)
}

/// Makes the index of a finished segment, from all of its entries.
fn make(session: &SessionReader, number: SegmentNumber, stop: &StopFlag) -> Result<()> {
    let identity = session.header().index_of(number);
    let mut bytes = identity.to_bytes().to_vec();
    let chunks = ChunkBuilder::new(identity, SEGMENT_HEADER_LEN as u64);
    let mut chunks = chunks.sealed(session.seal().index(number)?);
    let mut failed = None;
    session.tail(number, 0, stop, |entry| {
        if chunks.add(entry) {
            match chunks.take() {
                Ok(chunk) => bytes.extend(chunk.unwrap_or_default()),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    bytes.extend(chunks.take()?.unwrap_or_default());
    session.keep_index(number, &bytes)
}

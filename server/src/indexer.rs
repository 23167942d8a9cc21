//! Makes the indices that finished segments lack, on a thread of the server.
//!
//! A finished segment never changes, so that the thread needs no claim of its session. An index is
//! missing after an update from a release that had none, and after its making failed. One segment is
//! read at a time, whatever the number of sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use log::{info, warn};

use crate::error::{Error, Result};
use crate::format::index::ChunkBuilder;
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};
use crate::reader::SessionReader;
use crate::stop::StopFlag;

/// Hands sessions to the thread; clones hand them to the same one.
#[derive(Clone, Default, Debug)]
pub struct Indexer(Arc<Shared>);

#[derive(Default, Debug)]
struct Shared {
    /// Protects the sessions that wait.
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct Waiting {
    sessions: VecDeque<SessionReader>,
    is_closed: bool,
}

impl Indexer {
    /// Has the session's segments looked at.
    pub fn look_at(&self, session: SessionReader) {
        self.waiting().sessions.push_back(session);
        self.0.changed.notify_one();
    }

    /// Lets [`Self::run`] return once its stop flag is set.
    pub fn close(&self) {
        self.waiting().is_closed = true;
        self.0.changed.notify_all();
    }

    /// Looks at the sessions until it is closed.
    pub fn run(&self, stop: &StopFlag) {
        while let Some(session) = self.next() {
            if stop.is_set() {
                return;
            }
            match make_missing(&session, stop) {
                Ok(()) => {}
                Err(Error::Stopped) => return,
                Err(error) => warn!("session {}: {error}", session.header().session),
            }
        }
    }

    fn next(&self) -> Option<SessionReader> {
        let mut waiting = self.waiting();
        while waiting.sessions.is_empty() && !waiting.is_closed {
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.sessions.pop_front()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one call: a panic leaves no half-made change.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the indices that the session's finished segments lack.
///
/// # Errors
/// [`Error::Stopped`], or a failure other than damage of a segment: that one gets no index.
fn make_missing(session: &SessionReader, stop: &StopFlag) -> Result<()> {
    let missing = session.unindexed()?;
    if let Some(first) = missing.first() {
        let (name, count) = (session.header().session, missing.len());
        info!("session {name}: {count} segment(s) get an index, from {} on", first.0);
    }
    for number in missing {
        match make(session, number, stop) {
            Err(error) if error.is_damage() => warn!("a segment gets no index: {error}"),
            made => made?,
        }
    }
    Ok(())
}

/// Makes the index of a finished segment, from all of its entries.
fn make(session: &SessionReader, number: SegmentNumber, stop: &StopFlag) -> Result<()> {
    let identity = session.header().index_of(number);
    let mut bytes = identity.to_bytes().to_vec();
    let mut chunks = ChunkBuilder::new(identity, SEGMENT_HEADER_LEN as u64);
    session.tail(number, 0, stop, |entry| {
        if chunks.add(entry) {
            bytes.extend(chunks.take().unwrap_or_default());
        }
    })?;
    bytes.extend(chunks.take().unwrap_or_default());
    session.keep_index(number, &bytes)
}

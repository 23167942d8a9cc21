//! Keeps a second fold or collection out of a session.
//!
//! In a directory that is a lock. Among objects it is a *fence* ([`mod@crate::format::fence`]): the
//! next number of the histories, created. From then on
//!
//! - a fold that began before cannot publish: it would create that very number;
//! - so the newest history below the fence is the base of whatever is published next, and what it
//!   does not name stays unnamed: a removal that is under way while another owner takes over
//!   removes nothing that is needed;
//! - files of numbers up to the fence's are of folds that have ended, one way or another.
//!
//! For that a fence stays until a newer history was published.
//!
//! None of this looks at a clock. That the owner of the last fence still works, by his lease, only
//! keeps two owners from interrupting each other for ever.

use std::process;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::claim::WriterId;
use crate::format::fence::FoldFence;
use crate::format::history::HistoryNumber;
use crate::reader::SessionReader;
use crate::reader::history::{self, Numbered};
use crate::storage::{Held, Lock};

/// In a directory, the lock of whoever folds a session, or collects what a fold has left.
pub const FOLD_LOCK: &str = "fold.lock";

/// What keeps others out; dropping it lets them in.
pub(super) struct Fence(Kind);

enum Kind {
    Lock { _lock: Lock },
    Number { number: HistoryNumber, held: Arc<dyn Held> },
}

/// The numbers that are used among objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// The last one.
    pub(super) last: HistoryNumber,
    /// Files of numbers up to this one are of folds that have ended.
    pub(super) ended: HistoryNumber,
}

impl Fence {
    /// Keeps others out of the reader's session.
    ///
    /// # Errors
    /// [`Error::FoldRuns`] if another owner works.
    pub(super) fn take(reader: &SessionReader) -> Result<Self> {
        let (store, dir, session) = (reader.store(), reader.dir(), reader.header());
        let runs = || Error::FoldRuns(session.session);
        if store.objects().is_none() {
            let lock = store.lock(&dir.join(FOLD_LOCK))?.ok_or_else(runs)?;
            return Ok(Self(Kind::Lock { _lock: lock }));
        }
        let last = last(reader)?;
        if let Some(last) = last
            && is_at_work(reader, last)?
        {
            return Err(runs());
        }
        let number = last.map_or(HistoryNumber(1), HistoryNumber::next);
        let owner = WriterId::random();
        let fence = FoldFence { number, owner, process: process::id() };
        // First, so that the fence is never there without it while its owner works.
        let held = store.hold(&dir.join(fence.hold_name()))?;
        let path = dir.join(number.file_name());
        match store.create_once(&path, fence.to_bytes(session).to_vec()) {
            Err(error) if error.is_already_there() => Err(runs()),
            Err(error) => Err(error),
            Ok(()) => Ok(Self(Kind::Number { number, held })),
        }
    }

    /// The reader's session as it is now: nothing but the owner changes its history meanwhile.
    pub(super) fn reopen(&self, reader: &SessionReader) -> Result<SessionReader> {
        let guard = match &self.0 {
            Kind::Lock { .. } => None,
            Kind::Number { held, .. } => Some(Arc::clone(held)),
        };
        SessionReader::open(&reader.store().guarded(guard), *reader.header())
    }

    /// The number of the history that the owner publishes.
    pub(super) fn history(&self, reader: &SessionReader) -> Result<HistoryNumber> {
        match &self.0 {
            Kind::Lock { .. } => super::files::next_history(reader),
            Kind::Number { number, .. } => Ok(number.next()),
        }
    }

    /// Checks that the owner still keeps others out, before he publishes or removes.
    ///
    /// # Errors
    /// [`Error::OtherFolds`] if another one works by now.
    pub(super) fn check(&self, reader: &SessionReader) -> Result<()> {
        let Kind::Number { number, held } = &self.0 else { return Ok(()) };
        let lost = || Error::OtherFolds(reader.header().session);
        held.check().map_err(|_| lost())?;
        if last(reader)? == Some(*number) { Ok(()) } else { Err(lost()) }
    }
}

/// The numbers that are used; `None` in a directory, where the files are told apart by the newest
/// history alone.
pub(super) fn used(reader: &SessionReader) -> Result<Option<Used>> {
    if reader.store().objects().is_none() {
        return Ok(None);
    }
    let last = last(reader)?.unwrap_or(HistoryNumber(0));
    let newest = reader.history().map_or(HistoryNumber(0), |history| history.number);
    // The next collection makes a fence of its own.
    let is_ended = last > newest && !is_at_work(reader, last)?;
    Ok(Some(Used { last, ended: if is_ended { last.next() } else { last } }))
}

impl Used {
    /// The same for the owner of the last fence.
    pub(super) fn by_owner(self) -> Self {
        Self { ended: self.last, ..self }
    }
}

fn last(reader: &SessionReader) -> Result<Option<HistoryNumber>> {
    Ok(history::numbers(reader.store(), reader.header())?.pop())
}

/// True for the number of a fence whose owner works.
fn is_at_work(reader: &SessionReader, number: HistoryNumber) -> Result<bool> {
    match history::read(reader.store(), reader.header(), number) {
        Ok(Numbered::Fence(fence)) => reader.store().is_held(&reader.dir().join(fence.hold_name())),
        Ok(Numbered::History(_)) => Ok(false),
        // It was replaced just now, or says nothing about its owner.
        Err(error) if error.is_not_found() || error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

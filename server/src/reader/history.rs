//! Finds the newest history of a session.

use crate::error::{Error, Result};
use crate::format::fence::FoldFence;
use crate::format::history::{HISTORIES_BEGINNING, HISTORY_LEN_MAX, History, HistoryNumber};
use crate::format::map::ROOT_PART;
use crate::format::repository::session_dir;
use crate::format::session::SessionHeader;
use crate::storage::{OpenMode, Store};

/// The part of the file of the pages that the root of a retained point is: behind all pages.
pub(crate) fn root_part(index: usize) -> u64 {
    ROOT_PART - 1 - index as u64
}

/// What a number of the histories stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Numbered {
    /// A history.
    History(History),
    /// None: only among objects.
    Fence(FoldFence),
}

/// The numbers that are used, in order.
///
/// # Errors
/// A directory that cannot be listed.
pub(crate) fn numbers(store: &Store, session: &SessionHeader) -> Result<Vec<HistoryNumber>> {
    let dir = session_dir(session.volume, session.session);
    store.list_of(&dir, HISTORIES_BEGINNING, HistoryNumber::from_file_name)
}

/// The newest sound history; `None` if the session was never folded.
///
/// # Errors
/// Damage of all of them: what they say is nowhere else.
pub(crate) fn newest(store: &Store, session: &SessionHeader) -> Result<Option<History>> {
    newest_of(store, session, &numbers(store, session)?)
}

/// [`newest`], of those that were listed, in order.
pub(super) fn newest_of(
    store: &Store,
    session: &SessionHeader,
    listed: &[HistoryNumber],
) -> Result<Option<History>> {
    let mut listed = listed.to_vec();
    let mut damage = None;
    // One is removed only after a newer one was made: then the newer one is found.
    for attempt in 0.. {
        let mut is_gone = false;
        for number in listed.into_iter().rev() {
            match read(store, session, number) {
                Ok(Numbered::Fence(_)) => {}
                Ok(Numbered::History(history)) => {
                    if let Some(error) = damage {
                        log::warn!("an older history is used: {error}");
                    }
                    return Ok(Some(history));
                }
                Err(error) if error.is_not_found() && attempt < ATTEMPTS => is_gone = true,
                Err(error) if error.is_damage() => _ = damage.get_or_insert(error),
                Err(error) => return Err(error),
            }
        }
        if !is_gone {
            break;
        }
        listed = numbers(store, session)?;
    }
    damage.map_or(Ok(None), Err)
}

/// Histories are removed under a reader at most so often.
const ATTEMPTS: u32 = 8;

/// Reads what is stored of a number.
///
/// # Errors
/// [`Error::Damaged`], or what keeps the file from being read.
pub(crate) fn read(
    store: &Store,
    session: &SessionHeader,
    number: HistoryNumber,
) -> Result<Numbered> {
    let path = session_dir(session.volume, session.session).join(number.file_name());
    let len = store.open(&path, OpenMode::Read)?.len()?.min(HISTORY_LEN_MAX);
    let bytes = store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
    let read = if store.objects().is_some() && FoldFence::is_fence(&bytes) {
        FoldFence::read(&bytes, number, session).map(Numbered::Fence)
    } else {
        History::read(&bytes, number, session).map(Numbered::History)
    };
    read.map_err(|why| Error::damaged(&store.locate(&path), 0, why))
}

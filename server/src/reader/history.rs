//! Finds the newest history of a session.

use crate::error::{Error, Result};
use crate::format::history::{HISTORY_LEN_MAX, History, HistoryNumber};
use crate::format::map::ROOT_PART;
use crate::format::repository::session_dir;
use crate::format::session::SessionHeader;
use crate::storage::{OpenMode, Store};

/// The part of the file of the pages that the root of a retained point is: behind all pages.
pub(crate) fn root_part(index: usize) -> u64 {
    ROOT_PART - 1 - index as u64
}

/// The newest sound history; `None` if the session was never folded.
///
/// # Errors
/// Damage of all of them: what they say is nowhere else.
pub(crate) fn newest(store: &Store, session: &SessionHeader) -> Result<Option<History>> {
    newest_of(store, session, &list(store, session)?)
}

fn list(store: &Store, session: &SessionHeader) -> Result<Vec<HistoryNumber>> {
    store.list(&session_dir(session.volume, session.session), HistoryNumber::from_file_name)
}

/// [`newest`], of those that were listed, in order.
pub(super) fn newest_of(
    store: &Store,
    session: &SessionHeader,
    listed: &[HistoryNumber],
) -> Result<Option<History>> {
    let mut numbers = listed.to_vec();
    let mut damage = None;
    // One is removed only after a newer one was made: then the newer one is found.
    for attempt in 0.. {
        let mut is_gone = false;
        for number in numbers.into_iter().rev() {
            match read(store, session, number) {
                Ok(history) => {
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
        numbers = list(store, session)?;
    }
    damage.map_or(Ok(None), Err)
}

/// Histories are removed under a reader at most so often.
const ATTEMPTS: u32 = 8;

/// Reads a history.
///
/// # Errors
/// [`Error::Damaged`], or what keeps the file from being read.
pub(crate) fn read(
    store: &Store,
    session: &SessionHeader,
    number: HistoryNumber,
) -> Result<History> {
    let path = session_dir(session.volume, session.session).join(number.file_name());
    let len = store.open(&path, OpenMode::Read)?.len()?.min(HISTORY_LEN_MAX);
    let bytes = store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
    let read = History::read(&bytes, number, session);
    read.map_err(|why| Error::damaged(&store.locate(&path), 0, why))
}

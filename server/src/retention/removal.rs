//! Removes a whole session, of which retention keeps nothing.
//!
//! First the session is marked (`removed/`): from then on the repository has nothing of it,
//! whatever is left of its directory, and need not have it (`forgotten/`). Then, if no pin is held,
//! its files go, and the first mark. A crash, or a reader, leaves files that the next collection
//! removes.

use std::path::PathBuf;

use snapless_wire::id::{SessionId, VolumeGuid};

use super::engine::{Collected, Refused};
use crate::error::{Error, Result};
use crate::format::repository::session_dir;
use crate::format::session::SESSION_FILE;
use crate::format::sessions::removed_file;
use crate::pin::Pins;
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::storage::Removal;

/// Files that are removed before a request to stop is looked at.
const BATCH: usize = 1000;

/// What is left of a session that was removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remains {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// Its files and their lengths, in the order in which they go.
    pub files: Vec<(PathBuf, u64)>,
}

/// What is left of the sessions that were removed, of the volumes that are wanted.
///
/// # Errors
/// A directory that cannot be listed, or a file that cannot be looked at.
pub fn remains(
    repository: &Repository,
    wanted: impl Fn(VolumeGuid) -> bool,
) -> Result<Vec<Remains>> {
    let mut found = Vec::new();
    for (volume, session) in repository.going()?.into_iter().filter(|it| wanted(it.0)) {
        let files = files(repository, volume, session)?;
        found.push(Remains { volume, session, files });
    }
    Ok(found)
}

/// Marks a session as removed, durably. The caller owns the repository, and no connection serves
/// the session.
///
/// # Errors
/// What keeps the mark from being made.
pub fn mark(repository: &Repository, volume: VolumeGuid, session: SessionId) -> Result<()> {
    repository.mark_removed(volume, session)
}

/// Removes what is left of a session that was marked, unless a pin is held.
///
/// # Errors
/// A failure to remove, or [`Error::Stopped`].
pub fn finish(repository: &Repository, remains: &Remains, stop: &StopFlag) -> Result<Collected> {
    let Remains { volume, session, files } = remains;
    let store = repository.store();
    // After the mark: see the rule in `crate::pin`.
    let pins = Pins::of_session(store, *volume, *session);
    let pinned = || Collected { is_pinned: true, ..Collected::default() };
    if pins.any_held()? {
        return Ok(pinned());
    }
    if store.objects().is_some() {
        store.wait_grace(&removed_file(*volume, *session), stop)?;
        if pins.any_held()? {
            return Ok(pinned());
        }
    }
    let mut done = Collected::default();
    for batch in files.chunks(BATCH) {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        let paths: Vec<_> = batch.iter().map(|(path, _)| path.clone()).collect();
        for ((_, bytes), removal) in batch.iter().zip(store.remove_all(&paths)?) {
            match removal {
                Removal::Removed => {
                    (done.files, done.bytes) = (done.files + 1, done.bytes + bytes);
                }
                Removal::Refused(why) => {
                    done.refused.add(Refused { files: 1, bytes: *bytes, why: Some(why) });
                }
            }
        }
    }
    if !done.refused.is_empty() {
        return Ok(done);
    }
    let dir = session_dir(*volume, *session);
    match store.sync_dir(&dir) {
        // An earlier attempt came as far as this.
        Err(error) if error.is_not_found() => {}
        synced => synced?,
    }
    // An empty directory is in no way.
    drop(store.remove_dir(&dir));
    repository.end_removal(*volume, *session)?;
    Ok(done)
}

/// The files of a session: its header first, without which the others are nothing.
fn files(
    repository: &Repository,
    volume: VolumeGuid,
    session: SessionId,
) -> Result<Vec<(PathBuf, u64)>> {
    let (store, dir) = (repository.store(), session_dir(volume, session));
    let mut files = store.list_with_lengths(&dir)?;
    files.sort_by(|(one, _), (other, _)| {
        (one != SESSION_FILE, one).cmp(&(other != SESSION_FILE, other))
    });
    Ok(files.into_iter().map(|(name, bytes)| (dir.join(name), bytes)).collect())
}

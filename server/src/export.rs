//! An export: a repository of its own, on a disk that is shipped, and what tells that it is whole.
//!
//! The order makes it safe: the mark says that the export is under way before anything is copied,
//! and that it is complete after everything is durable. An export that goes on says first that it
//! is under way again.

use std::path::Path;

use snapless_wire::id::FileTime;

use crate::copy_error::CopyError;
use crate::error::{Error, Result};
use crate::format::export::{EXPORT_FILE, EXPORT_LEN_MAX, Export, Exported, Origin};
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository, WritableRepository};
use crate::storage::OpenMode;
use crate::time;

/// Marks the target as an export that is under way.
///
/// # Errors
/// [`CopyError::NotForExport`] for a repository with sessions that is none, and
/// [`CopyError::OtherExport`] for one of another repository.
pub fn begin(from: &Repository, to: &WritableRepository) -> Result<()> {
    let target = to.repository();
    let created = from.created()?;
    check_target(created, target)?;
    let place = from.store().locate(Path::new("")).display().to_string();
    write(target, &Export { origin: Origin { created, place }, time: time::now(), sessions: None })
}

/// Checks that an export of this repository may go into the target; changes nothing.
///
/// # Errors
/// As for [`begin`].
pub fn check_begin(from: &Repository, target: &Repository) -> Result<()> {
    check_target(from.created()?, target)
}

/// Marks the target as complete, with the end of each session that it has.
///
/// # Errors
/// What keeps a session from being read, or the mark from being written.
pub fn finish(to: &WritableRepository) -> Result<Vec<Exported>> {
    let target = to.repository();
    let dir = || target.store().locate(Path::new(""));
    let begun = read(target)?.ok_or_else(|| CopyError::NotAnExport(dir()))?;
    let mut sessions = Vec::new();
    for volume in target.volumes()? {
        for session in target.session_ids(volume)? {
            let Presence::Header(header) = target.session(volume, session)? else { continue };
            let seq = SessionReader::open(target.store(), header)?.acknowledged().seq;
            sessions.push(Exported { volume, session, seq });
        }
    }
    write(target, &Export { time: time::now(), sessions: Some(sessions.clone()), ..begun })?;
    Ok(sessions)
}

/// Checks that a repository is an export that was finished and has everything that it had then.
///
/// # Errors
/// [`CopyError::NotAnExport`], [`CopyError::Unfinished`], [`CopyError::Changed`], or damage.
pub fn check(from: &Repository) -> Result<Export> {
    let dir = from.store().locate(Path::new(""));
    let export = read(from)?.ok_or_else(|| CopyError::NotAnExport(dir.clone()))?;
    let sessions = export.sessions.as_ref().ok_or(CopyError::Unfinished(dir))?;
    for &Exported { volume, session, seq } in sessions {
        let found = match from.session(volume, session)? {
            Presence::Header(header) => {
                SessionReader::open(from.store(), header)?.acknowledged().seq
            }
            Presence::Nothing => return Err(Error::NoSession { volume, session }),
        };
        if found != seq {
            return Err(CopyError::Changed { session, want: seq, found }.into());
        }
    }
    Ok(export)
}

/// Damage of the mark, if the repository has one that is damaged.
pub(crate) fn damage(repository: &Repository) -> Option<Error> {
    read(repository).err().filter(Error::is_damage)
}

fn check_target(origin: FileTime, target: &Repository) -> Result<()> {
    let dir = || target.store().locate(Path::new(""));
    match read(target)? {
        Some(export) if export.origin.created != origin => {
            Err(CopyError::OtherExport { dir: dir(), of: export.origin.place }.into())
        }
        None if !target.volumes()?.is_empty() => Err(CopyError::NotForExport(dir()).into()),
        _ => Ok(()),
    }
}

fn read(repository: &Repository) -> Result<Option<Export>> {
    let (store, path) = (repository.store(), Path::new(EXPORT_FILE));
    let len = match store.open(path, OpenMode::Read) {
        Ok(file) => file.len()?.min(EXPORT_LEN_MAX),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = store.read_head(path, usize::try_from(len).unwrap_or(usize::MAX))?;
    Export::read(&bytes).map(Some).map_err(|why| Error::damaged(&store.locate(path), 0, why))
}

fn write(repository: &Repository, export: &Export) -> Result<()> {
    repository.store().create_durably(Path::new(EXPORT_FILE), &export.to_bytes())
}

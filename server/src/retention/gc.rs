//! Garbage: files that nothing refers to, and what keeps them from being removed.

use serde::Serialize;
use snapless_wire::id::VolumeGuid;

use super::engine::{Collected, Engine, Refused};
use super::removal;
use super::run::Others;
use crate::error::{Error, Result};
use crate::format::repository::session_dir;
use crate::pin::{self, Pins, holders};
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;

/// What a repository has of garbage, or had.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// Each file, in the order in which they are removed.
    pub files: Vec<File>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that were removed.
    pub removed_bytes: u64,
    /// What an object store did not let be removed.
    #[serde(skip_serializing_if = "Refused::is_empty")]
    pub refused: Refused,
    /// Who reads sessions that have garbage, which stays until then.
    pub pins: Vec<pin::Shown>,
    /// Sessions whose garbage cannot be told, since they are damaged.
    pub damaged: Vec<Damaged>,
}

/// A file that nothing refers to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct File {
    /// The file, from the repository's root.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Why nothing refers to it.
    pub reason: &'static str,
}

/// A session whose garbage cannot be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Damaged {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// How it is damaged.
    pub error: String,
}

/// Lists the garbage, and removes it if others are told to let it be removed.
///
/// # Errors
/// A failure to look or to remove, or [`Error::Stopped`].
pub fn collect(
    repository: &Repository,
    engine: &dyn Engine,
    others: Option<&dyn Others>,
    stop: &StopFlag,
) -> Result<Report> {
    collect_of(repository, None, engine, others, stop)
}

/// [`collect`] of one volume, or of all.
///
/// # Errors
/// As for [`collect`].
pub fn collect_of(
    repository: &Repository,
    volume: Option<VolumeGuid>,
    engine: &dyn Engine,
    others: Option<&dyn Others>,
    stop: &StopFlag,
) -> Result<Report> {
    let mut report = Report::default();
    let volumes = volume.map_or_else(|| repository.volumes(), |volume| Ok(vec![volume]))?;
    for &volume in &volumes {
        for session in repository.session_ids(volume)? {
            let reader = match repository.session(volume, session) {
                Ok(Presence::Header(header)) => SessionReader::open(repository.store(), header),
                Ok(Presence::Nothing) => continue,
                Err(error) => Err(error),
            };
            let collected =
                reader.and_then(|it| of_session(&it, engine, others, stop, &mut report));
            match collected {
                Ok(()) => {}
                Err(error) if error.is_damage() => report.damaged.push(Damaged {
                    volume: volume.to_string(),
                    session: session.to_string(),
                    error: error.to_string(),
                }),
                Err(error) => return Err(error),
            }
            if stop.is_set() {
                return Err(Error::Stopped);
            }
        }
    }
    for remains in removal::remains(repository, |of| volume.is_none_or(|volume| of == volume))? {
        let reason = "its session was removed, as the policy says";
        for (path, bytes) in &remains.files {
            report.add(path.display().to_string(), *bytes, reason);
        }
        let pins = Pins::of_session(repository.store(), remains.volume, remains.session);
        report.pins.extend(pins.holders()?.iter().map(pin::Shown::of));
        if others.is_some() {
            report.removed(removal::finish(repository, &remains, stop)?);
        }
    }
    Ok(report)
}

fn of_session(
    reader: &SessionReader,
    engine: &dyn Engine,
    others: Option<&dyn Others>,
    stop: &StopFlag,
    report: &mut Report,
) -> Result<()> {
    let header = reader.header();
    let _held_off = others.map(|others| others.hold_off(header));
    let found = engine.garbage(reader)?;
    if found.is_empty() {
        return Ok(());
    }
    let dir = session_dir(header.volume, header.session);
    for file in found {
        report.add(dir.join(&file.name).display().to_string(), file.bytes, file.why);
    }
    let pins = reader.pins();
    report.pins.extend(pins.holders()?.iter().map(pin::Shown::of));
    if others.is_some() {
        match engine.collect(reader, &pins, stop) {
            // The next collection removes it.
            Err(Error::FoldRuns(_) | Error::OtherFolds(_)) => {}
            collected => report.removed(collected?),
        }
    }
    Ok(())
}

/// Who reads sessions of a repository.
///
/// # Errors
/// What keeps that from being known.
pub fn readers(repository: &Repository) -> Result<Vec<pin::Shown>> {
    Ok(holders(repository.store(), |_| true)?.iter().map(pin::Shown::of).collect())
}

impl Report {
    fn removed(&mut self, collected: Collected) {
        self.removed_bytes = self.removed_bytes.saturating_add(collected.bytes);
        self.refused.add(collected.refused);
    }

    fn add(&mut self, file: String, bytes: u64, reason: &'static str) {
        self.files.push(File { file, bytes, reason });
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

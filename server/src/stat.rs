//! What takes the space of a repository: bytes by cause, what each byte of content costs, growth.
//!
//! It is told from the headers of all records and the lengths of the files ([`crate::walk`]). The
//! parts of [`Usage`] add up to `stored_bytes`, the lengths of all files of the sessions, and what
//! compression saved.

use std::process;

use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::bill::{Bill, Counted, Load, Prices};
use crate::dedup::{self, Dedup};
use crate::error::{Error, Result};
use crate::floor::Shortage;
use crate::format::pin::Holder;
use crate::format::session::SessionHeader;
use crate::pin;
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;

mod count;
mod usage;

use count::Count;

pub use usage::{Cause, Causes, Day, Growth, Overhead, Usage};

/// What a repository holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Each volume.
    pub volumes: Vec<Volume>,
    /// All of them.
    pub total: Usage,
    /// What it costs in an object store, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
    /// The prices of the bills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// Other commands that read sessions, whose garbage stays meanwhile.
    pub pins: Vec<pin::Shown>,
    /// The server takes nothing more, for want of space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
}

/// What a volume holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Volume {
    /// Its GUID.
    pub volume: String,
    /// Each session, oldest first.
    pub sessions: Vec<Session>,
    /// All of them.
    pub total: Usage,
    /// What is wrong with the volume's directory as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What deduplication would save, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
    /// What it costs in an object store, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

/// What a session holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// Its identity.
    pub session: String,
    /// Where its bytes went, as far as it could be read.
    #[serde(flatten)]
    pub usage: Usage,
    /// The damage that ended the count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counts what a repository, or one volume, holds. A damaged session is counted up to the damage.
///
/// # Errors
/// [`Error::NoVolume`], a directory that cannot be listed, or [`Error::Stopped`].
pub fn stat(
    repository: &Repository,
    volume: Option<VolumeGuid>,
    stop: &StopFlag,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let known = repository.volumes()?;
    if let Some(volume) = volume.filter(|volume| !known.contains(volume)) {
        return Err(Error::NoVolume { volume, known });
    }
    let is_other = |it: &Holder| it.process != process::id();
    let pins = pin::holders(repository.store(), is_other).unwrap_or_else(|error| {
        log::warn!("who reads sessions is not known: {error}");
        Vec::new()
    });
    let pins = pins.iter().map(pin::Shown::of).collect();
    let mut found = Vec::new();
    for volume in known.into_iter().filter(|known| volume.is_none_or(|volume| volume == *known)) {
        found.push((volume, sessions(repository, volume)?));
    }
    let all_sessions = found.iter().flat_map(|(_, sessions)| sessions);
    let (total, mut before) = (all_sessions.map(|opened| opened.stored_bytes).sum(), 0);
    let shortage = Shortage::find(repository)?;
    let (volumes, total_usage) = (Vec::new(), Usage::default());
    let mut report =
        Report { volumes, total: total_usage, bill: None, prices: None, pins, shortage };
    let mut all = Count::default();
    for (volume, sessions) in found {
        let (mut told, mut of_volume) = (Vec::new(), Count::default());
        for Opened { session, reader, stored_bytes } in sessions {
            let mut count = Count::of_session();
            let tell = |done| progress(before + done, total);
            let error = count.session(repository.store(), volume, session, &reader, stop, tell)?;
            before += stored_bytes;
            told.push(Session { session: session.to_string(), usage: count.usage(), error });
            of_volume.add(&count);
        }
        all.add(&of_volume);
        let error = repository.volume_damage(volume).map(|error| error.to_string());
        let (volume, total) = (volume.to_string(), of_volume.usage());
        report.volumes.push(Volume {
            volume,
            sessions: told,
            total,
            error,
            dedup: None,
            bill: None,
        });
    }
    report.total = all.usage();
    // Volumes grow side by side, sessions of a volume one after the other.
    let each = report.volumes.iter().filter_map(|volume| volume.total.growth.bytes_per_day);
    report.total.growth.bytes_per_day = each.reduce(u64::saturating_add);
    Ok(report)
}

impl Report {
    /// Adds what the repository and its volumes cost at these prices.
    pub fn add_bills(&mut self, repository: &Repository, prices: Prices) {
        let is_of_objects = repository.store().objects().is_some();
        let bill = |usage: &Usage| prices.bill(&usage.counted(is_of_objects));
        for volume in &mut self.volumes {
            volume.bill = Some(bill(&volume.total));
        }
        let mut of_all = self.total.counted(is_of_objects);
        // Volumes store side by side: the rates add up.
        of_all.seconds = 0;
        let mut of_all = prices.bill(&of_all);
        let bills = self.volumes.iter().filter_map(|volume| volume.bill.as_ref());
        of_all.puts_per_day =
            bills.filter_map(|bill| bill.puts_per_day).reduce(u64::saturating_add);
        of_all.month = prices.month(Load {
            puts_per_day: of_all.puts_per_day.map_or(0.0, as_rate),
            stored_bytes: self.total.stored_bytes,
        });
        (self.bill, self.prices) = (Some(of_all), Some(prices));
    }

    /// Adds what deduplication would save: reads all content. Tells `progress` how many bytes of it
    /// are done, and how many there are.
    ///
    /// # Errors
    /// As for [`dedup::measure`].
    pub fn add_dedup(
        &mut self,
        repository: &Repository,
        stop: &StopFlag,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let content = |usage: &Usage| usage.causes.sum(|cause| cause.stored_bytes);
        let (total, mut before) = (content(&self.total), 0);
        for volume in &mut self.volumes {
            let Some(guid) = VolumeGuid::parse(&volume.volume) else { continue };
            let tell = |done| progress(before + done, total);
            volume.dedup = Some(dedup::measure(repository, guid, stop, tell)?);
            before += content(&volume.total);
        }
        Ok(())
    }

    /// True if damage was found.
    pub fn has_damage(&self) -> bool {
        self.volumes.iter().any(|volume| {
            volume.error.is_some()
                || volume.sessions.iter().any(|session| session.error.is_some())
                || volume.dedup.as_ref().is_some_and(|pass| pass.error.is_some())
        })
    }
}

impl Usage {
    fn counted(&self, is_of_objects: bool) -> Counted {
        Counted {
            is_of_objects,
            objects: self.files,
            segments: self.segments,
            epochs: self.epochs,
            stored_bytes: self.stored_bytes,
            seconds: self.growth.seconds,
        }
    }
}

/// A session.
struct Opened {
    session: SessionId,
    /// Or what is wrong with it.
    reader: Result<SessionReader>,
    /// Bytes of its stream, for the progress; 0 if they cannot be counted.
    stored_bytes: u64,
}

/// The sessions of a volume, oldest first; those whose header is damaged come first of all.
fn sessions(repository: &Repository, volume: VolumeGuid) -> Result<Vec<Opened>> {
    let mut found: Vec<(Option<FileTime>, Opened)> = Vec::new();
    for session in repository.session_ids(volume)? {
        let header: Result<SessionHeader> = match repository.session(volume, session) {
            Ok(Presence::Header(header)) => Ok(header),
            Ok(Presence::Nothing) => continue,
            Err(error) => Err(error),
        };
        let created = header.as_ref().ok().map(|header| header.created);
        let reader = header.and_then(|header| repository.open_session(header));
        let stored_bytes = reader.as_ref().map_or(0, |reader| reader.stream_bytes().unwrap_or(0));
        found.push((created, Opened { session, reader, stored_bytes }));
    }
    found.sort_by_key(|(created, opened)| (*created, opened.session));
    Ok(found.into_iter().map(|(_, opened)| opened).collect())
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_rate(per_day: u64) -> f64 {
    per_day as f64
}

//! Makes the image of one point from a session's stream.
//!
//! Two passes: the survey finds the point and the records that make it up; the replay checks every checksum and
//! applies them in stream order. By rule T0, which the replay asserts again on the way, a block's content at
//! t0 stands before every change of it, so stream order alone gives the right image, also where a block was
//! captured after the point.

use std::path::PathBuf;

use serde::Serialize;
use snapless_types::RecordKind;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::Record;

use crate::error::{Error, Result};
use crate::extent_set::ExtentSet;
use crate::format::session::SessionHeader;
use crate::geometry::{BlockRun, Extent, Geometry};
use crate::reader::{SessionReader, Wanted};
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::stream::{Accepted, BaseBlocks, StreamState};
use crate::target::Target;
use crate::time;
use crate::timeline::{At, Cut, Point};

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session; the newest that had begun at the asked time if `None`.
    pub session: Option<SessionId>,
    /// The point.
    pub at: At,
    /// The file or block device.
    pub to: PathBuf,
    /// Overwrite what is there.
    pub force: bool,
}

/// What was restored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The restored instant, RFC 3339.
    pub time: String,
    /// Where the image is.
    pub file: PathBuf,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes written to make it; holes do not count.
    pub bytes_written: u64,
    /// Records that were applied.
    pub records: u64,
    /// What the volume's disk could not read: zeros in the image, not the volume's content.
    pub unreadable: Vec<Extent>,
    /// If the volume is in a gap now: since when. The image shows it just before.
    pub gap_since: Option<String>,
}

/// How far a restore has come, in records of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the volume that the records read so far speak of.
    pub done: u64,
    /// The same for all records that have to be read, or a little more.
    pub total: u64,
}

/// Restores a point.
///
/// # Errors
/// [`Error::NotRestorable`] if there is no such point, damage of the stream, or what is wrong with the target.
pub fn restore(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let (reader, state) = find_session(repository, request, stop)?;
    let header = *reader.header();
    let timeline = state.timeline();
    let point = timeline
        .resolve(request.at)
        .map_err(|why| Error::NotRestorable { session: header.session, why })?;
    let target = Target::open(&request.to, header.geometry.length(), request.force)?;
    let mut image = Image {
        target,
        cut: point.cut,
        geometry: header.geometry,
        unreadable: ExtentSet::default(),
        records: 0,
    };
    let last_base = timeline.last_base().map_or(0, |place| place.seq.get());
    let total = timeline.extent_bytes();
    let mut done = 0;
    reader.replay(stop, |record, accepted| {
        let past = !point.cut.includes(accepted.place);
        if past && accepted.place.seq.get() > last_base {
            return Ok(Wanted::Enough);
        }
        image.apply(record, accepted)?;
        done += record.header.extent_len();
        progress(Progress { done, total });
        Ok(Wanted::More)
    })?;
    finish(image, &header, point, request)
}

/// The session that the request speaks of, and its surveyed stream.
fn find_session(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
) -> Result<(SessionReader, StreamState)> {
    let volume = request.volume;
    let known = repository.volumes()?;
    if !known.contains(&volume) {
        return Err(Error::NoVolume { volume, known });
    }
    let survey = |header: SessionHeader| {
        let dir = repository.session_dir(volume, header.session);
        let reader = SessionReader::open(dir, header)?;
        let state = reader.survey(stop)?;
        Ok::<_, Error>((reader, state))
    };
    if let Some(session) = request.session {
        let header = repository.session(volume, session)?;
        return survey(header.ok_or(Error::NoSession { volume, session })?);
    }
    let mut sessions = repository.sessions(volume)?;
    loop {
        let found = survey(sessions.pop().ok_or(Error::NoSessions(volume))?)?;
        let begun = match (request.at, found.1.timeline().t0()) {
            (At::Time(time), Some(t0)) => t0.time <= time,
            _ => true,
        };
        if begun || sessions.is_empty() {
            return Ok(found);
        }
    }
}

fn finish(image: Image, header: &SessionHeader, point: Point, request: &Request) -> Result<Report> {
    let report = Report {
        volume: header.volume.to_string(),
        session: header.session.to_string(),
        time: time::to_text(point.time),
        file: request.to.clone(),
        bytes: header.geometry.length(),
        bytes_written: image.target.written(),
        records: image.records,
        unreadable: image.unreadable.runs().collect(),
        gap_since: point.gap_since.map(|since: FileTime| time::to_text(since)),
    };
    image.target.finish()?;
    Ok(report)
}

/// The image as it grows.
struct Image {
    target: Target,
    cut: Cut,
    geometry: Geometry,
    /// Bytes of unknown content.
    unreadable: ExtentSet,
    records: u64,
}

impl Image {
    /// Applies a record if it belongs to the image.
    fn apply(&mut self, record: &Record<'_>, accepted: &Accepted) -> Result<()> {
        let header = &record.header;
        let (offset, len) = (header.extent_offset(), header.extent_len());
        let included = self.cut.includes(accepted.place);
        match (header.kind(), &accepted.base) {
            (RecordKind::Block, _) => {
                self.records += 1;
                if header.is_zero() {
                    self.target.zero_first(offset, len)
                } else {
                    self.target.write_first(offset, record.payload)
                }
            }
            (RecordKind::Unallocated, _) => {
                self.records += 1;
                self.target.zero_first(offset, len)
            }
            (RecordKind::Trim | RecordKind::Zero, _) if included => {
                self.records += 1;
                self.unreadable.remove(offset, len);
                self.target.zero(offset, len)
            }
            (RecordKind::Write | RecordKind::Resync, _) if included => {
                self.records += 1;
                self.unreadable.remove(offset, len);
                if header.is_zero() {
                    self.target.zero(offset, len)
                } else {
                    self.target.write(offset, record.payload)
                }
            }
            (RecordKind::Unreadable, BaseBlocks::Some(fresh)) => {
                self.records += 1;
                self.unreadable_base(fresh)?;
                if included { self.unreadable_change(offset, len, fresh) } else { Ok(()) }
            }
            (RecordKind::Unreadable, base) if included || *base == BaseBlocks::Holes => {
                self.records += 1;
                self.unreadable.insert(offset, len);
                self.target.zero(offset, len)
            }
            _ => Ok(()),
        }
    }

    fn unreadable_base(&mut self, fresh: &[BlockRun]) -> Result<()> {
        for run in fresh {
            let Extent { offset, len } = self.geometry.extent(run);
            self.unreadable.insert(offset, len);
            self.target.zero_first(offset, len)?;
        }
        Ok(())
    }

    /// The blocks of the extent that had content before have unknown content now.
    fn unreadable_change(&mut self, offset: u64, len: u64, fresh: &[BlockRun]) -> Result<()> {
        for block in self.geometry.touched(offset, len).0 {
            if fresh.iter().any(|run| run.0.contains(&block)) {
                continue;
            }
            let Extent { offset, len } = self.geometry.extent(&BlockRun(block..block + 1));
            self.unreadable.insert(offset, len);
            self.target.zero(offset, len)?;
        }
        Ok(())
    }
}

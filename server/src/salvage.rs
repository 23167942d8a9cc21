//! Salvages the image of one point from a session whose stored stream is damaged.
//!
//! A restore ends at the first damage: what it gives is exact. Salvage gives what is there and
//! lists what is not: entries that cannot be read, records that are missing, bytes of the volume
//! that no record gives. Where records are missing, what they changed has older content, and
//! nothing tells where that is.
//!
//! It needs no file but the segments. Without the session's header the length of the volume is that
//! of its kept state, or the end of the last record; without an acknowledged end all is read that
//! was stored, acknowledged or not.

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::{Damage, Error, Result};
use crate::format::repository::session_dir;
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;
use crate::format::state::{self, Checkpoint, STATE_FILE};
use crate::reader::SessionReader;
use crate::repository::{Presence, Repository};
use crate::restore::{Progress, Request, Source, Stage};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store};
use crate::target::{FileTarget, Target};
use crate::time;

mod begin;
mod entries;
mod image;
mod report;
mod stream;

use begin::Begin;
use entries::Piece;
use image::{Image, Salvaged};
pub use report::{Lost, Place, Report};
use stream::{Limits, Pass};

/// Salvages an image into a file or onto a block device.
///
/// # Errors
/// [`Error::NoSession`] or [`Error::WhichSession`] if there is not one session to salvage from,
/// [`Error::NothingToSalvage`] if no record can be read, or what is wrong with the target.
pub fn salvage(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
    progress: impl FnMut(Progress),
) -> Result<Report> {
    let Request { source, to, .. } = request;
    let open =
        |length, sector_size| FileTarget::open(to, &request.demand(length, sector_size), stop);
    let (report, target) = salvage_to(repository, source, to, open, stop, progress)?;
    target.finish()?;
    Ok(report)
}

/// Salvages an image onto what `open` makes, given the volume's length and the size of its sectors
/// in bytes; the report calls it `to`.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_to<T: Target>(
    repository: &Repository,
    source: &Source,
    to: &Path,
    open: impl FnOnce(u64, Option<u32>) -> Result<T>,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<(Report, T)> {
    let session = choose(repository, source)?;
    // As every reader does, before it is read which history is the newest.
    let _pin = repository.pin(source.volume, session);
    let stored = Stored::find(repository, source, session)?;
    let total = 2 * stored.bytes;
    let begin = stored.begin.as_ref();
    // The first pass finds the clock, the length and the end; the second one makes the image.
    let mut pass = Pass::new(stored.limits()).after(begin);
    stored.walk(
        stop,
        |done| progress(Progress { stage: Stage::Map, done, total }),
        |piece| pass.take(piece),
    )?;
    let found = pass.finish();
    let length = stored.length().unwrap_or(found.extent_end);
    if (found.records == 0 && begin.is_none()) || length == 0 {
        return Err(Error::NothingToSalvage(session));
    }
    let sector_size = stored.sector_size();
    let mut target = open(length, sector_size)?;
    let mut image = Image::new(&mut target, found.cut(source.at), length);
    let mut damage = stored.damage.clone();
    if let Some(begin) = begin {
        image.begin(begin.time(), begin.gap_since, begin.records());
        damage.extend(begin.apply(&mut image, stop)?);
    }
    let mut pass = Pass::new(Limits { length: Some(length), ..stored.limits() }).after(begin);
    stored.walk(
        stop,
        |done| progress(Progress { stage: Stage::Image, done: stored.bytes + done, total }),
        |piece| pass.apply(piece, &mut image),
    )?;
    let Salvaged { records, last, gap_since, missing, doubtful, unreadable } = image.finish();
    let report = Report {
        volume: source.volume.to_string(),
        session: session.to_string(),
        time: last.map(time::to_text),
        file: to.to_owned().into(),
        bytes: length,
        sector_size,
        records,
        damage: [damage, found.damage].concat(),
        lost: found.lost,
        missing,
        doubtful,
        unreadable,
        gap_since: gap_since.map(time::to_text),
    };
    Ok((report, target))
}

/// The session that is asked for, or the only one of the volume.
fn choose(repository: &Repository, source: &Source) -> Result<SessionId> {
    let volume = source.volume;
    let known = repository.session_ids(volume)?;
    match (source.session, &known[..]) {
        (Some(session), _) if known.contains(&session) => Ok(session),
        (Some(session), _) => Err(Error::NoSession { volume, session }),
        (None, []) => Err(Error::NoSessions(volume)),
        (None, [session]) => Ok(*session),
        (None, _) => Err(Error::WhichSession { volume, known }),
    }
}

/// What is there of a session's stored stream.
struct Stored {
    store: Store,
    dir: PathBuf,
    ids: (VolumeGuid, SessionId),
    /// What the files beside the segments say.
    header: Option<SessionHeader>,
    /// The acknowledged end: the segment, where in it, and the last record.
    end: Option<(SegmentNumber, u64, u64)>,
    segments: Vec<SegmentNumber>,
    /// Of a stream of objects, what its claims tell.
    reader: Option<SessionReader>,
    /// Where the stream begins, after a fold.
    begin: Option<Begin>,
    bytes: u64,
    damage: Vec<Place>,
}

impl Stored {
    fn find(repository: &Repository, source: &Source, session: SessionId) -> Result<Self> {
        let volume = source.volume;
        let store = repository.store().clone();
        let dir = session_dir(volume, session);
        let segments = store.list(&dir, SegmentNumber::from_file_name)?;
        let mut this = Self {
            store,
            dir,
            ids: (volume, session),
            header: None,
            end: None,
            begin: None,
            segments,
            reader: None,
            bytes: 0,
            damage: Vec::new(),
        };
        match repository.session(volume, session) {
            Ok(Presence::Header(header)) => this.header = Some(header),
            Ok(Presence::Nothing) => {}
            Err(error) => this.note(error)?,
        }
        let kept = this.kept(volume, session);
        if this.header.is_none() {
            this.header = kept.as_ref().map(|kept| kept.1);
        }
        if let Some(header) = this.header {
            let opened = SessionReader::open(&this.store, header);
            let last = this.segments.last().copied();
            let reader = match &opened {
                Ok(reader) => Some(reader.clone()),
                // The acknowledged end is damaged; the history may be sound.
                Err(_) => SessionReader::to_salvage(&this.store, header, last).ok(),
            };
            if let Some(reader) = &reader {
                this.begin = Begin::find(reader, source.at)?;
            }
            match opened {
                Ok(reader) => {
                    // The damaged slot may have held the newest end: as for a restart, what follows
                    // in whole epochs counts.
                    let end = match reader.check_acknowledgement() {
                        Ok(()) => *reader.acknowledged(),
                        Err(error) => {
                            this.note(error)?;
                            *reader.with_whole_epochs().acknowledged()
                        }
                    };
                    this.end = Some((end.segment, end.offset, end.seq.get()));
                    this.reader = reader.claims().is_some().then_some(reader);
                }
                Err(error) => {
                    // Its claims tell which segments no reader reads.
                    this.reader = reader.filter(|reader| reader.claims().is_some());
                    this.note(error)?;
                }
            }
        }
        // An acknowledged end that is older than the kept state is not the end.
        let kept = kept.map(|(at, _)| (at.segment, at.offset, at.seq.get()));
        this.end = this.end.map(|end| kept.map_or(end, |kept| kept.max(end)));
        let damage = this.begin.as_mut().map(|begin| std::mem::take(&mut begin.damage));
        damage.into_iter().flatten().try_for_each(|error| this.note(error))?;
        this.look_for_segments()?;
        Ok(this)
    }

    /// The place of the kept state, and the header that follows from it.
    fn kept(&self, volume: VolumeGuid, session: SessionId) -> Option<(Checkpoint, SessionHeader)> {
        let path = self.dir.join(STATE_FILE);
        let len = self.store.open(&path, OpenMode::Read).and_then(|file| file.len()).ok()?;
        let bytes = self.store.read_head(&path, usize::try_from(len).ok()?).ok()?;
        let seal = self.store.seal().of_ids(self.ids).state().ok()?;
        let bytes = state::open(bytes, &seal).ok()?;
        let geometry = Checkpoint::geometry(&bytes)?;
        let created = FileTime::UNIX_EPOCH;
        let header = SessionHeader { volume, session, geometry, created };
        let (checkpoint, _) = Checkpoint::read(&bytes, &header).ok()?;
        Some((checkpoint, header))
    }

    /// Sizes the segments that are there and notes those that are not.
    fn look_for_segments(&mut self) -> Result<()> {
        if let Some((last, ..)) = self.end {
            self.segments.retain(|number| *number <= last);
        }
        let last = self.end.map(|end| end.0).or(self.segments.last().copied());
        let first = match &self.begin {
            None => SegmentNumber::FIRST,
            Some(begin) if begin.point.is_none() => begin.boundary.segment,
            // Nothing of the stream belongs to a retained point.
            Some(_) => {
                self.segments.clear();
                return Ok(());
            }
        };
        let is_void = |number: &SegmentNumber| {
            let claims = self.reader.as_ref().and_then(|reader| reader.claims());
            claims.is_some_and(|claims| claims.is_void(*number))
        };
        let needed = (first.0..=last.map_or(0, |last| last.0)).map(SegmentNumber);
        let needed: Vec<_> = needed.filter(|number| !is_void(number)).collect();
        self.segments.retain(|number| needed.binary_search(number).is_ok());
        for number in needed {
            let path = self.dir.join(number.file_name());
            if self.segments.binary_search(&number).is_err() {
                self.note(Error::damaged(&self.store.locate(&path), 0, Damage::Gone))?;
                continue;
            }
            self.bytes += self.store.open(&path, OpenMode::Read)?.len()?;
        }
        Ok(())
    }

    /// Notes damage; any other error ends the salvage.
    fn note(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Damaged { path, offset, why } => {
                self.damage.push(Place { file: path.into(), offset, error: why.to_string() });
                Ok(())
            }
            other => Err(other),
        }
    }

    fn length(&self) -> Option<u64> {
        self.header.map(|header| header.geometry.length())
    }

    fn sector_size(&self) -> Option<u32> {
        self.header.map(|header| header.geometry.sector_size())
    }

    fn limits(&self) -> Limits {
        let is_of_stream = self.begin.as_ref().is_none_or(|begin| begin.point.is_none());
        let end = self.end.filter(|_| is_of_stream);
        Limits { length: self.length(), last_seq: end.map(|end| end.2) }
    }

    /// Walks through all segments and calls `visit` with what is in them.
    fn walk(
        &self,
        stop: &StopFlag,
        mut progress: impl FnMut(u64),
        mut visit: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        for &number in &self.segments {
            let file = self.store.open(&self.dir.join(number.file_name()), OpenMode::Read)?;
            let end = self.end.filter(|end| end.0 == number).map(|end| end.1);
            let seal = self.store.seal().of_ids(self.ids).entries(number)?;
            let mut segment = entries::Segment::open(file, seal, end)?;
            let ids = self.header.map(|header| (header.volume, header.session));
            segment.check_header(ids, number, &mut visit)?;
            let boundary = self.begin.as_ref().map(|begin| begin.boundary);
            if let Some(boundary) = boundary.filter(|it| it.segment == number) {
                segment.skip_to(boundary.offset);
            }
            while let Some(at) = segment.step(&mut visit)? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                progress(done + at);
            }
            done += segment.len();
        }
        Ok(())
    }
}

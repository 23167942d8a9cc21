//! Salvages the image of one point from a session whose stored stream is damaged.
//!
//! A restore ends at the first damage: what it gives is exact. Salvage gives what is there and
//! lists what is not: entries that cannot be read, records that are missing, bytes of the volume
//! that no record gives. Where records are missing, what they changed has older content, and
//! nothing tells where that is.
//!
//! It needs no file but the segments. Without the session's header the length of the volume is that
//! of its kept state or of a kept map, which a folded session has, or the end of the last record
//! that is there; without an acknowledged end all is read that
//! was stored, acknowledged or not, and the report tells from where on that is not sure. Without a
//! sound history of a folded session, what its folds removed is missing.

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::Acknowledged;
use crate::format::index::IndexIdentity;
use crate::format::repository::session_dir;
use crate::format::segment::{SegmentHeader, SegmentNumber};
use crate::format::session::SessionHeader;
use crate::format::state::{self, Checkpoint, STATE_FILE};
use crate::reader::claims::{Claims, read_claim};
use crate::reader::maps::header_in_maps;
use crate::reader::whole::Parts;
use crate::reader::{IndexReader, SessionReader};
use crate::repository::{Presence, Repository};
use crate::restore::{Progress, Request, Source, Stage};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store};
use crate::target::{FileTarget, Target};
use crate::time;
use crate::timeline::At;

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

/// Missing segments in a row that are named.
const NAMED_MAX: usize = 1_000;
/// Numbers in a row that are looked at for missing segments, which void ones are not.
const SEARCHED_MAX: usize = 1 << 20;

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
    let cut = found.cut(source.at);
    let begins_with = stored.begins_with();
    let length = found.length_at(cut).or(begins_with).unwrap_or(found.extent_end);
    if (found.records == 0 && begin.is_none()) || length == 0 {
        return Err(Error::NothingToSalvage(session));
    }
    let sector_size = stored.sector_size();
    let mut target = open(length, sector_size)?;
    let mut image = Image::new(&mut target, cut, length, begins_with.unwrap_or(length));
    let mut damage = stored.damage.clone();
    if let Some(begin) = begin {
        image.begin(begin.time(), begin.gap_since, begin.records());
        damage.extend(begin.apply(&mut image, stop)?);
    }
    let mut pass =
        Pass::new(Limits { length: begins_with.or(Some(found.extent_end)), ..stored.limits() })
            .after(begin);
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
        unsure_after: stored.unsure_after(),
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
    /// The segments that must be there and are not, as far as they are noted.
    absent: Vec<SegmentNumber>,
    /// Of a stream of objects.
    claims: Option<Claims>,
    /// The last record that was acknowledged for sure.
    acknowledged: u64,
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
            absent: Vec::new(),
            claims: None,
            acknowledged: 0,
            bytes: 0,
            damage: Vec::new(),
        };
        match repository.session(volume, session) {
            Ok(Presence::Header(header)) => this.header = Some(header),
            Ok(Presence::Nothing) => {}
            Err(error) => this.note(error)?,
        }
        let kept = this.kept(volume, session);
        this.header = this
            .header
            .or(kept.as_ref().map(|kept| kept.1))
            .or_else(|| header_in_maps(&this.store, &this.dir, this.ids));
        if let Some(header) = this.header {
            this.read_end(header, source.at)?;
        } else if let Some(objects) = this.store.objects() {
            // They need no header.
            let of = (&*this.dir, this.ids);
            let claims = match Claims::read(&this.store, objects, of, SegmentNumber::FIRST) {
                Err(Error::Damaged { .. }) => {
                    Claims::to_salvage(&this.store, objects, of, SegmentNumber::FIRST)?
                }
                claims => claims?,
            };
            this.know_end(claims.end());
            this.end = this.end.filter(|_| claims.known_end().is_some());
            this.claims = Some(claims);
        }
        // An acknowledged end that is older than the kept state is not the end.
        let kept = kept.map(|(at, _)| (at.segment, at.offset, at.seq.get()));
        this.end = this.end.map(|end| kept.map_or(end, |kept| kept.max(end)));
        this.acknowledged = this.acknowledged.max(kept.map_or(0, |kept| kept.2));
        let damage = this.begin.as_mut().map(|begin| std::mem::take(&mut begin.damage));
        damage.into_iter().flatten().try_for_each(|error| this.note(error))?;
        this.look_for_segments()?;
        Ok(this)
    }

    /// Reads where the stream begins and ends.
    fn read_end(&mut self, header: SessionHeader, at: At) -> Result<()> {
        let reader = match SessionReader::open(&self.store, header) {
            Ok(reader) => match reader.check_acknowledgement() {
                Ok(()) => reader,
                // The damaged slot may have held the newest end: as for a restart, what follows in
                // whole epochs counts.
                Err(error) => {
                    self.note(error)?;
                    reader.with_whole_epochs()
                }
            },
            Err(error) => {
                self.note(error)?;
                SessionReader::to_salvage(&self.store, header, self.segments.last().copied())?
            }
        };
        self.begin = Begin::find(&reader, at)?;
        let boundary = self.begin.as_ref().map_or(0, |begin| begin.boundary.place.seq.get());
        self.acknowledged = self.acknowledged.max(boundary);
        match (reader.known_end(), reader.claims()) {
            (Some(end), _) => self.know_end(end),
            (None, Some(claims)) => {
                self.acknowledged = self.acknowledged.max(claims.end().seq.get());
            }
            (None, None) => {}
        }
        self.claims = reader.claims().cloned();
        Ok(())
    }

    fn know_end(&mut self, end: Acknowledged) {
        self.acknowledged = self.acknowledged.max(end.seq.get());
        self.end = Some((end.segment, end.offset, end.seq.get()));
    }

    /// The last record that was acknowledged for sure, if nothing tells which ones were.
    fn unsure_after(&self) -> Option<u64> {
        let is_of_stream = self.begin.as_ref().is_none_or(|begin| begin.point.is_none());
        (is_of_stream && self.end.is_none()).then_some(self.acknowledged)
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
        let claims = self.claims.take();
        let is_void =
            |number: &SegmentNumber| claims.as_ref().is_some_and(|claims| claims.is_void(*number));
        self.segments.retain(|number| *number >= first && !is_void(number));
        let mut due = first;
        let behind = last.map_or(SegmentNumber(0), SegmentNumber::next);
        for number in self.segments.clone().into_iter().chain([behind]) {
            // A file of any number may be there: not each one before it is looked at.
            let absent = (due.0..number.0).take(SEARCHED_MAX).map(SegmentNumber);
            let absent = absent.filter(|absent| !is_void(absent)).take(NAMED_MAX);
            self.absent.extend(absent);
            due = number.next();
        }
        self.claims = claims;
        for number in self.absent.clone() {
            let path = self.store.locate(&self.dir.join(number.file_name()));
            self.note(Error::damaged(&path, 0, Damage::Gone))?;
        }
        for number in &self.segments {
            let path = self.dir.join(number.file_name());
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

    /// Bytes of the volume where the stream begins.
    fn begins_with(&self) -> Option<u64> {
        let of_fold = self.begin.as_ref().and_then(Begin::length);
        of_fold.or(self.header.map(|header| header.geometry.length()))
    }

    fn sector_size(&self) -> Option<u32> {
        self.header.map(|header| header.geometry.sector_size())
    }

    fn limits(&self) -> Limits {
        let is_of_stream = self.begin.as_ref().is_none_or(|begin| begin.point.is_none());
        let end = self.end.filter(|_| is_of_stream);
        Limits { length: self.begins_with(), last_seq: end.map(|end| end.2) }
    }

    /// Where a finished segment of this length ended, as its index or its claim tells; 0 if neither
    /// does.
    fn told_end(&self, number: SegmentNumber, len: u64) -> Result<u64> {
        let Some(newest) = self.segments.last().copied() else { return Ok(0) };
        let (store, dir, ids) = (&self.store, &*self.dir, self.ids);
        if let Some(claims) = &self.claims {
            let claim = match read_claim(store, dir, ids, number) {
                Ok(claim) => claim,
                Err(Error::Damaged { .. }) => return Ok(0),
                Err(error) => return Err(error),
            };
            let parts = Parts { store, dir, ids, claims, last: newest };
            let lost = parts.lost(number, &claim, len)?;
            return Ok(claim.end_of(number).unwrap_or(len.saturating_add(lost)));
        }
        if self.end.is_none() && number == newest {
            // It may be the open one, whose index may have what was not acknowledged.
            return Ok(0);
        }
        let header = SegmentHeader { volume: ids.0, session: ids.1, number };
        let (identity, seal) =
            (IndexIdentity::new(header), store.seal().of_ids(ids).index(number)?);
        let index = IndexReader::open(store, &dir.join(number.index_name()), identity, seal);
        Ok(index.ok().flatten().map_or(0, IndexReader::last_end))
    }

    /// Walks through all segments and calls `visit` with what is in them.
    fn walk(
        &self,
        stop: &StopFlag,
        mut progress: impl FnMut(u64),
        mut visit: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        let mut absent = self.absent.iter().peekable();
        for &number in &self.segments {
            while absent.next_if(|absent| **absent < number).is_some() {
                visit(Piece::Gone)?;
            }
            let file = self.store.open(&self.dir.join(number.file_name()), OpenMode::Read)?;
            let end = self.end.filter(|end| end.0 == number).map(|end| end.1);
            let seal = self.store.seal().of_ids(self.ids).entries(number)?;
            let mut segment = entries::Segment::open(file, seal, end)?;
            if end.is_none() {
                segment.went_on_to(self.told_end(number, segment.len())?);
            }
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

//! What the selection is told of a volume: its sessions, the points that can be kept, bookmarks.
//!
//! Of each session the headers from its begin to the first record that is too young to be folded
//! are read; what follows is not looked at.

use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use super::engine::{Engine, History};
use super::policy::{Keep, Policy};
use super::select::{Ages, Candidate, Named, Session};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::fold::resolve;
use crate::format::bookmark::Bookmark;
use crate::format::session::SessionHeader;
use crate::reader::{Located, SessionReader, Wanted, with_indices};
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::stream::StreamState;
use crate::timeline::{At, Cut, Place, PointRange, Timeline};

/// Of the points in such a time the last one is enough: the offset of every time zone is a multiple
/// of it.
const SLOT: u64 = 15 * 60 * FileTime::TICKS_PER_SECOND;

/// A volume.
#[derive(Debug)]
pub struct Volume {
    /// Its sound sessions, oldest first.
    pub sessions: Vec<Surveyed>,
    /// The others, which stay as they are.
    pub damaged: Vec<(SessionId, Error)>,
}

/// A session.
#[derive(Debug)]
pub struct Surveyed {
    /// Reads it.
    pub reader: SessionReader,
    /// How it was folded, if it was.
    pub history: Option<History>,
    state: StreamState,
    candidates: Vec<Candidate>,
    /// Bytes of the stream from its begin to each end of an epoch.
    bytes: Vec<(Seq, u64)>,
    bookmarks: Vec<Named>,
}

impl Volume {
    /// Surveys a volume.
    ///
    /// # Errors
    /// A directory that cannot be listed, or [`Error::Stopped`].
    pub fn survey(
        repository: &Repository,
        volume: VolumeGuid,
        policy: &Policy,
        engine: &dyn Engine,
        now: FileTime,
        stop: &StopFlag,
    ) -> Result<Self> {
        let mut this = Self { sessions: Vec::new(), damaged: Vec::new() };
        for session in repository.session_ids(volume)? {
            match open(repository, volume, session, engine, stop) {
                Ok(surveyed) => this.sessions.extend(surveyed),
                Err(error) if error.is_damage() => this.damaged.push((session, error)),
                Err(error) => return Err(error),
            }
        }
        this.sessions.sort_by_key(|it| (it.reader.header().created, it.reader.header().session));
        let Keep::For(keep) = policy.keep_all else { return Ok(this) };
        let times: Vec<_> = this.sessions.iter().map(Surveyed::times).collect();
        let ages = Ages::of(&times, now);
        let bookmarks: Vec<_> = repository.bookmarks(Some(volume))?;
        let bookmarks: Vec<_> = bookmarks.into_iter().filter_map(|it| it.bookmark.ok()).collect();
        let mut sound = Vec::new();
        for (mut session, ages) in this.sessions.into_iter().zip(ages) {
            let id = session.reader.header().session;
            let walked = match ages {
                Some(ages) => session.find_candidates(ages, keep, stop),
                None => Ok(()),
            };
            match walked {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    this.damaged.push((id, error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            let mine = bookmarks.iter().filter(|it| it.session == id);
            session.bookmarks = mine.filter_map(|it| session.named(it)).collect();
            sound.push(session);
        }
        this.sessions = sound;
        Ok(this)
    }

    /// What the selection is told.
    pub fn told(&self) -> Vec<Session<'_>> {
        self.sessions.iter().map(Surveyed::told).collect()
    }
}

/// The sound sessions of a volume that have anything, oldest first, each with its state.
///
/// # Errors
/// A directory that cannot be listed, or [`Error::Stopped`].
pub(super) fn timelines(
    repository: &Repository,
    volume: VolumeGuid,
    stop: &StopFlag,
) -> Result<Vec<(SessionHeader, StreamState)>> {
    let mut found = Vec::new();
    for session in repository.session_ids(volume)? {
        let surveyed = repository.session(volume, session).and_then(|present| {
            let Presence::Header(header) = present else { return Ok(None) };
            let state = SessionReader::open(repository.store(), header)?.survey(stop)?;
            Ok(Some((header, state)))
        });
        match surveyed {
            Ok(surveyed) => found.extend(surveyed),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|(header, _)| (header.created, header.session));
    Ok(found)
}

/// The instant of a point of which the time is known.
pub(super) fn instant(timeline: &Timeline, cut: Cut, time: FileTime) -> Instant {
    match (cut, timeline.t0()) {
        (Cut::Until(instant), _) => instant,
        (Cut::Base, Some(t0)) => t0.at,
        (Cut::Base | Cut::Through(_), _) => timeline.instant_of(time),
    }
}

/// Opens a session; `None` if it holds nothing.
fn open(
    repository: &Repository,
    volume: VolumeGuid,
    session: SessionId,
    engine: &dyn Engine,
    stop: &StopFlag,
) -> Result<Option<Surveyed>> {
    let Presence::Header(header) = repository.session(volume, session)? else { return Ok(None) };
    let reader = repository.open_session(header)?;
    let state = reader.survey(stop)?;
    let history = engine.history(&reader)?;
    let (candidates, bytes, bookmarks) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Some(Surveyed { reader, history, state, candidates, bytes, bookmarks }))
}

impl Surveyed {
    /// The instants of its stream.
    pub fn timeline(&self) -> &Timeline {
        self.state.timeline()
    }

    /// Bytes of its stream up to the end of an epoch.
    pub fn bytes_to(&self, end: Seq) -> u64 {
        let found = self.bytes.binary_search_by_key(&end, |it| it.0);
        found.map_or(0, |index| self.bytes[index].1)
    }

    /// The time of a point that can be the boundary.
    pub fn time_of(&self, end: Seq) -> FileTime {
        let found = self.candidates.iter().find(|it| it.ends == Some(end));
        found.map_or(FileTime::UNIX_EPOCH, |it| it.at.time)
    }

    /// The times of the points that can be kept, as far as they are old enough.
    pub fn times_of(&self, cuts: &[Cut]) -> Vec<FileTime> {
        let old = self.candidates.iter().map(|it| (it.cut, it.at));
        let all: Vec<_> = old.chain(self.bookmarks.iter().map(|it| (it.cut, it.at))).collect();
        let time = |cut: &Cut| all.iter().find(|it| it.0 == *cut).map(|it| it.1.time);
        cuts.iter().filter_map(time).collect()
    }

    fn times(&self) -> (FileTime, &Timeline) {
        (self.reader.header().created, self.timeline())
    }

    fn told(&self) -> Session<'_> {
        Session {
            created: self.reader.header().created,
            timeline: self.timeline(),
            begin: self.history.as_ref().map(|history| history.boundary.0),
            candidates: self.candidates.clone(),
            bookmarks: self.bookmarks.clone(),
        }
    }

    /// Finds the points that can be kept of what is old enough.
    fn find_candidates(&mut self, ages: Ages, keep: u64, stop: &StopFlag) -> Result<()> {
        let timeline = self.timeline();
        let mut kept = Vec::new();
        if let Some(History { boundary: (seq, at), points }) = &self.history {
            let of = |cut, at, ends| Candidate { cut, at, ends };
            kept.extend(points.iter().map(|(cut, at)| of(*cut, *at, None)));
            kept.push(of(Cut::Through(*seq), *at, Some(*seq)));
        } else {
            let t0 = timeline.t0().filter(|_| timeline.t0_is_whole());
            kept.extend(t0.map(|t0| Candidate { cut: Cut::Base, at: t0.at, ends: None }));
        }
        let begin = timeline.t0().map(|t0| t0.at);
        let is_young = begin.is_none_or(|at| ages.age(timeline, at) < keep);
        let ends = if is_young { Vec::new() } else { self.ends_of_epochs(ages, keep, stop)? };
        self.bytes = ends.iter().map(|(place, bytes)| (place.seq, *bytes)).collect();
        kept.extend(ends.iter().map(|(Place { seq, at, .. }, _)| Candidate {
            cut: Cut::Through(*seq),
            at: *at,
            ends: Some(*seq),
        }));
        self.candidates = kept;
        Ok(())
    }

    /// The ends of epochs that are points and old enough, of each [`SLOT`] the last one, and how
    /// many bytes of the stream there are up to each.
    fn ends_of_epochs(&self, ages: Ages, keep: u64, stop: &StopFlag) -> Result<Vec<(Place, u64)>> {
        let timeline = self.timeline();
        let ranges = timeline.ranges();
        with_indices(|indices| {
            let mut found: Vec<(Place, u64)> = Vec::new();
            let mut bytes = 0;
            let record = |_: &Located<'_>| Wanted::More;
            self.reader.headers(None, indices, stop, record, |state, _, entry| {
                bytes += entry.end() - entry.offset;
                let last = state.last().filter(|last| last.epoch == state.ended_epoch());
                let Some(place) = last.filter(|_| entry.watermark().is_none()) else {
                    return Wanted::More;
                };
                if ages.age(timeline, place.at) < keep {
                    return Wanted::Enough;
                }
                if is_point(&ranges, place) {
                    if found.last().is_some_and(|(last, _)| slot(last.at) == slot(place.at)) {
                        found.pop();
                    }
                    found.push((place, bytes));
                }
                Wanted::More
            })?;
            Ok(found)
        })
    }

    /// A bookmark's point, if it can be restored.
    fn named(&self, bookmark: &Bookmark) -> Option<Named> {
        let Bookmark { cut, time, created, .. } = *bookmark;
        let at = At::Exact { time, cut };
        resolve(self.reader.history(), self.timeline(), at).ok()?;
        let kept = self.candidates.iter().find(|it| it.cut == cut);
        let at = kept.map_or_else(|| instant(self.timeline(), cut, time), |it| it.at);
        Some(Named { cut, at, created, keep: Keep::of_bookmark(bookmark) })
    }
}

fn is_point(ranges: &[PointRange], place: Place) -> bool {
    let index = ranges.partition_point(|range| range.to.seq < place.seq);
    ranges.get(index).is_some_and(|range| range.from.seq <= place.seq)
}

fn slot(at: Instant) -> (u32, u64) {
    (at.run(), at.time.get() / SLOT)
}

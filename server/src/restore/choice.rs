//! The session that a point is restored from, if none was named.
//!
//! A session that has just begun has no point yet, and one whose stream is damaged may have none
//! that is found: the newest session that has the point counts, and those passed over are named.

use std::rc::Rc;

use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::fold;
use crate::format::session::SessionHeader;
use crate::reader::{SessionReader, Survey};
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::timeline::{At, Point};

/// Which image to restore.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session; if `None`, the newest that has the point. For a time, the newest that had begun
    /// then.
    pub session: Option<SessionId>,
    /// The point.
    pub at: At,
}

/// A session that does not have the point.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PassedOver {
    /// The session.
    pub session: String,
    /// Why it does not have it.
    pub why: String,
}

/// The session and the point.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) surveyed: Rc<Surveyed>,
    pub(super) point: Point,
    pub(super) passed_over: Vec<PassedOver>,
}

/// A session's stream, and its state at the acknowledged end.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) reader: SessionReader,
    pub(super) survey: Survey,
}

impl Surveyed {
    /// Finds the point.
    ///
    /// # Errors
    /// [`Error::NotRestorable`], or the damage before which it does not lie.
    fn resolve(&self, at: At) -> Result<Point> {
        let session = self.reader.header().session;
        let (history, timeline) = (self.reader.history(), self.survey.state.timeline());
        let found = match self.survey.damage() {
            None => fold::resolve(history, timeline, at),
            Some(damage) => {
                log::warn!("session {session} is read up to its damage: {damage}");
                match timeline.resolve_before(at) {
                    Some(Ok(_)) => fold::resolve(history, timeline, at),
                    found => found.ok_or(damage)?,
                }
            }
        };
        found.map_err(|why| Error::NotRestorable { session, why, other: None })
    }
}

/// Surveys sessions of a repository, each once.
#[derive(Debug)]
pub(super) struct Surveyor<'a> {
    repository: &'a Repository,
    stop: &'a StopFlag,
    known: Vec<Rc<Surveyed>>,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(repository: &'a Repository, stop: &'a StopFlag) -> Self {
        Self { repository, stop, known: Vec::new() }
    }

    /// Chooses the session and finds the point.
    ///
    /// # Errors
    /// [`Error::NotRestorable`] if no session has it, or damage of the stream.
    pub(super) fn choose(&mut self, source: &Source) -> Result<Choice> {
        let (volume, repository) = (source.volume, self.repository);
        let known = repository.volumes()?;
        if !known.contains(&volume) {
            return Err(Error::NoVolume { volume, known });
        }
        let Some(session) = source.session else {
            return Search::new(self, volume)?.run(source.at);
        };
        let Presence::Header(header) = repository.session(volume, session)? else {
            return Err(Error::NoSession { volume, session });
        };
        let surveyed = self.survey(header)?;
        let point = surveyed.resolve(source.at)?;
        Ok(Choice { surveyed, point, passed_over: Vec::new() })
    }

    fn survey(&mut self, header: SessionHeader) -> Result<Rc<Surveyed>> {
        if let Some(known) = self.known.iter().find(|known| *known.reader.header() == header) {
            return Ok(Rc::clone(known));
        }
        let reader = self.repository.open_session(header)?;
        let survey = reader.survey_sound(self.stop)?;
        let surveyed = Rc::new(Surveyed { reader, survey });
        self.known.push(Rc::clone(&surveyed));
        Ok(surveyed)
    }
}

/// The search through a volume's sessions, from the newest to the oldest.
struct Search<'a, 'b> {
    surveyor: &'a mut Surveyor<'b>,
    /// Those that were not looked at, oldest first.
    left: Vec<SessionHeader>,
    passed_over: Vec<PassedOver>,
    /// Why the newest session does not have the point.
    first: Option<Error>,
}

impl<'a, 'b> Search<'a, 'b> {
    fn new(surveyor: &'a mut Surveyor<'b>, volume: VolumeGuid) -> Result<Self> {
        let repository = surveyor.repository;
        let mut search = Self { surveyor, left: Vec::new(), passed_over: Vec::new(), first: None };
        let mut is_empty = true;
        for session in repository.session_ids(volume)? {
            match repository.session(volume, session) {
                Ok(Presence::Header(header)) => search.left.push(header),
                Ok(Presence::Nothing) => continue,
                Err(error) => search.pass_over(session, error)?,
            }
            is_empty = false;
        }
        if is_empty {
            return Err(Error::NoSessions(volume));
        }
        search.left.sort_by_key(|header| (header.created, header.session));
        Ok(search)
    }

    fn run(mut self, at: At) -> Result<Choice> {
        // Damage of a header is told only if nothing better is found.
        let damaged = self.first.take();
        while let Some(header) = self.left.pop() {
            let session = header.session;
            let surveyed = match self.surveyor.survey(header) {
                Ok(found) => found,
                Err(error) => {
                    self.pass_over(session, error)?;
                    continue;
                }
            };
            let t0 = surveyed.survey.state.timeline().t0();
            if let (At::Time(time) | At::Exact { time, .. }, Some(t0), [_, ..]) =
                (at, t0, &self.left[..])
                && time < t0.time()
            {
                continue;
            }
            match (surveyed.resolve(at), at) {
                (Ok(point), _) => {
                    return Ok(Choice { surveyed, point, passed_over: self.passed_over });
                }
                // An older session says nothing of this time.
                (
                    Err(Error::NotRestorable { session, why, .. }),
                    At::Time(_) | At::Exact { .. },
                ) => {
                    let other = self.last_point()?;
                    return Err(Error::NotRestorable { session, why, other });
                }
                (Err(error), _) => self.pass_over(session, error)?,
            }
        }
        // There was a session at least, and it was passed over.
        Err(self.first.or(damaged).unwrap_or(Error::Stopped))
    }

    /// Notes why a session does not have the point; an error that concerns more than its stream is
    /// returned.
    fn pass_over(&mut self, session: SessionId, error: Error) -> Result<()> {
        let why = match &error {
            Error::NotRestorable { why, .. } => why.to_string(),
            damage if damage.is_damage() => damage.to_string(),
            _ => return Err(error),
        };
        self.passed_over.push(PassedOver { session: session.to_string(), why });
        self.first.get_or_insert(error);
        Ok(())
    }

    /// The last point of the newest session that has one, of those that were not looked at.
    fn last_point(&mut self) -> Result<Option<(SessionId, FileTime)>> {
        while let Some(header) = self.left.pop() {
            let latest = match self.surveyor.survey(header) {
                Ok(surveyed) => surveyed.survey.latest(),
                Err(error) if error.is_damage() => None,
                Err(error) => return Err(error),
            };
            if let Some(latest) = latest {
                return Ok(Some((header.session, latest)));
            }
        }
        Ok(None)
    }
}

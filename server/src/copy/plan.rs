//! Which sessions are copied, and from where on.

use snapless_wire::id::{SessionId, VolumeGuid};

use super::report::{Outcome, Report};
use crate::copy_error::CopyError;
use crate::error::{Error, Result};
use crate::format::bookmark::Bookmark;
use crate::format::session::SessionHeader;
use crate::reader::{End, EntryEnd, SessionReader};
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::verify::Selection;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// These volumes; all if there are none.
    pub volumes: Vec<VolumeGuid>,
    /// This session only, also one that the target has forgotten.
    pub session: Option<SessionId>,
}

/// What a copy has to do.
#[derive(Debug)]
pub struct Plan {
    pub(super) sessions: Vec<Planned>,
    pub(super) bookmarks: Vec<Bookmark>,
}

/// A session of the plan.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) volume: VolumeGuid,
    pub(super) session: SessionId,
    pub(super) standing: Result<Standing>,
}

/// What is to be done with a session.
#[derive(Debug)]
pub(super) enum Standing {
    /// It was removed from the target on purpose.
    Forgotten,
    /// What the target lacks of it is copied, if it lacks anything.
    Source(Box<Source>),
}

/// What is copied of a session.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) reader: SessionReader,
    /// Where in the source the target's stream ends; `None` if that has nothing of it.
    pub(super) begin: Option<EntryEnd>,
    /// Bytes after that.
    pub(super) bytes: u64,
}

impl Source {
    /// True if the target has all records of it.
    pub(super) fn is_up_to_date(&self) -> bool {
        let last = self.reader.acknowledged().seq;
        self.begin.is_some_and(|begin| begin.record.seq() == last)
    }
}

impl Plan {
    /// Looks at both repositories; changes nothing. Without a target, all is to be copied.
    ///
    /// # Errors
    /// [`Error::NoVolume`] and [`Error::NoSession`] for what the source does not have, or
    /// [`Error::Stopped`]. What is wrong with a session is in the plan.
    pub fn make(
        from: &Repository,
        to: Option<&Repository>,
        wanted: &Wanted,
        stop: &StopFlag,
    ) -> Result<Self> {
        // First, so that each of them is within what is copied of its session.
        let bookmarks = from.bookmarks(None)?;
        let mut sessions = Vec::new();
        for selection in wanted.selections() {
            for (volume, session) in selection.sessions(from)? {
                let standing = match standing(from, to, (volume, session), wanted, stop) {
                    Ok(None) => continue,
                    Ok(Some(standing)) => Ok(standing),
                    Err(Error::Stopped) => return Err(Error::Stopped),
                    Err(error) => Err(error),
                };
                sessions.push(Planned { volume, session, standing });
            }
        }
        let is_copied = |bookmark: &Bookmark| {
            let of = (bookmark.volume, bookmark.session);
            sessions.iter().any(|it| {
                of == (it.volume, it.session) && matches!(it.standing, Ok(Standing::Source(_)))
            })
        };
        let sound = bookmarks.into_iter().filter_map(|found| found.bookmark.ok());
        let bookmarks = sound.filter(is_copied).collect();
        Ok(Self { sessions, bookmarks })
    }

    /// Bytes of the source that are to be copied.
    pub fn bytes(&self) -> u64 {
        self.sessions.iter().map(Planned::bytes).sum()
    }

    /// What would be done.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for planned in &self.sessions {
            let outcome = match &planned.standing {
                Err(error) => Outcome::failed(error),
                Ok(Standing::Forgotten) => Outcome::Forgotten,
                Ok(Standing::Source(source)) if source.is_up_to_date() => Outcome::UpToDate,
                Ok(Standing::Source(source)) => Outcome::ToCopy { bytes: source.bytes },
            };
            report.add(planned.volume, planned.session, outcome);
        }
        report
    }
}

impl Wanted {
    fn selections(&self) -> Vec<Selection> {
        let session = self.session;
        if self.volumes.is_empty() {
            return vec![Selection { volume: None, session }];
        }
        let of = |volume: &VolumeGuid| Selection { volume: Some(*volume), session };
        let mut volumes = self.volumes.clone();
        volumes.sort_unstable();
        volumes.dedup();
        volumes.iter().map(of).collect()
    }
}

impl Planned {
    /// Bytes of the source that are to be copied.
    pub(super) fn bytes(&self) -> u64 {
        match &self.standing {
            Ok(Standing::Source(source)) => source.bytes,
            Ok(Standing::Forgotten) | Err(_) => 0,
        }
    }
}

/// What is to be done with a session; `None` for one of which nothing was ever acknowledged.
fn standing(
    from: &Repository,
    to: Option<&Repository>,
    (volume, session): (VolumeGuid, SessionId),
    wanted: &Wanted,
    stop: &StopFlag,
) -> Result<Option<Standing>> {
    let Presence::Header(header) = from.session(volume, session)? else { return Ok(None) };
    let reader = from.open_session(header)?;
    reader.check_age()?;
    if reader.acknowledged().epoch.get() == 0 {
        return Ok(None);
    }
    let target = match to {
        None => None,
        Some(to) if wanted.session.is_none() && to.has_forgotten(volume, session)? => {
            return Ok(Some(Standing::Forgotten));
        }
        Some(to) => target(to, &header)?,
    };
    let begin = begin(&reader, target.as_ref(), stop)?;
    let bytes = reader.bytes_since(begin.as_ref().map(EntryEnd::place))?;
    Ok(Some(Standing::Source(Box::new(Source { reader, begin, bytes }))))
}

/// What the target has of the session, up to the end that its writer will find.
fn target(to: &Repository, header: &SessionHeader) -> Result<Option<SessionReader>> {
    let Presence::Header(stored) = to.session(header.volume, header.session)? else {
        return Ok(None);
    };
    if stored.geometry != header.geometry {
        return Err(CopyError::OtherGeometry(header.session).into());
    }
    let reader = SessionReader::open(to.store(), stored)?;
    let a_slot_is_damaged = reader.check_acknowledgement().is_err();
    let reader = if a_slot_is_damaged { reader.with_whole_epochs() } else { reader };
    reader.check_age()?;
    Ok(Some(reader))
}

/// Where in the source the target's stream ends.
///
/// # Errors
/// [`CopyError::Ahead`] or [`CopyError::Diverged`] if it is not a part of the source's, and
/// [`CopyError::Folded`] if the source has no stream from there on.
fn begin(
    source: &SessionReader,
    target: Option<&SessionReader>,
    stop: &StopFlag,
) -> Result<Option<EntryEnd>> {
    let session = source.header().session;
    let end = target.map(|target| target.find_end(stop)).transpose()?;
    let last = end.and_then(|End { state, entry, .. }| Some((state.last()?, entry?)));
    // Before its boundary a folded session has retained points and no stream. This is the place to
    // copy those into a target that ends before it.
    let boundary = source.history().map(|history| history.boundary.place.seq);
    if let Some(boundary) = boundary
        && last.is_none_or(|(last, _)| last.seq < boundary)
    {
        return Err(CopyError::Folded { session, boundary }.into());
    }
    let Some((last, entry)) = last else { return Ok(None) };
    let from = source.acknowledged().seq;
    if last.seq > from {
        return Err(CopyError::Ahead { session, from, target: last.seq }.into());
    }
    let found = source.entry_end(last.seq, stop)?.filter(|found| {
        let (frame, record) = (&found.frame, &found.record);
        frame.to_bytes() == entry.header
            && (record.epoch(), record.time()) == (last.epoch, last.time())
    });
    found.map(Some).ok_or_else(|| CopyError::Diverged { session, at: last.seq }.into())
}

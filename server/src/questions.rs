//! Answers what a machine asks of its own volumes in the place of sending
//! ([`snapless_link::question`]).
//!
//! Rule: a machine learns nothing of another one's volumes, reads no content here, and removes
//! nothing. The name that it gives a point is kept as long as the retention policy says. Only the
//! server's administrator puts volumes of several machines into a group; a machine in it learns of
//! the others what the common bookmark is on their volumes. Points are opened by
//! [`crate::fetching`].

mod meeting;

use snapless_link::LinkError;
use snapless_link::question::{
    self, BOOKMARKS_MAX, Bookmarked, GROUP_MAX, Points, Question, RefusedKind, Reply, Stretch,
};
use snapless_types::Seq;
use snapless_wire::frame::FrameKind;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::bookmarks::{self, Shown, new_name};
use crate::error::{Error, Result};
use crate::format::bookmark::{Bookmark, BookmarkName, Making};
use crate::host::Host;
use crate::list::{self, Content, Stream};
use crate::naming::name_point;
use crate::points::{Report, Request, Session, points};
use crate::repository::Repository;
use crate::restore::{Found, Source};
use crate::stop::StopFlag;
use crate::time;
use crate::timeline::{At, Cut};

/// What reads for a machine, in the pins of sessions.
const COMMAND: &str = "question";

/// The volumes that a question is about, as the machine calls them.
///
/// # Errors
/// Why the question is none.
pub(crate) fn volumes_of(question: &Question) -> Result<Vec<VolumeGuid>, Reply> {
    let volumes: Vec<&str> = match question {
        Question::Clock => return Ok(Vec::new()),
        Question::Points { volume }
        | Question::Bookmark { volume, .. }
        | Question::Join { volume, .. }
        | Question::End { volume, .. }
        | Question::Leave { volume, .. }
        | Question::Restore { volume, .. } => vec![volume],
        Question::CommonBookmark { points, .. } => points.iter().map(|it| &*it.volume).collect(),
        Question::Meet { volumes, .. } => volumes.iter().map(|it| &**it).collect(),
    };
    if !(1..=GROUP_MAX).contains(&volumes.len()) {
        let why = format!("a common bookmark is of 1 to {GROUP_MAX} volumes");
        return Err(Reply::refused(RefusedKind::Question, why));
    }
    let mut found: Vec<VolumeGuid> = Vec::new();
    for volume in volumes {
        match VolumeGuid::parse(volume) {
            Some(guid) if !guid.is_nil() && !found.contains(&guid) => found.push(guid),
            _ => {
                let why = format!("\"{volume}\" is no volume's GUID, or is named twice");
                return Err(Reply::refused(RefusedKind::Question, why));
            }
        }
    }
    Ok(found)
}

/// The reply to a question about `volumes`, which are the machine's own.
pub(crate) fn reply(
    host: &Host,
    volumes: &[VolumeGuid],
    question: &Question,
    stop: &StopFlag,
) -> Reply {
    let repository = host.repository.repository().clone().pinned_for(COMMAND);
    let replied = match (question, volumes) {
        (Question::Points { .. }, &[volume]) => {
            let request = Request { volume, session: None, quiet: false };
            points(&repository, &request, stop, |_, _| ()).map(|report| Reply::Points(told(report)))
        }
        (Question::Bookmark { session, time, name, consistency, writers, .. }, &[volume]) => {
            let at = FileTime::new(*time);
            let making =
                Making { consistency: *consistency, writers: *writers, ..Making::default() };
            bookmark(&repository, volume, (session, at), name, making, stop)
        }
        (Question::CommonBookmark { points, time, name }, volumes) => {
            let common = volumes.iter().zip(points).map(|(volume, point)| Common {
                volume: *volume,
                session: &point.session,
                seq: Seq::new(point.seq),
                time: FileTime::new(*time),
            });
            let common: Vec<_> = common.collect();
            match given_name(name) {
                Ok(name) => common_bookmark(&repository, &common, (name, 0), stop)
                    .map(|made| made.map_or_else(|refused| refused, Reply::CommonBookmarked)),
                Err(refused) => Ok(refused),
            }
        }
        (Question::Clock, _) => Ok(Reply::Clock(host.meetings.now())),
        (Question::Meet { group, name, .. }, volumes) => {
            meeting::meet(host, &repository, (group, volumes), name, stop)
        }
        (Question::Join { meeting, .. }, &[volume]) => {
            Ok(meeting::join(host, *meeting, volume, stop))
        }
        (Question::End { meeting, end, .. }, &[volume]) => {
            Ok(meeting::end(host, *meeting, volume, end, stop))
        }
        (Question::Leave { meeting, why, .. }, &[volume]) => {
            Ok(meeting::leave(host, *meeting, volume, why))
        }
        // The connection opens points itself, and goes on with them.
        (Question::Restore { .. }, _) => Err(LinkError::OutOfPlace(FrameKind::Question).into()),
        // Each of these is about one volume.
        (
            Question::Points { .. }
            | Question::Bookmark { .. }
            | Question::Join { .. }
            | Question::End { .. }
            | Question::Leave { .. },
            _,
        ) => Ok(unknown()),
    };
    replied.unwrap_or_else(|error| Reply::refused(kind_of(&error), error))
}

/// The reply about a volume of which the server has nothing.
pub(crate) fn unknown() -> Reply {
    let why = "the server has nothing of this volume of this machine yet";
    Reply::refused(RefusedKind::NoSuchVolume, why)
}

/// The session that a machine names.
///
/// # Errors
/// The reply that says why it is none.
pub(crate) fn session_id(text: &str) -> Result<SessionId, Reply> {
    SessionId::parse(text).ok_or_else(|| {
        Reply::refused(RefusedKind::Question, format!("\"{text}\" is no session's id"))
    })
}

pub(crate) fn kind_of(error: &Error) -> RefusedKind {
    match error {
        Error::NoVolume { .. } | Error::NoSessions(_) | Error::NoSession { .. } => {
            RefusedKind::NoSuchVolume
        }
        Error::NotRestorable { .. } | Error::NoBookmark { .. } => RefusedKind::NotRestorable,
        Error::BookmarkExists { .. } => RefusedKind::Name,
        Error::Damaged { .. } => RefusedKind::Damaged,
        _ => RefusedKind::Other,
    }
}

fn bookmark(
    repository: &Repository,
    volume: VolumeGuid,
    (session, time): (&str, FileTime),
    name: &str,
    making: Making,
    stop: &StopFlag,
) -> Result<Reply> {
    let name = match given_name(name) {
        Ok(name) => name,
        Err(refused) => return Ok(refused),
    };
    let session = match session_id(session) {
        Ok(session) => session,
        Err(refused) => return Ok(refused),
    };
    if let Err(refused) = with_room(repository, volume)? {
        return Ok(refused);
    }
    let source = Source { volume, session: Some(session), at: At::Time(time) };
    let found = Found::find(repository, &source, stop)?;
    let made = name_point(repository, &found, name, making, None, stop)?;
    Ok(Reply::Bookmarked(told_made(&made)))
}

/// A volume at an instant that volumes have in common.
struct Common<'a> {
    volume: VolumeGuid,
    session: &'a str,
    /// The last record up to the instant.
    seq: Seq,
    /// When that was, by the machine's wall clock.
    time: FileTime,
}

/// Names the instant at which the stream of each volume had come to a record: of all of them or,
/// unless the server is killed meanwhile, of none. With the name goes the meeting, or 0.
fn common_bookmark(
    repository: &Repository,
    common: &[Common<'_>],
    (name, meeting): (BookmarkName, u64),
    stop: &StopFlag,
) -> Result<std::result::Result<Vec<Bookmarked>, Reply>> {
    let mut all = Vec::new();
    for &Common { volume, session, seq, time } in common {
        let session = match session_id(session) {
            Ok(session) => session,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Err(refused) = may_have(repository, volume, &name)? {
            return Ok(Err(refused));
        }
        let find = |at| {
            let source = Source { volume, session: Some(session), at };
            Found::find(repository, &source, stop)
        };
        // The retention policy takes the machine's word for when it was.
        find(At::Time(time))?;
        all.push(find(At::Exact { time, cut: Cut::Through(seq) })?);
    }
    let making = Making { meeting, ..Making::default() };
    let mut made: Vec<Bookmark> = Vec::new();
    for found in &all {
        match name_point(repository, found, name.clone(), making, None, stop) {
            Ok(bookmark) => made.push(bookmark),
            Err(error) => {
                for bookmark in &made {
                    repository.remove_bookmark(bookmark.volume, &bookmark.name)?;
                }
                return Err(error);
            }
        }
    }
    Ok(Ok(made.iter().map(told_made).collect()))
}

/// The name that a machine gives; otherwise the reply that says why it is none.
fn given_name(name: &str) -> std::result::Result<BookmarkName, Reply> {
    new_name(name).map_err(|why| Reply::refused(RefusedKind::Name, why))
}

/// Nothing, if the volume may get a bookmark of this name; otherwise the reply that says why not.
///
/// # Errors
/// [`Error::BookmarkExists`].
fn may_have(
    repository: &Repository,
    volume: VolumeGuid,
    name: &BookmarkName,
) -> Result<std::result::Result<(), Reply>> {
    let bookmarks = match with_room(repository, volume)? {
        Ok(bookmarks) => bookmarks,
        Err(refused) => return Ok(Err(refused)),
    };
    if bookmarks.iter().any(|it| it.name == *name) {
        return Err(Error::BookmarkExists { volume, name: name.clone() });
    }
    Ok(Ok(()))
}

/// The bookmarks of a volume that may get another one; otherwise the reply that says why not.
fn with_room(
    repository: &Repository,
    volume: VolumeGuid,
) -> Result<std::result::Result<Vec<bookmarks::Found>, Reply>> {
    let bookmarks = repository.bookmarks(Some(volume))?;
    if bookmarks.len() < BOOKMARKS_MAX {
        return Ok(Ok(bookmarks));
    }
    let why = format!(
        "volume {volume} has {BOOKMARKS_MAX} bookmarks, as many as a machine makes: have the \
         server's administrator remove some with `snapless-server bookmark remove`"
    );
    Ok(Err(Reply::refused(RefusedKind::Name, why)))
}

fn told_made(made: &Bookmark) -> Bookmarked {
    Bookmarked {
        volume: made.volume.to_string(),
        session: made.session.to_string(),
        name: made.name.to_string(),
        time: time::to_text(made.time),
        consistency: Some(made.making.consistency),
    }
}

/// The report as machines are told it.
fn told(report: Report) -> Points {
    let Report { volume, sessions, latest, bookmarks, .. } = report;
    let told = Points {
        volume,
        latest: latest.map(|latest| latest.time),
        sessions: sessions.into_iter().map(told_session).collect(),
        bookmarks: bookmarks.into_iter().map(told_bookmark).collect(),
        left_out: 0,
    };
    told.shortened()
}

fn told_session(session: Session) -> question::Session {
    let list::Session { session, content, .. } = session.listed;
    let state = match &content {
        Content::Empty => "empty",
        Content::FirstSync(_) => "first-sync",
        Content::Gap(_) => "gap",
        Content::Complete(_) => "complete",
        Content::Damaged { .. } => "damaged",
    };
    let mut told = question::Session {
        session,
        state: state.to_owned(),
        t0: None,
        t0_restorable: false,
        points: Vec::new(),
        gaps: Vec::new(),
        whole_from: None,
        error: None,
    };
    match content {
        Content::Empty => {}
        Content::Damaged { error, points } => {
            told.points = points.into_iter().map(stretch).collect();
            told.error = Some(error);
        }
        Content::FirstSync(stream) | Content::Gap(stream) | Content::Complete(stream) => {
            let Stream { t0, t0_restorable, points, gaps, whole_from, .. } = stream;
            let gap = |list::Gap { from, to, reason_text, .. }| question::Gap {
                from,
                to,
                reason: reason_text.to_owned(),
            };
            (told.t0, told.t0_restorable, told.whole_from) = (t0, t0_restorable, whole_from);
            told.points = points.into_iter().map(stretch).collect();
            told.gaps = gaps.into_iter().map(gap).collect();
        }
    }
    told
}

fn stretch(list::Points { from, to }: list::Points) -> Stretch {
    Stretch { from, to }
}

fn told_bookmark(bookmark: Shown) -> question::Bookmark {
    let Shown { name, session, time, consistency, meeting, error, .. } = bookmark;
    question::Bookmark { name, session, time, consistency, meeting, error }
}

//! What the service asks the server for an administrator, each time over a connection of its own:
//! it needs no session, and disturbs none.

use std::time::{Duration, Instant};

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits};
use snapless_link::question::{
    Bookmarked, CommonPoint, Consistency, MeetingEnd, Met, Points, Question, Refused, RefusedKind,
    Reply,
};
use snapless_wire::frame::FrameError;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::connector::Connector;

/// How long an instant is waited for that the server shall name: until it has all that was captured
/// before.
pub const ARRIVAL_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether the server has it.
const ARRIVAL_STEP: Duration = Duration::from_millis(50);

/// Characters of why a volume takes no part: a question has room for them.
const LEAVE_TEXT_MAX: usize = 500;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    /// The server could not be asked.
    #[error(transparent)]
    Link(LinkError),
    /// The server does not know questions.
    #[error("the server is of an older release, which does not answer this question: {0}")]
    Older(String),
    /// The server refuses.
    #[error("the server refused: {}", .0.text)]
    Refused(Refused),
}

impl From<LinkError> for InquiryError {
    fn from(error: LinkError) -> Self {
        let is_older = error.knows_no_questions();
        match error {
            LinkError::Refused(text) if is_older => Self::Older(text),
            error => Self::Link(error),
        }
    }
}

/// What the server can restore of a volume.
///
/// # Errors
/// [`InquiryError`].
pub fn points(
    connector: &Connector,
    limits: &LinkLimits,
    volume: VolumeGuid,
) -> Result<Points, InquiryError> {
    let question = Question::Points { volume: volume.to_string() };
    match ask(connector, limits, &question)? {
        Reply::Points(points) => Ok(points),
        other => Err(not_asked_for(other)),
    }
}

/// An instant that is to be named.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The instant.
    pub time: FileTime,
    /// The name.
    pub name: &'a str,
    /// How it was made.
    pub consistency: Consistency,
    /// How many VSS writers were frozen.
    pub writers: u16,
}

/// Has the server name an instant of a volume's session. A server of an older release that does not
/// note how an instant was made names it all the same, and its answer does not say it.
///
/// # Errors
/// [`InquiryError`].
pub fn bookmark(
    connector: &Connector,
    limits: &LinkLimits,
    instance: Instance<'_>,
) -> Result<Bookmarked, InquiryError> {
    let Instance { volume, session, time, name, consistency, writers } = instance;
    let question = Question::Bookmark {
        volume: volume.to_string(),
        session: session.to_string(),
        time: time.get(),
        name: name.to_owned(),
        consistency,
        writers,
    };
    match ask(connector, limits, &question)? {
        Reply::Bookmarked(bookmarked) => Ok(bookmarked),
        Reply::Refused(Refused { kind: RefusedKind::Question, .. })
            if consistency != Consistency::Crash =>
        {
            let plain = Instance { consistency: Consistency::Crash, writers: 0, ..instance };
            bookmark(connector, limits, plain)
        }
        other => Err(not_asked_for(other)),
    }
}

/// Has the server name an instant that volumes have in common: all of them or none.
///
/// # Errors
/// [`InquiryError`].
pub fn common_bookmark(
    connector: &Connector,
    limits: &LinkLimits,
    points: Vec<CommonPoint>,
    time: FileTime,
    name: &str,
) -> Result<Vec<Bookmarked>, InquiryError> {
    let count = points.len();
    let question = Question::CommonBookmark { points, time: time.get(), name: name.to_owned() };
    match ask(connector, limits, &question)? {
        Reply::CommonBookmarked(made) if made.len() == count => Ok(made),
        Reply::Refused(Refused { kind: RefusedKind::Question, text }) => {
            Err(InquiryError::Older(text))
        }
        other => Err(not_asked_for(other)),
    }
}

/// Has the server give an instant of all volumes of a group a name, which may be of several
/// machines. `None` if the server has no such group, or is of an older release, which has none.
///
/// # Errors
/// [`InquiryError`].
pub fn meet(
    connector: &Connector,
    limits: &LinkLimits,
    (group, volumes): (&str, Vec<String>),
    name: &str,
) -> Result<Option<Vec<Met>>, InquiryError> {
    let question = Question::Meet { group: group.to_owned(), volumes, name: name.to_owned() };
    let is_older = |kind| matches!(kind, RefusedKind::NoGroup | RefusedKind::Question);
    match ask(connector, limits, &question) {
        Ok(Reply::Met(met)) => Ok(Some(met)),
        Ok(Reply::Refused(refused)) if is_older(refused.kind) => Ok(None),
        Ok(other) => Err(not_asked_for(other)),
        Err(InquiryError::Older(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes part in a meeting, and waits for its instant by the server's clock.
///
/// # Errors
/// [`InquiryError`].
pub fn join(
    connector: &Connector,
    limits: &LinkLimits,
    meeting: u64,
    volume: VolumeGuid,
) -> Result<u64, InquiryError> {
    let question = Question::Join { meeting, volume: volume.to_string() };
    match ask(connector, limits, &question)? {
        Reply::Cut(instant) => Ok(instant),
        other => Err(not_asked_for(other)),
    }
}

/// Says where a volume's stream ends, and waits until the instant has its name.
///
/// # Errors
/// [`InquiryError`].
pub fn end(
    connector: &Connector,
    limits: &LinkLimits,
    meeting: u64,
    volume: VolumeGuid,
    end: MeetingEnd,
) -> Result<Bookmarked, InquiryError> {
    let question = Question::End { meeting, volume: volume.to_string(), end };
    match ask(connector, limits, &question)? {
        Reply::Bookmarked(made) => Ok(made),
        other => Err(not_asked_for(other)),
    }
}

/// Says that a volume takes no part in a meeting.
///
/// # Errors
/// [`InquiryError`].
pub fn leave(
    connector: &Connector,
    limits: &LinkLimits,
    meeting: u64,
    volume: VolumeGuid,
    why: &str,
) -> Result<(), InquiryError> {
    let why = why.chars().take(LEAVE_TEXT_MAX).collect();
    let question = Question::Leave { meeting, volume: volume.to_string(), why };
    match ask(connector, limits, &question)? {
        Reply::Left => Ok(()),
        other => Err(not_asked_for(other)),
    }
}

/// A question for the server's clock on a connection that is there already: making it would count
/// as time in which the clock was not known.
pub struct ClockQuestion {
    link: Link,
    limits: LinkLimits,
}

impl ClockQuestion {
    /// Connects.
    ///
    /// # Errors
    /// [`InquiryError`].
    pub fn connect(connector: &Connector, limits: &LinkLimits) -> Result<Self, InquiryError> {
        Ok(Self { link: connector.connect(limits, &|| false)?, limits: *limits })
    }

    /// What the clock shows, in ticks.
    ///
    /// # Errors
    /// [`InquiryError`].
    pub fn ask(&mut self) -> Result<u64, InquiryError> {
        match self.link.ask(&Question::Clock, &self.limits, &|| false)? {
            Reply::Clock(ticks) => Ok(ticks),
            other => Err(not_asked_for(other)),
        }
    }
}

fn ask(
    connector: &Connector,
    limits: &LinkLimits,
    question: &Question,
) -> Result<Reply, InquiryError> {
    let mut link = connector.connect(limits, &|| false)?;
    Ok(link.ask(question, limits, &|| false)?)
}

fn not_asked_for(reply: Reply) -> InquiryError {
    match reply {
        Reply::Refused(refused) => InquiryError::Refused(refused),
        _ => InquiryError::Link(LinkError::Frame(FrameError::Payload("Reply"))),
    }
}

/// Waits until the server has all that was captured before an instant: until `latest` is not
/// before it. The last one that it has, if that takes too long.
pub fn wait_for_arrival(
    time: FileTime,
    limit: Duration,
    latest: impl Fn() -> Option<FileTime>,
) -> Result<(), Option<FileTime>> {
    let begun = Instant::now();
    loop {
        let now = latest();
        if now.is_some_and(|now| now >= time) {
            return Ok(());
        }
        if begun.elapsed() >= limit {
            return Err(now);
        }
        std::thread::sleep(ARRIVAL_STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_an_older_release_is_told_from_one_that_refuses() {
        let older = "the other end sent a bad frame: frame kind 11 is unknown".to_owned();
        let error = InquiryError::from(LinkError::Refused(older));
        assert!(matches!(error, InquiryError::Older(_)), "{error}");
        let error = InquiryError::from(LinkError::Refused("the server stops".to_owned()));
        assert!(matches!(error, InquiryError::Link(_)), "{error}");
    }

    #[test]
    fn an_instant_is_waited_for_and_not_for_ever() {
        let at = FileTime::new(7);
        assert_eq!(wait_for_arrival(at, Duration::ZERO, || Some(at)), Ok(()));
        let limit = Duration::from_millis(1);
        let behind = Some(FileTime::new(6));
        assert_eq!(wait_for_arrival(at, limit, || behind), Err(behind));
        assert_eq!(wait_for_arrival(at, limit, || None), Err(None));
    }
}

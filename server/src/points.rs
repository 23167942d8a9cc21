//! The points of one volume: what can be restored, what cannot and why, bookmarks, quiet stretches.

mod common;

use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::bookmarks::Shown;
use crate::error::{Error, Result};
use crate::list::{self, Latest};
use crate::repository::{Presence, Repository};
use crate::stop::StopFlag;
use crate::time;
use crate::walk::{Met, walk};

pub use common::{Common, CommonBookmark, in_common};

/// Stretches of fewer seconds are not told.
pub const QUIET_SECONDS_MIN: u64 = 60;

/// The points of a volume.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Its GUID.
    pub volume: String,
    /// Its sessions, oldest first, with the fields that `list` has of them.
    pub sessions: Vec<Session>,
    /// What `restore --at latest` takes.
    pub latest: Option<Latest>,
    /// Its bookmarks, in order of their names.
    pub bookmarks: Vec<Shown>,
    /// What is wrong with the volume's directory as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Session {
    /// What `list` tells of it: its shape, t0, latest, stretches of points, gaps.
    #[serde(flatten)]
    pub listed: list::Session,
    /// Stretches of a minute or more in which nothing was written, so that each instant is a point
    /// with the same content: the present one, and those before if they were asked for.
    pub quiet: Vec<Quiet>,
    /// The damage that hides the stretches before the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_error: Option<String>,
}

/// A stretch in which nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Quiet {
    /// The instant of the last write before it.
    pub from: String,
    /// The last instant at which nothing newer was known.
    pub to: String,
    /// How long that was, by the clock that is never set.
    pub seconds: u64,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The volume.
    pub volume: VolumeGuid,
    /// One session only.
    pub session: Option<SessionId>,
    /// Also the quiet stretches before the present one: reads the indices of the whole history.
    pub quiet: bool,
}

/// Tells the points of a volume. A damaged session is told as such.
///
/// # Errors
/// [`Error::NoVolume`], [`Error::NoSession`], or [`Error::Stopped`].
pub fn points(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let known = repository.volumes()?;
    if !known.contains(&request.volume) {
        return Err(Error::NoVolume { volume: request.volume, known });
    }
    let list::Volume { volume, sessions, latest, bookmarks, error } =
        list::list_volume(repository, request.volume, stop)?;
    let mut told = Vec::new();
    for listed in sessions {
        let id = SessionId::parse(&listed.session);
        if request.session.is_some() && request.session != id {
            continue;
        }
        let is_sound = listed.content.stream().is_some();
        let (mut quiet, mut quiet_error) = (Vec::new(), None);
        if let Some(id) = id.filter(|_| is_sound && request.quiet) {
            match before(repository, request.volume, id, stop, &mut progress) {
                Ok(found) => quiet = found,
                Err(damage) if damage.is_damage() => quiet_error = Some(damage.to_string()),
                Err(error) => return Err(error),
            }
        }
        quiet.extend(present(&listed));
        told.push(Session { listed, quiet, quiet_error });
    }
    match request.session {
        Some(session) if told.is_empty() => {
            Err(Error::NoSession { volume: request.volume, session })
        }
        _ => Ok(Report { volume, sessions: told, latest, bookmarks, error }),
    }
}

/// The quiet stretch at the end of the stream.
fn present(listed: &list::Session) -> Option<Quiet> {
    let list::QuietSince { from, to, seconds } = listed.content.stream()?.quiet_now.clone()?;
    (seconds >= QUIET_SECONDS_MIN).then_some(Quiet { from, to, seconds })
}

/// The quiet stretches that ended with a record.
fn before(
    repository: &Repository,
    volume: VolumeGuid,
    session: SessionId,
    stop: &StopFlag,
    progress: &mut impl FnMut(u64, u64),
) -> Result<Vec<Quiet>> {
    let Presence::Header(header) = repository.session(volume, session)? else {
        return Ok(Vec::new());
    };
    let reader = repository.open_session(header)?;
    let total = reader.stream_bytes()?;
    let begin = Stretches::default();
    let (stretches, walked) =
        walk(&reader, &begin, stop, |done| progress(done, total), Stretches::meet);
    walked.map(|()| stretches.found)
}

/// What the clocks showed: the time, and the ticks of the clock that is never set.
type Reading = (FileTime, u64);

#[derive(Clone, Default)]
struct Stretches {
    last: Option<Reading>,
    /// The last watermark after the last record.
    watermark: Option<Reading>,
    found: Vec<Quiet>,
}

impl Stretches {
    fn meet(&mut self, met: Met<'_>) {
        match met {
            Met::Segment { .. } | Met::Stored { .. } | Met::Entry => {}
            Met::Watermark(watermark) => {
                self.watermark = Some((watermark.time(), watermark.monotonic()));
            }
            Met::Record(record) => {
                if let (Some(from), Some(to)) = (self.last, self.watermark.take()) {
                    self.found.extend(stretch(from, to));
                }
                self.last = Some((record.time(), record.monotonic()));
            }
        }
    }
}

/// A stretch that is long enough to be told.
fn stretch(from: Reading, to: Reading) -> Option<Quiet> {
    let seconds = to.1.saturating_sub(from.1) / FileTime::TICKS_PER_SECOND;
    let [from, to] = [from.0, to.0].map(time::to_text);
    (seconds >= QUIET_SECONDS_MIN).then_some(Quiet { from, to, seconds })
}

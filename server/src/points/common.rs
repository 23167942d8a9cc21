//! What volumes have in common, as those of a consistency group: the instants at which all of them
//! can be restored, and the bookmarks that all have.
//!
//! Rule: a bookmark is common if all volumes have it at the same instant. Any other common instant
//! is one of the group unless the machine's clock was set back about then (rule ORDER,
//! rules.md#order).

use serde::Serialize;
use snapless_link::question::Consistency;
use snapless_wire::id::{FileTime, VolumeGuid};

use crate::error::{Error, Result};
use crate::list::{self, Content, Points};
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::time;

/// What volumes have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Common {
    /// Their GUIDs.
    pub volumes: Vec<String>,
    /// The first instant at which all can be restored; `None` if there is none.
    pub first: Option<String>,
    /// The last one.
    pub latest: Option<String>,
    /// Every stretch of such instants.
    pub points: Vec<Points>,
    /// The common bookmarks, in order of their names.
    pub bookmarks: Vec<CommonBookmark>,
}

/// A bookmark that all volumes have at the same instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CommonBookmark {
    /// Its name.
    pub name: String,
    /// The instant.
    pub time: String,
    /// How it was made; `None` if the volumes say different things.
    pub consistency: Option<Consistency>,
    /// The session of each volume, in their order.
    pub sessions: Vec<String>,
}

/// A stretch of instants, with both ends.
type Stretch = (FileTime, FileTime);

/// Tells what these volumes have in common.
///
/// # Errors
/// [`Error::NoVolume`] or [`Error::Stopped`].
pub fn in_common(
    repository: &Repository,
    volumes: &[VolumeGuid],
    stop: &StopFlag,
) -> Result<Common> {
    let known = repository.volumes()?;
    if let Some(&volume) = volumes.iter().find(|volume| !known.contains(volume)) {
        return Err(Error::NoVolume { volume, known });
    }
    let listed = volumes.iter().map(|&volume| list::list_volume(repository, volume, stop));
    Ok(of(&listed.collect::<Result<Vec<_>>>()?))
}

fn of(volumes: &[list::Volume]) -> Common {
    let points = volumes.iter().map(stretches).reduce(|some, other| both(&some, &other));
    let points: Vec<_> = points.unwrap_or_default().into_iter().map(Points::between).collect();
    Common {
        volumes: volumes.iter().map(|it| it.volume.clone()).collect(),
        first: points.first().map(|stretch| stretch.from.clone()),
        latest: points.last().map(|stretch| stretch.to.clone()),
        points,
        bookmarks: bookmarks(volumes),
    }
}

/// The stretches of all sessions of a volume, in order.
fn stretches(volume: &list::Volume) -> Vec<Stretch> {
    let of_session = |session: &list::Session| match &session.content {
        Content::Damaged { points, .. } => points.clone(),
        content => content.stream().map(|stream| stream.points.clone()).unwrap_or_default(),
    };
    let read = |it: Points| Some((time::from_text(&it.from)?, time::from_text(&it.to)?));
    let all = volume.sessions.iter().flat_map(of_session);
    // Over one that ends before it begins, the clock was set back.
    let mut all: Vec<_> = all.filter_map(read).filter(|(from, to)| from <= to).collect();
    all.sort_unstable();
    all
}

/// The parts that lie in a stretch of both, in order.
fn both(some: &[Stretch], other: &[Stretch]) -> Vec<Stretch> {
    let mut parts = Vec::new();
    let (mut one, mut two) = (some.iter().peekable(), other.iter().peekable());
    while let (Some((from, to)), Some((other_from, other_to))) = (one.peek(), two.peek()) {
        let (begin, end) = (*from.max(other_from), *to.min(other_to));
        if begin <= end {
            parts.push((begin, end));
        }
        if to <= other_to {
            one.next()
        } else {
            two.next()
        };
    }
    parts
}

/// The bookmarks of the first volume that all others have at the same instant.
fn bookmarks(volumes: &[list::Volume]) -> Vec<CommonBookmark> {
    let Some(first) = volumes.first() else { return Vec::new() };
    let common = first.bookmarks.iter().filter_map(|it| {
        let own = volumes.iter().map(|volume| {
            volume.bookmarks.iter().find(|other| {
                let is_sound = other.error.is_none() && other.time.is_some();
                is_sound && other.time == it.time && other.name.eq_ignore_ascii_case(&it.name)
            })
        });
        let own: Vec<_> = own.collect::<Option<_>>()?;
        let is_same = own.iter().all(|other| other.consistency == it.consistency);
        Some(CommonBookmark {
            name: it.name.clone(),
            time: it.time.clone()?,
            consistency: it.consistency.filter(|_| is_same),
            sessions: own.iter().map(|other| other.session.clone()).collect::<Option<_>>()?,
        })
    });
    common.collect()
}

//! What volumes have in common, as those of a consistency group: the instants at which all of them
//! can be restored, and the bookmarks that all have.
//!
//! Rule: a bookmark is common if all volumes have it at the same instant, or from the same meeting,
//! whatever the clocks of their machines showed. Any other common instant is one of the group if
//! the volumes are of one machine, unless its clock was set back about then (rule ORDER,
//! rules.md#order).

use serde::Serialize;
use snapless_link::question::Consistency;
use snapless_link::stretches::{self, Ends, Mark};
use snapless_wire::id::{FileTime, VolumeGuid};

use crate::bookmarks::Shown;
use crate::error::Result;
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

/// A bookmark that all volumes have of one instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CommonBookmark {
    /// Its name.
    pub name: String,
    /// The instant, by the first volume's machine.
    pub time: String,
    /// How it was made; `None` if the volumes say different things.
    pub consistency: Option<Consistency>,
    /// The session of each volume, in their order.
    pub sessions: Vec<String>,
}

/// Tells what these volumes have in common.
///
/// # Errors
/// [`NoVolume`](crate::error::Error::NoVolume) or [`Stopped`](crate::error::Error::Stopped).
pub fn in_common(
    repository: &Repository,
    volumes: &[VolumeGuid],
    stop: &StopFlag,
) -> Result<Common> {
    repository.must_have(volumes)?;
    let listed = volumes.iter().map(|&volume| list::list_volume(repository, volume, stop));
    Ok(of(&listed.collect::<Result<Vec<_>>>()?))
}

fn of(volumes: &[list::Volume]) -> Common {
    let points = stretches::in_common(volumes.iter().map(read)).into_iter();
    let points: Vec<_> = points.map(Points::between).collect();
    Common {
        volumes: volumes.iter().map(|it| it.volume.clone()).collect(),
        first: points.first().map(|stretch| stretch.from.clone()),
        latest: points.last().map(|stretch| stretch.to.clone()),
        points,
        bookmarks: bookmarks(volumes),
    }
}

/// The stretches of all sessions of a volume, in order.
fn read(volume: &list::Volume) -> Vec<Ends<FileTime>> {
    let of_session = |session: &list::Session| match &session.content {
        Content::Damaged { points, .. } => points.clone(),
        content => content.stream().map(|stream| stream.points.clone()).unwrap_or_default(),
    };
    let ends = |it: Points| Some((time::from_text(&it.from)?, time::from_text(&it.to)?));
    stretches::in_order(volume.sessions.iter().flat_map(of_session).filter_map(ends))
}

/// The bookmarks of the first volume that all others have of the same instant.
fn bookmarks(volumes: &[list::Volume]) -> Vec<CommonBookmark> {
    let Some(first) = volumes.first() else { return Vec::new() };
    let common = first.bookmarks.iter().filter_map(|it| {
        let mark = mark(it);
        let own = volumes.iter().map(|volume| {
            volume.bookmarks.iter().find(|other| {
                let is_sound = other.error.is_none() && other.time.is_some();
                is_sound && mark.is_common_with(&self::mark(other))
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

fn mark(bookmark: &Shown) -> Mark<'_> {
    let Shown { name, time, meeting, .. } = bookmark;
    Mark { name, time: time.as_deref(), meeting: meeting.as_deref() }
}

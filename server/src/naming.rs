//! Gives a point of a volume a name: the command `bookmark add` and a machine's question do so.

use std::num::NonZeroU64;

use crate::error::Result;
use crate::format::bookmark::{Bookmark, BookmarkName, Making};
use crate::repository::Repository;
use crate::restore::Found;
use crate::retention::run::check_bookmark;
use crate::stop::StopFlag;
use crate::time;

/// Gives a point a name, durably, for so many ticks or as long as the retention policy says.
///
/// # Errors
/// [`Error::BookmarkExists`](crate::error::Error::BookmarkExists), or
/// [`Error::Folding`](crate::error::Error::Folding) if the point may be going just now.
pub fn name_point(
    repository: &Repository,
    found: &Found,
    name: BookmarkName,
    making: Making,
    keep: Option<NonZeroU64>,
    stop: &StopFlag,
) -> Result<Bookmark> {
    let (header, point) = (found.header(), found.point());
    let bookmark = Bookmark {
        name,
        volume: header.volume,
        session: header.session,
        created: time::now(),
        time: point.time,
        cut: point.cut,
        keep,
        making,
    };
    repository.add_bookmark(&bookmark)?;
    if let Err(error) = check_bookmark(repository, header, (point.time, point.cut), stop) {
        repository.remove_bookmark(header.volume, &bookmark.name)?;
        return Err(error);
    }
    Ok(bookmark)
}

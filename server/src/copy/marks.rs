//! Copies bookmarks: those of the sessions that are copied, if the target has none of their name.

use log::warn;

use crate::error::{Error, Result};
use crate::format::bookmark::Bookmark;
use crate::repository::{Presence, Repository};

/// Copies bookmarks whose sessions are in the target; returns how many it lacked.
pub(super) fn copy(bookmarks: &[Bookmark], to: &Repository) -> Result<u64> {
    let mut copied = 0;
    for bookmark in bookmarks {
        if !matches!(to.session(bookmark.volume, bookmark.session), Ok(Presence::Header(_))) {
            continue;
        }
        match to.add_bookmark(bookmark) {
            Ok(()) => copied += 1,
            Err(Error::BookmarkExists { volume, name }) => {
                let present = to.bookmark(volume, &name);
                if !present.is_ok_and(|present| present == *bookmark) {
                    warn!(
                        "volume {volume}: the target's bookmark {name} is another one, and stays"
                    );
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}

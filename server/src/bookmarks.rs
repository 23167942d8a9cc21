//! The bookmarks of a repository: named points of its volumes.
//!
//! Made and removed beside a running server, which reads none. A bookmark is made once: a name that
//! is taken is refused, also when two are made at once. One that is damaged is an error of its own
//! and hides no other. What a bookmark keeps of its point is retention's matter.

use std::path::Path;
use std::str::FromStr;

use serde::Serialize;
use snapless_link::question::Consistency;
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::bookmark::{BOOKMARK_LEN, BOOKMARKS_DIR, Bookmark, BookmarkName, NAME_MAX};
use crate::repository::Repository;
use crate::retention::policy::Keep;
use crate::time;
use crate::timeline::At;

/// A bookmark's file.
#[derive(Debug)]
pub struct Found {
    /// The volume.
    pub volume: VolumeGuid,
    /// The name; as it was typed, if the file is sound.
    pub name: BookmarkName,
    /// What is in the file, or what is wrong with it.
    pub bookmark: Result<Bookmark>,
    /// The repository has the bookmark's session, or must have it.
    pub has_session: bool,
}

/// A bookmark in a report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shown {
    /// The name.
    pub name: String,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The point's instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// When it was made, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How long retention keeps its point, if that is not the policy's matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// How its point was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// How many VSS writers were frozen then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writers: Option<u16>,
    /// The meeting at which it was made: those of other volumes with the same one are of the same
    /// instant, whatever their machines' clocks showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A name for a new bookmark.
///
/// # Errors
/// Why it cannot be one. A text that names a time is refused, so that `--at` is never ambiguous.
pub fn new_name(text: &str) -> Result<BookmarkName, String> {
    if At::from_str(text).is_ok() || time::is_span(text) || is_reserved(text) {
        return Err(format!("\"{text}\" names a time: choose a name that does not"));
    }
    BookmarkName::parse(text).ok_or_else(|| {
        format!(
            "expected a letter and then letters, digits, '-', '_' and '.', at most {NAME_MAX} of \
             them, all of ASCII"
        )
    })
}

/// Instants in any case; names that differ in case only are the same.
fn is_reserved(text: &str) -> bool {
    ["t0", "latest", "now"].iter().any(|reserved| text.eq_ignore_ascii_case(reserved))
}

impl Repository {
    /// Makes a bookmark, durably.
    ///
    /// # Errors
    /// [`Error::BookmarkExists`] if the volume has one of this name, sound or not.
    pub fn add_bookmark(&self, bookmark: &Bookmark) -> Result<()> {
        let store = self.store();
        let path = bookmark.name.file(bookmark.volume);
        store.create_dirs(Path::new(BOOKMARKS_DIR))?;
        let exists = |error: Error| match error {
            error if error.is_already_there() => {
                Error::BookmarkExists { volume: bookmark.volume, name: bookmark.name.clone() }
            }
            other => other,
        };
        store.create_whole(&path, &bookmark.to_bytes()).map_err(exists)
    }

    /// The bookmark of this name.
    ///
    /// # Errors
    /// [`Error::NoBookmark`], or damage of its file.
    pub fn bookmark(&self, volume: VolumeGuid, name: &BookmarkName) -> Result<Bookmark> {
        match self.read_bookmark(volume, name) {
            Err(error) if error.is_not_found() => Err(self.no_bookmark(volume, name)?),
            other => other,
        }
    }

    /// The bookmarks of a volume, or of all, in order of volume and name.
    pub fn bookmarks(&self, volume: Option<VolumeGuid>) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut sessions: Option<(VolumeGuid, Vec<SessionId>)> = None;
        let parse = |file: &str| BookmarkName::from_file_name(file).map(|_| file.to_owned());
        let files = self.store().list(Path::new(BOOKMARKS_DIR), parse)?;
        let names = files.iter().filter_map(|file| BookmarkName::from_file_name(file));
        for (of, name) in names.filter(|(of, _)| volume.is_none_or(|volume| volume == *of)) {
            let bookmark = self.read_bookmark(of, &name);
            let name = bookmark.as_ref().map_or(name, |bookmark| bookmark.name.clone());
            if sessions.as_ref().is_none_or(|(volume, _)| *volume != of) {
                sessions = Some((of, self.session_ids(of)?));
            }
            let known = sessions.as_ref().map_or(&[][..], |(_, sessions)| sessions);
            let has_session = match &bookmark {
                Ok(bookmark) => known.contains(&bookmark.session),
                // Removed meanwhile.
                Err(error) if error.is_not_found() => continue,
                Err(_) => true,
            };
            found.push(Found { volume: of, name, bookmark, has_session });
        }
        Ok(found)
    }

    /// Removes a bookmark, durably, also a damaged one.
    ///
    /// # Errors
    /// [`Error::NoBookmark`].
    pub fn remove_bookmark(&self, volume: VolumeGuid, name: &BookmarkName) -> Result<()> {
        match self.store().remove(&name.file(volume)) {
            Err(error) if error.is_not_found() => Err(self.no_bookmark(volume, name)?),
            Err(error) => Err(error),
            Ok(()) => self.store().sync_dir(Path::new(BOOKMARKS_DIR)),
        }
    }

    fn read_bookmark(&self, volume: VolumeGuid, name: &BookmarkName) -> Result<Bookmark> {
        let path = name.file(volume);
        let bytes = self.store().read_head(&path, BOOKMARK_LEN)?;
        let damaged = |why: FormatError| Error::damaged(&self.store().locate(&path), 0, why);
        let bookmark = Bookmark::read(&bytes).map_err(damaged)?;
        if bookmark.volume != volume || bookmark.name != *name {
            return Err(damaged(FormatError::Content("place")));
        }
        Ok(bookmark)
    }

    /// The error that there is none of this name.
    fn no_bookmark(&self, volume: VolumeGuid, name: &BookmarkName) -> Result<Error> {
        let known = self.bookmarks(Some(volume))?.into_iter().map(|found| found.name).collect();
        Ok(Error::NoBookmark { volume, name: name.clone(), known })
    }
}

impl Found {
    /// What a report says of it.
    pub fn shown(&self) -> Shown {
        match &self.bookmark {
            Ok(bookmark) if self.has_session => Shown::of(bookmark),
            Ok(bookmark) => {
                let error = format!("session {} was removed, and its points", bookmark.session);
                Shown { error: Some(error), ..Shown::of(bookmark) }
            }
            Err(error) => Shown {
                name: self.name.to_string(),
                session: None,
                time: None,
                created: None,
                keep: None,
                consistency: None,
                writers: None,
                meeting: None,
                error: Some(error.to_string()),
            },
        }
    }
}

impl Shown {
    /// What a report says of a sound bookmark.
    pub fn of(bookmark: &Bookmark) -> Self {
        Self {
            name: bookmark.name.to_string(),
            session: Some(bookmark.session.to_string()),
            time: Some(time::to_text(bookmark.time)),
            created: Some(time::to_text(bookmark.created)),
            keep: Keep::of_bookmark(bookmark).map(|keep| keep.to_string()),
            consistency: Some(bookmark.making.consistency),
            writers: Some(bookmark.making.writers).filter(|&writers| writers != 0),
            // As text: not every reader of JSON has numbers of 64 bits.
            meeting: Some(bookmark.making.meeting)
                .filter(|&meeting| meeting != 0)
                .map(|meeting| format!("{meeting:016x}")),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_reads_as_a_time_is_refused() {
        for time in ["t0", "T0", "latest", "Latest", "now", "P1D", "pt2h", "2h", "2h ago"] {
            let refused = new_name(time).unwrap_err();
            assert!(refused.contains("names a time"), "{time}: {refused}");
        }
        for bad in ["", "a b", "1st", "ä"] {
            assert!(new_name(bad).unwrap_err().contains("a letter"), "{bad}");
        }
        assert!(new_name("before-upgrade").is_ok());
    }
}

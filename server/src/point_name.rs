//! A point as an administrator names it: `t0`, `latest`, a time, how long ago, or a bookmark.

use std::str::FromStr;

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::format::bookmark::{Bookmark, BookmarkName};
use crate::repository::Repository;
use crate::restore::Source;
use crate::timeline::{AT_FORMS, At};

/// A point that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PointName {
    /// An instant. It goes before a bookmark of the same text.
    At(At),
    /// A bookmark of the volume.
    Bookmark(BookmarkName),
}

impl FromStr for PointName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bookmark = || BookmarkName::parse(text).map(Self::Bookmark);
        let at = At::from_str(text).ok().map(Self::At);
        at.or_else(bookmark).ok_or_else(|| format!("expected {AT_FORMS}, or a bookmark's name"))
    }
}

impl PointName {
    /// The point of a volume, and of a session if one is given.
    ///
    /// # Errors
    /// [`Error::NoBookmark`], damage of the bookmark, or [`Error::BookmarkSession`] if it is of
    /// another session.
    pub fn source(
        &self,
        repository: &Repository,
        volume: VolumeGuid,
        session: Option<SessionId>,
    ) -> Result<Source> {
        let name = match self {
            Self::At(at) => return Ok(Source { volume, session, at: *at }),
            Self::Bookmark(name) => name,
        };
        let Bookmark { session: of, time, cut, .. } = repository.bookmark(volume, name)?;
        if let Some(asked) = session.filter(|asked| *asked != of) {
            return Err(Error::BookmarkSession { name: name.clone(), of, asked });
        }
        Ok(Source { volume, session: Some(of), at: At::Exact { time, cut } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_instant_or_a_bookmarks_name() {
        for instant in
            ["t0", "latest", "2026-11-23T14:00:00.1234567Z", "2026-11-23T14:00:00+01:00", "2h ago"]
        {
            assert!(matches!(instant.parse(), Ok(PointName::At(_))), "{instant}");
        }
        for name in ["noon", "before-upgrade", "t1", "ago"] {
            assert!(matches!(name.parse(), Ok(PointName::Bookmark(_))), "{name}");
        }
        for neither in ["", "2026-11-23", "14:00", "2h", "an hour", "-2h"] {
            let refused = neither.parse::<PointName>().unwrap_err();
            for form in ["t0", "RFC 3339", "ago", "bookmark"] {
                assert!(refused.contains(form), "{neither}: {refused}");
            }
        }
    }
}

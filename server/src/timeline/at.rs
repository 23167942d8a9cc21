//! Which point of a session is asked for.

use std::str::FromStr;

use snapless_wire::id::FileTime;

use super::Cut;
use crate::time;

/// The point to restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// The volume as it was when the session began.
    T0,
    /// The last point that can be restored.
    Latest,
    /// An instant.
    Time(FileTime),
    /// A point that was found before, as a bookmark keeps it.
    Exact {
        /// Its instant.
        time: FileTime,
        /// The changes that belong to its image.
        cut: Cut,
    },
}

/// What [`At`] is read from.
pub const AT_FORMS: &str = "t0, latest, a time such as 2026-11-23T14:00:00Z (RFC 3339, with Z or an \
                            offset), or how long ago, such as \"10 minutes ago\" or \"2h ago\"";

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "t0" => Ok(Self::T0),
            "latest" => Ok(Self::Latest),
            text => time::from_text(text)
                .or_else(|| time::ago(text, time::now()))
                .map(Self::Time)
                .ok_or_else(|| format!("expected {AT_FORMS}")),
        }
    }
}

//! What is wrong in a file of a repository.

use snapless_trust::regular::NotAFile;
use snapless_types::Seq;
use snapless_wire::frame::FrameError;
use snapless_wire::id::FileTime;
use snapless_wire::record::RecordError;

use crate::format::FormatError;
use crate::stream::Violation;
use crate::time;

/// Damage inside a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Of a fixed structure.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// Of an entry.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// An entry of another kind.
    #[error("an entry is not of kind Records")]
    Kind,
    /// Of a record inside an entry.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// The stored stream breaks a rule.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The file belongs to another session, another place in it, or another history of it.
    #[error("it belongs to another {0}")]
    Foreign(&'static str),
    /// The file is missing.
    #[error(
        "it is missing: it was removed or moved; put it back, or if a whole session was removed \
         on purpose, run `snapless-server forget`"
    )]
    Gone,
    /// Something else stands in the place of a file.
    #[error(transparent)]
    NotAFile(#[from] NotAFile),
    /// Something else stands in the place of a directory.
    #[error("it is no directory: move it away, and put back the directory if there was one")]
    NotADirectory,
    /// Something else stands in the place of the directory of a file.
    #[error(
        "it cannot be there, since it would lie below a file: move that away, and put back the \
         directory"
    )]
    Below,
    /// No further segment can be created.
    #[error("it has the last number of a segment: the session takes nothing more")]
    LastNumber,
    /// The kept state is not that of the stream.
    #[error("it is not what the stream says: remove it, the server makes it again")]
    State,
    /// The acknowledged end is older than it was.
    #[error(
        "it says that the stream ends with record {acknowledged}, but record {kept} was \
         acknowledged once: an older file was put in its place"
    )]
    Older {
        /// The last record that is acknowledged.
        acknowledged: Seq,
        /// The record that was acknowledged.
        kept: Seq,
    },
    /// The acknowledged end is missing.
    #[error("it ends here, but was acknowledged up to byte {0}")]
    Truncated(u64),
    /// An entry reaches past the acknowledged end.
    #[error("an entry reaches past the acknowledged end at byte {0}")]
    Overlong(u64),
    /// The stream cannot be read from here on, but has points before.
    #[error("{why}; points up to {} can be restored all the same", time::to_text(*.last))]
    Tail {
        /// The damage.
        why: Box<Damage>,
        /// The last point before it.
        last: FileTime,
    },
    /// An index is not that of its segment.
    #[error("it is not what the segment says: remove it, the server makes it again")]
    Index,
    /// Of what retained points need, and nothing else has.
    #[error("{why}; the points {points} need it")]
    Needed {
        /// What is wrong.
        why: Box<Self>,
        /// The points.
        points: String,
    },
    /// The stream does not end with the acknowledged record.
    #[error("the stream ends with record {0}, but another one was acknowledged")]
    Acknowledgement(u64),
}

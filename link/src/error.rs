//! Why a link is of no further use.

use std::io;
use std::time::Duration;

use snapless_wire::frame::{FrameError, FrameKind};

use crate::question::Refused;
use crate::tls::TlsError;

/// Why a link is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The server cannot be reached.
    #[error(
        "the server {address} cannot be reached: {source}; check that snapless-server runs there"
    )]
    Connect {
        /// Its address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The link broke, or ended in the middle of a frame.
    #[error("the link was lost: {0}")]
    Lost(#[source] io::Error),
    /// One end does not trust the other.
    #[error(transparent)]
    Untrusted(#[from] TlsError),
    /// The other end closed the link between two frames and gave no reason.
    #[error("the other end closed the link")]
    Closed,
    /// The other end sent nothing for too long where a frame, or the rest of one, was due.
    #[error("the other end sent nothing in time: waited {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// This end gave the wait up.
    #[error("the link was closed at this end")]
    Cancelled,
    /// The server gave its reason to close the link.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server can send no more of a point that it has opened.
    #[error("the server refused: {}", .0.text)]
    Answered(Refused),
    /// What came is not a frame.
    #[error("the other end sent a bad frame: {0}")]
    Frame(#[from] FrameError),
    /// The frame does not belong there.
    #[error("the other end sent a {0:?} frame, which is out of place")]
    OutOfPlace(FrameKind),
}

impl LinkError {
    /// True for the words in which a server of an older release says that it knows no questions.
    pub fn knows_no_questions(&self) -> bool {
        let kind = FrameError::Kind(FrameKind::Question.to_wire()).to_string();
        matches!(self, Self::Refused(text) if text.contains(&kind))
    }

    /// For an error of the stream below.
    pub(crate) fn lost(error: io::Error) -> Self {
        match error.downcast::<TlsError>() {
            Ok(TlsError::Cut) => Self::Lost(io::ErrorKind::UnexpectedEof.into()),
            Ok(error) => Self::Untrusted(error),
            Err(error) => Self::Lost(error),
        }
    }
}

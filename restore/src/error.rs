//! Why a restore failed.

use std::io;

use snapless_link::LinkError;
use snapless_link::question::Refused;

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server cannot be reached, or not any more.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server refuses.
    #[error("the server refused: {}", .0.text)]
    Refused(Refused),
    /// The server does not know the question.
    #[error(
        "the server is of an older release, from which nothing can be restored over the network"
    )]
    Older,
    /// What the server says of the point cannot be.
    #[error("the server describes a volume that cannot be: {0}")]
    Answer(&'static str),
    /// After a cut the server has opened another point.
    #[error("the server has another point now: run the command again")]
    OtherPoint,
    /// The target is not there, or is something else.
    #[error("{target} cannot be used: {why}")]
    Unfit {
        /// The target.
        target: String,
        /// Why, and what to do.
        why: String,
    },
    /// The target is there, and nothing says that it may be overwritten.
    #[error("{0} is there, and what it has would be lost: --force overwrites it")]
    Exists(String),
    /// The target is too short.
    #[error("{target} has {have} bytes, and the volume {need}: choose a target that is as long")]
    TooShort {
        /// The target.
        target: String,
        /// Its bytes.
        have: u64,
        /// The volume's.
        need: u64,
    },
    /// The target's sectors are of another size.
    #[error(
        "{target} has sectors of {have} bytes, and the volume of {need}: Windows would find no file \
         system there; --other-sector-size restores to it all the same"
    )]
    OtherSectors {
        /// The target.
        target: String,
        /// Bytes of its sectors.
        have: u32,
        /// The volume's.
        need: u32,
    },
    /// The target cannot be read or written.
    #[error("cannot {action} {target}: {source}")]
    Disk {
        /// What was done, as a verb.
        action: &'static str,
        /// The target.
        target: String,
        /// The system's error.
        source: io::Error,
    },
    /// What was written is not what the server sent.
    #[error("{bytes} bytes of the target are not what was written to it, from byte {first} on")]
    Differs {
        /// Of whole tiles.
        bytes: u64,
        /// The first of them.
        first: u64,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl RestoreError {
    /// For an error of a target.
    pub fn disk(action: &'static str, target: &str) -> impl FnOnce(io::Error) -> Self {
        let target = target.to_owned();
        move |source| Self::Disk { action, target, source }
    }

    /// True if an administrator may do it.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Disk { action: "open", source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// True if the same may succeed later, over a new link.
    pub(crate) fn is_passing(&self) -> bool {
        use snapless_link::question::RefusedKind;
        match self {
            Self::Link(error) => matches!(
                error,
                LinkError::Connect { .. }
                    | LinkError::Lost(_)
                    | LinkError::Closed
                    | LinkError::Silent(_)
                    | LinkError::Refused(_)
            ),
            // A link that was cut counts at the server until it notices.
            Self::Refused(refused) => refused.kind == RefusedKind::Busy,
            _ => false,
        }
    }
}

//! Errors of a run. Each message says what happened, to what, and where to look.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::difference::Difference;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum E2eError {
    /// A file could not be used.
    #[error("cannot {0} {1}: {2}")]
    File(&'static str, PathBuf, #[source] io::Error),
    /// A program could not be started.
    #[error("cannot start {0}: {1}; `cargo xtask setup` installs what the rig needs")]
    Spawn(String, #[source] io::Error),
    /// A program ended with an error.
    #[error("{program} failed ({status}){tail}")]
    Exit {
        /// What was run.
        program: String,
        /// Its exit status.
        status: String,
        /// The last lines it said, each on a line of its own.
        tail: String,
    },
    /// A program, or the state that it should bring about, took too long.
    #[error("{what} took longer than {} s{tail}", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The last observed state.
        tail: String,
    },
    /// A program's output was not understood.
    #[error("unexpected output of {program}: {said:?}; {why}")]
    Said {
        /// Which program.
        program: String,
        /// Its words.
        said: String,
        /// What was expected.
        why: String,
    },
    /// The test volume's journal is not one, or an image is no sound NTFS.
    #[error("{0}: {1}")]
    Damaged(PathBuf, String),
    /// A restored image, `t0` or `latest`, differs from the truth.
    #[error("{0} image: DIFFERENT\n{1}")]
    Different(&'static str, Difference),
    /// The journal and the writer's log contradict each other.
    #[error("the journal and the writer's log disagree: {0}")]
    Contradiction(String),
    /// The run ended without the situations that it has to test.
    #[error("the run did not exercise {0}; it proves nothing: run it again with a higher load")]
    NotExercised(String),
    /// The rig's KMDF ended the drivers because of a broken rule.
    #[error("the driver broke a rule of the kernel, and the rig stopped it:\n{0}")]
    Violation(String),
    /// A rule of the product or of the rig is broken.
    #[error("{0}")]
    Rule(String),
    /// The writer's files cannot be used.
    #[error(transparent)]
    Writer(#[from] snapless_writer::WriterError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A step of a scenario failed.
    #[error("step \"{0}\": {1}")]
    Step(String, #[source] Box<E2eError>),
}

/// Returns an [`E2eError`] of a variant that is a text, unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $error:ident, $($why:tt)+) => {
        if !$holds {
            return Err($crate::E2eError::$error(format!($($why)+)));
        }
    };
}
pub(crate) use ensure;

impl E2eError {
    /// Wraps an error of the file system.
    pub fn file<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File(what, path.into(), source)
    }

    /// The output of `program` is not what was expected.
    pub(crate) fn said(program: &str, said: &str, why: impl Into<String>) -> Self {
        Self::Said { program: program.into(), said: said.into(), why: why.into() }
    }
}

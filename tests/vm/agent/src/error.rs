//! What can go wrong in the guest.

use std::io;
use std::path::PathBuf;

/// Why a step, or the program, ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The serial port: nothing more can be told.
    #[error("the serial line: {0}")]
    Line(String),
    /// A program could not be started.
    #[error("cannot start {0}: {1}")]
    Spawn(String, #[source] io::Error),
    /// A file.
    #[error("cannot {0} {1}: {2}")]
    File(&'static str, PathBuf, #[source] io::Error),
    /// A program did something else than expected, or a step cannot be done.
    #[error("{0}")]
    Found(String),
}

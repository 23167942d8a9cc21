//! What keeps a run from a verdict: the host, not the guest.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong on the host.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A file could not be used.
    #[error("cannot {0} {1}: {2}")]
    File(&'static str, PathBuf, #[source] io::Error),
    /// A program could not be started.
    #[error("cannot start {0}: {1}. {2}")]
    Spawn(String, #[source] io::Error, &'static str),
    /// A program ended with an error.
    #[error("{0} failed: {1}")]
    Exit(String, String),
    /// QEMU did not open its sockets.
    #[error("QEMU has not begun: {0}")]
    NotBegun(String),
    /// QEMU's monitor refused a command.
    #[error("QEMU's monitor: {0}")]
    Monitor(String),
    /// A message could not be sent to the guest.
    #[error("the line to the guest: {0}")]
    Line(#[source] io::Error),
    /// Arguments that do not fit together, or something that is missing.
    #[error("{0}")]
    Unusable(String),
}

impl VmError {
    /// Wraps an error of the file system.
    pub fn file<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File(what, path.into(), source)
    }
}

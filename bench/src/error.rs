//! Errors of the host: what happened, to what, and what to do.

#![allow(missing_docs, reason = "the messages describe the variants and their fields")]

use std::io;
use std::path::{Path, PathBuf};

use snapless_engine::{ConfigError, StartError};
use snapless_link::LinkError;
use snapless_trust::TrustError;
use snapless_types::GeometryError;

/// The result of an operation of the host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the host, or a command to it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "io_uring is not available: {0}; it needs Linux 6.1 or newer, 0 in \
         /proc/sys/kernel/io_uring_disabled, and in a container a seccomp profile that allows \
         io_uring_setup"
    )]
    Ring(#[source] io::Error),

    #[error("cannot wait for io_uring: {0}")]
    Wait(#[source] io::Error),

    #[error("cannot create an eventfd: {0}")]
    Event(#[source] io::Error),

    #[error("cannot allocate {0} bytes: use a smaller queue or smaller requests")]
    Memory(usize),

    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),

    #[error("{}: {problem}", path.display())]
    Volume { path: PathBuf, problem: String },

    #[error("{0:?} is not a volume: write NAME=PATH")]
    VolumeSyntax(String),

    #[error("the volume cannot be cut into blocks: {0:?}; choose other block and sector sizes")]
    Geometry(GeometryError),

    #[error("the session's limits are impossible: {0:?}; choose a larger queue")]
    Config(ConfigError),

    #[error("cannot allocate the session's memory; choose a smaller queue or larger blocks")]
    Session,

    #[error("there is no volume {0:?}; `statistics` lists them")]
    NoVolume(String),

    #[error("volume {0:?} has a session already; stop it first")]
    Busy(String),

    #[error("volume {0:?} has no session; start one first")]
    NoSession(String),

    #[error(
        "the host was started with the engine compiled out (--engine off): no session is possible"
    )]
    EngineOff,

    #[error("volume {volume:?}: {what} took longer than {seconds} s")]
    Slow { volume: String, what: &'static str, seconds: u64 },

    #[error("volume {0:?} has stopped; its error is above")]
    Stopped(String),

    #[error("a session with a write-intent log needs the sink `null` or `throttled`")]
    LogSink,

    #[error("the sink keeps no digest: start the session with one to verify it")]
    NoDigest,

    #[error(transparent)]
    Link(#[from] LinkError),

    #[error(transparent)]
    Trust(#[from] TrustError),

    #[error("the history cannot be written: {0}")]
    History(String),

    #[error("the sink failed: {0}")]
    Sink(String),

    #[error("the control channel failed: {0}")]
    Control(#[source] io::Error),

    #[error("not valid JSON of the control channel: {0}")]
    Command(#[source] serde_json::Error),

    #[error("the host refused: {0}")]
    Refused(String),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Config(error),
            StartError::OutOfMemory => Self::Session,
        }
    }
}

/// Adds action and file to an I/O error.
pub trait IoContext<T> {
    /// `action` completes the message "cannot … <path>".
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File { action, path: path.to_path_buf(), source })
    }
}

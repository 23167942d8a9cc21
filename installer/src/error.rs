//! Why a step of the setup failed, in words that say in what state that leaves the machine.

use std::io;
use std::path::{Path, PathBuf};

/// Why the setup failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The package lacks a file.
    #[error("{0} is not there: unpack the whole package, or name its folder with --programs")]
    Missing(PathBuf),
    /// A file or folder could not be handled.
    #[error("could not {verb} {path}: {source}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The registry refused.
    #[error("could not {verb} {what} in the registry: {why}; run this as an administrator")]
    Registry {
        /// What was tried.
        verb: &'static str,
        /// The value or key.
        what: String,
        /// The system's words.
        why: String,
    },
    /// The devices' own lists could not be gone through.
    #[error(
        "could not {verb} the filters of the volume devices: {source}; run this as an administrator"
    )]
    Devices {
        /// What was tried.
        verb: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The service manager refused.
    #[error("could not {verb} the service {name}: {why}; run this as an administrator")]
    Service {
        /// What was tried.
        verb: &'static str,
        /// The service.
        name: String,
        /// The system's words.
        why: String,
    },
    /// `SetupAPI` reports nothing; what it should have made is not there.
    #[error(
        "Windows did not install the driver from {0}: is its signature accepted on this machine? \
         See setupapi.dev.log. No filter was registered; the machine boots as before"
    )]
    NotInstalled(PathBuf),
    /// An earlier removal is not complete: the restart would delete what is installed now.
    #[error(
        "a removal waits for the restart, which will delete {0}: restart the machine, then install. \
         Nothing was changed"
    )]
    RemovalPending(PathBuf),
    /// A list of filters is not a list.
    #[error("the list of volume filters is damaged: {0}. Nothing was changed")]
    BadList(String),
    /// The answer cannot be printed.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
    /// JSON.
    #[error("the answer cannot be put into JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl SetupError {
    /// For `map_err`: names the file.
    pub fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }
}

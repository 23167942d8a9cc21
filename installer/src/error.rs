//! Errors of the setup. Where the state of the machine matters, the message says what it is.

use std::io;
use std::path::{Path, PathBuf};

/// Why the setup failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The package lacks a file.
    #[error("{0} is missing: unpack the whole package, or name its folder with --programs")]
    Missing(PathBuf),
    /// An operation on a file or folder failed.
    #[error("cannot {verb} {path}: {source}")]
    File {
        /// The operation.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An operation on the registry failed.
    #[error("cannot {verb} {what} in the registry: {why}; run this program as an administrator")]
    Registry {
        /// The operation.
        verb: &'static str,
        /// The value or key.
        what: String,
        /// The system's message.
        why: String,
    },
    /// An operation on the device's own lists of filters failed.
    #[error(
        "cannot {verb} the filters of the volume devices: {source}; run this program as an \
         administrator"
    )]
    Devices {
        /// The operation.
        verb: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// An operation of the service manager failed.
    #[error("cannot {verb} the service {name}: {why}; run this program as an administrator")]
    Service {
        /// The operation.
        verb: &'static str,
        /// The service.
        name: String,
        /// The system's message.
        why: String,
    },
    /// `SetupAPI` returned, and the driver is not there.
    #[error(
        "Windows did not install the driver from {0}: see setupapi.dev.log, and check that this \
         machine accepts its signature. No filter was registered: the machine boots as before"
    )]
    NotInstalled(PathBuf),
    /// Windows does not trust the driver's signature.
    #[error(
        "Windows does not trust the signature of {file}: {why}. A driver that starts with the          machine needs a signature of its own that Windows accepts, or the machine does not boot.          Nothing was changed. For a test machine see `snapless-setup install --help`"
    )]
    Signature {
        /// The driver.
        file: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Windows does not load the driver.
    #[error("Windows does not load the driver {name}: {why}. {left}")]
    NotLoaded {
        /// The driver.
        name: String,
        /// The loader's status in words.
        why: String,
        /// In what state the machine is.
        left: &'static str,
    },
    /// A removal waits for the restart, which would delete the new driver.
    #[error(
        "the next restart deletes {0} to complete a removal: restart the machine, then install. \
         Nothing was changed"
    )]
    RemovalPending(PathBuf),
    /// The registry value is not a list.
    #[error("the list of volume filters is damaged: {0}. Nothing was changed")]
    BadList(String),
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// JSON.
    #[error("cannot write the output as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl SetupError {
    /// For `map_err`: adds operation and file to an I/O error.
    pub fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }
}

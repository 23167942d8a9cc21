//! Errors of the setup. Where the state of the machine matters, the message says what it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::version::Version;

/// Said of a machine whose filters name a driver that is not installed.
pub const DANGER: &str = "DANGER, the machine will not boot: a list of volume filters names the \
                          driver, and the driver is not installed. Before a restart, run \
                          `snapless-setup repair` or `snapless-setup uninstall`.";

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
    /// Windows did not install the driver.
    #[error(
        "Windows did not install the driver from {inf}: {why}. See setupapi.dev.log, and check that \
         this machine accepts its signature"
    )]
    Driver {
        /// The INF.
        inf: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Windows did not remove a driver package.
    #[error(
        "Windows did not remove {name} from the driver store: {why}. See setupapi.dev.log; \
         `pnputil /delete-driver {name} /uninstall` removes it, too"
    )]
    Package {
        /// The published INF.
        name: String,
        /// The system's reason.
        why: String,
    },
    /// A program of Windows did not register or remove the performance counters.
    #[error("{program}, which is for performance counters: {why}")]
    Counters {
        /// The program.
        program: &'static str,
        /// How it ended.
        why: String,
    },
    /// A part is not in place although every call succeeded.
    #[error("{part}: {why}, although Windows reported no error")]
    NotInPlace {
        /// The part.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Windows does not trust the driver's signature.
    #[error(
        "Windows does not trust the signature of {file}: {why}. A driver that starts with the \
         machine needs a signature of its own that Windows accepts, or the machine does not boot. \
         Nothing was changed. For a test machine see `snapless-setup install --help`"
    )]
    Signature {
        /// The driver.
        file: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Windows does not load the driver.
    #[error(
        "Windows does not load the driver {file}: {why}. It was not installed, and no filter was \
         registered"
    )]
    NotLoaded {
        /// The driver.
        file: PathBuf,
        /// The loader's status in words.
        why: String,
    },
    /// A command that needs an installation found none.
    #[error("Snapless is not installed on this machine: use `snapless-setup {instead}`")]
    NothingInstalled {
        /// The command to use.
        instead: &'static str,
    },
    /// A change needs a package, and the command has none.
    #[error("a package is needed: name its INF with --inf")]
    NoPackage,
    /// The package is older.
    #[error(
        "{file} has version {installed}, and the package has {offered}: nothing was changed. \
         --force installs the older one"
    )]
    Older {
        /// The installed file.
        file: PathBuf,
        /// Its version.
        installed: Version,
        /// The package's.
        offered: Version,
    },
    /// The package has another version than what is to be repaired.
    #[error(
        "{file} has version {installed}, and the package has {offered}: nothing was changed. Repair \
         with the package of that version, or use `snapless-setup upgrade`"
    )]
    OtherVersion {
        /// The installed file.
        file: PathBuf,
        /// Its version.
        installed: Version,
        /// The package's.
        offered: Version,
    },
    /// An error that leaves a machine which does not boot.
    #[error("{0}\n{DANGER}")]
    Danger(Box<SetupError>),
    /// A removal waits for the restart, which would delete the new driver.
    #[error(
        "the next restart deletes the service {0} or its file to complete a removal: restart the \
         machine, then try again. Nothing was changed"
    )]
    RemovalPending(&'static str),
    /// The registry value is not a list.
    #[error("the list of volume filters is damaged: {0}. Nothing was changed")]
    BadList(String),
    /// Standard output cannot be written.
    #[error("cannot print the report: {0}")]
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

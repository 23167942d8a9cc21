//! What can go wrong in a task. The rule: a message says what happened, to what, and what to do
//! about it.

#![allow(missing_docs, reason = "the messages say what the variants and their fields are")]

use std::io;
use std::path::{Path, PathBuf};

/// The result of a task.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a task stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error("cannot run {program}: {source}. {advice}")]
    Spawn { program: String, source: io::Error, advice: &'static str },

    #[error("{what} failed ({status}): {command}\n{output}")]
    Command { what: String, command: String, status: String, output: String },

    #[error(
        "these Debian packages are missing: {missing}. {reason}; install them as root with\n  \
         apt-get install --no-install-recommends {missing}"
    )]
    Packages { missing: String, reason: String },

    #[error(
        "{crate_name} has changed: the replacement `{replacement}` in {} matched {found} times instead of \
         {expected}. Compare xtask/src/setup/wdk_build.rs with the crate's new source",
        file.display()
    )]
    Replacement {
        crate_name: &'static str,
        replacement: &'static str,
        file: PathBuf,
        expected: usize,
        found: usize,
    },

    #[error("{}: {problem}", file.display())]
    Malformed { file: PathBuf, problem: String },

    #[error("{} was not made by its build: {advice}", path.display())]
    MissingArtifact { path: PathBuf, advice: &'static str },

    #[error("{} is not a Windows image: {problem}", path.display())]
    Image { path: PathBuf, problem: String },

    #[error("{failed} of {total} checks of {} failed", path.display())]
    Checks { path: PathBuf, failed: usize, total: usize },

    #[error("{source}\nthe logs are in {}", folder.join("logs").display())]
    EndToEnd { source: Box<snapless_e2e::E2eError>, folder: PathBuf },

    #[error(
        "too little space on the disk of {}: {free} are free, and {needed} are needed. Make room \
         there; `cargo clean` removes what earlier builds left, and all that the next one needs as \
         well",
        folder.display()
    )]
    Space { folder: PathBuf, free: String, needed: String },

    #[error(
        "the disk of {} is full: {free} are free. That alone can be the cause of what follows; \
         make room there and run it again\n{source}",
        folder.display()
    )]
    FullDisk { folder: PathBuf, free: String, source: Box<Error> },

    #[error("{0}")]
    Rig(#[from] snapless_e2e::E2eError),

    #[error("{check}: {} violations\n  {}", violations.len(), violations.join("\n  "))]
    Tree { check: &'static str, violations: Vec<String> },

    #[error("the program ended with status {code}")]
    Exit { code: u8 },

    #[error("{failed} tests failed")]
    Tests { failed: usize },
}

/// Names the file and the action in an I/O error.
pub trait IoContext<T> {
    /// `action` completes "cannot … <path>".
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::File { action, path: path.to_path_buf(), source })
    }
}

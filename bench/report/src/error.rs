//! Errors of the benchmark. Rule: a run whose sink differs from the file is an error, not a result.

#![allow(missing_docs, reason = "the messages describe the variants and their fields")]

use std::io;
use std::path::PathBuf;

pub use snapless_bench::error::IoContext;

/// The result of a part of the benchmark.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot run {program}: {source}; `cargo xtask setup` installs what is missing")]
    Spawn { program: String, source: io::Error },

    #[error("{program} failed: {said}")]
    Program { program: String, said: String },

    #[error("QEMU refused {command}: {answer}")]
    Qemu { command: String, answer: String },

    #[error("{what} took longer than {seconds} s")]
    Slow { what: &'static str, seconds: u64 },

    #[error("LOSS: after {case} the sink differs from the file, first in sector {first}")]
    Differs { case: String, first: u64 },

    #[error("{what} has no samples: the run is too short for this machine, or fio did not write")]
    NoSamples { what: String },

    #[error("cannot draw {}: {problem}", path.display())]
    Plot { path: PathBuf, problem: String },

    #[error(
        "{0} has {1} MiB left, and the files need {2} MiB: choose another folder with --folder"
    )]
    Space(String, u64, u64),

    #[error(transparent)]
    Host(#[from] snapless_bench::error::Error),
}

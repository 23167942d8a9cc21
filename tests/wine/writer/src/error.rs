//! Why the writer stops: the volume did something that a volume must not do, or cannot be reached.

use std::io;
use std::path::PathBuf;

use crate::extent::Extent;
use crate::payload::BadSector;

/// What went wrong, with what.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The device cannot be opened.
    #[error("cannot open {device}: {source}; is the volume's driver started?")]
    Open {
        /// What was to be opened.
        device: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A request failed.
    #[error("{what} of {extent} failed: {source}")]
    Request {
        /// `read` or `write`.
        what: &'static str,
        /// Where.
        extent: Extent,
        /// The system's answer.
        source: io::Error,
    },
    /// A request transferred fewer bytes than asked for.
    #[error("{what} of {extent} transferred {got} bytes only")]
    Short {
        /// `read` or `write`.
        what: &'static str,
        /// Where.
        extent: Extent,
        /// Bytes transferred.
        got: usize,
    },
    /// The volume returned a sector that nobody wrote.
    #[error("a read of {extent} returned a sector that was never written: {source}")]
    Content {
        /// The read's extent.
        extent: Extent,
        /// Which sector, and what it holds.
        source: BadSector,
    },
    /// A flush failed.
    #[error("flush failed: {0}")]
    Flush(io::Error),
    /// Waiting for a completion failed.
    #[error("waiting for a completed request failed: {0}")]
    Wait(io::Error),
    /// The log cannot be written or read.
    #[error("the log {path}: {source}")]
    Log {
        /// Its file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A line of the log or of the region list does not parse.
    #[error("{path}, line {line}: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The region list has no region.
    #[error("{0} names no region to write to")]
    NoRegions(PathBuf),
    /// A thread of load panicked.
    #[error("a thread of the writer panicked; its message is above")]
    Panicked,
}

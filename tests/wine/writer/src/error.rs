//! Errors that end the writer: the volume broke a rule of volumes, or cannot be used.

use std::io;
use std::path::PathBuf;

use crate::extent::Extent;
use crate::payload::BadSector;

/// An error and what it is about.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The device cannot be opened.
    #[error("cannot open the volume: {0}; is its driver started?")]
    Open(io::Error),
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
    /// The volume returned a sector that was never written.
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

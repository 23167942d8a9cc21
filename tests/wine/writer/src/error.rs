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
    #[error("{0} of {1} failed: {2}")]
    Request(&'static str, Extent, #[source] io::Error),
    /// A request transferred fewer bytes than asked for.
    #[error("{0} of {1} transferred {2} bytes only")]
    Short(&'static str, Extent, usize),
    /// The volume returned a sector that was never written.
    #[error("a read of {0} returned a sector that was never written: {1}")]
    Content(Extent, #[source] BadSector),
    /// A flush failed.
    #[error("flush failed: {0}")]
    Flush(io::Error),
    /// The log cannot be written or read.
    #[error("the log {0}: {1}")]
    Log(PathBuf, #[source] io::Error),
    /// A line of the log or of the region list does not parse.
    #[error("{0}, line {1}: {2:?} is not {3}")]
    Line(PathBuf, usize, String, &'static str),
    /// The region list has no region.
    #[error("{0} names no region to write to")]
    NoRegions(PathBuf),
    /// A thread of load panicked.
    #[error("a thread of the writer panicked; its message is above")]
    Panicked,
}

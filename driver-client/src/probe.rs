//! A volume as it is measured before it is protected: its length, what is written to it, and how
//! long its disk takes to read.
//!
//! Rule: a probe writes nothing, and needs no driver of Snapless. The first look at the counters of
//! writes has the system count them, as Performance Monitor does. A probe leaves that so: to turn
//! it off would do so for other programs, too.

use std::io;
use std::time::Duration;

use crate::file_system::{Status, Unanswered};

/// A place of a read and its length are multiples of this, in bytes: whole sectors of every disk.
pub const READ_GRANULE: u64 = 4 << 10;
/// The longest read, in bytes.
pub const READ_MAX: usize = 1 << 20;

const ACCESS_DENIED: Status = Status(0xC000_0022);

/// What was written to a volume since an instant that the system chooses. Only differences of two
/// answers mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Writes; the number begins again after its last one.
    pub writes: u32,
}

/// A volume that is measured.
pub trait Probe {
    /// Its bytes.
    fn length(&self) -> Result<u64, ProbeError>;

    /// Bytes of it that its file system uses.
    fn used(&self) -> Result<u64, ProbeError>;

    /// What was written to it.
    fn written(&self) -> Result<Written, ProbeError>;

    /// How long its disk takes to read `len` bytes at `offset`, past the system's cache. Both are
    /// multiples of [`READ_GRANULE`]; `len` is at most [`READ_MAX`].
    fn read(&self, offset: u64, len: usize) -> Result<Duration, ProbeError>;
}

/// What cannot be measured, and why.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The volume cannot be opened.
    #[error("{}", unopened(*.0))]
    Open(Unanswered),
    /// Its length is not known.
    #[error("the volume does not tell its length (IOCTL_DISK_GET_LENGTH_INFO: {0})")]
    Length(io::Error),
    /// The file system does not tell how much it uses.
    #[error("the file system does not tell how much is in use (GetDiskFreeSpaceEx: {0})")]
    Used(io::Error),
    /// The system counts no writes.
    #[error("the system has no counters for this volume (IOCTL_DISK_PERFORMANCE: {0})")]
    Written(io::Error),
    /// The disk does not read.
    #[error("{len} bytes at {offset} cannot be read: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: usize,
        /// The system's error.
        source: io::Error,
    },
}

impl ProbeError {
    /// True if an administrator may do it.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Open(Unanswered::Open(ACCESS_DENIED)))
    }
}

fn unopened(why: Unanswered) -> String {
    match why {
        Unanswered::Open(ACCESS_DENIED) => {
            "access to the volume is denied: run this program as an administrator".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_is_missing_or_to_be_done() {
        let denied = ProbeError::Open(Unanswered::Open(ACCESS_DENIED));
        assert!(denied.is_access_denied() && denied.to_string().contains("administrator"));
        let locked = ProbeError::Open(Unanswered::Open(Status(0xC000_0043)));
        assert!(!locked.is_access_denied() && locked.to_string().contains("0xC0000043"));
        let uncounted = ProbeError::Written(io::ErrorKind::Unsupported.into());
        assert!(uncounted.to_string().contains("IOCTL_DISK_PERFORMANCE"));
    }
}

//! A contestant: a program that exports a file over NBD and copies the file at the same time.

use crate::error::Result;

/// The target of the copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Discards the copy at once; Snapless keeps checksums to compare with the file.
    Null,
    /// Discards the copy at once, without checksums.
    Forget,
    /// Discards the copy behind a slow link.
    Slow {
        /// Rate of the link.
        bytes_per_second: u64,
        /// Delay of the link.
        latency_ms: u64,
    },
}

/// Exports a file and copies it.
pub trait Contestant {
    /// The NBD URI of the export.
    fn uri(&self) -> String;
    /// Begins the copy; returns the time from which it affects writers, in milliseconds since 1970.
    fn begin(&mut self) -> Result<u64>;
    /// True once every block has been copied.
    fn is_synced(&mut self) -> Result<bool>;
    /// The longest hold of a write in milliseconds; `None` if unknown.
    fn longest_hold_ms(&mut self) -> Result<Option<f64>>;
    /// Checks that the copy equals the file. Called after the writers have ended.
    fn settle(&mut self, case: &str) -> Result<()>;
}

/// The name of a contestant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The engine of this repository.
    Snapless,
    /// QEMU's `blockdev-backup`.
    Qemu,
}

impl Name {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Snapless, Self::Qemu];
}

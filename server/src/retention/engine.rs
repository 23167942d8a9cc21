//! What makes a fold, and removes what it leaves.
//!
//! A seam: what decides ([`super::select`], [`super::run`]) is tested without it.

use serde::Serialize;
use snapless_types::Seq;

use crate::clock::Instant;
use crate::error::Result;
pub use crate::fold::Plan;
use crate::pin::Pins;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::timeline::Cut;

/// The past of a session that was folded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// The record behind which every instant is there, and its instant.
    pub boundary: (Seq, Instant),
    /// The points before it, in order.
    pub points: Vec<(Cut, Instant)>,
}

/// What a fold did, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Folded {
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub written_bytes: u64,
}

/// A file of a session that nothing refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Garbage {
    /// Its name in the session's directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Why nothing refers to it.
    pub why: &'static str,
}

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Collected {
    /// Files that were removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Nothing was removed, since the session is read.
    pub is_pinned: bool,
    /// What the store did not let be removed.
    pub refused: Refused,
}

/// Files that an object store did not let be removed: they stay garbage, and are tried again by the
/// next collection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Refused {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the store said, of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Refused {
    /// True if nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.why = self.why.take().or(other.why);
    }
}

/// Makes folds.
pub trait Engine: Sync {
    /// The past of a session; `None` if it was never folded.
    ///
    /// # Errors
    /// Damage of it.
    fn history(&self, reader: &SessionReader) -> Result<Option<History>>;

    /// Folds; durable when it returns. Removes nothing yet. Tells `progress` how many steps are
    /// done, and how many there are.
    ///
    /// # Errors
    /// Damage of what is read, which then stays as it is, or [`crate::error::Error::Stopped`].
    fn fold(
        &self,
        reader: &SessionReader,
        plan: &Plan,
        stop: &StopFlag,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Folded>;

    /// The files of a session that nothing refers to, in the order in which they are removed.
    ///
    /// # Errors
    /// What keeps that from being known.
    fn garbage(&self, reader: &SessionReader) -> Result<Vec<Garbage>>;

    /// Removes them, unless a pin is held.
    ///
    /// # Errors
    /// A failure to remove, or [`crate::error::Error::Stopped`].
    fn collect(&self, reader: &SessionReader, pins: &Pins, stop: &StopFlag) -> Result<Collected>;
}

//! What a salvage reports.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use snapless_types::Extent;

use crate::bytes::Bytes;
use crate::shown_name::ShownName;

/// The report of a salvage.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The instant of the image; `None` if the stream does not tell.
    pub time: Option<String>,
    /// The file or device of the image.
    #[serde(flatten)]
    pub file: ShownName,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of the volume's sectors; `None` if nothing tells.
    pub sector_size: Option<u32>,
    /// Records that were applied.
    pub records: u64,
    /// Every damaged place.
    pub damage: Vec<Place>,
    /// Records that are missing.
    pub lost: Vec<Lost>,
    /// If nothing sound tells where the stream ends: the last record that was acknowledged for
    /// sure. Later ones may be missing from the end without being listed, and those that are there
    /// may never have been acknowledged.
    pub unsure_after: Option<u64>,
    /// Bytes that no record gives: zeros in the image.
    pub missing: Vec<Bytes>,
    /// Bytes from an entry whose checksum does not match: most of them are right. Of such an entry
    /// only content at t0 is used; its changes count as lost.
    pub doubtful: Vec<Bytes>,
    /// Bytes that the volume's disk could not read: zeros in the image.
    pub unreadable: Vec<Bytes>,
    /// Begin of the gap in which the image lies: it is of no one instant.
    pub gap_since: Option<String>,
}

/// A damaged place in a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The file.
    #[serde(flatten)]
    pub file: ShownName,
    /// Where the damage begins, in bytes from the file's start.
    pub offset: u64,
    /// What is wrong.
    pub error: String,
}

/// Records that are missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// The instant of the record before them; `None` at the begin of the stream.
    pub after: Option<String>,
    /// The instant of the record after them; `None` at the end of the stream.
    pub before: Option<String>,
}

impl Report {
    /// True if nothing is damaged or missing, and the image is of one instant.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
            && self.lost.is_empty()
            && self.unsure_after.is_none()
            && self.missing.is_empty()
            && self.doubtful.is_empty()
            && self.gap_since.is_none()
    }
}

/// The bytes of an extent.
pub(super) fn range_of(extent: &Extent) -> Range<u64> {
    extent.offset()..extent.end()
}

/// A place in a file, for the report.
pub(super) fn place(file: &Path, offset: u64, error: impl ToString) -> Place {
    Place { file: file.to_owned().into(), offset, error: error.to_string() }
}

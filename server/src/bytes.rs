//! Runs of a volume's bytes, as reports list them.

use std::ops::Range;

use serde::Serialize;
use snapless_types::Extent;

/// A run of a volume's bytes, in a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Bytes {
    /// The first.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

impl From<Range<u64>> for Bytes {
    fn from(run: Range<u64>) -> Self {
        Self { offset: run.start, len: run.end.saturating_sub(run.start) }
    }
}

impl From<Extent> for Bytes {
    fn from(extent: Extent) -> Self {
        Self { offset: extent.offset(), len: extent.len() }
    }
}

/// Adds a run behind the others, which may be more of the last one; an empty one is none.
pub(crate) fn append(runs: &mut Vec<Range<u64>>, run: Range<u64>) {
    match runs.last_mut() {
        _ if run.is_empty() => {}
        Some(last) if last.end == run.start => last.end = run.end,
        _ => runs.push(run),
    }
}

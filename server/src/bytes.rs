//! Bytes: runs of a volume's, as reports list them; those of a buffer.

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

/// A length or a place inside a buffer, a window or an entry, which is in memory.
pub(crate) fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// True if all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In words, which the compiler turns into vectors.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().fold(0, |all, &word| all | u64::from_ne_bytes(word)) == 0
        && rest.iter().all(|&byte| byte == 0)
}

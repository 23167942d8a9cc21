//! How a copy is made.

use std::num::NonZeroU64;

/// An epoch is committed after so many bytes of frames: what is copied again after a stop or a
/// kill.
pub const COMMIT_BYTES: u64 = 64 << 20;

/// How a copy is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Bytes past which a segment of the target does not grow.
    pub segment_bytes: u64,
    /// A map of the target is kept after so many bytes of a stream at least.
    pub map_bytes: u64,
    /// An epoch is committed after so many bytes, or sooner when a second has gone by.
    pub commit_bytes: u64,
    /// Most bytes a second, on the average.
    pub limit: Option<NonZeroU64>,
}

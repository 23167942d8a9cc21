//! How long the volume was at each point.

use super::{Cut, Place, Timeline};

/// The most changes of the volume's length that a session takes.
pub const RESIZES_MAX: usize = 1 << 10;

/// A record from which on the volume has another length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resize {
    /// The record: the begin of a gap, or one in it.
    pub place: Place,
    /// Bytes of the volume.
    pub length: u64,
}

impl Timeline {
    /// The changes of the volume's length, in order.
    pub fn resizes(&self) -> &[Resize] {
        &self.resizes
    }

    /// True if the volume's length has changed.
    pub fn is_resized(&self) -> bool {
        !self.resizes.is_empty()
    }

    /// Bytes of the volume at a point; `None` where they are those at t0.
    pub fn length_at(&self, cut: Cut) -> Option<u64> {
        let before = self.resizes.iter().rev().find(|it| cut.includes(it.place));
        before.map(|it| it.length)
    }

    /// True if every block was captured. It stays so while a volume that has grown is read: the
    /// points from before have all that they need, and the others come after that.
    pub fn first_sync_is_done(&self) -> bool {
        self.is_resized() || self.coverage.known >= self.coverage.total
    }
}

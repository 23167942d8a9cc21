//! What a fold is asked to keep.

use snapless_types::Seq;

use crate::format::history::History;
use crate::timeline::{Cut, Place};

/// What a fold keeps of the time before the boundary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The last record of an epoch: from its end on, every instant stays.
    pub boundary: Seq,
    /// The points to retain, in the order of the stream. Those after the boundary stay anyhow.
    pub points: Vec<Cut>,
}

/// Orders cuts, so that they can be compared as sets.
pub(super) fn key(cut: Cut) -> (u8, u64, u64) {
    match cut {
        Cut::Base => (0, 0, 0),
        Cut::Through(seq) => (1, seq.get(), 0),
        Cut::Until(instant) => (2, instant.run().into(), instant.time.get()),
    }
}

/// True if a cut is at the boundary or after it, where every instant stays.
pub(crate) fn is_after(history: &History, cut: Cut) -> bool {
    is_at_or_after(&history.boundary.place, cut)
}

pub(super) fn is_at_or_after(boundary: &Place, cut: Cut) -> bool {
    match cut {
        Cut::Base => false,
        Cut::Through(seq) => seq >= boundary.seq,
        Cut::Until(instant) => instant >= boundary.at,
    }
}

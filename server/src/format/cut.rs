//! Which changes belong to a point's image, in files that name a point.

use snapless_types::Seq;
use snapless_wire::id::FileTime;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Instant;
use crate::timeline::Cut;

const BASE: u32 = 0;
const THROUGH: u32 = 1;
const UNTIL: u32 = 2;

/// A cut, little-endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CutLe {
    kind: U32,
    /// Of `UNTIL`: the run of the wall clock.
    run: U32,
    /// Of `THROUGH`: a record's number. Of `UNTIL`: the time within the run.
    place: U64,
}

impl From<Cut> for CutLe {
    fn from(cut: Cut) -> Self {
        let (kind, run, place) = match cut {
            Cut::Base => (BASE, 0, 0),
            Cut::Through(seq) => (THROUGH, 0, seq.get()),
            Cut::Until(instant) => (UNTIL, instant.run(), instant.time.get()),
        };
        Self { kind: U32::new(kind), run: U32::new(run), place: U64::new(place) }
    }
}

impl CutLe {
    /// The cut; `None` if it is none.
    pub(super) fn get(self) -> Option<Cut> {
        let (run, place) = (self.run.get(), self.place.get());
        match self.kind.get() {
            BASE if run == 0 && place == 0 => Some(Cut::Base),
            THROUGH if run == 0 => Some(Cut::Through(Seq::new(place))),
            UNTIL => Some(Cut::Until(Instant::new(run, FileTime::new(place)))),
            _ => None,
        }
    }
}

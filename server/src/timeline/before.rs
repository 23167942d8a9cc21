//! The points of a stream of which only the first part can be read.
//!
//! What follows is unknown, but it changes no image of an earlier instant: of a whole base image
//! nothing is missing any more, and a change has no earlier instant than the one before it
//! ([`crate::clock`]). It may have the same instant, so the last one that is known is no point.

use snapless_wire::id::FileTime;

use super::{At, Cut, NotRestorable, Place, Point, PointRange, Timeline};

impl Timeline {
    /// Finds the point that is asked for, if what follows the last record is unknown; `None` if it
    /// may belong to the image.
    pub fn resolve_before(&self, at: At) -> Option<Result<Point, NotRestorable>> {
        let end = self.whole_end()?;
        let is_before = match at {
            At::Latest => false,
            At::T0 | At::Exact { cut: Cut::Base, .. } => true,
            At::Exact { cut: Cut::Through(seq), .. } => seq <= end.seq,
            At::Exact { cut: Cut::Until(instant), .. } => instant < end.at,
            At::Time(time) => self.clock_to_end().0.find(time) < end.at,
        };
        match self.resolve(at) {
            _ if !is_before => None,
            Err(
                NotRestorable::Nothing
                | NotRestorable::BaseIncomplete(_)
                | NotRestorable::NoPoint { .. }
                | NotRestorable::TooLate { .. },
            ) => None,
            found => Some(found),
        }
    }

    /// Every stretch of instants for which [`Self::resolve_before`] finds a point, in order.
    pub fn ranges_before(&self) -> Vec<PointRange> {
        let Some(end) = self.whole_end() else { return Vec::new() };
        let cut = |range: PointRange| {
            if range.to.at < end.at {
                return Some(range);
            }
            // The ticks of a run of the clock follow each other.
            let at = range.to.at.tick_before();
            (range.from.at <= at).then_some(PointRange { to: Place { at, ..range.to }, ..range })
        };
        self.stretches().filter_map(cut).collect()
    }

    /// The last instant of [`Self::ranges_before`].
    pub fn last_before(&self) -> Option<FileTime> {
        self.ranges_before().last().map(|range| range.to.time())
    }

    /// The end, unless the next record may still tell of holes in the base image.
    fn whole_end(&self) -> Option<Place> {
        let end = self.end()?;
        let may_have_holes = self.last_base.is_some_and(|base| base.seq == end.seq);
        (!may_have_holes).then_some(end)
    }
}

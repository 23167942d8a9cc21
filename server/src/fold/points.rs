//! Which points of a folded session can be restored: the retained ones, and every instant from the
//! boundary on that the timeline has.

use snapless_wire::id::FileTime;

use super::plan::is_after;
use crate::clock::Instant;
use crate::format::history::{History, Retained};
use crate::timeline::{At, Cut, NotRestorable, Point, Timeline};

/// Finds the point that is asked for.
///
/// # Errors
/// [`NotRestorable`] says why there is none, and which there are.
pub fn resolve(
    history: Option<&History>,
    timeline: &Timeline,
    at: At,
) -> Result<Point, NotRestorable> {
    let Some(history) = history else { return timeline.resolve(at) };
    let t0 = timeline.t0().unwrap_or(history.boundary.place);
    match at {
        At::T0 => retained(history, history.point(Cut::Base), t0.time(), t0.at),
        At::Latest => match timeline.resolve(at) {
            // The volume is in a gap since before the boundary.
            Ok(latest) if !is_after(history, latest.cut) => {
                let (last, gap_since) = (history.points.last(), latest.gap_since);
                let at = history.boundary.place.at;
                let found = retained(history, last, latest.time, at)?;
                Ok(Point { gap_since, ..found })
            }
            found => found,
        },
        At::Time(time) => {
            let instant = timeline.instant_of(time);
            if instant >= history.boundary.place.at {
                return timeline.resolve(at);
            }
            let found = history.points.iter().rev().find(|point| point.at == instant);
            retained(history, found, time, instant)
        }
        At::Exact { cut, .. } if is_after(history, cut) => timeline.resolve(at),
        At::Exact { time, cut } => {
            let instant = match cut {
                Cut::Until(instant) => instant,
                Cut::Base => t0.at,
                Cut::Through(_) => timeline.instant_of(time),
            };
            retained(history, history.point(cut), time, instant)
        }
    }
}

/// The stretches of instants that can be restored, in order: first and last of each.
pub fn ranges(history: Option<&History>, timeline: &Timeline) -> Vec<(FileTime, FileTime)> {
    let all = timeline.ranges().into_iter();
    let Some(history) = history else {
        return all.map(|range| (range.from.time(), range.to.time())).collect();
    };
    let boundary = history.boundary.place;
    let mut found: Vec<_> = history.points.iter().map(|it| (it.time(), it.time())).collect();
    let after = all.filter(|range| range.to.seq >= boundary.seq).map(|range| {
        let from = if range.from.seq < boundary.seq { boundary } else { range.from };
        (from.time(), range.to.time())
    });
    found.extend(after);
    found.dedup();
    found
}

fn retained(
    history: &History,
    point: Option<&Retained>,
    at: FileTime,
    instant: Instant,
) -> Result<Point, NotRestorable> {
    if let Some(point) = point {
        return Ok(Point { time: point.time(), cut: point.cut, gap_since: None });
    }
    let time = |point: &Retained| point.time();
    Err(NotRestorable::Folded {
        at,
        before: history.points.iter().rev().find(|point| point.at < instant).map(time),
        after: history.points.iter().find(|point| point.at > instant).map(time),
        boundary: history.boundary.place.time(),
    })
}

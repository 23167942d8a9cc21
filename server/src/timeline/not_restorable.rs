//! Why a point cannot be restored, in words that name the nearest ones.

use snapless_wire::id::FileTime;

use super::Coverage;
use crate::time;

/// Why a point cannot be restored, and which can.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotRestorable {
    /// The stream is empty.
    #[error(
        "no epoch of this session has been acknowledged yet: try again while the first sync runs"
    )]
    Nothing,
    /// The base image is not complete yet.
    #[error(
        "the first sync is not complete: {} of {} blocks are stored; \
         try again when `snapless-server list` calls the session complete", .0.known, .0.total
    )]
    BaseIncomplete(Coverage),
    /// A gap hid blocks before they were captured: their content at t0 is lost.
    #[error(
        "the t0 image is lost: {blocks} block(s) were changed by writes in a gap, or the machine \
         was restarted, before they were captured; {}", first_point(*.first)
    )]
    T0Lost {
        /// Blocks whose content at t0 is lost.
        blocks: u64,
        /// The first point that can be restored.
        first: Option<FileTime>,
    },
    /// There is no point at all.
    #[error(
        "the volume is in a gap since {} and no point before it can be restored: \
         try again when the resync has ended", time::to_text(*.since)
    )]
    NoPoint {
        /// When the gap began.
        since: FileTime,
    },
    /// The instant lies in a gap, or before the first point.
    #[error(
        "{} cannot be restored: {}; {}",
        time::to_text(*.at), why(*.lost_base), neighbours(*.before, *.after)
    )]
    Between {
        /// The instant asked for.
        at: FileTime,
        /// The nearest earlier point.
        before: Option<FileTime>,
        /// The nearest later point.
        after: Option<FileTime>,
        /// The instant lies outside every gap, but the content of some blocks at it is lost.
        lost_base: bool,
    },
    /// The instant lies before the boundary of a fold and is no retained point.
    #[error(
        "{} was folded away: {}; every instant from {} on is kept",
        time::to_text(*.at), retained(*.before, *.after), time::to_text(*.boundary)
    )]
    Folded {
        /// The instant asked for.
        at: FileTime,
        /// The nearest earlier retained point.
        before: Option<FileTime>,
        /// The nearest later retained point.
        after: Option<FileTime>,
        /// From where on the history is whole.
        boundary: FileTime,
    },
    /// The instant lies before t0.
    #[error(
        "{} is before the begin of the session: the first point is {}",
        time::to_text(*.at), time::to_text(*.first)
    )]
    TooEarly {
        /// The instant asked for.
        at: FileTime,
        /// The first point.
        first: FileTime,
    },
    /// The instant lies past the end of the stream.
    #[error(
        "{} is later than the stream acknowledged so far: the last point is {}; use `--at latest`",
        time::to_text(*.at), time::to_text(*.last)
    )]
    TooLate {
        /// The instant asked for.
        at: FileTime,
        /// The last point.
        last: FileTime,
    },
}

fn why(lost_base: bool) -> &'static str {
    if lost_base {
        "some blocks changed in a later gap, or over a restart, before they were captured"
    } else {
        "it lies in a gap: writes were not captured"
    }
}

fn first_point(first: Option<FileTime>) -> String {
    match first {
        Some(first) => format!("the first point that can be restored is {}", time::to_text(first)),
        None => "no later point can be restored yet".to_owned(),
    }
}

fn retained(before: Option<FileTime>, after: Option<FileTime>) -> String {
    match (before.map(time::to_text), after.map(time::to_text)) {
        (Some(before), Some(after)) => {
            format!("the nearest retained points are {before} before and {after} after")
        }
        (Some(before), None) => format!("the nearest retained point before is {before}"),
        (None, Some(after)) => format!("the nearest retained point after is {after}"),
        (None, None) => "no point before the boundary is retained".to_owned(),
    }
}

fn neighbours(before: Option<FileTime>, after: Option<FileTime>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!(
            "the nearest points are {} before and {} after",
            time::to_text(before),
            time::to_text(after)
        ),
        (Some(before), None) => {
            format!(
                "the nearest point before is {}, after there is none yet",
                time::to_text(before)
            )
        }
        (None, Some(after)) => {
            format!("the nearest point after is {}, before there is none", time::to_text(after))
        }
        (None, None) => "no other point can be restored yet".to_owned(),
    }
}

//! Which points of a volume stay: a pure function of its sessions, the policy and the time.
//!
//! # The age of a point
//! A point is as old as the volume was protected since, by the clock of its machine that is never
//! set. While a machine is off or asleep, and while nothing comes from it, nothing ages: a policy
//! keeps more than it says, never less. A wall clock that jumps by a year ages nothing.
//!
//! Who has taken over a machine may send any time of either clock. So a session is never older than
//! the server has it: what its clock claims beyond that counts as if it came after every point. The
//! server's clock alone ages nothing either; it only bounds.
//!
//! # What stays
//! - All that is younger than `keep_all`. The *boundary* is the last epoch's end, outside every
//!   gap, that is not; it is not in front of the base image's end.
//! - Of what is older the points of the [`super::grid`], and those with a
//!   bookmark, which may say itself how long.
//! - The newest session that has a point, and every newer one.
//!
//! An older session of which nothing else stays goes whole.

use std::cmp::Ordering;

use snapless_types::Seq;
use snapless_wire::id::FileTime;

use super::grid::{Grid, Spot};
use super::policy::{Keep, Policy};
use crate::clock::Instant;
use crate::timeline::{Cut, Timeline};

/// What is known of a session.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// When the server first opened it, by the server's clock.
    pub created: FileTime,
    /// The instants of its stream.
    pub timeline: &'a Timeline,
    /// The record with which its stream begins, if it was folded.
    pub begin: Option<Seq>,
    /// Points that can be kept, in order: those that an earlier fold kept, then ends of epochs
    /// outside every gap. Of these the last one of each quarter of an hour is enough.
    pub candidates: Vec<Candidate>,
    /// Its bookmarks whose points can be restored.
    pub bookmarks: Vec<Named>,
}

/// A point that can be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The point.
    pub cut: Cut,
    /// Its instant.
    pub at: Instant,
    /// The record with which an epoch ends there, if the stream has it.
    pub ends: Option<Seq>,
}

/// A point with a bookmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// The point.
    pub cut: Cut,
    /// Its instant.
    pub at: Instant,
    /// When the bookmark was made, by the server's clock.
    pub created: FileTime,
    /// How long it keeps the point; `None` if the policy says that.
    pub keep: Option<Keep>,
}

/// What becomes of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// Only these points of what is before the boundary stay.
    Fold {
        /// The record that ends the last epoch that is folded.
        boundary: Seq,
        /// The points, in order.
        points: Vec<Cut>,
    },
    /// It goes whole.
    Drop,
}

/// How the ages of a session's points are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ages {
    /// When the server first opened it, by the server's clock.
    created: u64,
    /// The age of its end.
    after: u64,
    /// Ticks from its begin to its end, by its own clock.
    elapsed: u64,
    /// The most that it can be, by the server's clock.
    most: u64,
}

impl Ages {
    /// Those of a volume's sessions, oldest first; `None` of those that are newer than the newest
    /// one with a point, and of all if none has one.
    pub fn of(sessions: &[(FileTime, &Timeline)], now: FileTime) -> Vec<Option<Self>> {
        let newest = sessions.iter().rposition(|(_, timeline)| timeline.latest().is_some());
        let mut ages = vec![None; sessions.len()];
        let mut after: u64 = 0;
        let mut next = sessions.get(newest.map_or(usize::MAX, |it| it + 1)).map_or(now, |it| it.0);
        for (index, (created, timeline)) in sessions.iter().enumerate().rev() {
            if newest.is_none_or(|newest| index > newest) {
                continue;
            }
            let is_newest = newest == Some(index);
            let end = if is_newest { timeline.latest() } else { timeline.end() };
            let elapsed = end.map_or(0, |end| timeline.elapsed(end.at));
            let most = next.get().saturating_sub(created.get());
            ages[index] = Some(Self { created: created.get(), after, elapsed, most });
            after = after.saturating_add(elapsed.min(most));
            next = *created;
        }
        ages
    }

    /// The age of a point, in ticks.
    pub fn age(&self, timeline: &Timeline, at: Instant) -> u64 {
        let before = timeline.elapsed(at);
        self.after.saturating_add(self.elapsed.min(self.most).saturating_sub(before))
    }

    fn spot(&self, index: usize, timeline: &Timeline, at: Instant) -> Spot {
        Spot {
            time: at.time,
            run: (index, at.run()),
            age: self.age(timeline, at),
            position: self.created.saturating_add(timeline.elapsed(at)),
        }
    }
}

/// What becomes of each session of a volume; they come and go oldest first.
pub fn select(policy: &Policy, sessions: &[Session<'_>], now: FileTime) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Keep; sessions.len()];
    let Keep::For(keep) = policy.keep_all else { return verdicts };
    let times: Vec<_> = sessions.iter().map(|it| (it.created, it.timeline)).collect();
    let ages = Ages::of(&times, now);
    let newest = ages.iter().rposition(Option::is_some);
    let mut grid = Grid::new(policy);
    for (index, session) in sessions.iter().enumerate().rev() {
        let Some(ages) = ages[index] else { continue };
        let one = One { policy, keep, index, session, ages, now };
        // The newest one with a point never goes.
        let may_go = newest != Some(index) && ages.after >= keep;
        verdicts[index] = one.judge(&mut grid, may_go);
    }
    verdicts
}

/// A session that is looked at.
struct One<'a> {
    policy: &'a Policy,
    keep: u64,
    index: usize,
    session: &'a Session<'a>,
    ages: Ages,
    now: FileTime,
}

impl One<'_> {
    fn judge(&self, grid: &mut Grid<'_>, may_go: bool) -> Verdict {
        let timeline = self.session.timeline;
        let whole = [timeline.last_base(), timeline.base_complete()];
        let first = whole.into_iter().flatten().map(|place| place.seq).max();
        let old = |it: &&Candidate| self.ages.age(timeline, it.at) >= self.keep;
        let outside: Vec<_> = self.session.candidates.iter().filter(old).collect();
        let ends = |it: &Candidate| it.ends.filter(|seq| first.is_none_or(|first| *seq >= first));
        let boundary = outside.iter().rev().find_map(|it| ends(it).map(|seq| (seq, it.at)));
        let Some((boundary, at)) = boundary else { return Verdict::Keep };
        if !may_go {
            // It is kept, and the instants behind it.
            grid.cover(self.ages.spot(self.index, timeline, at));
        }
        let mut points = Vec::new();
        let mut is_wanted = false;
        for candidate in outside.into_iter().rev() {
            let is_boundary = candidate.cut == Cut::Through(boundary);
            if !may_go && (is_boundary || candidate.at > at) {
                continue;
            }
            if grid.take(self.ages.spot(self.index, timeline, candidate.at)) {
                is_wanted = true;
                if !is_boundary {
                    points.push((candidate.at, candidate.cut));
                }
            }
        }
        let named = self.session.bookmarks.iter().filter(|named| !self.is_over(named));
        for named in named {
            is_wanted = true;
            if is_before(named, boundary, at) {
                points.push((named.at, named.cut));
            }
        }
        if may_go && !is_wanted {
            return Verdict::Drop;
        }
        points.sort_by(in_order);
        points.dedup();
        let points: Vec<_> = points.into_iter().map(|(_, cut)| cut).collect();
        if self.session.begin == Some(boundary) && self.drops_nothing(&points) {
            return Verdict::Keep;
        }
        Verdict::Fold { boundary, points }
    }

    /// True if a bookmark keeps its point no longer. The server's clock alone does not end it.
    fn is_over(&self, named: &Named) -> bool {
        let keep = named.keep.unwrap_or(self.policy.bookmarks);
        let Keep::For(keep) = keep else { return false };
        let since = self.now.get().saturating_sub(named.created.get());
        since.min(self.ages.age(self.session.timeline, named.at)) >= keep
    }

    /// True if all that an earlier fold kept is kept again.
    fn drops_nothing(&self, points: &[Cut]) -> bool {
        let kept = self.session.candidates.iter().filter(|it| it.ends.is_none());
        kept.into_iter().all(|it| points.contains(&it.cut))
    }
}

fn is_before(named: &Named, boundary: Seq, at: Instant) -> bool {
    match named.cut {
        Cut::Base => true,
        Cut::Through(seq) => seq < boundary,
        Cut::Until(instant) => instant < at,
    }
}

fn in_order(one: &(Instant, Cut), other: &(Instant, Cut)) -> Ordering {
    let rank = |cut: &Cut| match cut {
        Cut::Base => (0, 0),
        Cut::Through(seq) => (1, seq.get()),
        Cut::Until(_) => (2, 0),
    };
    let has_changes = |cut: &Cut| *cut != Cut::Base;
    let key = |it: &(Instant, Cut)| (has_changes(&it.1), it.0, rank(&it.1));
    key(one).cmp(&key(other))
}

#[cfg(test)]
mod tests;

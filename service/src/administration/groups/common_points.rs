//! What can be restored of all volumes of a group at once: the stretches and the bookmarks that
//! they have in common.
//!
//! A bookmark is common if all volumes have it at the same instant, or from the same meeting.
//! Records have one clock, so that any instant within the stretches of all volumes is one of the
//! group, unless the wall clock was set back about then (rule ORDER, rules.md#order).

use jiff::Timestamp;
use snapless_control::message::{CommonBookmark, GroupPoints, GroupVolume};
use snapless_link::question::{BOOKMARKS_MAX, Bookmark, Points, STRETCHES_MAX, Stretch};
use snapless_link::stretches::{Ends, Mark, in_common, in_order};

/// What the volumes have in common; of each its name on this machine and what its server says.
pub(super) fn of(group: &str, volumes: Vec<(String, Points)>) -> GroupPoints {
    let mut common = in_common(volumes.iter().map(|(_, points)| read(points)));
    let mut bookmarks = bookmarks(&volumes);
    let left_out = keep_last(&mut common, STRETCHES_MAX) + keep_last(&mut bookmarks, BOOKMARKS_MAX);
    let left_out = volumes.iter().fold(left_out, |sum, (_, points)| sum + points.left_out);
    let text = |at: Timestamp| at.to_string();
    GroupPoints {
        group: group.to_owned(),
        first: common.first().map(|(from, _)| text(*from)),
        latest: common.last().map(|(_, to)| text(*to)),
        points: common
            .into_iter()
            .map(|(from, to)| Stretch { from: text(from), to: text(to) })
            .collect(),
        bookmarks,
        volumes: volumes
            .into_iter()
            .map(|(name, Points { volume, latest, .. })| GroupVolume { name, volume, latest })
            .collect(),
        left_out,
    }
}

/// The stretches of all sessions of a volume, in order.
fn read(points: &Points) -> Vec<Ends<Timestamp>> {
    let all = points.sessions.iter().flat_map(|session| &session.points);
    in_order(all.filter_map(|it| Some((it.from.parse().ok()?, it.to.parse().ok()?))))
}

/// The bookmarks of the first volume that all others have at the same instant.
fn bookmarks(volumes: &[(String, Points)]) -> Vec<CommonBookmark> {
    let Some(((_, first), others)) = volumes.split_first() else { return Vec::new() };
    let sound = first.bookmarks.iter().filter(|it| it.error.is_none());
    let common = sound.filter_map(|it| {
        let time = it.time.clone()?;
        let is_same = |points: &Points| {
            points
                .bookmarks
                .iter()
                .any(|other| other.error.is_none() && mark(it).is_common_with(&mark(other)))
        };
        let is_common = others.iter().all(|(_, points)| is_same(points));
        is_common.then(|| CommonBookmark { name: it.name.clone(), time })
    });
    common.collect()
}

fn mark(bookmark: &Bookmark) -> Mark<'_> {
    let Bookmark { name, time, meeting, .. } = bookmark;
    Mark { name, time: time.as_deref(), meeting: meeting.as_deref() }
}

/// Keeps the last ones; returns how many it has removed.
fn keep_last<T>(list: &mut Vec<T>, most: usize) -> u64 {
    let removed = list.len().saturating_sub(most);
    list.drain(..removed);
    removed as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_link::question::Session;

    fn at(minute: u32) -> String {
        format!("2026-11-30T14:{minute:02}:00Z")
    }

    fn points(sessions: &[&[(u32, u32)]], bookmarks: &[(&str, u32)]) -> Points {
        let session = |stretches: &&[(u32, u32)]| Session {
            session: "s".to_owned(),
            state: "complete".to_owned(),
            t0: None,
            t0_restorable: true,
            points: stretches
                .iter()
                .map(|&(from, to)| Stretch { from: at(from), to: at(to) })
                .collect(),
            gaps: Vec::new(),
            whole_from: None,
            error: None,
        };
        let bookmark = |&(name, minute): &(&str, u32)| Bookmark {
            name: name.to_owned(),
            session: None,
            time: Some(at(minute)),
            consistency: None,
            meeting: None,
            error: (name == "damaged").then(|| "damaged".to_owned()),
        };
        Points {
            volume: "v".to_owned(),
            latest: None,
            sessions: sessions.iter().map(session).collect(),
            bookmarks: bookmarks.iter().map(bookmark).collect(),
            left_out: 1,
        }
    }

    fn common(volumes: Vec<Points>) -> GroupPoints {
        of("sql", volumes.into_iter().map(|it| ("{v}".to_owned(), it)).collect())
    }

    #[test]
    fn what_all_volumes_have_is_common() {
        let found = common(vec![
            points(&[&[(0, 10)], &[(20, 30), (40, 50)]], &[]),
            points(&[&[(5, 25), (28, 45)]], &[]),
            points(&[&[(6, 6), (7, 59)]], &[]),
        ]);
        let stretch = |from, to| Stretch { from: at(from), to: at(to) };
        let want =
            [stretch(6, 6), stretch(7, 10), stretch(20, 25), stretch(28, 30), stretch(40, 45)];
        assert_eq!(found.points, want);
        assert_eq!((found.first, found.latest, found.left_out), (Some(at(6)), Some(at(45)), 3));
        let none = common(vec![points(&[&[(0, 1)]], &[]), points(&[&[(2, 3)], &[(9, 4)]], &[])]);
        assert_eq!((none.points, none.latest), (vec![], None));
    }

    #[test]
    fn a_bookmark_is_common_if_all_have_it_at_the_same_instant() {
        let found = common(vec![
            points(&[], &[("a", 1), ("b", 2), ("c", 3), ("damaged", 4)]),
            points(&[], &[("A", 1), ("b", 3), ("damaged", 4)]),
        ]);
        assert_eq!(found.bookmarks, [CommonBookmark { name: "a".to_owned(), time: at(1) }]);
    }
}

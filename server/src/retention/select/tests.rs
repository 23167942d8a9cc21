//! What is selected of invented histories.

use snapless_types::{EpochId, RecordKind};
use snapless_wire::record::{Position, RecordHeader};

use super::*;
use crate::retention::policy::Policies;
use crate::time::{from_text, to_text};
use crate::timeline::{Coverage, Effect};

const MINUTE: u64 = 60 * FileTime::TICKS_PER_SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A session that ends an epoch now and then.
struct History {
    timeline: Timeline,
    created: FileTime,
    time: u64,
    monotonic: u64,
    seq: u64,
    epoch: u64,
    candidates: Vec<Candidate>,
}

impl History {
    /// One that begins with a first sync.
    fn new(created: &str) -> Self {
        let created = from_text(created).unwrap();
        let (timeline, candidates) = (Timeline::new(1), Vec::new());
        let mut history = Self {
            timeline,
            created,
            time: created.get(),
            monotonic: 7,
            seq: 0,
            epoch: 1,
            candidates,
        };
        for kind in [RecordKind::SessionStart, RecordKind::BaseComplete] {
            history.note(kind);
        }
        history.end();
        history
    }

    fn note(&mut self, kind: RecordKind) {
        self.seq += 1;
        let position = Position {
            seq: Seq::new(self.seq),
            epoch: EpochId::new(self.epoch),
            time: FileTime::new(self.time),
            monotonic: self.monotonic,
        };
        let coverage = Coverage { total: 1, at_t0: 1, base: 1, known: 1 };
        let (t0_lost, after_loss, resized) = (false, false, None);
        let effect = Effect { coverage, base: false, t0_lost, after_loss, resized };
        let header = if kind == RecordKind::GapBegin {
            RecordHeader::gap_begin(position, snapless_types::GapReason::ServiceLost)
        } else {
            RecordHeader::marker(kind, position).unwrap()
        };
        self.timeline.note(&header, effect);
    }

    /// Ends an epoch; a point unless a gap is open.
    fn end(&mut self) {
        self.note(RecordKind::EpochEnd);
        self.epoch += 1;
        let last = self.timeline.last().unwrap();
        if self.timeline.open_gap_now().is_none() {
            let (cut, at) = (Cut::Through(last.seq), last.at);
            self.candidates.push(Candidate { cut, at, ends: Some(last.seq) });
        }
    }

    fn pass(&mut self, ticks: u64) {
        (self.time, self.monotonic) = (self.time + ticks, self.monotonic + ticks);
    }

    /// Goes on for so long, with a point every so often.
    fn run(mut self, length: u64, every: u64) -> Self {
        for _ in 0..length / every {
            self.pass(every);
            self.end();
        }
        self
    }

    /// Sets the wall clock.
    fn set(mut self, time: u64) -> Self {
        self.time = time;
        self
    }

    fn session(&self) -> Session<'_> {
        let candidates = self.candidates.clone();
        Session {
            created: self.created,
            timeline: &self.timeline,
            begin: None,
            candidates,
            bookmarks: Vec::new(),
        }
    }

    /// The server's clock at the end.
    fn now(&self) -> FileTime {
        FileTime::new(self.created.get() + self.monotonic - 7)
    }

    /// What a verdict keeps of what is old: the boundary, then the others from new to old.
    fn kept(&self, verdict: &Verdict) -> Vec<String> {
        let Verdict::Fold { boundary, points } = verdict else { return Vec::new() };
        let boundary = Cut::Through(*boundary);
        let cuts = points.iter().chain([&boundary]);
        let time = |cut: &Cut| {
            let found = self.candidates.iter().find(|it| it.cut == *cut);
            to_text(found.expect("a kept point is a candidate").at.time)
        };
        cuts.map(time).rev().collect()
    }
}

fn policy(text: &str) -> Policy {
    let text = format!("[default]\n{text}");
    toml::from_str::<Policies>(&text).unwrap().of_others()
}

fn one(history: &History, policy: &Policy) -> Verdict {
    let mut verdicts = select(policy, &[history.session()], history.now());
    verdicts.remove(0)
}

fn days(kept: &[String]) -> Vec<&str> {
    kept.iter().map(|time| &time[..10]).collect()
}

#[test]
fn without_a_policy_everything_stays() {
    let history = History::new("2026-01-01T00:00:00Z").run(400 * DAY, DAY);
    assert_eq!(one(&history, &Policy::default()), Verdict::Keep);
    assert_eq!(one(&history, &policy("keep_all = \"900d\"")), Verdict::Keep);
}

#[test]
fn each_level_begins_where_the_one_before_ends() {
    let history = History::new("2026-01-01T00:00:00Z").run(100 * DAY, HOUR / 2);
    let verdict = one(&history, &policy("keep_all = \"10d\"\nhourly = 3\ndaily = 2\nmonthly = 2"));
    assert_eq!(
        history.kept(&verdict),
        [
            // The boundary: ten days before the end, 2026-04-11T00:00:00.
            "2026-04-01T00:00:00Z",
            "2026-03-31T23:30:00Z",
            "2026-03-31T22:30:00Z",
            "2026-03-31T21:30:00Z",
            "2026-03-30T23:30:00Z",
            "2026-03-29T23:30:00Z",
            "2026-02-28T23:30:00Z",
            "2026-01-31T23:30:00Z",
        ]
    );
}

#[test]
fn a_slot_that_ends_in_a_gap_has_its_last_point_before() {
    let mut history = History::new("2026-01-01T00:00:00Z").run(DAY / 2, HOUR);
    history.note(RecordKind::GapBegin);
    let mut history = history.run(DAY, HOUR);
    history.note(RecordKind::Consistent);
    let history = history.run(3 * DAY, HOUR);
    let kept = history.kept(&one(&history, &policy("keep_all = \"1d\"\ndaily = 9")));
    assert_eq!(kept[2], "2026-01-02T23:00:00Z");
    assert_eq!(kept[3], "2026-01-01T12:00:00Z");
    // The boundary would lie in the gap.
    let kept = history.kept(&one(&history, &policy("keep_all = \"84h\"\ndaily = 9")));
    assert_eq!(kept[0], "2026-01-01T12:00:00Z");
}

#[test]
fn a_clock_that_jumps_ahead_throws_nothing_away() {
    let plan = policy("keep_all = \"7d\"\ndaily = 20\nmonthly = 12");
    let begun = History::new("2026-01-01T00:00:00Z").run(30 * DAY, HOUR);
    let year_later = begun.time + 366 * DAY;
    let history = begun.set(year_later).run(DAY, HOUR);
    let kept = history.kept(&one(&history, &plan));
    assert_eq!(kept[0], "2026-01-25T00:00:00Z", "seven days of protection before the end");
    assert_eq!(kept.len(), 1 + 20, "a month of which there is a point has one");
    let back = history.time - 366 * DAY;
    let history = history.set(back).run(30 * DAY, HOUR);
    let kept = history.kept(&one(&history, &plan));
    assert!(kept.iter().filter(|time| time.starts_with("2026-02")).count() > 18, "{kept:?}");
    // The days were set in between: a week must have passed.
    assert_eq!(kept.last().unwrap(), "2026-01-28T23:00:00Z");
}

#[test]
fn a_clock_that_is_set_to_and_fro_does_not_fill_the_grid() {
    let plan = policy("keep_all = \"2d\"\ndaily = 5\nmonthly = 3");
    let mut history = History::new("2026-01-01T00:00:00Z").run(100 * DAY, HOUR);
    let true_time = history.time;
    for step in 0..300 {
        history = history.set(true_time + step * 40 * DAY).run(4 * MINUTE, MINUTE);
    }
    let history = history.set(true_time).run(2 * DAY, HOUR);
    let kept = history.kept(&one(&history, &plan));
    let honest = kept.iter().filter(|time| time.as_str() < "2026-04-12").count();
    assert!(honest >= 5, "{kept:?}");
}

#[test]
fn what_a_clock_claims_beyond_the_servers_ages_nothing() {
    let plan = policy("keep_all = \"30d\"\ndaily = 5");
    let mut history = History::new("2026-01-01T00:00:00Z").run(20 * DAY, HOUR);
    let now = history.now();
    // Both clocks of the machine, by ten years in an hour.
    history.pass(3_650 * DAY);
    history.end();
    let verdicts = select(&plan, &[history.session()], FileTime::new(now.get() + HOUR));
    assert_eq!(verdicts, [Verdict::Keep]);
    // The server's clock alone does not either.
    let history = History::new("2026-01-01T00:00:00Z").run(20 * DAY, HOUR);
    let far = FileTime::new(now.get() + 3_650 * DAY);
    assert_eq!(select(&plan, &[history.session()], far), [Verdict::Keep]);
}

#[test]
fn an_older_session_goes_whole_when_nothing_of_it_is_wanted() {
    let old = History::new("2026-01-01T00:00:00Z").run(2 * DAY, HOUR);
    let middle = History::new("2026-01-04T00:00:00Z").run(10 * DAY, HOUR);
    let newest = History::new("2026-01-15T00:00:00Z").run(20 * DAY, HOUR);
    let sessions = [&old, &middle, &newest].map(History::session);
    let judge = |text: &str| select(&policy(text), &sessions, newest.now());
    let [first, second, third] = &judge("keep_all = \"5d\"\ndaily = 20")[..] else { panic!() };
    assert_eq!(*first, Verdict::Drop);
    assert!(!middle.kept(second).is_empty(), "{second:?}");
    assert_eq!(newest.kept(third)[0], "2026-01-30T00:00:00Z");
    assert_eq!(judge("keep_all = \"5d\"\ndaily = 1")[..2], [Verdict::Drop, Verdict::Drop]);
    assert_eq!(judge("keep_all = \"1000d\""), [Verdict::Keep, Verdict::Keep, Verdict::Keep]);
    let verdicts = judge("keep_all = \"0s\"");
    assert!(matches!(&verdicts[2], Verdict::Fold { points, .. } if points.is_empty()));
}

#[test]
fn a_session_without_a_point_yet_takes_nothing_from_the_one_before() {
    let old = History::new("2026-01-01T00:00:00Z").run(2 * DAY, HOUR);
    let mut first_sync = History::new("2026-01-04T00:00:00Z");
    first_sync.timeline = Timeline::new(2);
    first_sync.candidates.clear();
    first_sync.note(RecordKind::SessionStart);
    let sessions = [old.session(), first_sync.session()];
    let now = from_text("2027-01-01T00:00:00Z").unwrap();
    let verdicts = select(&policy("keep_all = \"1d\""), &sessions, now);
    assert_eq!(old.kept(&verdicts[0]), ["2026-01-02T00:00:00Z"]);
    assert_eq!(verdicts[1], Verdict::Keep);
}

#[test]
fn a_bookmark_keeps_its_point_until_it_is_over() {
    let history = History::new("2026-01-01T00:00:00Z").run(30 * DAY, HOUR);
    let Candidate { cut, at, .. } = history.candidates[10];
    let mut session = history.session();
    let created = FileTime::new(history.now().get() - 20 * DAY);
    let named = Named { cut, at, created, keep: None };
    session.bookmarks.push(named);
    session.bookmarks.push(Named { cut: Cut::Base, ..named });
    let points =
        |text: &str, now: FileTime| match &select(&policy(text), &[session.clone()], now)[0] {
            Verdict::Fold { points, .. } => points.clone(),
            other => panic!("{other:?}"),
        };
    assert_eq!(points("keep_all = \"1d\"", history.now()), [Cut::Base, cut]);
    assert_eq!(points("keep_all = \"1d\"\nbookmarks = \"20d\"", history.now()), []);
    let far = FileTime::new(history.now().get() + 900 * DAY);
    let kept = points("keep_all = \"1d\"\nbookmarks = \"35d\"", far);
    assert_eq!(kept, [Cut::Base, cut], "the server's clock alone ends no bookmark");
}

#[test]
fn a_bookmark_may_say_itself_how_long_it_keeps_its_point() {
    let history = History::new("2026-01-01T00:00:00Z").run(30 * DAY, HOUR);
    let mut session = history.session();
    let created = FileTime::new(history.now().get() - 20 * DAY);
    for (index, keep) in [(10, "20d"), (11, "20d 1s"), (12, "forever")] {
        let Candidate { cut, at, .. } = history.candidates[index];
        session.bookmarks.push(Named { cut, at, created, keep: Some(keep.parse().unwrap()) });
    }
    let stay = [11, 12].map(|index| history.candidates[index].cut);
    for policy_says in ["forever", "1d"] {
        let text = format!("keep_all = \"1d\"\nbookmarks = \"{policy_says}\"");
        let verdict = &select(&policy(&text), &[session.clone()], history.now())[0];
        let Verdict::Fold { points, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(points[..], stay, "whatever the policy says: {policy_says}");
    }
}

#[test]
fn a_second_selection_keeps_what_is_still_wanted_and_drops_the_rest() {
    let plan = policy("keep_all = \"3d\"\ndaily = 4");
    let history = History::new("2026-01-01T00:00:00Z").run(10 * DAY, HOUR);
    let Verdict::Fold { boundary, points } = one(&history, &plan) else { panic!("it is due") };
    let folded = |history: &History| {
        let kept = |it: &&Candidate| points.contains(&it.cut);
        let retained = history.candidates.iter().filter(kept);
        let rest = history.candidates.iter().filter(|it| it.ends >= Some(boundary));
        let retained = retained.map(|it| Candidate { ends: None, ..*it });
        retained.chain(rest.copied()).collect::<Vec<_>>()
    };
    let mut session = history.session();
    (session.begin, session.candidates) = (Some(boundary), folded(&history));
    assert_eq!(select(&plan, &[session], history.now()), [Verdict::Keep]);
    let history = history.run(2 * DAY, HOUR);
    let mut session = history.session();
    (session.begin, session.candidates) = (Some(boundary), folded(&history));
    let verdicts = select(&plan, &[session], history.now());
    assert_eq!(
        days(&history.kept(&verdicts[0])),
        ["2026-01-10", "2026-01-09", "2026-01-08", "2026-01-07", "2026-01-06"]
    );
}

#[test]
fn whatever_the_clocks_do_enough_stays_and_no_more() {
    let mut rng = fastrand::Rng::with_seed(0x05e1_ec75);
    for _ in 0..200 {
        let (keep, hours, dailies) = (rng.u64(1..10), rng.u32(0..20), rng.u32(0..20));
        let plan = policy(&format!("keep_all = \"{keep}d\"\nhourly = {hours}\ndaily = {dailies}"));
        let mut sessions = Vec::new();
        let mut now = from_text("2026-01-01T00:00:00Z").unwrap();
        for _ in 0..rng.usize(1..4) {
            let mut history = History::new(&to_text(now));
            for _ in 0..rng.usize(1..8) {
                if rng.u8(..4) == 0 {
                    let time =
                        history.time.saturating_add_signed(rng.i64(-400..400) * DAY.cast_signed());
                    history = history.set(time);
                }
                let every = rng.u64(1..5) * HOUR;
                history = history.run(rng.u64(1..12) * DAY, every);
            }
            now = FileTime::new(history.now().get() + rng.u64(1..3) * HOUR);
            sessions.push(history);
        }
        let told: Vec<_> = sessions.iter().map(History::session).collect();
        let verdicts = select(&plan, &told, now);
        let times: Vec<_> = told.iter().map(|it| (it.created, it.timeline)).collect();
        let ages = Ages::of(&times, now);
        let mut retained = 0;
        for ((history, verdict), ages) in sessions.iter().zip(&verdicts).zip(&ages) {
            let age = |at| ages.unwrap().age(&history.timeline, at);
            let newest = age(history.candidates.last().unwrap().at);
            match verdict {
                Verdict::Keep => {}
                Verdict::Drop => assert!(newest >= keep * DAY),
                Verdict::Fold { boundary, points } => {
                    let at = history.candidates.iter().find(|it| it.ends == Some(*boundary));
                    assert!(age(at.unwrap().at) >= keep * DAY, "younger than keep_all");
                    retained += points.len();
                    let is_known = |cut: &Cut| history.candidates.iter().any(|it| it.cut == *cut);
                    assert!(points.iter().all(is_known));
                }
            }
        }
        assert!(retained <= (hours + dailies) as usize);
        assert_ne!(verdicts.last(), Some(&Verdict::Drop), "the newest one stays");
        // Where nothing goes and the grid is not full, each day has a point.
        let total: u64 = ages.iter().flatten().map(|it| it.elapsed / DAY).sum();
        if total > keep + 4 && dailies > 0 {
            let kept = verdicts.iter().filter(|it| **it != Verdict::Drop).count();
            let is_filled = retained > 0 || kept > 1;
            assert!(is_filled || told.len() == 1 && total < keep + 6, "{verdicts:?}");
        }
    }
}

//! Retention over real repositories: what goes, what stays, who is in the way, and what refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::{
    self, BLOCK, Driver, LENGTH, Running, SECTOR, SESSION, Served, VOLUME, image, program,
};
use serde_json::Value;
use snapless_server::error::{Error, Result};
use snapless_server::format::bookmark::{Bookmark, BookmarkName, Making};
use snapless_server::format::pin::PINS_DIR;
use snapless_server::format::repository::session_dir;
use snapless_server::format::session::SessionHeader;
use snapless_server::pin::Pins;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::retention::engine::{
    Collected, Engine, Folded, Garbage, History, Plan, Refused,
};
use snapless_server::retention::folds::Folds;
use snapless_server::retention::policy::{Policies, Policy};
use snapless_server::retention::run::{Alone, How, Outcome, Report, When, run};
use snapless_server::retention::show::{Next, show};
use snapless_server::retention::{gc, removal};
use snapless_server::serve::{Limits, Server};
use snapless_server::stop::StopFlag;
use snapless_server::time::from_text;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId};

const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
/// The longest wait for what a server does by itself.
const LIMIT: Duration = Duration::from_mins(1);

pub const FIRST: SessionId = SessionId([0x31; 16]);
pub const SECOND: SessionId = SessionId([0x32; 16]);

/// A day of the server's clock.
pub fn day(number: u64) -> FileTime {
    FileTime::new((150_000 + number) * DAY)
}

/// Stores a session that begins on a day and goes on for some, with a point each day.
fn session(root: &Path, session: SessionId, begin: u64, days: u64) {
    let (header, frames) = stream(session, begin, days);
    common::ingest_as(root, &header, 1 << 20, &frames);
}

/// Its header and its frames.
pub fn stream(session: SessionId, begin: u64, days: u64) -> (SessionHeader, Vec<Vec<u8>>) {
    let header = SessionHeader { session, created: day(begin), ..common::header(LENGTH) };
    let mut driver = Driver { time: day(begin).get(), ..Driver::default() };
    let mut frames = vec![driver.first_sync()];
    for number in 0..days {
        (driver.time, driver.monotonic) = (driver.time + DAY, driver.monotonic + DAY);
        let byte = 0x80 + u8::try_from(number).unwrap();
        frames.push([driver.write(BLOCK, SECTOR, byte), driver.epoch_end()].concat());
    }
    (header, frames)
}

/// Three sessions of ten days each, the newest one of which is [`SESSION`].
fn three(root: &Path) {
    session(root, FIRST, 0, 10);
    session(root, SECOND, 11, 10);
    session(root, SESSION, 22, 10);
}

/// The server's time behind the last one.
pub const NOW: u64 = 33;

fn policy(text: &str) -> Policy {
    Policies::parse(format!("[default]\n{text}").as_bytes()).unwrap().of_others()
}

pub fn fold_with(repository: &Repository, engine: &dyn Engine, text: &str, when: When) -> Report {
    let stop = StopFlag::default();
    let how = How { engine, others: &Alone, when, now: day(NOW), stop: &stop };
    run(repository, VOLUME, policy(text), how, |_, _| {}).unwrap()
}

fn fold(root: &Path, text: &str) -> Report {
    let writable = WritableRepository::open(root).unwrap();
    fold_with(writable.repository(), &Folds, text, When::Always)
}

pub fn outcome(report: &Report, session: SessionId) -> &Outcome {
    let found = report.sessions.iter().find(|it| it.session == session.to_string());
    &found.expect("the session is told of").outcome
}

fn folder(root: &Path, session: SessionId) -> PathBuf {
    root.join(session_dir(VOLUME, session))
}

fn collect(root: &Path) -> gc::Report {
    let writable = WritableRepository::open(root).unwrap();
    gc::collect(writable.repository(), &Folds, Some(&Alone), &StopFlag::default()).unwrap()
}

fn assert_sound(root: &Path) {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

fn bookmark(root: &Path, session: SessionId) {
    let repository = Repository::open(root).unwrap();
    let source = Source { volume: VOLUME, session: Some(session), at: At::Latest };
    let found = Found::find(&repository, &source, &StopFlag::default()).unwrap();
    let bookmark = Bookmark {
        name: BookmarkName::parse("audit").unwrap(),
        volume: VOLUME,
        session,
        created: day(NOW),
        time: found.point().time,
        cut: found.point().cut,
        keep: None,
        making: Making::default(),
    };
    repository.add_bookmark(&bookmark).unwrap();
}

#[test]
fn an_older_session_goes_whole_and_is_not_missed() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let before = image(&root, At::Latest).unwrap().1;
    let report = fold(&root, "keep_all = \"9d\"");
    for session in [FIRST, SECOND] {
        let Outcome::Removed { removed_bytes, is_pinned, .. } = outcome(&report, session) else {
            panic!("{report:?}");
        };
        assert!(*removed_bytes > 0 && !is_pinned);
        assert!(!folder(&root, session).exists());
        let found = Repository::open(&root).unwrap().session(VOLUME, session).unwrap();
        assert_eq!(found, Presence::Nothing);
    }
    assert_eq!(fs::read_dir(root.join("removed")).unwrap().count(), 0, "no mark is left");
    assert_sound(&root);
    assert_eq!(image(&root, At::Latest).unwrap().1, before);
    assert_eq!(collect(&root), gc::Report::default());
    // Its service comes again: a new session of the same name.
    session(&root, FIRST, 40, 1);
    assert_sound(&root);
    assert_eq!(Repository::open(&root).unwrap().session_ids(VOLUME).unwrap().len(), 2);
}

#[test]
fn nothing_goes_that_a_policy_or_a_bookmark_wants_or_that_is_the_only_one() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let policies = ["", "keep_all = \"40d\"", "keep_all = \"9d\"\ndaily = 30"];
    for text in policies {
        let report = fold(&root, text);
        let removed = |it: &_| matches!(it, &&Outcome::Removed { .. });
        let outcomes = report.sessions.iter().map(|it| &it.outcome);
        assert_eq!(outcomes.filter(removed).count(), 0, "{text}: {report:?}");
    }
    bookmark(&root, FIRST);
    let report = fold(&root, "keep_all = \"0s\"");
    assert!(matches!(outcome(&report, SECOND), Outcome::Removed { .. }), "{report:?}");
    assert!(folder(&root, FIRST).exists() && folder(&root, SESSION).exists());
    assert_sound(&root);
}

#[test]
fn a_session_that_is_read_goes_when_the_reader_has_ended() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let (want, stop) = (image(&root, At::Latest).unwrap().1, StopFlag::default());
    let repository = Repository::open(&root).unwrap().pinned_for("mount");
    let source = Source { volume: VOLUME, session: Some(SECOND), at: At::Latest };
    let found = Found::find(&repository, &source, &stop).unwrap();
    let point = found.open(&stop, |_| {}).unwrap();
    // The image alone holds the pin.
    drop(found);
    let report = fold(&root, "keep_all = \"9d\"");
    assert!(matches!(outcome(&report, FIRST), Outcome::Removed { is_pinned: false, .. }));
    let refused = Refused::default();
    let pinned = Outcome::Removed { removed_bytes: 0, is_pinned: true, refused };
    assert_eq!(*outcome(&report, SECOND), pinned);
    assert_eq!(repository.session(VOLUME, SECOND).unwrap(), Presence::Nothing);
    let dry = gc::collect(&Repository::open(&root).unwrap(), &Folds, None, &stop).unwrap();
    assert!(dry.bytes > 0 && dry.removed_bytes == 0);
    assert_eq!((dry.pins.len(), dry.pins[0].command.as_str()), (1, "mount"));
    assert_eq!(collect(&root).removed_bytes, 0);
    // While it is there, the name is not used again.
    let writable = WritableRepository::open(&root).unwrap();
    let header = SessionHeader { session: SECOND, created: day(50), ..common::header(LENGTH) };
    let refused = SessionWriter::open(&writable, &header, 1 << 20, &stop).unwrap_err();
    assert!(matches!(refused, Error::Going(SECOND)), "{refused}");
    drop(writable);
    let mut bytes = vec![0; want.len()];
    point.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, want, "each of the sessions ends with the same write");
    drop(point);
    assert_eq!(collect(&root).removed_bytes, dry.bytes);
    assert!(!folder(&root, SECOND).exists());
    assert_eq!(fs::read_dir(root.join(PINS_DIR)).unwrap().count(), 0);
}

#[test]
fn what_a_crash_leaves_of_a_removal_is_garbage() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let repository = Repository::open(&root).unwrap();
    removal::mark(&repository, VOLUME, FIRST).unwrap();
    assert_sound(&root);
    // The header goes first; then the process ends.
    fs::remove_file(folder(&root, FIRST).join("session.snapless")).unwrap();
    fs::remove_file(root.join("forgotten").join(format!("{VOLUME}.{FIRST}"))).unwrap();
    assert_sound(&root);
    let collected = collect(&root);
    assert!(collected.bytes > 0 && collected.bytes == collected.removed_bytes, "{collected:?}");
    assert!(!folder(&root, FIRST).exists());
    assert_sound(&root);
    assert_eq!(repository.session(VOLUME, FIRST).unwrap(), Presence::Nothing);
}

#[test]
fn a_damaged_session_stays_as_it_is() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    fs::write(folder(&root, FIRST).join("acknowledged.snapless"), [0; 8192]).unwrap();
    let report = fold(&root, "keep_all = \"9d\"");
    assert!(matches!(outcome(&report, FIRST), Outcome::Damaged { .. }), "{report:?}");
    assert!(folder(&root, FIRST).join("segment-00000001.slseg").exists());
}

/// Remembers what it was to fold, and folds nothing.
#[derive(Default)]
struct Noted(Mutex<Vec<(SessionId, Plan)>>);

impl Engine for Noted {
    fn history(&self, _: &SessionReader) -> Result<Option<History>> {
        Ok(None)
    }

    fn fold(
        &self,
        reader: &SessionReader,
        plan: &Plan,
        _: &StopFlag,
        _: &mut dyn FnMut(u64, u64),
    ) -> Result<Folded> {
        assert!(reader.pins().any_held()?, "a bookmark could be added unseen");
        self.0.lock().unwrap().push((reader.header().session, plan.clone()));
        Ok(Folded::default())
    }

    fn garbage(&self, _: &SessionReader) -> Result<Vec<Garbage>> {
        Ok(Vec::new())
    }

    fn collect(&self, reader: &SessionReader, pins: &Pins, _: &StopFlag) -> Result<Collected> {
        assert!(!pins.any_held()?, "its own pin keeps it from removing {:?}", reader.header());
        Ok(Collected::default())
    }
}

#[test]
fn what_is_old_is_folded_to_the_grid_and_the_bookmarks() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    bookmark(&root, FIRST);
    let (repository, engine) = (Repository::open(&root).unwrap(), Noted::default());
    let text = "keep_all = \"5d\"\ndaily = 7";
    let report = fold_with(&repository, &engine, text, When::Always);
    let plans = engine.0.into_inner().unwrap();
    let sessions: Vec<_> = plans.iter().map(|(session, _)| *session).collect();
    assert_eq!(sessions, [FIRST, SECOND, SESSION]);
    // Records 1 to 8 are the first sync; then two a day.
    let through = |day: u64| Cut::Through(Seq::new(8 + 2 * day));
    let newest = Plan {
        boundary: Seq::new(8 + 2 * 5),
        points: vec![through(0), through(1), through(2), through(3), through(4)],
    };
    assert_eq!(plans[2].1, newest);
    let middle = Plan { boundary: Seq::new(8 + 2 * 10), points: vec![through(9)] };
    assert_eq!(plans[1].1, middle, "of seven days two lie there, one of which is its end");
    let first = Plan { boundary: Seq::new(8 + 2 * 10), points: Vec::new() };
    assert_eq!(plans[0].1, first, "the bookmark's point is its end");
    assert!(matches!(outcome(&report, SESSION), Outcome::Folded { points: 5, .. }), "{report:?}");
}

#[test]
fn what_the_grid_keeps_is_what_it_was_and_every_later_instant_is() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    session(&root, SESSION, 0, NOW);
    let repository = Repository::open(&root).unwrap();
    let stop = StopFlag::default();
    fs::write(root.join("retention.toml"), "[default]\nkeep_all = \"5d\"\ndaily = 7\n").unwrap();
    let shown = show(&repository, None, &Folds, day(NOW), &stop).unwrap();
    let Next::Fold { from, keeps, .. } = &shown.volumes[0].sessions[0].next else {
        panic!("{shown:?}");
    };
    assert_eq!(keeps.len(), 7);
    let at = |text: &str| At::Time(from_text(text).unwrap());
    let mut truth: Vec<_> =
        keeps.iter().map(|text| (at(text), image(&root, at(text)).unwrap().1)).collect();
    for later in 0..5 {
        let time = FileTime::new(from_text(from).unwrap().get() + later * DAY + DAY / 2);
        truth.push((At::Time(time), image(&root, At::Time(time)).unwrap().1));
    }
    let report = fold(&root, "keep_all = \"5d\"\ndaily = 7");
    assert!(matches!(outcome(&report, SESSION), Outcome::Folded { points: 7, .. }), "{report:?}");
    for (at, want) in &truth {
        assert!(image(&root, *at).unwrap().1 == *want, "{at:?}");
    }
    for gone in [At::T0, At::Time(FileTime::new(day(3).get() + DAY / 2))] {
        assert!(matches!(image(&root, gone), Err(Error::NotRestorable { .. })), "{gone:?}");
    }
    assert_sound(&root);
    assert_eq!(collect(&root), gc::Report::default());
    // Nothing has changed since.
    let report = fold(&root, "keep_all = \"5d\"\ndaily = 7");
    assert_eq!(*outcome(&report, SESSION), Outcome::Kept);
    // Three of the points go with a shorter policy.
    let report = fold(&root, "keep_all = \"5d\"\ndaily = 4");
    assert!(matches!(outcome(&report, SESSION), Outcome::Folded { points: 4, .. }), "{report:?}");
    for (at, want) in &truth[3..] {
        assert!(image(&root, *at).unwrap().1 == *want, "{at:?}");
    }
    assert_sound(&root);
}

#[test]
fn a_fold_of_little_is_not_worth_it_unless_the_session_was_replaced() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let (repository, engine) = (Repository::open(&root).unwrap(), Noted::default());
    let text = "keep_all = \"5d\"\ndaily = 30";
    let report = fold_with(&repository, &engine, text, When::Worth(1 << 30));
    let Outcome::NotWorth { old_bytes } = outcome(&report, SESSION) else { panic!("{report:?}") };
    assert!(*old_bytes > 0);
    let report = fold_with(&repository, &engine, text, When::Worth(*old_bytes + 1));
    assert!(matches!(outcome(&report, SESSION), Outcome::NotWorth { .. }), "{report:?}");
    let report = fold_with(&repository, &engine, text, When::Worth(*old_bytes));
    assert!(matches!(outcome(&report, SESSION), Outcome::Folded { .. }), "{report:?}");
    let sessions = engine.0.into_inner().unwrap().into_iter().map(|it| it.0);
    assert_eq!(sessions.filter(|it| *it != SESSION).count(), 6, "the others each time");
}

#[test]
fn a_running_server_does_what_the_policy_says_without_a_restart() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let retention_every = Duration::from_millis(20);
    let limits = Limits { retention_every, ..Limits::default() };
    let server = Server::bind_with("127.0.0.1:0".parse().unwrap(), &root, limits).unwrap();
    let _running = Running::of(server);
    let repository = Repository::open(&root).unwrap();
    fs::write(root.join("retention.toml"), "[default]\nkeep_all = \"9d\"\n").unwrap();
    let begun = Instant::now();
    while folder(&root, FIRST).exists() || folder(&root, SECOND).exists() {
        assert!(begun.elapsed() < LIMIT, "the older sessions are still there");
        std::thread::sleep(retention_every);
    }
    assert_eq!(repository.session_ids(VOLUME).unwrap(), [SESSION]);
}

fn call(root: &Path, command: &[&str], more: &[&str]) -> Output {
    program().args(command).arg("--repository").arg(root).args(more).output().unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, part: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(part), "{message}");
}

#[track_caller]
fn json(output: &Output) -> Value {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_policy_is_set_shown_and_carried_out_by_hand() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let show = json(&call(&root, &["retention", "show"], &["--json"]));
    assert_eq!(show["default"]["keep_all"], "forever");
    let volume = VOLUME.to_string();
    json(&call(&root, &["retention", "set"], &["--keep-all", "2w", "--daily", "3", "--json"]));
    let set = ["--volume", &volume, "--keep-all", "9d", "--daily", "0", "--json"];
    assert_eq!(json(&call(&root, &["retention", "set"], &set))["keep_all"], "9d");
    let show = json(&call(&root, &["retention", "show"], &["--json"]));
    assert_eq!(
        (&show["default"]["keep_all"], &show["default"]["daily"]),
        (&"14d".into(), &3.into())
    );
    assert_eq!(show["volumes"][0]["policy"]["keep_all"], "9d");
    assert_eq!(show["volumes"][0]["sessions"][0]["next"], "remove");
    assert!(folder(&root, FIRST).exists(), "showing changes nothing");
    let done = json(&call(&root, &["compact", &volume], &["--json"]));
    assert_eq!(done["volumes"][0]["sessions"][0]["outcome"], "removed");
    assert!(!folder(&root, FIRST).exists());
    assert_eq!(json(&call(&root, &["gc"], &["--json"]))["bytes"], 0);
    let text = call(&root, &["retention", "set"], &["--volume", &volume, "--unset"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("every instant for 14d, 3 daily"));
    let other = "00000000-0000-0000-0000-000000000001";
    assert_fails(&call(&root, &["compact", other], &[]), "no volume");
    for spans in [["--keep-all", "1 month"], ["--hourly", "x"], ["--time-zone", "Mars"]] {
        let refused = call(&root, &["retention", "set"], &spans);
        assert_eq!(refused.status.code(), Some(2), "{spans:?}");
    }
}

#[test]
fn by_hand_no_server_may_run_and_a_dry_run_may_beside_one() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    removal::mark(&Repository::open(&root).unwrap(), VOLUME, FIRST).unwrap();
    let _server = Served::start(&root);
    assert_fails(&call(&root, &["compact"], &["--all"]), "folds and collects by itself");
    assert_fails(&call(&root, &["gc"], &[]), "gc --dry-run");
    let dry = json(&call(&root, &["gc"], &["--dry-run", "--json"]));
    let files = dry["files"].as_array().unwrap();
    assert!(files.iter().all(|it| it["reason"].as_str().unwrap().contains("was removed")));
    assert!(files[0]["file"].as_str().unwrap().ends_with("session.snapless"), "{files:?}");
    json(&call(&root, &["retention", "show"], &["--json"]));
}

#[test]
fn a_minimum_lets_no_policy_be_shortened_whatever_the_file_says() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    three(&root);
    let set = |more: &[&str]| call(&root, &["retention", "set"], more);
    json(&set(&["--keep-all", "60d", "--json"]));
    json(&set(&["--lock-for", "30d", "--json"]));
    assert_fails(&set(&["--keep-all", "59d"]), "keep_all");
    json(&set(&["--keep-all", "61d", "--json"]));
    let show = json(&call(&root, &["retention", "show"], &["--json"]));
    assert_eq!(show["minimums"][0]["span"], "30d");
    fs::write(root.join("retention.toml"), "[default]\nkeep_all = \"0s\"\n").unwrap();
    json(&call(&root, &["compact"], &["--all", "--json"]));
    assert!(folder(&root, FIRST).exists() && folder(&root, SECOND).exists());
    // What is not understood folds nothing.
    fs::write(root.join("retention.toml"), "[default]\nkeep_al = \"0s\"\n").unwrap();
    assert_fails(&call(&root, &["compact"], &["--all"]), "keep_al");
}

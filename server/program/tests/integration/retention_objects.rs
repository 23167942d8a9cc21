//! Retention among objects: what a policy keeps, removes and must not remove, with readers and
//! other servers beside.

use std::time::{Duration, Instant};

use snapless_server::format::repository::session_dir;
use snapless_server::format::session::SESSION_FILE;
use snapless_server::list::{Content, list};
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::retention::folds::Folds;
use snapless_server::retention::minimum::{Minimum, Minimums};
use snapless_server::retention::policy::{Changes, Keep, Policies};
use snapless_server::retention::run::{Alone, Outcome, Report, When, policy_of};
use snapless_server::retention::{gc, removal};
use snapless_server::security::Security;
use snapless_server::serve::{Limits, Server};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_wire::id::FileTime;

use crate::common::object_stream::{Connection, LIMIT as SEGMENT};
use crate::common::objects::{Before, FaultyStore};
use crate::common::{self, LENGTH, Running, SESSION, VOLUME};
use crate::retention::{FIRST, NOW, SECOND, day, fold_with, outcome, stream};

const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;
/// The longest wait for what a server does by itself.
const LIMIT: Duration = Duration::from_mins(1);

fn open(store: &FaultyStore) -> Repository {
    Repository::open_in(store.store()).unwrap()
}

/// Three sessions of ten days each, the newest one of which is [`SESSION`].
fn three(store: &FaultyStore) {
    let repository = store.repository();
    for (session, begin) in [(FIRST, 0), (SECOND, 11), (SESSION, 22)] {
        let (header, frames) = stream(session, begin, 10);
        let mut connection = Connection::open_as(&repository, &header, SEGMENT);
        for frame in frames {
            connection.store(&frame).unwrap();
        }
        connection.close();
    }
}

fn fold(store: &FaultyStore, text: &str) -> Report {
    fold_with(&open(store), &Folds, text, When::Always)
}

fn collect(store: &FaultyStore) -> gc::Report {
    gc::collect(&open(store), &Folds, Some(&Alone), &StopFlag::default()).unwrap()
}

fn assert_sound(store: &FaultyStore) {
    let report = verify(&open(store), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

fn image(repository: &Repository, session: snapless_wire::id::SessionId) -> Vec<u8> {
    let source = Source { volume: VOLUME, session: Some(session), at: At::Latest };
    let stop = StopFlag::default();
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    let found = Found::find(repository, &source, &stop).unwrap();
    found.open(&stop, |_| {}).unwrap().read(0, &mut image).unwrap();
    image
}

fn of_session(store: &FaultyStore, session: snapless_wire::id::SessionId) -> usize {
    let session = session.to_string();
    store
        .names()
        .iter()
        .filter(|name| name.starts_with("volumes/") && name.contains(&session))
        .count()
}

#[test]
fn an_older_session_goes_whole_from_an_object_store_and_is_not_missed() {
    let store = FaultyStore::default();
    three(&store);
    let want = image(&open(&store), SESSION);
    let report = fold(&store, "keep_all = \"9d\"");
    for session in [FIRST, SECOND] {
        let Outcome::Removed { removed_bytes, is_pinned, .. } = outcome(&report, session) else {
            panic!("{report:?}");
        };
        assert!(*removed_bytes > 0 && !is_pinned);
        assert_eq!(of_session(&store, session), 0);
        assert_eq!(open(&store).session(VOLUME, session).unwrap(), Presence::Nothing);
    }
    assert!(!store.names().iter().any(|name| name.starts_with("removed/")), "no mark is left");
    assert_sound(&store);
    assert_eq!(image(&open(&store), SESSION), want);
    assert_eq!(collect(&store), gc::Report::default());
}

#[test]
fn the_newest_session_is_folded_to_the_grid() {
    let store = FaultyStore::default();
    three(&store);
    let want = image(&open(&store), SESSION);
    let report = fold(&store, "keep_all = \"5d\"\ndaily = 7");
    let Outcome::Folded { points: 5, removed_bytes, .. } = outcome(&report, SESSION) else {
        panic!("{report:?}");
    };
    assert!(*removed_bytes > 0);
    assert_sound(&store);
    assert_eq!(image(&open(&store), SESSION), want);
    assert_eq!(collect(&store), gc::Report::default());
    let report = fold(&store, "keep_all = \"5d\"\ndaily = 7");
    assert_eq!(*outcome(&report, SESSION), Outcome::Kept);
}

#[test]
fn a_segment_that_goes_under_a_connection_is_noticed_by_a_map_a_fold_and_the_next_connection() {
    let store = FaultyStore::default();
    let repository = store.repository();
    let (header, frames) = stream(SESSION, 0, 10);
    let mut connection = Connection::open_as(&repository, &header, SEGMENT);
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        connection.store(frame).unwrap();
    }
    let gone = "segment-00000004.slseg";
    store.store().remove(&session_dir(VOLUME, SESSION).join(gone)).unwrap();
    // A commit looks at no earlier object.
    assert!(connection.store(last).unwrap());
    let stop = StopFlag::default();
    let reader = SessionReader::open(open(&store).store(), header).unwrap();
    let of_map = keep(&reader, 1, &stop).unwrap_err().to_string();
    assert!(of_map.contains(gone), "{of_map}");
    let report = fold(&store, "keep_all = \"1d\"");
    let Outcome::Damaged { error } = outcome(&report, SESSION) else { panic!("{report:?}") };
    assert!(error.contains(gone), "{error}");
    drop(connection);
    let opened = SessionWriter::open(&repository, &header, SEGMENT, &stop).map(|_| ());
    let of_connection = opened.unwrap_err().to_string();
    assert!(of_connection.contains(gone), "{of_connection}");
}

#[test]
fn nothing_goes_while_a_reader_on_another_machine_holds_a_lease() {
    for node_is_years_ahead in [false, true] {
        let store = FaultyStore::default();
        three(&store);
        if node_is_years_ahead {
            // No clock of a node is looked at.
            store.advance(Duration::from_hours(24 * 365 * 20));
        }
        let repository = open(&store).pinned_for("mount");
        let source = Source { volume: VOLUME, session: Some(SECOND), at: At::Latest };
        let stop = StopFlag::default();
        let found = Found::find(&repository, &source, &stop).unwrap();
        let point = found.open(&stop, |_| {}).unwrap();
        let want = image(&open(&store), SECOND);
        drop((found, repository));
        let report = fold(&store, "keep_all = \"9d\"");
        assert!(matches!(outcome(&report, FIRST), Outcome::Removed { is_pinned: false, .. }));
        assert!(matches!(outcome(&report, SECOND), Outcome::Removed { is_pinned: true, .. }));
        let dry = gc::collect(&open(&store), &Folds, None, &stop).unwrap();
        assert!(dry.bytes > 0 && dry.removed_bytes == 0);
        assert_eq!((dry.pins.len(), dry.pins[0].command.as_str()), (1, "mount"));
        assert_eq!(collect(&store).removed_bytes, 0);
        let mut bytes = vec![0; want.len()];
        point.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, want);
        drop(point);
        assert_eq!(collect(&store).removed_bytes, dry.bytes);
        assert_eq!(of_session(&store, SECOND), 0);
    }
}

#[test]
fn a_reader_that_begins_while_a_collection_runs_keeps_what_it_reads() {
    let store = FaultyStore::default();
    three(&store);
    let want = image(&open(&store), SESSION);
    let reading = store.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    // After the collection looked for leases, before it removes anything.
    store.before(Before::Delete, "segment-", move || {
        let repository = open(&reading).pinned_for("restore");
        let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
        let stop = StopFlag::default();
        let found = Found::find(&repository, &source, &stop).unwrap();
        sender.send(found.open(&stop, |_| {}).unwrap()).unwrap();
    });
    let report = fold(&store, "keep_all = \"5d\"\ndaily = 7");
    assert!(matches!(outcome(&report, SESSION), Outcome::Folded { .. }), "{report:?}");
    let point = receiver.recv().unwrap();
    let mut bytes = vec![0; want.len()];
    point.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, want);
}

#[test]
fn a_session_whose_objects_are_locked_goes_when_they_may() {
    let store = FaultyStore::default();
    three(&store);
    let first = format!("{}/segment-", session_dir(VOLUME, FIRST).display());
    store.keep(&[&first]);
    let report = fold(&store, "keep_all = \"9d\"");
    let Outcome::Removed { refused, .. } = outcome(&report, FIRST) else { panic!("{report:?}") };
    assert!(refused.files > 0 && refused.why.as_ref().unwrap().contains("AccessDenied"));
    assert!(matches!(outcome(&report, SECOND), Outcome::Removed { .. }));
    assert_eq!(open(&store).session(VOLUME, FIRST).unwrap(), Presence::Nothing);
    assert_sound(&store);
    let again = collect(&store);
    assert_eq!(again.refused.files, refused.files);
    store.keep(&[]);
    assert!(collect(&store).refused.is_empty());
    assert_eq!(of_session(&store, FIRST), 0);
    assert_eq!(collect(&store), gc::Report::default());
}

#[test]
fn what_a_crash_leaves_of_a_removal_among_objects_is_garbage() {
    let store = FaultyStore::default();
    three(&store);
    removal::mark(&open(&store), VOLUME, FIRST).unwrap();
    assert_sound(&store);
    let header = session_dir(VOLUME, FIRST).join(SESSION_FILE);
    snapless_server::storage::Storage::remove(&store.storage(), &header).unwrap();
    assert_sound(&store);
    let collected = collect(&store);
    assert!(collected.bytes > 0 && collected.bytes == collected.removed_bytes, "{collected:?}");
    assert_eq!(of_session(&store, FIRST), 0);
    assert_sound(&store);
}

#[test]
fn a_policy_and_a_minimum_are_kept_in_an_object_store() {
    let store = FaultyStore::default();
    three(&store);
    let objects = store.store();
    let mut policies = Policies::read(&objects).unwrap();
    assert_eq!(policies.of(VOLUME).keep_all, Keep::Forever);
    let keep_all = Some(Keep::For(60 * DAY));
    policies.set(None, &Changes { keep_all, ..Changes::default() });
    policies.write(&objects).unwrap();
    let now = day(NOW);
    Minimum::new(30 * DAY, policies.clone(), now).add(&objects).unwrap();
    let shorter = Some(Keep::For(DAY));
    policies.set(None, &Changes { keep_all: shorter, ..Changes::default() });
    Minimums::read(&objects, now).unwrap().check(&policies).unwrap_err();
    // By another way.
    policies.write(&objects).unwrap();
    let held = policy_of(&open(&store), now).unwrap()(VOLUME);
    assert_eq!(held.keep_all, Keep::For(60 * DAY));
    // Two that are made at the same time are two, or one of them fails.
    let (other, of_other) = (store.clone(), policies.clone());
    store.before(Before::Put, "minimum", move || {
        Minimum::new(40 * DAY, of_other, now).add(&other.store()).unwrap();
    });
    Minimum::new(50 * DAY, policies, now).add(&objects).unwrap_err();
    assert_eq!(Minimums::read(&objects, now).unwrap().shown().len(), 2);
}

#[test]
fn a_server_folds_what_is_in_an_object_store_by_itself() {
    let store = FaultyStore::default();
    three(&store);
    let mut policies = Policies::default();
    let keep_all = Some(Keep::For(9 * DAY));
    policies.set(None, &Changes { keep_all, ..Changes::default() });
    policies.write(&store.store()).unwrap();
    let retention_every = Duration::from_millis(20);
    let limits = Limits { retention_every, ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let security = Security::insecure(address).unwrap();
    let writable = WritableRepository::open_in(store.store()).unwrap();
    let server = Server::bind_to(address, writable, limits, security).unwrap();
    let _running = Running::of(server);
    let begun = Instant::now();
    while of_session(&store, FIRST) + of_session(&store, SECOND) > 0 {
        assert!(begun.elapsed() < LIMIT, "the older sessions are still there");
        std::thread::sleep(retention_every);
    }
    let listed = list(&open(&store), &StopFlag::default()).unwrap();
    assert_eq!(listed[0].sessions.len(), 1);
    assert!(matches!(listed[0].sessions[0].content, Content::Complete(_)));
    // Then it is idle: no session is listed, however often it could look.
    let mut before = None;
    while before != Some(store.listed()) {
        assert!(begun.elapsed() < LIMIT, "it lists again and again");
        before = Some(store.listed());
        std::thread::sleep(retention_every * 10);
    }
}

#[test]
fn a_session_that_another_server_makes_right_now_is_not_damaged() {
    let store = FaultyStore::default();
    let repository = store.repository();
    let header = common::header(LENGTH);
    // Its header and its entry are there, and no segment.
    let path = session_dir(VOLUME, SESSION).join(SESSION_FILE);
    store.store().create_once(&path, header.to_bytes().to_vec()).unwrap();
    let looked = open(&store);
    assert_sound(&store);
    repository.know(&header).unwrap();
    assert_sound(&store);
    let listed = list(&looked, &StopFlag::default()).unwrap();
    let content = &listed[0].sessions[0].content;
    assert!(!matches!(content, Content::Damaged { .. }), "{content:?}");
    let report = fold(&store, "keep_all = \"9d\"");
    let damaged = |it: &&snapless_server::retention::run::Session| {
        matches!(it.outcome, Outcome::Damaged { .. })
    };
    assert_eq!(report.sessions.iter().find(damaged), None);
    Connection::open(&repository).close();
    assert_sound(&store);
}

#[test]
fn a_session_that_appears_between_two_looks_is_not_missed() {
    let store = FaultyStore::default();
    drop(store.repository());
    let making = store.clone();
    // The header is not there yet; then another server makes it, and its entry.
    store.before(Before::List, "sessions", move || {
        Connection::open(&making.repository()).close();
    });
    let found = open(&store).session(VOLUME, SESSION).unwrap();
    assert!(matches!(found, Presence::Header(_)), "{found:?}");
}

//! Folds and collections among objects: the same images as in a directory, whoever folds beside,
//! and whatever the store refuses, loses or delays.

use std::time::Duration;

use snapless_server::compression::Compression;
use snapless_server::error::Error;
use snapless_server::fold::{
    CollectReport, FoldReport, Plan, collect, fold_into, garbage, history,
};
use snapless_server::format::history::HistoryNumber;
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Terms;
use snapless_server::timeline::Cut;
use snapless_server::verify::verify;
use snapless_types::Seq;
use snapless_wire::record::{RECORD_HEADER_LEN, Records};

use crate::common::object_stream::{Connection, segments};
use crate::common::objects::{Before, Fault, FaultyStore};
use crate::common::{self, SECTOR};
use crate::fold::{Numbers, Story, reader_of};

/// Parts of what a fold writes are short, so that there are many.
const PART: u64 = 20_000;

fn open(store: &FaultyStore) -> Repository {
    Repository::open_in(store.store()).unwrap()
}

fn reader(store: &FaultyStore) -> SessionReader {
    reader_of(&open(store))
}

/// Stores the stream, a connection for each so many frames.
fn stored(store: &FaultyStore, tale: &Story, frames: usize) {
    let repository = store.repository();
    for part in tale.frames.chunks(frames) {
        let mut connection = Connection::open(&repository);
        for frame in part {
            connection.store(frame).unwrap();
        }
        connection.close();
    }
}

fn plan(boundary: u64, points: &[Cut]) -> Plan {
    Plan { boundary: Seq::new(boundary), points: points.to_vec() }
}

fn fold(store: &FaultyStore, boundary: u64, points: &[Cut]) -> Result<FoldReport, Error> {
    let plan = plan(boundary, points);
    fold_into(&reader(store), &plan, PART, &StopFlag::default(), |_, _| {})
}

fn sweep(store: &FaultyStore) -> Result<CollectReport, Error> {
    collect(&reader(store), || Ok(false), &StopFlag::default())
}

fn check(store: &FaultyStore, tale: &Story, (boundary, cuts): (u64, &[Cut]), why: &str) {
    let repository = open(store);
    tale.check_in(&repository, boundary, cuts, why);
    let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, [], "{why}");
}

/// Names of the session's objects, without its folder.
fn names(store: &FaultyStore) -> Vec<String> {
    let names = store.names().into_iter().filter(|name| name.starts_with("volumes/"));
    names.filter_map(|name| Some(name.rsplit_once('/')?.1.to_owned())).collect()
}

fn newest(store: &FaultyStore) -> Option<HistoryNumber> {
    history(&reader(store)).unwrap().map(|history| history.number)
}

fn cuts_of(tale: &Story, indices: &[usize]) -> Vec<Cut> {
    indices.iter().map(|&index| Cut::Through(Seq::new(tale.instants[index].0))).collect()
}

#[test]
fn what_a_fold_retains_among_objects_is_what_was_there_and_a_second_fold_goes_on_from_it() {
    for seed in 0..6 {
        let store = FaultyStore::default();
        let mut numbers = Numbers(seed * 77);
        let tale = Story::new(seed, 20);
        stored(&store, &tale, 7);
        if seed % 2 == 1 {
            keep(&reader(&store), 60_000, &StopFlag::default()).unwrap();
        }
        let first = tale.ends[5 + usize::try_from(numbers.below(5)).unwrap()];
        let cuts = tale.some_cuts_in(&open(&store), &mut numbers, first);
        let report = fold(&store, first, &cuts).unwrap();
        assert!(report.is_new);
        check(&store, &tale, (first, &cuts), &format!("seed {seed}, folded"));
        assert!(!fold(&store, first, &cuts).unwrap().is_new, "it is folded once");
        let before = segments(&store).len();
        let removed = sweep(&store).unwrap().removed;
        assert!(removed.iter().any(|it| it.name.starts_with("segment-")), "{removed:?}");
        assert!(segments(&store).len() < before);
        assert_eq!(garbage(&reader(&store)).unwrap(), []);
        check(&store, &tale, (first, &cuts), &format!("seed {seed}, collected"));

        keep(&reader(&store), 1, &StopFlag::default()).unwrap();
        let second = tale.ends[13 + usize::try_from(numbers.below(5)).unwrap()];
        let mut again: Vec<Cut> = cuts.iter().filter(|_| numbers.below(3) > 0).copied().collect();
        let between = tale.instants.iter().filter(|(seq, ..)| (first..second).contains(seq));
        again.extend(between.step_by(5).map(|(seq, ..)| Cut::Through(Seq::new(*seq))));
        fold(&store, second, &again).unwrap();
        check(&store, &tale, (second, &again), &format!("seed {seed}, folded again"));
        sweep(&store).unwrap();
        check(&store, &tale, (second, &again), &format!("seed {seed}, collected again"));
    }
}

#[test]
fn the_pages_of_a_fold_are_parts_that_are_read_as_one() {
    let store = FaultyStore::default();
    let tale = Story::new(4, 16);
    stored(&store, &tale, 9);
    let cuts = cuts_of(&tale, &[1, 9, 14, 21]);
    let plan = plan(tale.ends[12], &cuts);
    fold_into(&reader(&store), &plan, 100, &StopFlag::default(), |_, _| {}).unwrap();
    let parts = names(&store).iter().filter(|name| name.starts_with("pages-")).count();
    assert!(parts > 3, "{parts}");
    check(&store, &tale, (tale.ends[12], &cuts), "in parts");
    sweep(&store).unwrap();
    check(&store, &tale, (tale.ends[12], &cuts), "collected");
    let last = names(&store).into_iter().rfind(|name| name.starts_with("pages-")).unwrap();
    let names: Vec<_> = store.names().into_iter().filter(|name| name.ends_with(&last)).collect();
    let storage = store.storage();
    snapless_server::storage::Storage::remove(&storage, std::path::Path::new(&names[0])).unwrap();
    let report = verify(&open(&store), &StopFlag::default(), |_| {}).unwrap();
    assert!(report.damage.iter().any(|it| format!("{:?}", it.file).contains("pages-")));
}

#[test]
fn a_sealed_session_is_folded_among_objects() {
    let dir = common::scratch();
    let key = KeySource::KeyFile(dir.path().join("key"));
    let store = FaultyStore::default();
    let made = WritableRepository::init_in_with(store.store(), Compression::Zstd(3), &key).unwrap();
    let tale = Story::new(9, 14);
    let mut connection = Connection::open(&made);
    for frame in &tale.frames {
        connection.store(frame).unwrap();
    }
    connection.close();
    let repository = made.repository();
    let cuts = [vec![Cut::Base], cuts_of(&tale, &[5])].concat();
    let plan = plan(tale.ends[10], &cuts);
    let stop = StopFlag::default();
    fold_into(&reader_of(repository), &plan, PART, &stop, |_, _| {}).unwrap();
    collect(&reader_of(repository), || Ok(false), &stop).unwrap();
    tale.check_in(repository, tale.ends[10], &cuts, "sealed");
    assert_eq!(verify(repository, &stop, |_| {}).unwrap().damage, []);
    // And without the key.
    assert_eq!(verify(&open(&store), &stop, |_| {}).unwrap().damage, []);
}

#[test]
fn a_writer_goes_on_after_a_fold_and_a_takeover_finds_its_end() {
    let store = FaultyStore::default();
    let tale = Story::new(5, 12);
    stored(&store, &tale, 100);
    let repository = store.repository();
    let mut connection = Connection::open(&repository);
    fold(&store, tale.ends[8], &[]).unwrap();
    sweep(&store).unwrap();
    let last = tale.instants.last().unwrap();
    let mut driver = common::Driver { seq: last.0, ..common::Driver::default() };
    (driver.time, driver.epoch) = (last.1 + driver.tick, tale.ends.len() as u64 + 1);
    driver.monotonic = driver.time - common::T0;
    for byte in 0..10 {
        let epoch = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
        assert!(connection.store(&epoch).unwrap());
        drop(connection);
        connection = Connection::open(&repository);
        if byte == 5 {
            // A Hello begins with the boundary's state if no later one is kept.
            let state = store.names().into_iter().find(|name| name.ends_with("state.snapless"));
            if let Some(name) = state {
                let path = std::path::PathBuf::from(name);
                snapless_server::storage::Storage::remove(&store.storage(), &path).unwrap();
            }
        }
    }
    assert_eq!(connection.durable().1, driver.seq);
    let report = verify(&open(&store), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

#[test]
fn a_takeover_that_reads_while_another_server_folds_and_collects_finds_the_end() {
    let store = FaultyStore::default();
    let tale = Story::new(10, 12);
    let repository = store.repository();
    let mut connection = Connection::open(&repository);
    for frame in &tale.frames {
        connection.store(frame).unwrap();
    }
    // Without a kept state, all of the stream is read.
    drop(connection);
    let (other, boundary) = (store.clone(), tale.ends[8]);
    store.before(Before::Put, "segment-", move || {
        fold(&other, boundary, &[]).unwrap();
        assert!(sweep(&other).unwrap().bytes > 0);
    });
    let connection = Connection::open(&repository);
    assert_eq!(connection.durable().1, tale.instants.last().unwrap().0);
}

#[test]
fn void_segments_before_and_after_the_boundary_stay_void() {
    let store = FaultyStore::default();
    let repository = store.repository();
    let tale = Story::new(6, 14);
    for (index, frame) in tale.frames.iter().enumerate() {
        if index > 0 {
            // A part of the epoch, which the writer leaves.
            let mut left = Connection::open_with(&repository, 300);
            for record in Records::new(&frame[..frame.len() - RECORD_HEADER_LEN]) {
                let record = record.unwrap();
                left.store(&[&record.header.to_bytes(), record.payload].concat()).unwrap();
            }
        }
        let mut connection = Connection::open(&repository);
        assert!(connection.store(frame).unwrap());
        drop(connection);
    }
    let cuts = cuts_of(&tale, &[3, 11]);
    check(&store, &tale, (0, &[Cut::Base]), "before");
    fold(&store, tale.ends[7], &cuts).unwrap();
    check(&store, &tale, (tale.ends[7], &cuts), "folded");
    sweep(&store).unwrap();
    check(&store, &tale, (tale.ends[7], &cuts), "collected");
    // A takeover goes on with the chain of claims.
    drop(Connection::open(&repository));
    drop(Connection::open(&repository));
    check(&store, &tale, (tale.ends[7], &cuts), "taken over");
    fold(&store, tale.ends[11], &cuts).unwrap();
    sweep(&store).unwrap();
    check(&store, &tale, (tale.ends[11], &cuts), "folded again");
}

#[test]
fn of_two_servers_that_fold_one_session_one_does() {
    let store = FaultyStore::default();
    let tale = Story::new(2, 12);
    stored(&store, &tale, 100);
    let boundary = tale.ends[8];
    // Another server tries while this one writes.
    let other = store.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    store.before(Before::Put, "pages-", move || {
        sender.send(fold(&other, boundary, &[]).map_err(|error| error.to_string())).unwrap();
    });
    assert!(fold(&store, boundary, &[]).unwrap().is_new);
    let refused = receiver.recv().unwrap().unwrap_err();
    assert!(refused.contains("being folded by another process"), "{refused}");
    check(&store, &tale, (boundary, &[]), "folded once");
    sweep(&store).unwrap();
    check(&store, &tale, (boundary, &[]), "collected");
}

#[test]
fn a_server_that_was_asleep_while_another_took_over_publishes_and_removes_nothing() {
    for asleep_before in ["compact-", "pages-", "history-00000002"] {
        for takes_over in [true, false] {
            let store = FaultyStore::default();
            let tale = Story::new(3, 12);
            stored(&store, &tale, 100);
            let (boundary, cuts) = (tale.ends[8], cuts_of(&tale, &[2, 9]));
            let (other, others) = (store.clone(), cuts_of(&tale, &[4]));
            store.before(Before::Put, asleep_before, move || {
                // By the store's clock its lease has lapsed.
                other.advance(Duration::from_hours(1));
                if takes_over {
                    assert!(fold(&other, boundary, &others).unwrap().is_new);
                }
                // More than once: no number comes back by that.
                for _ in 0..3 {
                    sweep(&other).unwrap();
                }
            });
            let folded = fold(&store, boundary, &cuts);
            let why = format!("{asleep_before} {takes_over}");
            let refused = folded.unwrap_err();
            assert!(matches!(refused, Error::OtherFolds(_)), "{why}: {refused}");
            if takes_over {
                check(&store, &tale, (boundary, &cuts_of(&tale, &[4])), &why);
            } else {
                check(&store, &tale, (0, &[Cut::Base]), &why);
            }
            // What the one that slept has written goes with the next collection.
            store.advance(Duration::from_hours(1));
            sweep(&store).unwrap();
            let left = garbage(&reader(&store)).unwrap();
            assert_eq!(left, [], "{why}");
            let number = newest(&store);
            let foreign = |name: &&String| {
                HistoryNumber::from_pages_name(name).is_some_and(|of| Some(of) != number)
            };
            assert_eq!(names(&store).iter().find(foreign), None, "{why}");
        }
    }
}

#[test]
fn a_collection_that_was_asleep_removes_nothing_of_another_servers_fold() {
    let store = FaultyStore::default();
    let tale = Story::new(7, 14);
    stored(&store, &tale, 100);
    let first = cuts_of(&tale, &[2, 9]);
    fold(&store, tale.ends[6], &first).unwrap();
    let cuts = [cuts_of(&tale, &[9]), vec![Cut::Through(Seq::new(tale.ends[8]))]].concat();
    let (other, boundary) = (store.clone(), tale.ends[10]);
    let again = cuts.clone();
    store.before(Before::Delete, "segment-", move || {
        other.advance(Duration::from_hours(1));
        fold(&other, boundary, &again).unwrap();
    });
    // The batch that is under way goes: nothing refers to it, in the newer history neither.
    match sweep(&store) {
        Err(Error::OtherFolds(_)) => {}
        other => panic!("{other:?}"),
    }
    check(&store, &tale, (boundary, &cuts), "folded meanwhile");
    store.advance(Duration::from_hours(1));
    sweep(&store).unwrap();
    check(&store, &tale, (boundary, &cuts), "collected");
}

#[test]
fn a_fold_that_fails_at_any_request_leaves_the_old_history_or_the_new_one() {
    let tale = Story::new(8, 10);
    let (boundary, cuts) = (tale.ends[6], cuts_of(&tale, &[2, 9]));
    let mut outcomes = [0, 0];
    for arrives_late in [false, true] {
        for at in 0.. {
            let faulty = FaultyStore::default();
            stored(&faulty, &tale, 100);
            let puts = faulty.puts();
            // All attempts at one object fail, and those at all later ones.
            faulty.next(std::iter::repeat_n(None, at));
            faulty.always(Fault::Held);
            let folded = fold(&faulty, boundary, &cuts);
            let is_past = faulty.puts() - puts <= at;
            // The process is gone; what was on its way arrives, at once or after another one.
            let store = faulty.healed();
            store.advance(Duration::from_hours(1));
            for _ in 0..if arrives_late { 2 } else { 0 } {
                sweep(&store).unwrap();
            }
            store.advance(Duration::from_hours(1));
            faulty.release();
            let why = format!("request {at}, {arrives_late}: {:?}", folded.as_ref().err());
            let is_folded = newest(&store).is_some();
            assert!(is_folded || folded.is_err(), "{why}");
            let (from, kept) =
                if is_folded { (boundary, &cuts[..]) } else { (0, &[Cut::Base][..]) };
            check(&store, &tale, (from, kept), &why);
            sweep(&store).unwrap();
            check(&store, &tale, (from, kept), &format!("{why}, collected"));
            assert_eq!(garbage(&reader(&store)).unwrap(), [], "{why}");
            fold(&store, boundary, &cuts).unwrap();
            sweep(&store).unwrap();
            check(&store, &tale, (boundary, &cuts), &format!("{why}, folded again"));
            outcomes[usize::from(is_folded)] += 1;
            if is_past {
                break;
            }
        }
    }
    assert!(outcomes[0] > 3 && outcomes[1] > 1, "{outcomes:?}");
}

#[test]
fn a_fold_whose_answers_are_all_lost_once_is_the_same_fold() {
    let store = FaultyStore::default();
    let tale = Story::new(8, 10);
    stored(&store, &tale, 100);
    let (boundary, cuts) = (tale.ends[6], cuts_of(&tale, &[2, 9]));
    store.always(Fault::AnswerLost);
    assert!(fold(&store, boundary, &cuts).unwrap().is_new);
    check(&store, &tale, (boundary, &cuts), "folded");
    sweep(&store).unwrap();
    check(&store, &tale, (boundary, &cuts), "collected");
}

#[test]
fn a_collection_that_fails_at_any_removal_is_finished_by_the_next_one() {
    let tale = Story::new(11, 10);
    let (boundary, cuts) = (tale.ends[6], cuts_of(&tale, &[2, 9]));
    for failing in ["map-", "pages-", "compact-", "segment-", "segment-00000003", "history-"] {
        let store = FaultyStore::default();
        stored(&store, &tale, 3);
        fold(&store, tale.ends[3], &cuts).unwrap();
        keep(&reader(&store), 1, &StopFlag::default()).unwrap();
        fold(&store, boundary, &cuts).unwrap();
        store.fail_removals(Some(failing));
        let failed = sweep(&store);
        check(&store, &tale, (boundary, &cuts), failing);
        store.fail_removals(None);
        store.advance(Duration::from_hours(1));
        let removed = sweep(&store).unwrap();
        assert!(failed.is_ok() || removed.bytes > 0, "{failing}");
        assert_eq!(garbage(&reader(&store)).unwrap(), [], "{failing}");
        check(&store, &tale, (boundary, &cuts), failing);
    }
}

#[test]
fn what_may_not_be_removed_is_counted_and_goes_when_it_may() {
    let store = FaultyStore::default();
    let tale = Story::new(12, 12);
    stored(&store, &tale, 3);
    let (boundary, cuts) = (tale.ends[8], cuts_of(&tale, &[2]));
    // A role without the right to remove anything: leases and fences stay too.
    store.keep(&[""]);
    fold(&store, boundary, &cuts).unwrap();
    let all = names(&store).len();
    for _ in 0..2 {
        store.advance(Duration::from_hours(1));
        let swept = sweep(&store).unwrap();
        assert_eq!(swept.removed, []);
        assert!(swept.refused > 0 && swept.refused_bytes > 0, "{swept:?}");
        assert!(swept.why_refused.unwrap().contains("AccessDenied"));
        check(&store, &tale, (boundary, &cuts), "nothing may be removed");
    }
    assert!(names(&store).len() >= all);
    // A lock on some of them.
    let garbage_now = garbage(&reader(&store)).unwrap();
    let locked = garbage_now.iter().find(|it| it.name.starts_with("segment-")).unwrap();
    store.keep(&[&locked.name]);
    store.advance(Duration::from_hours(1));
    let swept = sweep(&store).unwrap();
    assert_eq!(swept.refused, 1, "{swept:?}");
    assert!(!swept.removed.is_empty());
    check(&store, &tale, (boundary, &cuts), "one is locked");
    store.keep(&[]);
    store.advance(Duration::from_hours(1));
    assert_eq!(sweep(&store).unwrap().refused, 0);
    assert_eq!(garbage(&reader(&store)).unwrap(), []);
    check(&store, &tale, (boundary, &cuts), "none is locked");
}

#[test]
fn garbage_stays_for_the_grace_after_the_history_was_published() {
    let minutes = Duration::from_mins;
    let terms = Terms { grace: minutes(2), ..Terms::default() };
    let store = FaultyStore::default().with_terms(terms);
    let tale = Story::new(13, 10);
    stored(&store, &tale, 100);
    fold(&store, tale.ends[6], &[]).unwrap();
    let stop = StopFlag::default();
    stop.set();
    // It would wait.
    let refused = collect(&reader(&store), || Ok(false), &stop).unwrap_err();
    assert!(matches!(refused, Error::Stopped), "{refused}");
    store.advance(minutes(3));
    assert!(sweep(&store).unwrap().bytes > 0);
    check(&store, &tale, (tale.ends[6], &[]), "collected");
}

#[test]
fn numbers_of_folds_never_come_back() {
    let store = FaultyStore::default();
    let tale = Story::new(14, 12);
    stored(&store, &tale, 100);
    let mut seen: Vec<u64> = Vec::new();
    let all = |store: &FaultyStore| -> Vec<u64> {
        let names = names(store);
        names.iter().filter_map(|name| HistoryNumber::from_file_name(name)).map(|it| it.0).collect()
    };
    for boundary in [tale.ends[4], tale.ends[6], tale.ends[8]] {
        fold(&store, boundary, &[]).unwrap();
        sweep(&store).unwrap();
        let now = all(&store);
        assert!(now.iter().min() > seen.iter().min(), "the older ones are gone: {now:?}");
        assert!(now.iter().max() > seen.iter().max(), "{now:?} after {seen:?}");
        // The newest history, and the last number that was used.
        assert_eq!(now.len(), 2, "{now:?}");
        seen = now;
    }
}

/// Sabotages: what each rule keeps out is found by the checks above.
mod sabotages {
    use snapless_server::pin::Pins;
    use snapless_server::restore::{Found, Source};
    use snapless_server::timeline::At;

    use super::*;
    use crate::common::{LENGTH, SESSION, VOLUME, header};

    #[test]
    fn without_the_fence_a_sleeping_fold_publishes_what_is_gone() {
        let store = FaultyStore::default();
        let tale = Story::new(3, 12);
        stored(&store, &tale, 100);
        let other = store.clone();
        store.before(Before::Put, "history-00000002", move || {
            other.advance(Duration::from_hours(1));
            sweep(&other).unwrap();
            let fence = other.names().into_iter().find(|name| name.contains("history-00000002"));
            let path = std::path::PathBuf::from(fence.unwrap());
            snapless_server::storage::Storage::remove(&other.storage(), &path).unwrap();
        });
        fold(&store, tale.ends[8], &cuts_of(&tale, &[2, 9])).unwrap();
        let report = verify(&open(&store), &StopFlag::default(), |_| {}).unwrap();
        assert!(report.damage.iter().any(|it| format!("{it:?}").contains("pages-00000002")));
    }

    #[test]
    fn without_a_look_at_the_leases_what_is_read_goes() {
        for looks in [true, false] {
            let store = FaultyStore::default();
            let tale = Story::new(3, 12);
            stored(&store, &tale, 100);
            let repository = open(&store).pinned_for("mount");
            let source = Source { volume: VOLUME, session: Some(SESSION), at: At::T0 };
            let stop = StopFlag::default();
            let point = Found::find(&repository, &source, &stop).unwrap().open(&stop, |_| {});
            let point = point.unwrap();
            fold(&store, tale.ends[8], &[]).unwrap();
            let pins = Pins::of(&store.store(), &header(LENGTH));
            let is_pinned = || if looks { pins.any_held() } else { Ok(false) };
            collect(&reader(&store), is_pinned, &stop).unwrap();
            let mut bytes = vec![0; usize::try_from(LENGTH).unwrap()];
            assert_eq!(point.read(0, &mut bytes).is_ok(), looks);
        }
    }
}

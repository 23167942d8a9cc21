//! Copies of sessions into another repository: the same records and images, what was lacking and no
//! more, and nothing where the two do not agree.

mod kills;
mod kinds;
mod program;
mod shipped;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::connection::{Connection, quiet};
use crate::common::counting::Counting;
use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, scratch};
use fastrand::Rng;
use snapless_server::copy::{How, Outcome, Plan, Report, Wanted, copy, copy_all};
use snapless_server::error::Error;
use snapless_server::format::bookmark::{Bookmark, BookmarkName, Making};
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::session::SessionHeader;
use snapless_server::list::list;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

/// A segment of the source is full after so many bytes: after some epochs.
const SEGMENT: u64 = 60_000;
const HOW: How =
    How { segment_bytes: SEGMENT, map_bytes: 30_000, commit_bytes: 20_000, limit: None };

/// A protected volume, whose server stores into a directory.
struct Machine {
    root: PathBuf,
    driver: Driver,
    rng: Rng,
}

impl Machine {
    fn new(root: PathBuf, seed: u64) -> Self {
        Self { root, driver: Driver::default(), rng: Rng::with_seed(seed) }
    }

    /// A first sync in two epochs, with writes between them.
    fn sync(&mut self) {
        let Self { driver, .. } = self;
        let first = [driver.start(), driver.blocks(0..3), driver.epoch_end()].concat();
        let write = driver.write(BLOCK, 3 * SECTOR, 0x77);
        let second =
            [write, driver.blocks(3..5), driver.base_complete(), driver.epoch_end()].concat();
        let mut connection = Connection::with_segments(&self.root, SEGMENT);
        connection.records(&first);
        connection.records(&second);
        connection.end();
    }

    /// A connection of so many epochs. It may begin with a gap, records before which were lost with
    /// the connection before.
    fn connect(&mut self, epochs: u64) {
        let mut connection = Connection::with_segments(&self.root, SEGMENT);
        if self.rng.bool() {
            self.driver.seq += self.rng.u64(0..5);
            let gap = self.driver.bridged_gap(self.rng.u8(..));
            connection.records(&gap);
        }
        for _ in 0..epochs {
            self.epoch(&mut connection);
        }
        connection.end();
    }

    /// An epoch in one frame or two, and perhaps some quiet after it.
    fn epoch(&mut self, connection: &mut Connection) {
        let mut frame = Vec::new();
        for _ in 0..self.rng.u64(1..6) {
            let sectors = self.rng.u64(1..9);
            let first = self.rng.u64(0..LENGTH / SECTOR - sectors);
            let byte = self.rng.u8(..);
            frame.extend(self.driver.write(first * SECTOR, sectors * SECTOR, byte));
            if self.rng.u8(..4) == 0 {
                let first = std::mem::take(&mut frame);
                connection.take(snapless_wire::frame::FrameKind::Records, &first).unwrap();
            }
        }
        frame.extend(self.driver.epoch_end());
        connection.records(&frame);
        while self.rng.u8(..4) == 0 {
            let mark = quiet(&mut self.driver, self.rng.u64(1..100));
            connection.mark(mark).unwrap();
            if self.rng.u8(..4) == 0 {
                // The wall clock is set.
                self.driver.time += 77 * FileTime::TICKS_PER_SECOND;
            }
        }
    }
}

/// Asserts how a command ended, and that it said `part`.
#[track_caller]
fn says(output: &Output, code: i32, part: &str) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(part) || err.contains(part), "{part}: {out}{err}");
}

fn copied(from: &Path, to: &Path, how: &How) -> Report {
    let target = common::repository(to);
    copy_all(&Repository::open(from).unwrap(), &target, how, &StopFlag::default()).unwrap()
}

/// What became of the one session.
fn outcome(report: &Report) -> &Outcome {
    let [session] = &report.sessions[..] else { panic!("one session: {report:?}") };
    &session.outcome
}

#[track_caller]
fn fails(report: &Report, part: &str) {
    let Outcome::Failed { error, .. } = outcome(report) else { panic!("{report:?}") };
    assert!(error.contains(part), "{error}");
}

/// Every file below a folder.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// The stream's files of the session, by their names.
fn stream(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files(&root.join(session_dir(VOLUME, SESSION))).into_iter();
    let named =
        files.map(|(path, bytes)| (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes));
    // Where the chunks of an index end depends on when the state was kept.
    named.filter(|(name, _)| is_segment(name) || name == "session.snapless").collect()
}

fn is_segment(name: &str) -> bool {
    SegmentNumber::from_file_name(name).is_some()
}

fn image(root: &Path, at: At) -> Option<Vec<u8>> {
    image_in(&Repository::open(root).unwrap(), at)
}

fn image_in(repository: &Repository, at: At) -> Option<Vec<u8>> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let stop = StopFlag::default();
    let found = match Found::find(repository, &source, &stop) {
        Err(Error::NotRestorable { .. }) => return None,
        found => found.unwrap(),
    };
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    found.open(&stop, |_| {}).unwrap().read(0, &mut image).unwrap();
    Some(image)
}

/// Asserts that both repositories have the same points, with the same images.
#[track_caller]
fn same_points(one: &Path, other: &Path, machine: &mut Machine) {
    let end = machine.driver.time - common::T0;
    let instants = (0..20).map(|_| At::Time(FileTime::new(common::T0 + machine.rng.u64(0..end))));
    for at in instants.chain([At::T0, At::Latest]) {
        assert_eq!(image(one, at), image(other, at), "{at:?}");
    }
    let listed = |root: &Path| {
        let volumes = list(&Repository::open(root).unwrap(), &StopFlag::default()).unwrap();
        let stream = volumes[0].sessions[0].content.stream().unwrap().clone();
        (volumes[0].sessions[0].shape.clone(), stream.latest, stream.points, stream.gaps)
    };
    assert_eq!(listed(one), listed(other));
}

#[track_caller]
fn sound(root: &Path) {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

#[test]
fn a_copy_has_the_same_segments_and_points_whatever_the_stream_is() {
    for seed in 0..12 {
        let dir = scratch();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        let mut machine = Machine::new(a.clone(), seed);
        machine.sync();
        for epochs in [0, 3, 40, 1, 20] {
            if epochs > 0 {
                machine.connect(epochs);
            }
            let report = copied(&a, &b, &HOW);
            let Outcome::Copied { last_seq, .. } = *outcome(&report) else { panic!("{report:?}") };
            assert_eq!(last_seq, machine.driver.seq, "seed {seed}");
            assert_eq!(stream(&a), stream(&b), "seed {seed}");
            sound(&b);
        }
        // Segments of another length hold the same records.
        copied(&a, &c, &How { segment_bytes: 9_000, map_bytes: 10_000, ..HOW });
        sound(&c);
        same_points(&a, &b, &mut machine);
        same_points(&a, &c, &mut machine);
        let maps = |root: &Path| {
            files(root)
                .into_keys()
                .filter(|path| path.extension().is_some_and(|it| it == "slmap"))
                .count()
        };
        assert!(maps(&b) > 1 && maps(&c) > 1, "maps are kept");
        assert_eq!(*outcome(&copied(&a, &c, &HOW)), Outcome::UpToDate);
    }
}

#[test]
fn a_copy_reads_what_is_lacking_and_changes_nothing_in_the_source() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 1);
    machine.sync();
    machine.connect(100);
    copied(&a, &b, &HOW);
    let stored = stream(&a).values().map(Vec::len).sum::<usize>() as u64;
    machine.connect(2);
    let grown = stream(&a).values().map(Vec::len).sum::<usize>() as u64 - stored;
    let before = files(&a);
    let counting = Counting::new(&a);
    let from = Repository::open_in(Store::new(Arc::new(counting.clone()))).unwrap();
    let report = copy_all(&from, &common::repository(&b), &HOW, &StopFlag::default()).unwrap();
    assert!(report.bytes > 0 && report.bytes <= grown, "{report:?} of {grown}");
    // The first entries of some segments, and what is new: far from all.
    let read = counting.taken("slseg");
    assert!(read < stored / 2, "{read} of {stored}");
    assert_eq!(files(&a), before);
    assert_eq!(stream(&a), stream(&b));
    let copy = files(&b);
    assert_eq!(*outcome(&copied(&a, &b, &HOW)), Outcome::UpToDate);
    assert_eq!(files(&b), copy, "nothing was to be done");
}

#[test]
fn the_latest_point_of_a_quiet_volume_goes_on_in_the_copy() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 2);
    machine.sync();
    copied(&a, &b, &HOW);
    for _ in 0..3 {
        let mut connection = Connection::with_segments(&a, SEGMENT);
        let mark = quiet(&mut machine.driver, 3_600);
        connection.mark(mark).unwrap();
        connection.end();
        copied(&a, &b, &HOW);
        same_points(&a, &b, &mut machine);
    }
    machine.connect(3);
    copied(&a, &b, &HOW);
    assert_eq!(stream(&a), stream(&b));
}

#[test]
fn a_copy_that_is_stopped_anywhere_goes_on_later() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 3);
    machine.sync();
    machine.connect(60);
    let from = Repository::open(&a).unwrap();
    let mut stops = 0;
    loop {
        let (target, stop) = (common::repository(&b), StopFlag::default());
        let plan = Plan::make(&from, Some(target.repository()), &Wanted::default(), &stop).unwrap();
        let some = machine.rng.u64(5_000..50_000);
        let copying = copy(plan, &target, &HOW, &stop, |progress| {
            assert!(progress.done <= progress.total);
            if progress.done >= some {
                stop.set();
            }
        });
        drop(target);
        match copying {
            Err(Error::Stopped) => stops += 1,
            ended => break drop(ended.unwrap()),
        }
        sound(&b);
        assert!(stops < 1_000, "it comes to an end");
    }
    assert!(stops > 3, "{stops} stops");
    assert_eq!(stream(&a), stream(&b));
    same_points(&a, &b, &mut machine);
}

#[test]
fn a_server_that_writes_meanwhile_is_not_in_the_way() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 4);
    machine.sync();
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut connection = Connection::with_segments(&a, SEGMENT);
            for _ in 0..300 {
                machine.epoch(&mut connection);
            }
            connection.end();
            has_ended.store(true, Ordering::Relaxed);
        });
        while !has_ended.load(Ordering::Relaxed) && !writer.is_finished() {
            assert!(copied(&a, &b, &HOW).is_complete());
            sound(&b);
        }
        writer.join().unwrap();
    });
    assert!(copied(&a, &b, &HOW).is_complete());
    assert_eq!(stream(&a), stream(&b));
    same_points(&a, &b, &mut machine);
}

/// Repositories of which the one is a copy of the other, and the machine.
fn twins(dir: &Path) -> (PathBuf, PathBuf, Machine) {
    let [a, b] = ["a", "b"].map(|name| dir.join(name));
    let mut machine = Machine::new(a.clone(), 5);
    machine.sync();
    machine.connect(10);
    copied(&a, &b, &HOW);
    (a, b, machine)
}

#[test]
fn a_session_of_which_the_target_has_more_is_left_alone() {
    let dir = scratch();
    let (a, b, mut machine) = twins(dir.path());
    // The machine sends to the other server now.
    machine.root.clone_from(&b);
    machine.connect(2);
    let before = files(&b);
    let report = copied(&a, &b, &HOW);
    fails(&report, "was restored from an older state");
    fails(&report, &format!("up to {} in the target", machine.driver.seq));
    assert_eq!(files(&b), before);
    // The other way round it goes.
    assert!(copied(&b, &a, &HOW).is_complete());
    assert_eq!(stream(&a), stream(&b));
}

#[test]
fn a_session_with_another_history_is_left_alone() {
    let dir = scratch();
    let (a, b, mut machine) = twins(dir.path());
    let driver = machine.driver.clone();
    machine.root.clone_from(&b);
    machine.connect(3);
    // What follows the same record is something else, and more of it.
    (machine.root, machine.driver) = (a.clone(), driver);
    machine.connect(8);
    let before = files(&b);
    fails(&copied(&a, &b, &HOW), "has another history");
    assert_eq!(files(&b), before);
}

#[test]
fn one_other_record_in_the_last_entry_is_another_history() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for (root, byte) in [(&a, 1), (&b, 2)] {
        let mut driver = Driver::default();
        let second = |driver: &mut Driver, byte| {
            [driver.write(0, SECTOR, byte), driver.epoch_end()].concat()
        };
        let frames = [driver.first_sync(), second(&mut driver, byte)];
        common::ingest(root, LENGTH, SEGMENT, &frames);
        if byte == 1 {
            let more = second(&mut driver, 3);
            common::ingest(root, LENGTH, SEGMENT, &[more]);
        }
    }
    fails(&copied(&a, &b, &HOW), "has another history");
}

#[test]
fn a_session_of_another_geometry_is_left_alone() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    common::ingest(&a, LENGTH, SEGMENT, &[Driver::default().first_sync()]);
    common::ingest(&b, LENGTH + BLOCK, SEGMENT, &[Driver::default().start()]);
    fails(&copied(&a, &b, &HOW), "another length");
}

fn other(number: u8) -> SessionHeader {
    SessionHeader { session: SessionId([number; 16]), ..common::header(LENGTH) }
}

fn of_volume(number: u8) -> SessionHeader {
    SessionHeader { volume: VolumeGuid([number; 16]), ..other(number) }
}

#[test]
fn volumes_and_sessions_are_chosen_and_those_of_no_use_are_left_out() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for header in [other(1), other(2), of_volume(3)] {
        common::ingest_as(&a, &header, SEGMENT, &[Driver::default().first_sync()]);
    }
    // Nothing of it was acknowledged.
    common::ingest_as(&a, &other(4), SEGMENT, &[]);
    let from = Repository::open(&a).unwrap();
    let target = common::repository(&b);
    let stop = StopFlag::default();
    let run = |wanted: &Wanted| {
        let plan = Plan::make(&from, Some(target.repository()), wanted, &stop)?;
        copy(plan, &target, &HOW, &stop, |_| {})
    };
    let volumes = |volumes: &[VolumeGuid]| Wanted { volumes: volumes.to_vec(), session: None };
    assert_eq!(run(&volumes(&[VOLUME, VOLUME])).unwrap().sessions.len(), 2);
    assert_eq!(target.repository().volumes().unwrap(), [VOLUME]);
    let missing = VolumeGuid([9; 16]);
    assert!(matches!(run(&volumes(&[missing])), Err(Error::NoVolume { .. })));
    let one = |session| Wanted { volumes: vec![], session: Some(session) };
    assert_eq!(run(&one(SessionId([3; 16]))).unwrap().records, 8);
    assert!(matches!(run(&one(SessionId([8; 16]))), Err(Error::NoSuchSession(_))));

    // One that was removed from the target on purpose.
    fs::remove_dir_all(b.join(session_dir(VOLUME, SessionId([1; 16])))).unwrap();
    let report = run(&Wanted::default()).unwrap();
    assert!(!report.is_complete() && report.has_damage(), "it is missed: {report:?}");
    target.repository().forget(VOLUME, SessionId([1; 16])).unwrap();
    let report = run(&Wanted::default()).unwrap();
    let outcomes: Vec<_> = report.sessions.iter().map(|it| &it.outcome).collect();
    assert_eq!(outcomes, [&Outcome::UpToDate, &Outcome::Forgotten, &Outcome::UpToDate]);
    assert_eq!(run(&one(SessionId([1; 16]))).unwrap().records, 8);
    assert_eq!(run(&Wanted::default()).unwrap().sessions[1].outcome, Outcome::UpToDate);
}

#[test]
fn bookmarks_go_with_their_sessions_and_replace_none() {
    let dir = scratch();
    let (a, b, machine) = twins(dir.path());
    let [from, to] = [&a, &b].map(|root| Repository::open(root).unwrap());
    let bookmark = |name: &str, seq: u64| Bookmark {
        name: BookmarkName::parse(name).unwrap(),
        volume: VOLUME,
        session: SESSION,
        created: FileTime::new(common::T0),
        time: FileTime::new(machine.driver.time),
        cut: Cut::Through(Seq::new(seq)),
        keep: None,
        making: Making::default(),
    };
    for (name, seq) in [("one", 5), ("two", 6), ("gone", 7)] {
        from.add_bookmark(&bookmark(name, seq)).unwrap();
    }
    let of_no_session = Bookmark { session: SessionId([9; 16]), ..bookmark("stray", 1) };
    from.add_bookmark(&of_no_session).unwrap();
    to.add_bookmark(&bookmark("two", 4)).unwrap();
    assert_eq!(copied(&a, &b, &HOW).bookmarks, 2);
    let found = to.bookmarks(Some(VOLUME)).unwrap();
    let found: Vec<_> = found.into_iter().map(|it| it.bookmark.unwrap()).collect();
    assert_eq!(found, [bookmark("gone", 7), bookmark("one", 5), bookmark("two", 4)]);
    assert_eq!(copied(&a, &b, &HOW).bookmarks, 0);
}

#[test]
fn damage_of_the_source_ends_a_session_at_the_last_epoch_before_it_and_no_other() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut driver = Driver::default();
    let mut frames = vec![driver.first_sync()];
    for byte in 0..20 {
        frames.push([driver.write(0, 8 * SECTOR, byte), driver.epoch_end()].concat());
    }
    common::ingest(&a, LENGTH, 1 << 20, &frames);
    common::ingest_as(&a, &of_volume(3), SEGMENT, &[Driver::default().first_sync()]);
    let path = a.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let mut bytes = fs::read(&path).unwrap();
    // In the twelfth epoch after the first sync.
    let frame = frames[1].len() + 16;
    let at = bytes.len() - 9 * frame + 200;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = copied(&a, &b, &HOW);
    assert!(!report.is_complete() && report.has_damage());
    let outcomes: Vec<_> = report.sessions.iter().map(|it| &it.outcome).collect();
    let [Outcome::Copied { records: 8, .. }, Outcome::Failed { error, damaged: true }] =
        outcomes[..]
    else {
        panic!("{report:?}")
    };
    assert!(error.contains("segment-00000001.slseg"), "{error}");
    sound(&b);
    let mut want = common::base_image();
    common::patch(&mut want, 0, 8 * SECTOR, 10);
    assert_eq!(image(&b, At::Latest).unwrap(), want, "all whole epochs before the damage");
    // What was damaged is put right, and the copy goes on.
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(copied(&a, &b, &HOW).is_complete());
    common::patch(&mut want, 0, 8 * SECTOR, 19);
    assert_eq!(image(&b, At::Latest).unwrap(), want);
}

#[test]
fn a_target_whose_newest_end_is_torn_goes_on_from_its_whole_epochs() {
    let dir = scratch();
    let (a, b, mut machine) = twins(dir.path());
    let path = b.join(session_dir(VOLUME, SESSION)).join("acknowledged.snapless");
    let mut bytes = fs::read(&path).unwrap();
    let newest = [0, 4096].into_iter().max_by_key(|at| bytes[at + 16]).unwrap();
    bytes[newest + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    machine.connect(3);
    assert!(copied(&a, &b, &HOW).is_complete());
    assert_eq!(stream(&a), stream(&b));
    sound(&b);
}

#[test]
fn a_dry_run_says_what_would_be_copied_and_changes_nothing() {
    let dir = scratch();
    let (a, b, mut machine) = twins(dir.path());
    machine.connect(4);
    let before = files(&b);
    let [from, to] = [&a, &b].map(|root| Repository::open(root).unwrap());
    let stop = StopFlag::default();
    let plan = Plan::make(&from, Some(&to), &Wanted::default(), &stop).unwrap();
    let would = plan.report();
    assert_eq!(*outcome(&would), Outcome::ToCopy { bytes: plan.bytes() });
    assert_eq!(files(&b), before);
    let done = copied(&a, &b, &HOW);
    assert!(done.bytes > 0 && done.bytes <= would.bytes, "{done:?} of {would:?}");
    let whole = Plan::make(&from, None, &Wanted::default(), &stop).unwrap();
    assert!(whole.bytes() > plan.bytes());
}

#[test]
fn the_target_is_locked_as_a_server_locks_it() {
    let dir = scratch();
    let (_, b, _) = twins(dir.path());
    let _held = WritableRepository::open(&b).unwrap();
    assert!(matches!(WritableRepository::open(&b), Err(Error::Locked(_))));
}

//! The index of a segment says what the segment says, or is not used: whatever becomes of it, no
//! image is wrong. What is read of the segments is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::counting::Counting;
use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, VOLUME};
use snapless_server::format::acknowledged::Acknowledged;
use snapless_server::format::repository::session_dir;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository};
use snapless_server::restore::{Found, Source};
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::stream::StreamState;
use snapless_server::timeline::At;
use snapless_server::verify::{Finding, verify};
use snapless_server::writer::SessionWriter;
use snapless_types::RecordKind;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;

fn folder(root: &Path) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION))
}

fn index(root: &Path, number: u64) -> PathBuf {
    folder(root).join(format!("segment-{number:08}.slidx"))
}

fn open(root: &Path, limit: u64) -> (SessionWriter, StreamState) {
    let repository = common::repository(root);
    let stop = StopFlag::default();
    SessionWriter::open(&repository, &common::header(LENGTH), limit, &stop).unwrap()
}

/// Stores the frames over one connection that ends in order. After each epoch comes a watermark.
fn store(root: &Path, limit: u64, frames: &[Vec<u8>]) {
    let (mut writer, mut state) = open(root, limit);
    for payload in frames {
        append(&mut writer, &mut state, payload);
        let last = state.last().unwrap();
        if state.ended_epoch() == last.epoch {
            writer.commit(last.epoch, last.seq).unwrap();
            let time = FileTime::new(last.time().get() + 1);
            let watermark = Watermark::new(last.seq, time, time.get() - common::T0);
            state.mark(&watermark).unwrap();
            writer.mark(&watermark).unwrap();
        }
    }
    writer.keep_state_at_end(&state);
}

fn append(writer: &mut SessionWriter, state: &mut StreamState, payload: &[u8]) {
    for record in Records::new(payload) {
        state.accept(&record.unwrap().header).unwrap();
    }
    writer.append(&FrameHeader::new(FrameKind::Records, payload).unwrap(), payload).unwrap();
}

fn damage(root: &Path) -> Vec<Finding> {
    verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap().damage
}

/// A point and its image.
type Image = (At, Vec<u8>);

/// A first sync and six epochs in frames of one record or several, and the image after each.
fn history(shift: u64) -> (Vec<Vec<u8>>, Vec<Image>) {
    let mut driver = Driver::default();
    let mut frames: Vec<_> = vec![driver.start()];
    frames.extend((0..5).map(|block| driver.blocks(block..block + 1)));
    frames.push([driver.base_complete(), driver.epoch_end()].concat());
    let mut image = common::base_image();
    let mut images = vec![(At::T0, image.clone())];
    for (epoch, byte) in (0_u64..6).zip(0x40_u8..) {
        let offset = (epoch * 11 + shift) % 100 * SECTOR;
        let write = driver.write(offset, 3 * SECTOR, byte);
        common::patch(&mut image, offset, 3 * SECTOR, byte);
        let zero = driver.plain(RecordKind::Zero, (epoch + shift) * SECTOR, SECTOR);
        common::patch(&mut image, (epoch + shift) * SECTOR, SECTOR, 0);
        frames.extend([write, [zero, driver.epoch_end()].concat()]);
        let last = driver.time - driver.tick;
        images.extend([last, last + 1].map(|at| (At::Time(FileTime::new(at)), image.clone())));
    }
    (frames, images)
}

fn check_images(root: &Path, images: &[Image], why: &str) {
    for (at, want) in images {
        let (_, found) = common::image(root, *at).unwrap();
        assert!(found == *want, "{why}: {at:?}");
    }
}

/// Ticks in an hour.
const HOUR: u64 = 60 * MINUTE;
/// Ticks in a minute.
const MINUTE: u64 = 60 * FileTime::TICKS_PER_SECOND;
/// A segment takes a block and some writes.
const LIMIT: u64 = 20 << 10;
/// No segment is ever full.
const NO_LIMIT: u64 = 1 << 20;

#[test]
fn no_flipped_byte_of_an_index_gives_a_wrong_image_and_verify_names_the_file() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, images) = history(0);
    store(&root, LIMIT, &frames);
    assert_eq!(damage(&root), []);
    let ends = [images[0].clone(), images.last().unwrap().clone()];
    for number in [4, 5] {
        let path = index(&root, number);
        let is_finished = index(&root, number + 1).exists();
        assert_eq!(is_finished, number == 4);
        let good = fs::read(&path).unwrap();
        assert!(good.len() > 150, "{} bytes", good.len());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            check_images(&root, &ends, &format!("byte {at} of index {number}"));
            let found = damage(&root);
            assert_eq!(found.len(), usize::from(is_finished), "byte {at}: {found:?}");
            assert!(found.iter().all(|it| it.file.0 == path), "byte {at}: {found:?}");
        }
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            check_images(&root, &ends[1..], &format!("{len} bytes of index {number}"));
        }
        fs::write(&path, &good).unwrap();
    }
    check_images(&root, &images, "as it was");
}

#[test]
fn an_index_has_the_watermarks_before_its_records_also_those_at_which_the_clock_was_set() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (mut writer, mut state) = open(&root, NO_LIMIT);
    let mut driver = Driver::default();
    let mut image = common::base_image();
    let mut images = Vec::new();
    let mut frame = driver.first_sync();
    // Hours in which nothing is written; in each the clock is set back by a minute.
    for byte in 0x20..0x24 {
        append(&mut writer, &mut state, &frame);
        let last = state.last().unwrap();
        writer.commit(last.epoch, last.seq).unwrap();
        for (passed, is_set) in [(HOUR, false), (HOUR, true)] {
            driver.monotonic += passed;
            driver.time += if is_set { passed - MINUTE } else { passed };
            let time = FileTime::new(driver.time);
            let watermark = Watermark::new(last.seq, time, driver.monotonic);
            state.mark(&watermark).unwrap();
            writer.mark(&watermark).unwrap();
            images.push((At::Time(time), image.clone()));
        }
        driver.time += 2 * MINUTE;
        driver.monotonic += 2 * MINUTE;
        frame = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
        common::patch(&mut image, 0, SECTOR, byte);
    }
    append(&mut writer, &mut state, &frame);
    let last = state.last().unwrap();
    writer.commit(last.epoch, last.seq).unwrap();
    images.push((At::Latest, image));
    let survey = |why: &str| {
        check_images(&root, &images, why);
        let Presence::Header(header) =
            Repository::open(&root).unwrap().session(VOLUME, SESSION).unwrap()
        else {
            panic!("{why}: there is no session")
        };
        let repository = Repository::open(&root).unwrap();
        let reader = SessionReader::open(repository.store(), header).unwrap();
        let found = reader.survey(&StopFlag::default()).unwrap();
        assert!(found.is_same(&state), "{why}");
    };
    survey("the index is not written yet");
    writer.keep_state_at_end(&state);
    drop(writer);
    let path = index(&root, 1);
    assert!(fs::metadata(&path).unwrap().len() > 300);
    survey("the state is kept");
    fs::remove_file(folder(&root).join("state.snapless")).unwrap();
    survey("the index alone");
    let made = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    survey("the segment alone");
    drop(open(&root, NO_LIMIT));
    assert!(fs::read(&path).unwrap() == made, "made again from the segment");
    assert_eq!(damage(&root), []);
}

#[test]
fn the_index_of_the_last_segment_is_made_whole_wherever_it_was_torn() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, images) = history(0);
    store(&root, NO_LIMIT, &frames);
    let path = index(&root, 1);
    let good = fs::read(&path).unwrap();
    for len in 0..good.len() {
        let mut torn = good[..len].to_vec();
        if len % 2 == 0 {
            // The length of a write survived, and not its bytes.
            torn.resize(good.len(), 0);
        }
        fs::write(&path, torn).unwrap();
        drop(open(&root, NO_LIMIT));
        assert!(fs::read(&path).unwrap() == good, "{len} bytes were left");
    }
    fs::remove_file(&path).unwrap();
    check_images(&root, &images, "without an index");
    drop(open(&root, NO_LIMIT));
    assert!(fs::read(&path).unwrap() == good, "it was missing");
    check_images(&root, &images, "made again");
}

#[test]
fn an_index_of_another_history_of_the_session_is_not_used() {
    let dir = common::scratch();
    let [root, other] = ["repository", "other"].map(|name| dir.path().join(name));
    let (frames, images) = history(0);
    store(&root, LIMIT, &frames);
    store(&other, LIMIT, &history(7).0);
    for number in 1..=5 {
        fs::copy(index(&other, number), index(&root, number)).unwrap();
    }
    check_images(&root, &images, "of another history");
    // Also that of the last segment, as far as it goes.
    for number in [4, 5] {
        assert!(damage(&root).iter().any(|it| it.file.0 == index(&root, number)), "{number}");
    }
    // Longer than the segment, and that of another segment.
    for (from, to) in [(5, 4), (4, 5)] {
        fs::copy(index(&other, from), index(&root, to)).unwrap();
    }
    check_images(&root, &images, "of another segment");
}

#[test]
fn entries_that_were_cut_off_are_in_no_index() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    store(&root, NO_LIMIT, &[driver.first_sync()]);
    // More than a chunk of an epoch that never ends.
    let lost: Vec<u8> = {
        let mut driver = driver.clone();
        (0..14_000).flat_map(|_| driver.zero(RecordKind::Write, BLOCK, SECTOR)).collect()
    };
    let (mut writer, mut state) = open(&root, NO_LIMIT);
    append(&mut writer, &mut state, &lost);
    drop(writer);
    let long = fs::metadata(index(&root, 1)).unwrap().len();
    assert!(long > 64 << 10, "{long} bytes");
    let want = common::base_image();
    check_images(&root, &[(At::Latest, want.clone())], "a reader sees what was acknowledged");
    drop(open(&root, NO_LIMIT));
    assert!(fs::metadata(index(&root, 1)).unwrap().len() < 1000, "it was cut back");
    let kept = [driver.write(0, SECTOR, 0xee), driver.epoch_end()].concat();
    store(&root, NO_LIMIT, &[kept]);
    let mut image = want;
    common::patch(&mut image, 0, SECTOR, 0xee);
    check_images(&root, &[(At::Latest, image)], "what came instead");
    assert_eq!(damage(&root), []);
}

#[test]
fn a_whole_segment_past_the_end_leaves_no_index() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, images) = history(0);
    store(&root, LIMIT, &frames);
    let acknowledged = folder(&root).join("acknowledged.snapless");
    let end = fs::read(&acknowledged).unwrap();
    let segment = Acknowledged::read(&end).unwrap().segment.0;
    for number in [segment + 1, segment + 2] {
        fs::copy(index(&root, 1), index(&root, number)).unwrap();
    }
    drop(open(&root, LIMIT));
    assert!(!index(&root, segment + 1).exists() && !index(&root, segment + 2).exists());
    check_images(&root, &images, "the rest");
}

#[test]
fn a_server_makes_the_indices_that_finished_segments_lack() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, images) = history(0);
    store(&root, LIMIT, &frames);
    let paths = [1, 2, 3, 4].map(|number| index(&root, number));
    let good = paths.each_ref().map(|path| fs::read(path).unwrap());
    for path in &paths {
        fs::remove_file(path).unwrap();
    }
    // A damaged segment keeps none of the others from getting theirs.
    let segment = folder(&root).join("segment-00000002.slseg");
    let sound = fs::read(&segment).unwrap();
    let mut bad = sound.clone();
    bad[500] ^= 1;
    fs::write(&segment, bad).unwrap();
    let server = Running::start(&root);
    let _client = Client::resume(server.address);
    let begun = Instant::now();
    while !paths[3].exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no index is made");
        std::thread::sleep(Duration::from_millis(5));
    }
    for number in [0, 2, 3] {
        assert!(fs::read(&paths[number]).unwrap() == good[number], "segment {}", number + 1);
    }
    assert!(!paths[1].exists());
    drop(server);
    fs::write(&segment, sound).unwrap();
    check_images(&root, &images, "made again");
    assert_eq!(damage(&root), []);
}

#[test]
fn stat_reads_the_indices_and_counts_what_the_segments_have() {
    let dir = common::scratch();
    let [root, other] = ["repository", "other"].map(|name| dir.path().join(name));
    let frames = |byte: u8| {
        let mut driver = Driver::default();
        let mut frames = vec![driver.first_sync()];
        for round in 0..24 {
            let writes = (0..60).flat_map(|_| driver.write(BLOCK, 2 * BLOCK, round + byte));
            frames.push([writes.collect(), driver.epoch_end()].concat());
        }
        frames
    };
    let stored: u64 = frames(0).iter().map(|frame| frame.len() as u64).sum();
    store(&root, 6 << 20, &frames(0));
    store(&other, 6 << 20, &frames(1));
    let counted = || {
        let storage = Counting::new(&root);
        let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
        let found = stat(&repository, None, &StopFlag::default(), |_, _| {}).unwrap().total;
        ((found.segments, found.entries, found.records, found.causes), storage.taken("slseg"))
    };
    let (want, read) = counted();
    assert!(read < 200 << 10, "{read} of {stored} bytes of segments");
    assert_eq!(want.2, 8 + 24 * 61);
    // Of another history: what was counted by it is counted again.
    fs::copy(index(&other, 3), index(&root, 3)).unwrap();
    let (found, read) = counted();
    assert!(found == want && read > stored, "{found:?}, {read} bytes");
    fs::remove_file(index(&root, 3)).unwrap();
    let (found, read) = counted();
    assert!(found == want && read < 8 << 20, "{found:?}, {read} bytes");
}

#[test]
fn a_point_is_found_in_the_indices_and_a_sector_without_the_rest_of_its_entry() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut frames = vec![driver.first_sync()];
    for round in 0..24 {
        let writes = (0..60).flat_map(|_| driver.write(BLOCK, 2 * BLOCK, round));
        let frame: Vec<u8> = writes.collect();
        frames.push([frame, driver.epoch_end()].concat());
    }
    let stored: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    store(&root, 6 << 20, &frames);
    let storage = Counting::new(&root);
    let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
    let stop = StopFlag::default();
    let image = Found::find(&repository, &source, &stop).unwrap().open(&stop, |_| {}).unwrap();
    let (segments, indices) = (storage.taken("slseg"), storage.taken("slidx"));
    assert!(segments < 200 << 10, "{segments} of {stored} bytes of segments");
    assert!(indices > 0 && indices < 100 << 10, "{indices} bytes of indices");
    let mut sector = [0; 512];
    image.read(BLOCK, &mut sector).unwrap();
    assert_eq!(sector, [23; 512]);
    assert_eq!(storage.taken("slseg"), 2 * BLOCK, "the record's content");
}

//! Kept maps: a point on one is the point without one, whatever becomes of the map, and what is
//! read for a point does not grow with the history.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::counting::Counting;
use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, VOLUME};
use snapless_server::bytes::Bytes;
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::session::SessionHeader;
use snapless_server::point::PointReader;
use snapless_server::point::keep::{keep, keep_due};
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository};
use snapless_server::restore::{Found, Request, Source, restore};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::At;
use snapless_server::verify::{Finding, verify};
use snapless_server::writer::SessionWriter;
use snapless_types::{RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;

/// Bytes of a page.
const PAGE: u64 = 4096 * BLOCK;
/// Ticks in a minute.
const MINUTE: u64 = 60 * FileTime::TICKS_PER_SECOND;
/// Three pages and a short one.
const LONG: u64 = 3 * PAGE + 2 * BLOCK;

fn folder(root: &Path) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION))
}

fn header(length: u64) -> SessionHeader {
    common::header(length)
}

/// Stores the frames over one connection that ends in order.
fn store(root: &Path, length: u64, frames: &[Vec<u8>]) {
    store_marked(root, length, frames, &[]);
}

/// [`store`], with watermarks after their records.
fn store_marked(root: &Path, length: u64, frames: &[Vec<u8>], marks: &[Watermark]) {
    store_in_segments(root, length, 1 << 20, frames, marks);
}

/// [`store_marked`], in segments of at most so many bytes.
fn store_in_segments(
    root: &Path,
    length: u64,
    limit: u64,
    frames: &[Vec<u8>],
    marks: &[Watermark],
) {
    let repository = common::repository(root);
    let stop = StopFlag::default();
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &header(length), limit, &stop).unwrap();
    for payload in frames {
        for record in Records::new(payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, payload).unwrap(), payload).unwrap();
        let last = state.last().unwrap();
        if state.ended_epoch() == last.epoch {
            writer.commit(last.epoch, last.seq).unwrap();
        }
        for mark in marks.iter().filter(|mark| mark.seq() == last.seq) {
            state.mark(mark).unwrap();
            writer.mark(mark).unwrap();
        }
    }
    writer.keep_state_at_end(&state);
}

fn reader(repository: &Repository) -> SessionReader {
    let Presence::Header(header) = repository.session(VOLUME, SESSION).unwrap() else {
        panic!("there is no session")
    };
    SessionReader::open(repository.store(), header).unwrap()
}

fn keep_maps(root: &Path, after: u64) -> u64 {
    keep(&reader(&Repository::open(root).unwrap()), after, &StopFlag::default()).unwrap()
}

fn open_in(repository: &Repository, at: At) -> Result<PointReader, Error> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let stop = StopFlag::default();
    Found::find(repository, &source, &stop)?.open(&stop, |_| {})
}

fn open(root: &Path, at: At) -> Result<PointReader, Error> {
    open_in(&Repository::open(root).unwrap(), at)
}

/// The names of the kept maps, in order.
fn maps(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(root)).unwrap().map(|entry| entry.unwrap().path());
    let mut maps: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "slmap")).collect();
    maps.sort();
    maps
}

fn damage(root: &Path) -> Vec<Finding> {
    verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap().damage
}

/// A point and sectors of it: of each its place and its byte.
type Truth = (At, Vec<(u64, u8)>);

/// A volume of several pages without data but for what seven epochs write on both sides of the
/// pages' borders, and what can be read after each.
fn long_volume() -> (Vec<Vec<u8>>, Vec<Truth>) {
    volume_with_writes_of(4)
}

/// [`long_volume`] with writes of so many sectors, two of them behind the border.
fn volume_with_writes_of(count: u64) -> (Vec<Vec<u8>>, Vec<Truth>) {
    let mut driver = Driver::default();
    let all = driver.start();
    let base = driver.plain(RecordKind::Unallocated, 0, LONG);
    let mut frames = vec![[all, base, driver.base_complete(), driver.epoch_end()].concat()];
    let places = [PAGE, 2 * PAGE, 3 * PAGE, PAGE / 2, PAGE, LONG - 2 * SECTOR, 2 * PAGE];
    let mut sectors: Vec<(u64, u8)> = places
        .iter()
        .flat_map(|place| [place - 3 * SECTOR, place - SECTOR, *place, place + SECTOR])
        .map(|sector| (sector, 0))
        .collect();
    sectors.sort_unstable();
    sectors.dedup();
    let mut truth = vec![(At::T0, sectors.clone())];
    for (place, byte) in places.into_iter().zip(0x11..) {
        let end = place + 2 * SECTOR;
        let written = end - count * SECTOR..end;
        let write = driver.write(written.start, count * SECTOR, byte);
        frames.push([write, driver.epoch_end()].concat());
        for (sector, found) in &mut sectors {
            if written.contains(sector) {
                *found = byte;
            }
        }
        truth.push((At::Time(FileTime::new(driver.time - driver.tick)), sectors.clone()));
    }
    (frames, truth)
}

fn check(root: &Path, truth: &[Truth], why: &str) {
    for (at, sectors) in truth {
        let image = open(root, *at).unwrap();
        for (sector, byte) in sectors {
            let mut found = [0xcc; 512];
            image.read(*sector, &mut found).unwrap();
            assert_eq!(found, [*byte; 512], "{why}: {at:?}, sector at {sector}");
        }
        let parts = image.map().content(0..LONG).collect::<Result<Vec<_>, _>>().unwrap();
        let mut end = 0;
        for (part, _) in &parts {
            assert_eq!(part.start, end, "{why}: {at:?}: no gap between runs");
            end = part.end;
        }
        assert_eq!(end, LONG, "{why}: {at:?}");
    }
}

#[test]
fn every_point_on_kept_maps_is_the_point_without() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    check(&root, &truth, "without a map");
    assert_eq!(keep_maps(&root, 1), 8);
    check(&root, &truth, "with one after each epoch");
    assert_eq!(keep_maps(&root, 1), 0, "they are kept once");
    for (index, (at, _)) in truth.iter().enumerate() {
        let image = open(&root, *at).unwrap();
        let kept = image
            .map()
            .kept()
            .map(|seq| folder(&root).join(format!("map-{:016}.slmap", seq.get())));
        // To t0 no map belongs: what was written since is in each.
        let want = (index > 0).then(|| maps(&root)[index].clone());
        assert_eq!(kept, want, "{at:?}");
    }
    // A map has the pages that changed: its table names the others.
    let sizes: Vec<_> = maps(&root).iter().map(|map| fs::metadata(map).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size < 1500), "{sizes:?}");
    assert_eq!(damage(&root), []);
    fs::remove_file(&maps(&root)[7]).unwrap();
    fs::remove_file(&maps(&root)[6]).unwrap();
    assert_eq!(keep_maps(&root, 1), 2, "those that are missing are made again");
    check(&root, &truth, "made again");
}

#[test]
fn points_at_watermarks_are_the_same_on_kept_maps_also_where_the_clock_was_wrong() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let (mut frames, mut marks, mut truth) = (vec![driver.first_sync()], Vec::new(), Vec::new());
    let mut image = common::base_image();
    for byte in 0x20..0x28 {
        let (seq, last) = (Seq::new(driver.seq), driver.time - driver.tick);
        truth.push((At::Time(FileTime::new(last)), image.clone()));
        // An hour later the clock is wrong, and after another hour it is right again: without the
        // watermarks it would never have been set.
        for slow in [10 * MINUTE, 0] {
            driver.time += 60 * MINUTE;
            driver.monotonic += 60 * MINUTE;
            let time = FileTime::new(driver.time - slow);
            marks.push(Watermark::new(seq, time, driver.monotonic));
            truth.push((At::Time(time), image.clone()));
        }
        driver.time += MINUTE;
        driver.monotonic += MINUTE;
        frames.push([driver.write(0, SECTOR, byte), driver.epoch_end()].concat());
        common::patch(&mut image, 0, SECTOR, byte);
    }
    truth.push((At::Latest, image));
    store_marked(&root, LENGTH, &frames, &marks);
    let check = |why: &str, on_maps: usize| {
        let images = truth.iter().map(|(at, want)| {
            let image = open(&root, *at).unwrap();
            let mut found = vec![0xcc; want.len()];
            image.read(0, &mut found).unwrap();
            assert!(found == *want, "{why}: {at:?}");
            usize::from(image.map().kept().is_some())
        });
        assert_eq!(images.sum::<usize>(), on_maps, "{why}");
    };
    check("without a map", 0);
    assert_eq!(keep_maps(&root, 1), 9);
    check("with one after each epoch", truth.len());
    for map in maps(&root).iter().skip(1) {
        fs::remove_file(map).unwrap();
    }
    check("with the first one alone", truth.len());
    fs::remove_file(folder(&root).join("segment-00000001.slidx")).unwrap();
    check("and without an index", truth.len());
    assert_eq!(damage(&root), []);
}

#[test]
fn a_map_is_kept_after_so_many_bytes_and_ends_with_an_epoch() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    let stored = reader(&Repository::open(&root).unwrap()).stored_bytes().unwrap();
    assert_eq!(keep_maps(&root, stored + 1), 0);
    assert_eq!(keep_maps(&root, stored / 3), 2);
    check(&root, &truth, "two maps");
}

#[test]
fn no_flipped_byte_of_a_map_gives_a_wrong_image_and_verify_names_the_file() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    keep_maps(&root, 1);
    let ends = [truth[3].clone(), truth[7].clone()];
    // The last map, and the first one, which has pages of all.
    for index in [6, 0] {
        let path = maps(&root)[index].clone();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            check(&root, &ends, &format!("byte {at} of map {index}"));
            if at % 5 == 0 {
                let found = damage(&root);
                assert!(!found.is_empty() && found[0].file.0 == path, "byte {at}: {found:?}");
            }
        }
        for len in (0..good.len()).step_by(3) {
            fs::write(&path, &good[..len]).unwrap();
            check(&root, &ends, &format!("{len} bytes of map {index}"));
        }
        fs::remove_file(&path).unwrap();
        check(&root, &truth, &format!("map {index} is missing"));
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(damage(&root), []);
}

#[test]
fn a_map_that_is_made_on_a_damaged_one_is_right() {
    let dir = common::scratch();
    let (frames, truth) = long_volume();
    // Of the first map a page, its table, or all of it.
    for (name, at) in [("page", Some(3)), ("root", None), ("missing", Some(usize::MAX))] {
        let root = dir.path().join(name);
        store(&root, LONG, &frames[..4]);
        assert_eq!(keep_maps(&root, 1), 4);
        for path in maps(&root) {
            let mut bad = fs::read(&path).unwrap();
            match at {
                Some(usize::MAX) => {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
                Some(at) => bad[at] ^= 1,
                None => *bad.last_mut().unwrap() ^= 1,
            }
            fs::write(&path, bad).unwrap();
        }
        store(&root, LONG, &frames[4..]);
        // The last epoch's, and of those before what is missing.
        assert!(keep_maps(&root, 1) >= 4, "{name}");
        check(&root, &truth, name);
    }
}

#[test]
fn a_map_of_another_history_of_the_session_is_not_used_and_the_next_one_takes_its_place() {
    let dir = common::scratch();
    let [root, other] = ["repository", "other"].map(|name| dir.path().join(name));
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    let mut others = frames.clone();
    for frame in &mut others {
        // The same records with other bytes.
        let end = frame.len().saturating_sub(64);
        if end > 2000 {
            frame[64..end].fill(0x99);
        }
    }
    store(&other, LONG, &others);
    keep_maps(&other, 1);
    for map in maps(&other).iter().skip(1) {
        fs::copy(map, folder(&root).join(map.file_name().unwrap())).unwrap();
    }
    check(&root, &truth, "of another history");
    let found = damage(&root);
    assert_eq!(found.len(), maps(&root).len(), "verify names them: {found:?}");
    // Others come in their places: one of another history among them keeps none from being found.
    assert_eq!(keep_maps(&root, 1), 8);
    check(&root, &truth, "made again");
    assert_eq!(damage(&root), []);
    // Neither one whose place in the stream is there, nor one whose place is past its end.
    let longer = dir.path().join("longer");
    store(&longer, LONG, &volume_with_writes_of(64).0);
    keep_maps(&longer, 1);
    let good = fs::read(&maps(&root)[4]).unwrap();
    for another in [other, longer] {
        fs::copy(&maps(&another)[4], &maps(&root)[4]).unwrap();
        let newest = open(&root, At::Latest).unwrap().map().kept().unwrap();
        assert!(maps(&root)[7].ends_with(format!("map-{:016}.slmap", newest.get())));
        assert_eq!(keep_maps(&root, 1), 0);
        check(&root, &truth, "one of another history");
        assert_eq!(damage(&root).len(), 1);
    }
    fs::write(&maps(&root)[4], good).unwrap();
    assert_eq!(damage(&root), []);
}

#[test]
fn maps_of_a_volume_that_is_written_everywhere_take_no_more_than_its_stream() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let all = driver.start();
    let base = driver.plain(RecordKind::Excluded, 0, LONG);
    let mut frames = vec![[all, base, driver.base_complete(), driver.epoch_end()].concat()];
    // Sectors all over the volume: each map has all of those before it.
    let sectors = LONG / SECTOR;
    for epoch in 0..40 {
        let writes = (0..100).flat_map(|write| {
            let sector = (epoch * 100 + write) * 7919 % sectors;
            driver.zero(RecordKind::Write, sector * SECTOR, SECTOR)
        });
        let writes: Vec<u8> = writes.collect();
        frames.push([writes, driver.epoch_end()].concat());
    }
    store(&root, LONG, &frames);
    let stored = reader(&Repository::open(&root).unwrap());
    let mut kept = 0;
    while keep_due(&stored, 1, &StopFlag::default()).unwrap() {
        kept += 1;
    }
    let lens: Vec<u64> = maps(&root).iter().map(|map| fs::metadata(map).unwrap().len()).collect();
    let stored = stored.stored_bytes().unwrap();
    let [all @ .., last] = &lens[..] else { panic!("no map is kept") };
    assert!(kept > 10 && kept < 41, "{kept} maps");
    assert!(all.iter().sum::<u64>() <= stored, "{lens:?} bytes beside {stored}; then {last}");
}

#[test]
fn what_is_read_for_a_point_does_not_grow_with_the_history() {
    let dir = common::scratch();
    let mut read = Vec::new();
    for (name, epochs) in [("short", 40), ("long", 640)] {
        let root = dir.path().join(name);
        let mut driver = Driver::default();
        let mut frames = vec![driver.first_sync()];
        for epoch in 0..epochs {
            let writes = (0..20).flat_map(|write| {
                let sector = (epoch * 7 + write * 3) % 100;
                driver.write(sector * SECTOR, SECTOR, 7)
            });
            let writes: Vec<u8> = writes.collect();
            frames.push([writes, driver.epoch_end()].concat());
        }
        store_in_segments(&root, LENGTH, 64 << 10, &frames, &[]);
        keep_maps(&root, 256 << 10);
        let storage = Counting::new(&root);
        let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
        let half = common::T0 + (driver.time - common::T0) / 2;
        for at in [At::Latest, At::Time(FileTime::new(half))] {
            let image = open_in(&repository, at).unwrap();
            image.read(0, &mut [0; 512]).unwrap();
            let kinds = ["slseg", "slidx", "slmap"].map(|kind| storage.taken(kind));
            assert!(kinds[2] > 0, "{name}: {kinds:?}");
            read.push((kinds.iter().sum::<u64>(), storage.opened()));
        }
    }
    for (short, long) in [(read[0], read[2]), (read[1], read[3])] {
        assert!(long.0 < short.0 + (64 << 10), "{read:?} bytes for 16 times the history");
        assert!(long.1 < short.1 + 20, "{read:?} files for 16 times the history");
    }
}

#[test]
fn a_restore_announces_all_content_that_it_reads() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, _) = long_volume();
    store(&root, LONG, &frames);
    keep_maps(&root, 1);
    let storage = Counting::new(&root);
    let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    let stop = StopFlag::default();
    let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
    Found::find(&repository, &source, &stop).unwrap().map(&stop, |_| {}).unwrap();
    // For the map some headers are read, and none of them is announced.
    let of_map = storage.unannounced("slseg");
    assert_eq!(of_map, storage.taken("slseg"));
    let to = dir.path().join("image");
    let request = Request { source, to, force: false, other_sector_size: false };
    restore(&repository, &request, &stop, |_| {}).unwrap();
    assert_eq!(storage.unannounced("slseg"), of_map);
    assert!(storage.taken("slseg") > of_map);
}

#[test]
fn a_comparison_reads_only_the_pages_that_the_maps_do_not_share() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    keep_maps(&root, 1);
    let storage = Counting::new(&root);
    let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    let stop = StopFlag::default();
    let compare = |from: usize, to: usize| {
        let sources = [from, to].map(|index| Source {
            volume: VOLUME,
            session: Some(SESSION),
            at: truth[index].0,
        });
        let found = Comparison::find(&repository, sources, &stop, |_| {}).unwrap();
        storage.taken("slmap");
        let changed = found.by_place().unwrap().changed;
        (storage.taken("slmap"), changed)
    };
    let written = |place: u64| Bytes { offset: place - 2 * SECTOR, len: 4 * SECTOR };
    assert_eq!(compare(4, 4), (0, Vec::new()));
    // The fourth write is in the middle of the first page; the others are on two pages each.
    let (read, changed) = compare(3, 4);
    assert_eq!(changed, [written(PAGE / 2)]);
    let (more, changed) = compare(2, 7);
    assert_eq!(changed.len(), 5);
    assert!(read > 0 && more > 3 * read, "{read} bytes of two pages, {more} of all eight");
}

#[test]
fn a_comparison_of_two_points_of_one_session_surveys_it_once() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (frames, truth) = long_volume();
    store(&root, LONG, &frames);
    keep_maps(&root, 1);
    // Without it a survey goes through the whole index.
    fs::remove_file(folder(&root).join("state.snapless")).unwrap();
    let storage = Counting::new(&root);
    let repository = Repository::open_in(Store::new(Arc::new(storage.clone()))).unwrap();
    let stop = StopFlag::default();
    let source = |index: usize| Source { volume: VOLUME, session: None, at: truth[index].0 };
    Found::find(&repository, &source(7), &stop).unwrap();
    let once = storage.taken("slidx");
    let found = Found::find_both(&repository, &[source(6), source(7)], &stop).unwrap();
    assert!(once > 0);
    assert_eq!(storage.taken("slidx"), once);
    assert!(found[0].point().time < found[1].point().time);
}

#[test]
fn a_server_keeps_maps_while_a_stream_comes() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let mut driver = Driver::default();
    let (mut client, _, _) = Client::resume(server.address);
    let begun = Instant::now();
    client.records(&driver.first_sync());
    while maps(&root).len() < 3 {
        client.hear();
        assert!(begun.elapsed() < Duration::from_mins(1), "no map is kept");
        client.records(&[driver.write(0, BLOCK, 9), driver.epoch_end()].concat());
    }
    client.hear();
    drop((client, server));
    let image = open(&root, At::Latest).unwrap();
    assert!(image.map().kept().is_some());
    let mut want = common::base_image();
    common::patch(&mut want, 0, BLOCK, 9);
    let mut found = vec![0; want.len()];
    image.read(0, &mut found).unwrap();
    assert!(found == want);
    assert_eq!(damage(&root), []);
}

//! A volume to which nothing is written: watermarks, and the instants that can be restored by them.

use std::fs;
use std::path::Path;

use crate::common::connection::{Connection, quiet};
use crate::common::{
    self, BLOCK, Client, Driver, Running, SESSION, VOLUME, base_image, image, patch,
};
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::state::STATE_FILE;
use snapless_server::format::watermark::WATERMARK_FILE;
use snapless_server::ingest::Ingest;
use snapless_server::list::list;
use snapless_server::repository::Repository;
use snapless_server::restore::{Request, Source};
use snapless_server::salvage::salvage;
use snapless_server::stop::StopFlag;
use snapless_server::time;
use snapless_server::timeline::{At, NotRestorable};
use snapless_server::verify::{self, verify};
use snapless_types::Seq;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use zerocopy::IntoBytes;

/// Ticks in a second.
const SECOND: u64 = FileTime::TICKS_PER_SECOND;

/// A repository with a first sync that was followed by an hour's quiet; the instants of the last
/// record and of the watermark.
fn after_an_hour() -> (tempfile::TempDir, Connection, Driver, [u64; 2]) {
    let dir = common::scratch();
    let mut connection = Connection::open(&dir.path().join("repository"));
    let mut driver = Driver::default();
    connection.records(&driver.first_sync());
    let last = driver.time - driver.tick;
    let watermark = quiet(&mut driver, 3_600);
    connection.mark(watermark).unwrap();
    (dir, connection, driver, [last, watermark.time().get()])
}

fn at(time: u64) -> At {
    At::Time(FileTime::new(time))
}

#[track_caller]
fn has(root: &Path, at: At, want: &[u8]) {
    let (_, found) = image(root, at).unwrap();
    assert!(found == want, "{at:?}");
}

#[track_caller]
fn is_sound(root: &Path) {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
}

fn latest(root: &Path) -> Option<String> {
    let volumes = list(&Repository::open(root).unwrap(), &StopFlag::default()).unwrap();
    volumes[0].latest.as_ref().map(|latest| latest.time.clone())
}

#[test]
fn an_instant_at_which_nothing_newer_was_captured_is_a_point() {
    let (dir, connection, mut driver, [last, until]) = after_an_hour();
    let root = dir.path().join("repository");
    drop(connection);
    for time in [last, last + 1, until - 1, until] {
        has(&root, at(time), &base_image());
    }
    let (report, _) = image(&root, At::Latest).unwrap();
    assert_eq!(report.time, time::to_text(FileTime::new(until)));
    assert_eq!(latest(&root), Some(time::to_text(FileTime::new(until))));
    let refused = image(&root, at(until + 1)).unwrap_err();
    let Error::NotRestorable { why: NotRestorable::TooLate { last, .. }, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(last, FileTime::new(until));
    is_sound(&root);
    // The next connection goes on from there.
    let mut connection = Connection::open(&root);
    let again = connection.mark(quiet(&mut driver, 1)).unwrap();
    assert_eq!(again.latest(), Some(FileTime::new(until + SECOND)));
}

#[test]
fn such_an_instant_stays_a_point_when_writes_follow() {
    let (dir, mut connection, mut driver, [last, until]) = after_an_hour();
    let root = dir.path().join("repository");
    let later = quiet(&mut driver, 60).time().get();
    let write = driver.write(0, 512, 0xaa);
    connection.records(&[write, driver.epoch_end()].concat());
    let mut changed = base_image();
    patch(&mut changed, 0, 512, 0xaa);
    for connection in [None, Some(connection)] {
        for time in [last + 1, until, later - 1] {
            has(&root, at(time), &base_image());
        }
        has(&root, at(later), &changed);
        has(&root, At::Latest, &changed);
        is_sound(&root);
        if let Some(connection) = connection {
            connection.end();
        }
    }
}

#[test]
fn such_an_instant_stays_a_point_when_the_records_after_it_are_lost() {
    for keeps_state in [false, true] {
        let (dir, connection, mut driver, [last, until]) = after_an_hour();
        let root = dir.path().join("repository");
        if keeps_state {
            connection.end();
        } else {
            drop(connection);
        }
        let mut connection = Connection::open(&root);
        driver.seq += 5;
        driver.epoch += 1;
        quiet(&mut driver, 600);
        connection.records(&driver.bridged_gap(0x77));
        let mut after = base_image();
        patch(&mut after, 0, BLOCK, 0x77);
        if keeps_state {
            connection.end();
        } else {
            drop(connection);
        }
        // The segments alone say the same.
        for _ in 0..2 {
            for time in [last, last + 1, until] {
                has(&root, at(time), &base_image());
            }
            for time in [until + 1, until + 599 * SECOND] {
                let refused = image(&root, at(time)).unwrap_err().to_string();
                assert!(refused.contains("in a gap"), "{refused}");
            }
            has(&root, At::Latest, &after);
            is_sound(&root);
            for file in [STATE_FILE, WATERMARK_FILE] {
                let _missing = fs::remove_file(root.join(session_dir(VOLUME, SESSION)).join(file));
            }
        }
    }
}

#[test]
fn without_its_file_the_latest_point_is_the_last_record() {
    let (dir, connection, mut driver, [last, until]) = after_an_hour();
    let root = dir.path().join("repository");
    let path = root.join(session_dir(VOLUME, SESSION)).join(WATERMARK_FILE);
    let whole = fs::read(&path).unwrap();
    drop(connection);
    for bytes in [&[][..], &whole[..20], &vec![0xff; whole.len()]] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(latest(&root), Some(time::to_text(FileTime::new(last))));
        has(&root, At::Latest, &base_image());
        assert!(matches!(image(&root, at(until)), Err(Error::NotRestorable { .. })));
        is_sound(&root);
    }
    // One of an earlier record says nothing.
    let mut connection = Connection::open(&root);
    connection.records(&driver.epoch_end());
    let end = driver.time - driver.tick;
    drop(connection);
    fs::write(&path, &whole).unwrap();
    assert_eq!(latest(&root), Some(time::to_text(FileTime::new(end))));
    // The next watermark takes its place.
    let mut connection = Connection::open(&root);
    let watermark = quiet(&mut driver, 5);
    connection.mark(watermark).unwrap();
    drop(connection);
    assert_eq!(latest(&root), Some(time::to_text(watermark.time())));
}

#[test]
fn a_watermark_that_the_stream_contradicts_is_refused() {
    let refused = |prepare: fn(&mut Connection, &mut Driver) -> Watermark| {
        let (_dir, mut connection, mut driver, _) = after_an_hour();
        let watermark = prepare(&mut connection, &mut driver);
        connection.mark(watermark).unwrap_err().to_string()
    };
    let place = [
        refused(|_, driver| quiet(&mut Driver { seq: driver.seq - 1, ..driver.clone() }, 1)),
        refused(|_, driver| quiet(&mut Driver { seq: driver.seq + 1, ..driver.clone() }, 1)),
        // Within an epoch.
        refused(|connection, driver| {
            let write = driver.write(0, 512, 1);
            assert_eq!(connection.take(FrameKind::Records, &write).unwrap(), None);
            quiet(driver, 1)
        }),
    ];
    assert!(place.iter().all(|text| text.contains("is the last one")), "{place:?}");
    let gap = refused(|connection, driver| {
        let gap = driver.gap();
        connection.records(&[gap, driver.epoch_end()].concat());
        quiet(driver, 1)
    });
    assert!(gap.contains("LOSS") && gap.contains("gap"), "{gap}");
    let back = refused(|_, driver| {
        let monotonic = driver.monotonic - SECOND;
        quiet(&mut Driver { monotonic: monotonic - SECOND, ..driver.clone() }, 1)
    });
    assert!(back.contains("monotonic"), "{back}");
    // Before any record, before Hello, and of a wrong length.
    let dir = common::scratch();
    let mut connection = Connection::open(&dir.path().join("repository"));
    assert!(connection.mark(quiet(&mut Driver::default(), 1)).is_err());
    assert!(connection.take(FrameKind::Watermark, &[0; 23]).is_err());
    connection.ingest = Ingest::AwaitingHello;
    let early = connection.mark(quiet(&mut Driver::default(), 1)).unwrap_err();
    assert!(early.to_string().contains("a Hello or Question frame"), "{early}");
}

#[test]
fn a_clock_that_is_set_while_nothing_is_written_moves_no_point() {
    let (dir, mut connection, mut driver, [last, until]) = after_an_hour();
    let root = dir.path().join("repository");
    // Two hours forward.
    driver.time += 7_200 * SECOND;
    let forward = quiet(&mut driver, 60).time().get();
    connection
        .mark(Watermark::new(Seq::new(driver.seq), FileTime::new(forward), driver.monotonic))
        .unwrap();
    for time in [last, until, forward] {
        has(&root, at(time), &base_image());
    }
    let write = driver.write(0, 512, 0xaa);
    connection.records(&[write, driver.epoch_end()].concat());
    connection.end();
    for time in [last, until, forward - 1] {
        has(&root, at(time), &base_image());
    }
    is_sound(&root);
    // And back, by more than was ever shown.
    let mut connection = Connection::open(&root);
    driver.time = common::T0 - 3_600 * SECOND;
    let back = quiet(&mut driver, 1);
    assert_eq!(connection.mark(back).unwrap().latest(), Some(back.time()));
    let mut changed = base_image();
    patch(&mut changed, 0, 512, 0xaa);
    has(&root, at(back.time().get()), &changed);
    has(&root, at(until), &base_image());
}

#[test]
fn watermarks_are_stored_once_for_a_stretch_and_wherever_a_segment_ends() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut connection = Connection::with_segments(&root, 2_000);
    connection.records(&driver.first_sync());
    let mut points = Vec::new();
    for byte in 1..20 {
        for _ in 0..3 {
            connection.mark(quiet(&mut driver, 1)).unwrap();
        }
        points.push((driver.time - SECOND, byte - 1));
        let write = driver.write(0, 512, byte);
        connection.records(&[write, driver.epoch_end()].concat());
    }
    connection.end();
    for (time, byte) in points {
        let mut want = base_image();
        if byte > 0 {
            patch(&mut want, 0, 512, byte);
        }
        has(&root, at(time), &want);
    }
    is_sound(&root);
    let dir = root.join(session_dir(VOLUME, SESSION));
    let segments = fs::read_dir(&dir).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name();
        SegmentNumber::from_file_name(name.to_str().unwrap()).map(|_| dir.join(name))
    });
    let stored: Vec<u8> = segments.flat_map(|path| fs::read(path).unwrap()).collect();
    let mark = FrameHeader::new(FrameKind::Watermark, &[0; 24]).unwrap().to_bytes();
    let marks = stored.windows(8).filter(|bytes| *bytes == &mark[..8]).count();
    assert_eq!(marks, 19);
}

#[test]
fn a_damaged_watermark_is_found_and_costs_no_record() {
    let (dir, mut connection, mut driver, _) = after_an_hour();
    let root = dir.path().join("repository");
    let write = driver.write(0, 512, 0xaa);
    connection.records(&[write, driver.epoch_end()].concat());
    drop(connection);
    let session = root.join(session_dir(VOLUME, SESSION));
    let segment = session.join(SegmentNumber::FIRST.file_name());
    let mut bytes = fs::read(&segment).unwrap();
    let mark = FrameHeader::new(FrameKind::Watermark, &[0; 24]).unwrap().to_bytes();
    let place = bytes.windows(8).position(|bytes| bytes == &mark[..8]).unwrap();
    bytes[place + FRAME_HEADER_LEN + 9] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let report = verify(&Repository::open(&root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    let [verify::Finding { error, .. }] = &report.damage[..] else { panic!("{report:?}") };
    assert!(error.contains("checksum"), "{error}");
    let mut changed = base_image();
    patch(&mut changed, 0, 512, 0xaa);
    let to = dir.path().join("salvaged");
    let source = Source { volume: VOLUME, session: None, at: At::Latest };
    let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
    let repository = Repository::to_salvage(&root);
    let salvaged = salvage(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
    assert!(fs::read(&to).unwrap() == changed);
    assert_eq!((salvaged.lost, salvaged.missing), (vec![], vec![]));
    let [place] = &salvaged.damage[..] else { panic!("{:?}", salvaged.damage) };
    assert!(place.error.contains("watermark"), "{}", place.error);
}

#[test]
fn a_server_answers_a_watermark_with_the_later_latest_point() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, ..) = Client::resume(server.address);
    assert_eq!(client.latest, None);
    let hour = 3_600 * SECOND;
    let mut driver = Driver { time: time::now().get() - hour, ..Driver::default() };
    client.records(&driver.first_sync());
    let acknowledged = client.hear();
    let last = FileTime::new(driver.time - driver.tick);
    assert_eq!(client.latest, Some(last));
    let age = || {
        let volumes = list(&Repository::open(&root).unwrap(), &StopFlag::default()).unwrap();
        let latest = volumes[0].latest.as_ref().map(|latest| latest.rpo_seconds);
        assert_eq!(latest, volumes[0].sessions[0].content.stream().unwrap().rpo_seconds);
        latest.unwrap()
    };
    assert!((3_600..7_200).contains(&age()));
    let watermark = quiet(&mut driver, 3_600);
    client.send(FrameKind::Watermark, watermark.as_bytes());
    assert_eq!(client.hear(), acknowledged);
    assert_eq!(client.latest, Some(watermark.time()));
    assert!(age() < 3_600);
    drop(client);
    let (client, ..) = Client::resume(server.address);
    assert_eq!(client.latest, Some(watermark.time()), "the welcome has it too");
}

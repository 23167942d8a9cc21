//! A Hello costs the same however long the session's history is, and finds the state of its rules
//! beside the acknowledgement.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME};
use snapless_server::format::repository::session_dir;
use snapless_server::format::state::STATE_FILE;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::stop::StopFlag;
use snapless_server::stream::StreamState;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind};

fn folder(root: &Path) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION))
}

/// The state that a Hello begins with.
fn opened(root: &Path) -> StreamState {
    let repository = WritableRepository::open(root).unwrap();
    let stop = StopFlag::default();
    SessionWriter::open(&repository, &common::header(LENGTH), 1 << 30, &stop).unwrap().1
}

fn damage(root: &Path) -> usize {
    verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap().damage.len()
}

/// A first sync and `epochs` of `writes` writes without payload, with a gap now and then.
fn history(root: &Path, epochs: usize, writes: usize) -> Driver {
    let mut driver = Driver::default();
    let mut frames = vec![driver.first_sync()];
    for epoch in 0..epochs {
        let mut frame = Vec::new();
        if epoch % 10 == 9 {
            frame.extend([driver.gap(), driver.resync(0, 1), driver.consistent()].concat());
        }
        for _ in 0..writes {
            frame.extend(driver.zero(RecordKind::Write, 0, SECTOR));
        }
        frame.extend(driver.epoch_end());
        frames.push(frame);
    }
    common::ingest(root, LENGTH, 1 << 30, &frames);
    driver
}

#[test]
fn a_long_history_is_read_once_and_then_only_what_came_after_it() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = history(&root, 100, 1000);
    let whole = opened(&root);
    assert!(folder(&root).join(STATE_FILE).exists());
    // What the state covers is not read again: neither a Hello nor a reader sees this damage.
    let segment = folder(&root).join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let records = [driver.write(BLOCK, SECTOR, 7), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 30, &[records]);
    assert_eq!(damage(&root), 1, "verify reads everything");
    let kept = opened(&root);
    assert_eq!(kept.timeline().records(), whole.timeline().records() + 2);
    bytes[100] ^= 1;
    let tail = fs::read(&segment).unwrap()[bytes.len()..].to_vec();
    fs::write(&segment, [bytes, tail].concat()).unwrap();
    fs::remove_file(folder(&root).join(STATE_FILE)).unwrap();
    let all = opened(&root);
    assert_eq!(format!("{:?}", all.timeline()), format!("{:?}", kept.timeline()));
    assert_eq!(damage(&root), 0);
}

#[test]
fn a_state_that_is_damaged_missing_or_of_another_history_only_makes_a_hello_slower() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    history(&root, 33, 1000);
    let want = format!("{:?}", opened(&root).timeline());
    let path = folder(&root).join(STATE_FILE);
    let good = fs::read(&path).unwrap();
    let same = |why: &str| assert_eq!(format!("{:?}", opened(&root).timeline()), want, "{why}");
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        assert_eq!(damage(&root), 1, "byte {at}");
        let repository = Repository::open(&root).unwrap();
        let Presence::Header(header) = repository.session(VOLUME, SESSION).unwrap() else {
            panic!("the session is there");
        };
        let reader = SessionReader::open(repository.store(), header).unwrap();
        let state = reader.survey(&StopFlag::default()).unwrap();
        assert_eq!(format!("{:?}", state.timeline()), want, "byte {at}");
    }
    for len in [0, 1, 50, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        same("cut");
    }
    // Of another history of the session, which is not longer.
    let other = dir.path().join("other");
    let mut driver = Driver { tick: 11, ..Driver::default() };
    let sync = driver.first_sync();
    let mut frames = vec![sync];
    for _ in 0..33 {
        let writes = (0..1000).map(|_| driver.zero(RecordKind::Write, SECTOR, SECTOR));
        let mut frame: Vec<u8> = writes.flatten().collect();
        frame.extend(driver.epoch_end());
        frames.push(frame);
    }
    common::ingest(&other, LENGTH, 1 << 30, &frames);
    opened(&other);
    fs::copy(folder(&other).join(STATE_FILE), &path).unwrap();
    same("of another history");
    // Of this history, but not what its records say: the checksum is right, only verify tells.
    fs::remove_file(&path).unwrap();
    same("missing");
    let mut wrong = fs::read(&path).unwrap();
    assert_eq!(damage(&root), 0, "it is kept again");
    // The count of records, four numbers before the checksum.
    let count = wrong.len() - 4 - 4 * 8;
    wrong[count] ^= 1;
    let sum = crc32c::crc32c(&wrong[..wrong.len() - 4]);
    let end = wrong.len() - 4;
    wrong[end..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &wrong).unwrap();
    assert_eq!(damage(&root), 1, "verify finds it");
    fs::remove_file(&path).unwrap();
    same("missing");
    assert_eq!(fs::read(&path).unwrap(), good, "it is kept again");
}

#[test]
fn a_connection_leaves_the_state_and_the_next_one_goes_on_with_it() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut want = common::base_image();
    for round in 1..=4_u8 {
        let server = Running::start(&root);
        let (mut client, _, seq) = Client::resume(server.address);
        assert_eq!(seq, driver.seq);
        let records = if round == 1 {
            driver.first_sync()
        } else {
            common::patch(&mut want, SECTOR, SECTOR, round);
            [driver.write(SECTOR, SECTOR, round), driver.epoch_end()].concat()
        };
        client.records(&records);
        assert!(matches!(client.hear(), Said::Acknowledge { .. }));
        if round % 2 == 0 {
            // Not acknowledged: the state of it is not kept.
            client.records(&driver.clone().write(0, SECTOR, 0xff));
        }
        drop(client);
        drop(server);
        assert!(folder(&root).join(STATE_FILE).exists(), "round {round}");
        assert_eq!(damage(&root), 0, "round {round}");
        assert_eq!(common::image(&root, At::Latest).unwrap().1, want, "round {round}");
    }
}

#[test]
fn a_state_that_is_kept_during_a_verification_is_no_damage() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = history(&root, 1, 1);
    let server = Running::start(&root);
    let mut rounds = 0;
    let found = verify(&Repository::open(&root).unwrap(), &StopFlag::default(), |_| {
        // Between two entries, a connection comes and goes.
        rounds += 1;
        let (mut client, ..) = Client::resume(server.address);
        client.records(&[driver.write(0, SECTOR, 7), driver.epoch_end()].concat());
        assert!(matches!(client.hear(), Said::Acknowledge { .. }));
        drop(client);
    });
    assert!(rounds > 0 && found.unwrap().damage.is_empty());
    let repository = Repository::open(&root).unwrap();
    let Ok(Presence::Header(header)) = repository.session(VOLUME, SESSION) else {
        panic!("the session is there");
    };
    let reader = SessionReader::open(repository.store(), header).unwrap();
    let (mut client, ..) = Client::resume(server.address);
    client.records(&[driver.write(0, SECTOR, 7), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop((client, server));
    let records = reader.survey(&StopFlag::default()).unwrap().timeline().records();
    assert_eq!(records + 2, opened(&root).timeline().records());
}

/// Run it by `cargo test -p snapless-server-program --release --test integration history --
/// --ignored --nocapture`.
#[test]
#[ignore = "takes five gigabytes in memory or on the disk, and a minute"]
fn a_hello_after_ten_million_records() {
    for (records, content) in [(10_000_000, 0), (1_000_000, 4096)] {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        long_history(&root, records, content);
        for what in ["all records", "the kept state"] {
            let server = Running::start(&root);
            let begun = Instant::now();
            let (client, ..) = Client::resume(server.address);
            let took = begun.elapsed();
            println!("Hello after {records} records of {content} bytes from {what}: {took:?}");
            drop(client);
            drop(server);
        }
    }
}

/// A first sync and epochs of 1,000 writes, in segments as large as a server's.
fn long_history(root: &Path, records: u64, content: u64) {
    let repository = common::repository(root);
    let (header, stop) = (common::header(LENGTH), StopFlag::default());
    let (mut writer, _) = SessionWriter::open(&repository, &header, 256 << 20, &stop).unwrap();
    let mut driver = Driver::default();
    let mut frame = driver.first_sync();
    while driver.seq < records {
        let epoch = EpochId::new(driver.epoch - 1);
        writer.append(&FrameHeader::new(FrameKind::Records, &frame).unwrap(), &frame).unwrap();
        writer.commit(epoch, Seq::new(driver.seq)).unwrap();
        frame.clear();
        for _ in 0..1000 {
            frame.extend(match content {
                0 => driver.zero(RecordKind::Write, 0, SECTOR),
                _ => driver.write(0, content, 7),
            });
        }
        frame.extend(driver.epoch_end());
    }
}

//! Images beyond the plain case: blocks that the disk could not read, holes, a restore that is
//! stopped, the choice of a session.

mod common;

use common::{BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, image};
use snapless_server::error::Error;
use snapless_server::format::session::SessionHeader;
use snapless_server::repository::Repository;
use snapless_server::restore::{Request, Source, restore};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_types::{Extent, RecordKind};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

const LIMIT: u64 = 1 << 20;

fn extent(offset: u64, len: u64) -> Extent {
    Extent::new(offset, len).unwrap()
}

#[test]
fn unreadable_blocks_are_zeros_and_reported_until_they_are_written() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let records = [
        driver.start(),
        driver.block(0, 1),
        driver.unreadable(BLOCK, 2 * BLOCK),
        driver.block(3, 4),
        driver.block(4, 5),
        driver.marker(RecordKind::BaseComplete),
        // Block 1 is known again; of block 2 only a part; block 3 is lost in a gap.
        driver.write(BLOCK, BLOCK, 7),
        driver.write(2 * BLOCK, SECTOR, 8),
        driver.gap(),
        driver.unreadable(3 * BLOCK, BLOCK),
        driver.consistent(),
        driver.epoch_end(),
    ]
    .concat();
    common::ingest(&root, LENGTH, LIMIT, &[records]);

    let (report, found) = image(&root, At::T0).unwrap();
    let mut want = common::base_image();
    common::patch(&mut want, BLOCK, 2 * BLOCK, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [extent(BLOCK, 2 * BLOCK)]);

    let (report, found) = image(&root, At::Latest).unwrap();
    common::patch(&mut want, BLOCK, BLOCK, 7);
    common::patch(&mut want, 2 * BLOCK, SECTOR, 8);
    common::patch(&mut want, 3 * BLOCK, BLOCK, 0);
    assert_eq!(found, want);
    let offset = 2 * BLOCK + SECTOR;
    assert_eq!(report.unreadable, [extent(offset, 2 * BLOCK - SECTOR)]);
}

#[test]
fn unreadable_sectors_leave_the_rest_of_their_block() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut records = driver.start();
    for block in 0..3 {
        records.extend(driver.block(block, 1 + u8::try_from(block).unwrap()));
    }
    records.extend(driver.unreadable(2 * BLOCK + SECTOR, SECTOR));
    records.extend(driver.unreadable(3 * BLOCK - SECTOR, SECTOR));
    records.extend(driver.block(3, 4));
    records.extend(driver.block(4, 5));
    records.extend(driver.marker(RecordKind::BaseComplete));
    records.extend(driver.write(2 * BLOCK + SECTOR, SECTOR, 8));
    records.extend(driver.gap());
    records.extend(driver.resync(1, 7));
    records.extend(driver.unreadable(BLOCK, SECTOR));
    records.extend(driver.consistent());
    records.extend(driver.epoch_end());
    common::ingest(&root, LENGTH, LIMIT, &[records]);

    let (report, found) = image(&root, At::T0).unwrap();
    let mut want = common::base_image();
    let hole = |offset| extent(offset, SECTOR);
    common::patch(&mut want, 2 * BLOCK + SECTOR, SECTOR, 0);
    common::patch(&mut want, 3 * BLOCK - SECTOR, SECTOR, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [hole(2 * BLOCK + SECTOR), hole(3 * BLOCK - SECTOR)]);

    let (report, found) = image(&root, At::Latest).unwrap();
    common::patch(&mut want, 2 * BLOCK + SECTOR, SECTOR, 8);
    common::patch(&mut want, BLOCK, BLOCK, 7);
    common::patch(&mut want, BLOCK, SECTOR, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [hole(BLOCK), hole(3 * BLOCK - SECTOR)]);
}

#[test]
fn what_holds_no_data_and_what_is_cleared_is_zeros() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let records = [
        driver.start(),
        driver.block(0, 1),
        driver.plain(RecordKind::Unallocated, BLOCK, 2 * BLOCK),
        driver.block(3, 4),
        driver.block(4, 5),
        driver.marker(RecordKind::BaseComplete),
        driver.write(BLOCK, SECTOR, 7),
        driver.plain(RecordKind::Trim, SECTOR, BLOCK),
        driver.plain(RecordKind::Zero, 3 * BLOCK, LENGTH - 3 * BLOCK),
        driver.epoch_end(),
    ]
    .concat();
    common::ingest(&root, LENGTH, LIMIT, &[records]);

    let (report, found) = image(&root, At::T0).unwrap();
    let mut want = common::base_image();
    common::patch(&mut want, BLOCK, 2 * BLOCK, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, []);
    let (_, found) = image(&root, At::Latest).unwrap();
    common::patch(&mut want, SECTOR, LENGTH - SECTOR, 0);
    assert_eq!(found, want);
}

#[test]
fn zeros_take_no_space() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut records = driver.start();
    for block in 0..3 {
        records.extend(driver.zero(RecordKind::Block, block * BLOCK, BLOCK));
    }
    // Zeros with a payload, around one sector of content.
    let mut mixed = vec![0; usize::try_from(BLOCK).unwrap()];
    mixed[8192] = 1;
    records.extend(driver.data(RecordKind::Block, 3 * BLOCK, &mixed));
    records.extend(driver.block(4, 5));
    records.extend(driver.zero(RecordKind::Write, 4 * BLOCK, SECTOR));
    records.extend(driver.epoch_end());
    common::ingest(&root, LENGTH, LIMIT, &[records]);
    let (report, found) = image(&root, At::T0).unwrap();
    assert_eq!(report.bytes_written, 4096 + LENGTH - 4 * BLOCK);
    assert_eq!(found.len() as u64, LENGTH);
    assert_eq!(found[usize::try_from(3 * BLOCK + 8192).unwrap()], 1);
    let (_, found) = image(&root, At::Latest).unwrap();
    let last = usize::try_from(4 * BLOCK).unwrap();
    assert_eq!(found[last..last + 512], [0; 512]);
    assert_eq!(found[last + 512..], [5; 1024]);
}

#[test]
fn a_stopped_restore_leaves_nothing() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    common::ingest(&root, LENGTH, LIMIT, &[Driver::default().first_sync()]);
    let stop = StopFlag::default();
    stop.set();
    let source = Source { volume: VOLUME, session: None, at: At::T0 };
    let request = Request { source, to: root.with_extension("img"), force: true };
    let stopped = restore(&Repository::open(&root).unwrap(), &request, &stop, |_| {});
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_newest_session_that_had_begun_is_restored_when_none_is_named() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    common::ingest(&root, LENGTH, LIMIT, &[Driver::default().first_sync()]);
    let repository = Repository::open(&root).unwrap();
    let request_of = |volume, session, at| Request {
        source: Source { volume, session, at },
        to: dir.path().join("image"),
        force: true,
    };
    let request = |at| request_of(VOLUME, None, at);
    let session_of =
        |at| restore(&repository, &request(at), &StopFlag::default(), |_| {}).unwrap().session;
    assert_eq!(session_of(At::Latest), SESSION.to_string());
    let newer = SessionHeader {
        session: SessionId([0x33; 16]),
        created: FileTime::new(common::T0 + 5000),
        ..common::header(LENGTH)
    };
    let mut driver = Driver { time: common::T0 + 4000, ..Driver::default() };
    common::ingest_as(&root, &newer, LIMIT, &[driver.first_sync()]);
    assert_eq!(session_of(At::Latest), newer.session.to_string());
    // By the driver's clock, not the server's: the newer one began at 4000.
    let at = |ticks| At::Time(FileTime::new(common::T0 + ticks));
    assert_eq!(session_of(at(4000)), newer.session.to_string());
    assert_eq!(session_of(at(50)), SESSION.to_string());
    let other = request_of(VOLUME, Some(SessionId([9; 16])), At::T0);
    let unknown = restore(&repository, &other, &StopFlag::default(), |_| {});
    assert!(matches!(unknown, Err(Error::NoSession { .. })));
    let other = request_of(VolumeGuid([9; 16]), None, At::T0);
    let unknown = restore(&repository, &other, &StopFlag::default(), |_| {}).unwrap_err();
    assert!(unknown.to_string().contains(&VOLUME.to_string()), "{unknown}");
}

//! Images beyond the plain case: blocks that the disk could not read, holes, a restore that is
//! stopped, the choice of a session.

use crate::common::{
    self, BLOCK, Driver, LENGTH, SECTOR, SESSION, Stored, VOLUME, base_image, patch,
};
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::session::SessionHeader;
use snapless_server::list::list;
use snapless_server::repository::Repository;
use snapless_server::restore::{Request, Source, restore};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::{Extent, RecordKind};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

fn extent(offset: u64, len: u64) -> Extent {
    Extent::new(offset, len).unwrap()
}

#[test]
fn unreadable_blocks_are_zeros_and_reported_until_they_are_written() {
    let mut driver = Driver::default();
    let stored = Stored::new(&[
        driver.start(),
        driver.blocks(0..1),
        driver.unreadable(BLOCK, 2 * BLOCK),
        driver.blocks(3..5),
        driver.base_complete(),
        // Block 1 is known again; of block 2 only a part; block 3 is lost in a gap.
        driver.write(BLOCK, BLOCK, 7),
        driver.write(2 * BLOCK, SECTOR, 8),
        driver.gap(),
        driver.unreadable(3 * BLOCK, BLOCK),
        driver.consistent(),
        driver.epoch_end(),
    ]);
    let (report, found) = stored.image(At::T0);
    let mut want = base_image();
    patch(&mut want, BLOCK, 2 * BLOCK, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [extent(BLOCK, 2 * BLOCK)]);

    let (report, found) = stored.image(At::Latest);
    patch(&mut want, BLOCK, BLOCK, 7);
    patch(&mut want, 2 * BLOCK, SECTOR, 8);
    patch(&mut want, 3 * BLOCK, BLOCK, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [extent(2 * BLOCK + SECTOR, 2 * BLOCK - SECTOR)]);
    // Blocks 2 and 3; at t0 blocks 1 and 2.
    assert_eq!(holes(&stored), (2, 2));
}

/// Blocks with holes, now and at t0, as `list` and `verify` tell them.
fn holes(stored: &Stored) -> (u64, u64) {
    let repository = Repository::open(&stored.root).unwrap();
    let volumes = list(&repository, &StopFlag::default()).unwrap();
    let stream = volumes[0].sessions[0].content.stream().unwrap();
    let listed = (stream.blocks_with_holes, stream.blocks_with_holes_at_t0);
    let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    let found: Vec<_> = report.holes.iter().map(|it| (it.blocks, it.blocks_at_t0)).collect();
    let want = if listed == (0, 0) { vec![] } else { vec![listed] };
    assert_eq!(found, want);
    assert_eq!(report.damage, []);
    listed
}

#[test]
fn a_block_has_a_hole_until_it_is_written_as_a_whole() {
    let mut driver = Driver::default();
    let mut records = vec![driver.start(), driver.blocks(0..2)];
    let now = |records: &[Vec<u8>], driver: &Driver| {
        holes(&Stored::new(&[records.concat(), driver.clone().epoch_end()]))
    };
    // Two holes in one block.
    records.extend([driver.unreadable(BLOCK, SECTOR), driver.unreadable(BLOCK + SECTOR, SECTOR)]);
    records.extend([driver.blocks(2..5), driver.base_complete()]);
    assert_eq!(now(&records, &driver), (1, 1));
    records.push(driver.write(BLOCK, 2 * SECTOR, 7));
    assert_eq!(now(&records, &driver), (1, 1), "what is written in part still counts");
    records.push(driver.plain(RecordKind::Trim, SECTOR, 2 * BLOCK));
    assert_eq!(now(&records, &driver), (0, 1));
    records.extend([driver.gap(), driver.unreadable(3 * BLOCK, LENGTH - 3 * BLOCK)]);
    records.push(driver.consistent());
    assert_eq!(now(&records, &driver), (2, 1));
    records.extend([driver.gap(), driver.resync(4, 1), driver.consistent()]);
    assert_eq!(now(&records, &driver), (1, 1));
}

#[test]
fn unreadable_sectors_leave_the_rest_of_their_block() {
    let [second, last] = [2 * BLOCK + SECTOR, 3 * BLOCK - SECTOR];
    let mut driver = Driver::default();
    let stored = Stored::new(&[
        driver.start(),
        driver.blocks(0..3),
        driver.unreadable(second, SECTOR),
        driver.unreadable(last, SECTOR),
        driver.blocks(3..5),
        driver.base_complete(),
        driver.write(second, SECTOR, 8),
        driver.gap(),
        driver.resync(1, 7),
        driver.unreadable(BLOCK, SECTOR),
        driver.consistent(),
        driver.epoch_end(),
    ]);
    let (report, found) = stored.image(At::T0);
    let mut want = base_image();
    patch(&mut want, second, SECTOR, 0);
    patch(&mut want, last, SECTOR, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [second, last].map(|offset| extent(offset, SECTOR)));

    let (report, found) = stored.image(At::Latest);
    patch(&mut want, second, SECTOR, 8);
    patch(&mut want, BLOCK, BLOCK, 7);
    patch(&mut want, BLOCK, SECTOR, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, [BLOCK, last].map(|offset| extent(offset, SECTOR)));
}

#[test]
fn unallocated_excluded_and_cleared_blocks_are_zeros() {
    let mut driver = Driver::default();
    let stored = Stored::new(&[
        driver.start(),
        driver.blocks(0..1),
        driver.plain(RecordKind::Unallocated, BLOCK, BLOCK),
        driver.plain(RecordKind::Excluded, 2 * BLOCK, BLOCK),
        driver.blocks(3..5),
        driver.base_complete(),
        driver.write(BLOCK, SECTOR, 7),
        driver.plain(RecordKind::Trim, SECTOR, BLOCK),
        driver.plain(RecordKind::Zero, 3 * BLOCK, LENGTH - 3 * BLOCK),
        driver.epoch_end(),
    ]);
    let (report, found) = stored.image(At::T0);
    let mut want = base_image();
    patch(&mut want, BLOCK, 2 * BLOCK, 0);
    assert_eq!(found, want);
    assert_eq!(report.unreadable, []);
    patch(&mut want, SECTOR, LENGTH - SECTOR, 0);
    assert_eq!(stored.image(At::Latest).1, want);
}

#[test]
fn zeros_take_no_space() {
    // Zeros with a payload, around one sector of content.
    let mut mixed = vec![0; usize::try_from(BLOCK).unwrap()];
    mixed[8192] = 1;
    let mut driver = Driver::default();
    let stored = Stored::new(&[
        driver.start(),
        (0..3).flat_map(|block| driver.zero(RecordKind::Block, block * BLOCK, BLOCK)).collect(),
        driver.data(RecordKind::Block, 3 * BLOCK, &mixed),
        driver.blocks(4..5),
        driver.zero(RecordKind::Write, 4 * BLOCK, SECTOR),
        driver.epoch_end(),
    ]);
    let (report, found) = stored.image(At::T0);
    assert_eq!(report.bytes_written, 4096 + LENGTH - 4 * BLOCK);
    assert_eq!(found.len() as u64, LENGTH);
    assert_eq!(found[usize::try_from(3 * BLOCK + 8192).unwrap()], 1);
    let (_, found) = stored.image(At::Latest);
    let last = usize::try_from(4 * BLOCK).unwrap();
    assert_eq!(found[last..last + 512], [0; 512]);
    assert_eq!(found[last + 512..], [5; 1024]);
}

#[test]
fn a_stopped_restore_leaves_no_file() {
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let stop = StopFlag::default();
    stop.set();
    let source = Source { volume: VOLUME, session: None, at: At::T0 };
    let request = Request {
        source,
        to: stored.root.with_extension("img"),
        force: true,
        other_sector_size: false,
    };
    let stopped = restore(&Repository::open(&stored.root).unwrap(), &request, &stop, |_| {});
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(std::fs::read_dir(stored.dir.path()).unwrap().count(), 1);
}

#[test]
fn without_a_session_id_the_newest_session_that_had_begun_is_restored() {
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let to = stored.dir.path().join("image");
    let restored =
        |volume, session, at| common::restore_to(&stored.root, Source { volume, session, at }, &to);
    let session_of = |at| restored(VOLUME, None, at).unwrap().session;
    assert_eq!(session_of(At::Latest), SESSION.to_string());
    let newer = SessionHeader {
        session: SessionId([0x33; 16]),
        created: FileTime::new(common::T0 + 5000),
        ..common::header(LENGTH)
    };
    let mut driver = Driver { time: common::T0 + 4000, ..Driver::default() };
    common::ingest_as(&stored.root, &newer, 1 << 20, &[driver.first_sync()]);
    assert_eq!(session_of(At::Latest), newer.session.to_string());
    // By the driver's clock, not the server's: the newer one began at 4000.
    let at = |ticks| At::Time(FileTime::new(common::T0 + ticks));
    assert_eq!(session_of(at(4000)), newer.session.to_string());
    assert_eq!(session_of(at(50)), SESSION.to_string());
    let unknown = restored(VOLUME, Some(SessionId([9; 16])), At::T0);
    assert!(matches!(unknown, Err(Error::NoSession { .. })));
    let unknown = restored(VolumeGuid([9; 16]), None, At::T0).unwrap_err();
    assert!(unknown.to_string().contains(&VOLUME.to_string()), "{unknown}");
}

#[test]
fn latest_is_of_the_newest_session_that_has_a_point_and_the_newer_ones_are_named() {
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let to = stored.dir.path().join("image");
    let restored =
        |session, at| common::restore_to(&stored.root, Source { volume: VOLUME, session, at }, &to);
    let begin = |number, time, blocks: std::ops::Range<u8>| {
        let session = SessionId([number; 16]);
        let created = FileTime::new(common::T0 + time);
        let header = SessionHeader { session, created, ..common::header(LENGTH) };
        let mut driver = Driver { time: common::T0 + time, ..Driver::default() };
        let records = [driver.start(), driver.blocks(blocks), driver.epoch_end()].concat();
        common::ingest_as(&stored.root, &header, 1 << 20, &[records]);
        session
    };
    let newer = begin(0x33, 4000, 0..2);
    for at in [At::Latest, At::T0] {
        let report = restored(None, at).unwrap();
        assert_eq!(report.session, SESSION.to_string());
        let [passed] = &report.passed_over[..] else { panic!("{report:?}") };
        assert_eq!(passed.session, newer.to_string());
        assert!(passed.why.contains("2 of 5 blocks"), "{}", passed.why);
    }
    assert!(matches!(restored(Some(newer), At::Latest), Err(Error::NotRestorable { .. })));
    // Of a time in the newer session, the older one's last point is another.
    let refused = restored(None, At::Time(FileTime::new(common::T0 + 4010))).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(&newer.to_string()) && text.contains(&SESSION.to_string()), "{text}");

    let volumes = list(&Repository::open(&stored.root).unwrap(), &StopFlag::default()).unwrap();
    let latest = volumes[0].latest.clone().unwrap();
    assert_eq!(latest.session, SESSION.to_string());
    assert_eq!(latest.time, restored(None, At::Latest).unwrap().time);

    // Damage of the newest session does not hide the others, and is told.
    let damaged = begin(0x55, 9000, 0..5);
    let dir = stored.root.join(session_dir(VOLUME, damaged));
    std::fs::write(dir.join("session.snapless"), [0; 128]).unwrap();
    let report = restored(None, At::Latest).unwrap();
    assert_eq!((report.session, report.passed_over.len()), (SESSION.to_string(), 2));
    std::fs::write(dir.join("acknowledged.snapless"), [0; 128]).unwrap();
    assert_eq!(restored(None, At::Latest).unwrap().session, SESSION.to_string());
}

#[test]
fn if_no_session_has_a_point_the_newest_one_tells_why() {
    let mut driver = Driver::default();
    let stored = Stored::new(&[driver.start(), driver.blocks(0..1), driver.epoch_end()]);
    let to = stored.dir.path().join("image");
    let source = Source { volume: VOLUME, session: None, at: At::Latest };
    let refused = common::restore_to(&stored.root, source, &to).unwrap_err();
    assert!(refused.to_string().contains("1 of 5 blocks"), "{refused}");
    let dir = stored.root.join(session_dir(VOLUME, SESSION));
    std::fs::remove_file(dir.join("session.snapless")).unwrap();
    let refused = common::restore_to(&stored.root, source, &to).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
}

//! Crashes and bit rot: a torn tail is cut off, acknowledged records are never lost silently, and
//! every flipped byte is found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME};
use snapless_server::error::{Damage, Error};
use snapless_server::format::acknowledged::Acknowledged;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::session::SessionHeader;
use snapless_server::format::slots::SLOT_STRIDE;
use snapless_server::list::{Content, list};
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::{Report, verify};
use snapless_server::writer::SessionWriter;
use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::id::{FileTime, SessionId};

/// No segment of these tests is ever full.
const LIMIT: u64 = 1 << 20;

fn session_dir(root: &Path) -> PathBuf {
    root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string())
}

fn segment(root: &Path) -> PathBuf {
    session_dir(root).join("segment-00000001.slseg")
}

/// A first sync of zero blocks, short enough to try every byte, in two entries.
fn small_sync(driver: &mut Driver) -> Vec<Vec<u8>> {
    let mut first = driver.start();
    for block in 0..4 {
        first.extend(driver.zero(RecordKind::Block, block * BLOCK, BLOCK));
    }
    let last = driver.zero(RecordKind::Block, 4 * BLOCK, LENGTH - 4 * BLOCK);
    vec![first, [last, driver.base_complete(), driver.epoch_end()].concat()]
}

fn reader(root: &Path) -> Result<SessionReader, Error> {
    let repository = Repository::open(root)?;
    let Presence::Header(header) = repository.session(VOLUME, SESSION)? else {
        panic!("no session")
    };
    SessionReader::open(repository.store(), header)
}

fn open_writer(root: &Path) -> Result<Acknowledged, Error> {
    let repository = WritableRepository::open(root)?;
    let stop = StopFlag::default();
    let (writer, _) = SessionWriter::open(&repository, &common::header(LENGTH), LIMIT, &stop)?;
    Ok(*writer.acknowledged())
}

fn verified(root: &Path) -> Report {
    verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap()
}

/// A repository with epoch 1 acknowledged; after it epoch 2, whole but not acknowledged, and a
/// piece of 3. Returns where in the segment epochs 1 and 2 end.
fn crashed(root: &Path) -> (u64, u64) {
    let mut driver = Driver::default();
    common::ingest(root, LENGTH, LIMIT, &small_sync(&mut driver));
    let acknowledged = fs::metadata(segment(root)).unwrap().len();
    let mut tail = Vec::new();
    let epoch = [driver.zero(RecordKind::Write, 0, SECTOR), driver.epoch_end()].concat();
    tail.extend(common::frame(FrameKind::Records, &epoch));
    let whole = acknowledged + tail.len() as u64;
    tail.extend(common::frame(FrameKind::Records, &driver.zero(RecordKind::Write, SECTOR, SECTOR)));
    let stored = [fs::read(segment(root)).unwrap(), tail].concat();
    fs::write(segment(root), stored).unwrap();
    (acknowledged, whole)
}

#[test]
fn a_tail_is_cut_off_wherever_it_is_torn_unless_a_slot_is_damaged() {
    let dir = common::scratch();
    let root = dir.path();
    let (acknowledged, whole) = crashed(root);
    let stored = fs::read(segment(root)).unwrap();
    let marker = session_dir(root).join("acknowledged.snapless");
    let bytes = fs::read(&marker).unwrap();
    let mut damaged = bytes.clone();
    damaged[Acknowledged::read(&bytes).unwrap().slot_offset() ^ SLOT_STRIDE] ^= 1;
    for (len, bytes) in
        (acknowledged..=stored.len() as u64).flat_map(|len| [(len, &bytes), (len, &damaged)])
    {
        fs::write(segment(root), &stored[..usize::try_from(len).unwrap()]).unwrap();
        fs::write(&marker, bytes).unwrap();
        // Readers see what was acknowledged and nothing more.
        let state = reader(root).unwrap().survey(&StopFlag::default()).unwrap();
        assert_eq!(state.timeline().epochs(), 1, "cut at {len}");
        let is_damaged = bytes == &damaged;
        assert_eq!(verified(root).damage.len(), usize::from(is_damaged), "cut at {len}");
        let opened = open_writer(root).unwrap();
        let keeps_whole = is_damaged && len >= whole;
        let want = if keeps_whole { (2, whole) } else { (1, acknowledged) };
        assert_eq!((opened.epoch.get(), opened.offset), want, "cut at {len}");
        assert_eq!(fs::metadata(segment(root)).unwrap().len(), want.1, "cut at {len}");
        assert_eq!(reader(root).unwrap().acknowledged().epoch, opened.epoch);
        assert_eq!(verified(root).damage, [], "cut at {len}");
    }
}

#[test]
fn a_segment_that_ends_before_the_acknowledged_end_is_damage() {
    let dir = common::scratch();
    let root = dir.path();
    let (acknowledged, _) = crashed(root);
    let stored = fs::read(segment(root)).unwrap();
    let short = usize::try_from(acknowledged).unwrap() - 1;
    fs::write(segment(root), &stored[..short]).unwrap();
    let refused = open_writer(root).unwrap_err();
    assert!(matches!(refused, Error::Damaged { why: Damage::Truncated(_), .. }), "{refused}");
    assert_eq!(fs::read(segment(root)).unwrap().len(), short, "it is left as it is");
}

#[test]
fn a_finished_segment_that_lost_its_entries_before_a_gap_does_not_pass_for_an_empty_one() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    // Each in a segment of its own.
    let frames = [
        driver.first_sync(),
        [driver.gap(), driver.epoch_end()].concat(),
        [driver.resync(0, 7), driver.consistent(), driver.epoch_end()].concat(),
        [driver.gap(), driver.epoch_end()].concat(),
    ];
    common::ingest(root, LENGTH, 10_000, &frames);
    let mut want = common::base_image();
    common::patch(&mut want, 0, BLOCK, 7);
    assert!(common::image(root, At::Latest).unwrap().1 == want);
    // A file system went back to what was synced first: the header.
    let lost = session_dir(root).join("segment-00000003.slseg");
    fs::OpenOptions::new().write(true).open(&lost).unwrap().set_len(64).unwrap();
    let Error::Damaged { path, .. } = common::image(root, At::Latest).unwrap_err() else {
        panic!("it is damage")
    };
    assert_eq!(path, lost);
    let named: Vec<_> = verified(root).damage.into_iter().map(|found| found.file.0).collect();
    assert_eq!(named.first(), Some(&lost), "{named:?}");
}

#[test]
fn a_tail_of_garbage_and_segments_past_the_end_are_removed() {
    let dir = common::scratch();
    let root = dir.path();
    let (acknowledged, whole) = crashed(root);
    let mut stored = fs::read(segment(root)).unwrap();
    let start = usize::try_from(acknowledged).unwrap();
    stored[start..].fill(0);
    fs::write(segment(root), &stored).unwrap();
    for number in [2, 3] {
        fs::write(session_dir(root).join(format!("segment-{number:08}.slseg")), "torn").unwrap();
    }
    let opened = open_writer(root).unwrap();
    assert_eq!((opened.epoch.get(), opened.offset), (1, acknowledged));
    assert!(acknowledged < whole);
    assert!(!session_dir(root).join("segment-00000002.slseg").exists());
    assert!(!session_dir(root).join("segment-00000003.slseg").exists());
}

#[test]
fn a_stream_goes_on_after_a_crash() {
    let dir = common::scratch();
    let root = dir.path();
    crashed(root);
    let mut driver = Driver { seq: 40, epoch: 9, monotonic: 1000, ..Driver::default() };
    let acknowledged = common::ingest(root, LENGTH, LIMIT, &[driver.bridged_gap(7)]);
    assert_eq!(acknowledged.len(), 1);
    assert_eq!(verified(root).damage, []);
    let state = reader(root).unwrap().survey(&StopFlag::default()).unwrap();
    assert_eq!(state.timeline().ranges().len(), 2);
}

#[test]
fn missing_acknowledged_records_are_an_error_for_reader_writer_and_verify() {
    let dir = common::scratch();
    let root = dir.path();
    common::ingest(root, LENGTH, LIMIT, &small_sync(&mut Driver::default()));
    let stored = fs::read(segment(root)).unwrap();
    for len in 0..stored.len() {
        fs::write(segment(root), &stored[..len]).unwrap();
        let read = reader(root).unwrap().survey(&StopFlag::default());
        assert!(
            matches!(read, Err(Error::Damaged { why: Damage::Truncated(_), .. })),
            "cut at {len}: {read:?}"
        );
        assert!(matches!(open_writer(root), Err(Error::Damaged { .. })), "cut at {len}");
        assert_eq!(fs::metadata(segment(root)).unwrap().len(), len as u64, "cut at {len}");
        assert_eq!(verified(root).damage.len(), 1, "cut at {len}");
    }
    fs::remove_file(segment(root)).unwrap();
    assert!(open_writer(root).is_err());
    assert_eq!(verified(root).damage.len(), 1);
}

#[test]
fn verify_finds_every_flipped_byte_of_every_file() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    common::ingest(root, LENGTH, LIMIT, &small_sync(&mut driver));
    assert_eq!(verified(root).damage, []);
    let mut tried = 0;
    for name in ["segment-00000001.slseg", "session.snapless", "acknowledged.snapless"] {
        let path = session_dir(root).join(name);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            // Between and after the slots of the acknowledgement is nothing.
            if name.starts_with("acknowledged") && at % 4096 >= 64 {
                continue;
            }
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let damage = verified(root).damage;
            assert!(!damage.is_empty(), "{name}: byte {at} flipped");
            assert!(damage[0].file.ends_with(name), "{name}: byte {at}: {damage:?}");
            tried += 1;
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(tried > 800, "{tried} bytes tried");
    assert_eq!(verified(root).damage, []);
}

#[test]
fn one_damaged_entry_does_not_hide_the_next_one_and_no_image_is_made_of_it() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut frames = vec![driver.start()];
    frames.extend((0..3).map(|block| driver.blocks(block..block + 1)));
    frames.push([driver.blocks(3..5), driver.epoch_end()].concat());
    common::ingest(&root, LENGTH, LIMIT, &frames);
    let mut stored = fs::read(segment(&root)).unwrap();
    // The middle of blocks 0 and 2: only a checksum covers it. Before the blocks come the
    // segment's header and the entry of SessionStart.
    let entry = 16 + 64 + usize::try_from(BLOCK).unwrap();
    for index in [0, 2] {
        stored[64 + 80 + index * entry + 1000] ^= 0x10;
    }
    fs::write(segment(&root), stored).unwrap();
    let report = verified(&root);
    assert_eq!(report.damage.len(), 2, "{:?}", report.damage);
    assert_eq!(report.entries, 3);
    let to = dir.path().join("image");
    let source = Source { volume: VOLUME, session: None, at: At::T0 };
    let failed = common::restore_to(&root, source, &to).unwrap_err();
    assert!(matches!(failed, Error::Damaged { why: Damage::Frame(_), .. }), "{failed}");
    assert!(!to.exists());
}

#[test]
fn damage_in_the_newest_entries_costs_no_earlier_point() {
    for in_gap in [false, true] {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let mut driver = Driver::default();
        let mut frames = vec![driver.start()];
        frames.extend((0..5).map(|block| driver.blocks(block..block + 1)));
        frames.push([driver.base_complete(), driver.epoch_end()].concat());
        let mut image = common::base_image();
        // The instant of each entry's last record, and the image there.
        let mut images = vec![(driver.time - driver.tick, image.clone())];
        for byte in 0x40..0x46 {
            if in_gap && byte == 0x42 {
                frames.push(driver.bridged_gap(byte));
                common::patch(&mut image, 0, BLOCK, byte);
            } else {
                frames.push([driver.write(SECTOR, SECTOR, byte), driver.epoch_end()].concat());
                common::patch(&mut image, SECTOR, SECTOR, byte);
            }
            images.push((driver.time - driver.tick, image.clone()));
        }
        common::ingest(&root, LENGTH, LIMIT, &frames);
        let good = fs::read(segment(&root)).unwrap();
        let mut start = 64;
        for (entry, frame) in frames.iter().enumerate() {
            // The header of the entry, its first record's, and its last byte.
            for byte in [start + 6, start + 16 + 24, start + 16 + frame.len() - 1] {
                let mut bad = good.clone();
                bad[byte] ^= 1;
                fs::write(segment(&root), bad).unwrap();
                // A point is the end of an entry before the last one that is sound.
                let sound = (entry + 1).saturating_sub(frames.len() - images.len() + 2);
                check_points(&root, &images, sound, &format!("byte {byte} of entry {entry}"));
            }
            start += 16 + frame.len();
        }
    }
}

/// Checks that just so many of these points can be restored, besides t0, and that `list` names the
/// last instant that can be.
fn check_points(root: &Path, images: &[(u64, Vec<u8>)], sound: usize, why: &str) {
    for (index, (time, want)) in images.iter().enumerate() {
        match common::image(root, At::Time(FileTime::new(*time))) {
            Ok((_, found)) => assert!(index < sound && found == *want, "{why}: point {index}"),
            Err(Error::Damaged { .. }) => assert!(index >= sound, "{why}: point {index}"),
            Err(error) => panic!("{why}: point {index}: {error}"),
        }
    }
    let latest = common::image(root, At::Latest);
    assert!(matches!(latest, Err(Error::Damaged { .. })), "{why}: {latest:?}");
    let listed = list(&Repository::open(root).unwrap(), &StopFlag::default()).unwrap();
    let Content::Damaged { points, .. } = &listed[0].sessions[0].content else {
        panic!("{why}: {listed:?}")
    };
    assert_eq!(points.is_empty(), sound == 0 && common::image(root, At::T0).is_err(), "{why}");
    assert!(listed[0].latest.is_none(), "{why}");
    let Some(points) = points.last() else { return };
    let last = snapless_server::time::from_text(&points.to).unwrap();
    let past = FileTime::new(last.get() + 1);
    assert!(common::image(root, At::Time(last)).is_ok(), "{why}: {last:?}");
    let refused = common::image(root, At::Time(past)).unwrap_err();
    assert!(matches!(refused, Error::Damaged { why: Damage::Tail { .. }, .. }), "{why}: {refused}");
}

#[test]
fn a_lost_newest_acknowledgement_loses_no_epoch() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    let mut frames = small_sync(&mut driver);
    let epoch = [driver.zero(RecordKind::Write, 0, SECTOR), driver.epoch_end()].concat();
    frames.push(epoch);
    let acknowledged = common::ingest(root, LENGTH, LIMIT, &frames);
    let path = session_dir(root).join("acknowledged.snapless");
    let mut bytes = fs::read(&path).unwrap();
    let newest = Acknowledged::read(&bytes).unwrap();
    assert_eq!(newest.epoch.get(), 2);
    bytes[newest.slot_offset() + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(reader(root).unwrap().acknowledged().epoch.get(), 1);
    let opened = open_writer(root).unwrap();
    assert_eq!((opened.epoch, opened.seq), (acknowledged[1].epoch(), acknowledged[1].seq()));
}

#[test]
fn a_session_whose_creation_was_interrupted_is_begun_again() {
    let dir = common::scratch();
    let root = dir.path();
    drop(common::repository(root));
    fs::create_dir_all(session_dir(root)).unwrap();
    fs::write(session_dir(root).join("acknowledged.snapless"), "half").unwrap();
    assert_eq!(verified(root).sessions, 0);
    assert_eq!(open_writer(root).unwrap(), Acknowledged::NOTHING);
    assert_eq!(verified(root).sessions, 1);
}

#[test]
fn entries_fill_segments_and_never_cross_them() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    let mut frames = vec![driver.start()];
    frames.extend((0..5).map(|block| driver.block(block, 9)));
    frames.push(driver.epoch_end());
    common::ingest(root, LENGTH, 20 << 10, &frames);
    let names: Vec<_> = fs::read_dir(session_dir(root))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| SegmentNumber::from_file_name(name).is_some())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(verified(root).damage, []);
    let header = FrameHeader::new(FrameKind::Records, &frames[0]).unwrap();
    let first = fs::read(segment(root)).unwrap();
    assert_eq!(first[64..80], header.to_bytes());
}

/// Writes epoch after epoch with this segment limit, and does something to the repository after
/// `before` of them; returns how many more were acknowledged and why no further one was.
fn disturbed(limit: u64, before: u64, disturb: impl FnOnce(&Path)) -> (u64, Error) {
    let dir = common::scratch();
    let root = dir.path();
    let repository = common::repository(root);
    let stop = StopFlag::default();
    let header = common::header(LENGTH);
    let (mut writer, _) = SessionWriter::open(&repository, &header, limit, &stop).unwrap();
    let mut driver = Driver::default();
    let mut epoch = |_| {
        let payload = [driver.write(0, SECTOR, 7), driver.epoch_end()].concat();
        let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
        writer.append(&frame, &payload)?;
        writer.commit(EpochId::new(driver.epoch - 1), Seq::new(driver.seq))
    };
    (0..before).try_for_each(&mut epoch).unwrap();
    disturb(root);
    for more in 0..=before {
        if let Err(error) = epoch(more) {
            return (more, error);
        }
    }
    panic!("{before} more epochs were acknowledged");
}

#[test]
fn nothing_is_acknowledged_that_a_restart_would_not_find() {
    let moved = |path: &Path| fs::rename(path, path.with_extension("quarantine")).unwrap();
    let files = ["segment-00000001.slseg", "acknowledged.snapless", "session.snapless"];
    let disturbances: [&dyn Fn(&Path); 10] = [
        &|root| {
            // Another server can take the lock now, and does.
            fs::remove_file(root.join("lock")).unwrap();
            drop(WritableRepository::open(root).unwrap());
        },
        &|root| moved(&root.join("volumes")),
        &|root| moved(&root.join("volumes").join(VOLUME.to_string())),
        &|root| {
            // What is synced into the moved folder is not found by its name.
            moved(&session_dir(root));
            fs::create_dir(session_dir(root)).unwrap();
        },
        &|root| files.iter().for_each(|name| moved(&session_dir(root).join(name))),
        &|root| fs::remove_file(segment(root)).unwrap(),
        &|root| moved(&session_dir(root).join("acknowledged.snapless")),
        &|root| moved(&session_dir(root)),
        &|root| moved(&root.join("repository.snapless")),
        &|root| {
            // Another file of the same name and content.
            let path = session_dir(root).join("session.snapless");
            let content = fs::read(&path).unwrap();
            moved(&path);
            fs::write(&path, content).unwrap();
        },
    ];
    for disturb in disturbances {
        let (more, error) = disturbed(LIMIT, 3, disturb);
        assert!(matches!(error, Error::Moved(_)), "{error}");
        assert_eq!(more, 0, "{error}");
    }
}

#[test]
fn a_finished_segment_that_goes_or_is_replaced_is_missed() {
    let (more, error) = disturbed(1024, 20, |root| fs::remove_file(segment(root)).unwrap());
    assert!(error.to_string().contains("segment-00000001.slseg"), "{error}");
    assert_eq!(more, 0, "{error}");
    let (more, error) = disturbed(1024, 20, |root| {
        fs::copy(session_dir(root).join("segment-00000002.slseg"), segment(root)).unwrap();
    });
    assert!(error.to_string().contains("segment-00000001.slseg"), "{error}");
    assert!(more < 20, "{more}");
}

/// A repository with a session of three segments, all acknowledged.
fn stored(root: &Path) -> Driver {
    let mut driver = Driver::default();
    let mut frames = small_sync(&mut driver);
    for _ in 0..4 {
        frames.push([driver.write(0, SECTOR, 7), driver.epoch_end()].concat());
    }
    common::ingest(root, LENGTH, 1500, &frames);
    assert_eq!(verified(root).damage, []);
    assert!(session_dir(root).join("segment-00000003.slseg").exists());
    driver
}

/// What is lost, and how.
type Loss<'a> = (&'a str, &'a dyn Fn(&Path));

/// Every name below a directory, with its content.
fn content(of: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(of).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_session_that_is_gone_or_lacks_a_file_is_damage_and_no_hello_changes_what_is_left() {
    let gone = |path: PathBuf| {
        let hidden = path.file_name().unwrap().to_string_lossy().replace("seg", "was");
        fs::rename(&path, path.with_file_name(format!("gone-{hidden}"))).unwrap();
    };
    let of_session = |name: &'static str| move |root: &Path| session_dir(root).join(name);
    let header_and_end = |root: &Path| {
        gone(session_dir(root).join("session.snapless"));
        gone(session_dir(root).join("acknowledged.snapless"));
    };
    let losses: [Loss; 9] = [
        ("everything", &|root| gone(root.join("volumes"))),
        ("the volume", &|root| gone(root.join("volumes").join(VOLUME.to_string()))),
        ("the session", &|root| gone(session_dir(root))),
        ("the header", &|root| gone(of_session("session.snapless")(root))),
        ("the end", &|root| gone(of_session("acknowledged.snapless")(root))),
        ("header and end", &header_and_end),
        ("the first segment", &|root| gone(segment(root))),
        ("the last segment", &|root| gone(of_session("segment-00000003.slseg")(root))),
        ("the list and the header", &|root| {
            fs::remove_file(root.join("sessions.snapless")).unwrap();
            gone(session_dir(root).join("session.snapless"));
        }),
    ];
    for (what, lose) in losses {
        let dir = common::scratch();
        let root = dir.path();
        stored(root);
        lose(root);
        let report = verified(root);
        assert_eq!(report.damage.len(), 1, "{what}: {:?}", report.damage);
        let left = content(root);
        let refused = open_writer(root).unwrap_err();
        assert!(matches!(refused, Error::Damaged { why: Damage::Gone, .. }), "{what}: {refused}");
        let now = content(root);
        assert!(left.iter().all(|file| now.contains(file)), "{what}: something is lost");
        let listed = list(&Repository::open(root).unwrap(), &StopFlag::default()).unwrap();
        let session = &listed[0].sessions[0];
        assert_eq!(session.session, SESSION.to_string(), "{what}");
        assert!(matches!(session.content, Content::Damaged { .. }), "{what}: {session:?}");
    }
}

#[test]
fn an_older_acknowledgement_in_the_place_of_a_newer_one_is_noticed() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = stored(root);
    let path = session_dir(root).join("acknowledged.snapless");
    let older = fs::read(&path).unwrap();
    let server = Running::start(root);
    let (mut client, ..) = Client::resume(server.address);
    client.records(&[driver.write(0, SECTOR, 9), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop(client);
    drop(server);
    let newer = fs::read(&path).unwrap();
    fs::write(&path, older).unwrap();
    let left = content(&session_dir(root));
    let refused = open_writer(root).unwrap_err();
    assert!(refused.to_string().contains("an older file"), "{refused}");
    assert!(left == content(&session_dir(root)), "nothing is cut off");
    assert_eq!(verified(root).damage.len(), 1);
    fs::write(&path, newer).unwrap();
    open_writer(root).unwrap();
    assert_eq!(verified(root).damage, []);
}

#[test]
fn every_flipped_bit_of_the_list_of_sessions_is_found_and_hides_no_other() {
    let dir = common::scratch();
    let root = dir.path();
    stored(root);
    let other = SessionHeader { session: SessionId([0x44; 16]), ..common::header(LENGTH) };
    common::ingest_as(root, &other, LIMIT, &small_sync(&mut Driver::default()));
    let path = root.join("sessions.snapless");
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), 128);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let damage = verified(root).damage;
        assert_eq!(damage.len(), 1, "byte {at}");
        assert!(damage[0].file.ends_with("sessions.snapless"), "{damage:?}");
    }
    // A server that starts names the sessions again.
    drop(WritableRepository::open(root).unwrap());
    fs::rename(session_dir(root), root.join("moved")).unwrap();
    assert_eq!(verified(root).damage.len(), 2, "the damaged entry, and the session");
}

//! Salvage: what is there of a damaged session becomes an image, and what is not is listed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, base_image, patch};
use snapless_server::bytes::Bytes;
use snapless_server::error::{Error, Result};
use snapless_server::format::repository::session_dir;
use snapless_server::pin::Pins;
use snapless_server::repository::Repository;
use snapless_server::restore::{Request, Source};
use snapless_server::salvage::{Report, salvage};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::RecordKind;
use snapless_wire::frame::FrameKind;
use snapless_wire::id::FileTime;

fn file(root: &Path, name: &str) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION)).join(name)
}

fn segment(root: &Path, number: u64) -> PathBuf {
    file(root, &format!("segment-{number:08}.slseg"))
}

fn salvaged(root: &Path, at: At) -> Result<(Report, Vec<u8>)> {
    let to = root.with_extension("salvaged");
    let source = Source { volume: VOLUME, session: None, at };
    let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
    let stop = StopFlag::default();
    let report = salvage(&Repository::to_salvage(root), &request, &stop, |_| {})?;
    Ok((report, fs::read(to).unwrap()))
}

fn is_damaged(root: &Path) -> bool {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {});
    !report.unwrap().damage.is_empty()
}

/// A session whose blocks and writes are entries of their own; in several segments if `limit` is
/// low. Returns the latest image.
fn stored(root: &Path, limit: u64) -> Vec<u8> {
    let mut driver = Driver::default();
    let mut frames = vec![driver.start()];
    frames.extend((0..5).map(|index| driver.blocks(index..index + 1)));
    frames.push([driver.base_complete(), driver.epoch_end()].concat());
    let mut image = base_image();
    for (block, byte) in [(0, 0xa0), (2, 0xa2), (4, 0xa4)] {
        frames.push(driver.write(block * BLOCK + SECTOR, SECTOR, byte));
        frames.push(driver.epoch_end());
        patch(&mut image, block * BLOCK + SECTOR, SECTOR, byte);
    }
    common::ingest(root, LENGTH, limit, &frames);
    image
}

/// The image's bytes that the report says nothing of must be these.
fn assert_same_elsewhere(report: &Report, found: &[u8], want: &[u8], what: &str) {
    let mut told = vec![false; want.len()];
    for run in report.missing.iter().chain(&report.doubtful) {
        let start = usize::try_from(run.offset).unwrap();
        told[start..][..usize::try_from(run.len).unwrap()].fill(true);
    }
    for (at, told) in told.iter().enumerate() {
        assert!(*told || found[at] == want[at], "{what}: byte {at}");
    }
}

#[test]
fn a_sound_session_is_salvaged_whole_and_as_it_is_restored() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let image = stored(&root, 1 << 20);
    for at in [At::T0, At::Latest, At::Time(FileTime::new(common::T0 + 85))] {
        let (report, found) = salvaged(&root, at).unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert!(found == common::image(&root, at).unwrap().1, "{at:?}");
    }
    assert!(salvaged(&root, At::Latest).unwrap().1 == image);
}

#[test]
fn a_salvage_holds_a_pin_while_it_reads() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root, 1 << 20);
    let source = Source { volume: VOLUME, session: None, at: At::Latest };
    let to = root.with_extension("salvaged");
    let request = Request { source, to, force: true, other_sector_size: false };
    let repository = Repository::to_salvage(&root).pinned_for("restore");
    let pins = Pins::of_session(&Store::local(&root), VOLUME, SESSION);
    let mut held = Vec::new();
    salvage(&repository, &request, &StopFlag::default(), |_| {
        held.extend(pins.holders().unwrap().into_iter().map(|it| it.command));
    })
    .unwrap();
    assert!(!held.is_empty() && held.iter().all(|command| command == "restore"), "{held:?}");
    assert!(!pins.any_held().unwrap());
}

#[test]
fn whatever_bit_is_flipped_the_rest_is_salvaged_and_the_damage_told() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let image = stored(&root, 1 << 20);
    let good = fs::read(segment(&root, 1)).unwrap();
    // All bytes but those in the middle of long payloads.
    let entry = 80 + usize::try_from(BLOCK).unwrap();
    let is_tried = |at: &usize| *at < 500 || *at > 144 + 4 * entry || (at - 144) % entry < 200;
    for at in (0..good.len()).filter(is_tried) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(segment(&root, 1), &bad).unwrap();
        assert!(is_damaged(&root), "byte {at}");
        let (report, found) = salvaged(&root, At::Latest).unwrap();
        assert!(!report.damage.is_empty(), "byte {at}: {report:?}");
        let missing: u64 = report.missing.iter().map(|run| run.len).sum();
        let doubtful: u64 = report.doubtful.iter().map(|run| run.len).sum();
        assert!(missing + doubtful <= BLOCK, "byte {at}: {report:?}");
        if report.lost.is_empty() {
            assert_same_elsewhere(&report, &found, &image, &format!("byte {at}"));
        } else {
            let lost: u64 = report.lost.iter().map(|lost| lost.to - lost.from + 1).sum();
            assert!(lost <= 2, "byte {at}: {:?}", report.lost);
            let (report, found) = salvaged(&root, At::T0).unwrap();
            assert_same_elsewhere(&report, &found, &base_image(), &format!("t0, byte {at}"));
        }
    }
}

#[test]
fn one_flipped_bit_is_put_right_and_more_cost_no_more_than_their_entry() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let want = stored(&root, 1 << 20);
    let path = segment(&root, 1);
    let good = fs::read(&path).unwrap();
    // In block 1, 5,000 bytes from its start.
    let entry = 64 + 80 + 80 + 16_384;
    let mut bytes = good.clone();
    bytes[entry + 80 + 5000] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    assert!(common::image(&root, At::Latest).is_err());
    let (report, found) = salvaged(&root, At::Latest).unwrap();
    assert!(found == want);
    assert_eq!((report.damage.len(), report.damage[0].offset), (1, entry as u64), "{report:?}");
    assert_eq!((report.lost.len(), report.missing.len(), report.doubtful.len()), (0, 0, 0));

    // Two bits of block 1's content, and two of a write's.
    bytes[entry + 80 + 5001] ^= 0x10;
    let write = good.len() - 5 * 80 - 2 * 512 - 10;
    bytes[write] ^= 3;
    fs::write(&path, &bytes).unwrap();
    let (report, found) = salvaged(&root, At::Latest).unwrap();
    assert_eq!(report.doubtful, [Bytes { offset: BLOCK, len: BLOCK }], "{report:?}");
    assert_eq!((report.damage.len(), report.lost.len(), report.missing.len()), (2, 1, 0));
    assert_eq!((report.lost[0].from, report.lost[0].to), (9, 9));
    let differs = found.iter().zip(&want).filter(|(found, want)| found != want).count();
    assert_eq!(differs, 512 + 2, "the write, which is lost, and the two bits");
}

#[test]
fn without_header_end_or_a_segment_the_rest_is_salvaged() {
    let files = ["session.snapless", "acknowledged.snapless", "../../../repository.snapless"];
    for gone in files {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let image = stored(&root, 20 << 10);
        fs::remove_file(file(&root, gone)).unwrap();
        let (report, found) = salvaged(&root, At::Latest).unwrap();
        assert!(found == image, "{gone}");
        let told = usize::from(!gone.starts_with(".."));
        assert_eq!(report.damage.len(), told, "{gone}: {report:?}");
        assert_eq!((report.lost.len(), report.missing.len()), (0, 0), "{gone}: {report:?}");
    }
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root, 20 << 10);
    fs::remove_file(segment(&root, 2)).unwrap();
    let (report, found) = salvaged(&root, At::T0).unwrap();
    assert_eq!(report.missing, [Bytes { offset: BLOCK, len: BLOCK }], "{report:?}");
    assert_eq!(report.lost.len(), 1);
    let lost = &report.lost[0];
    assert_eq!((lost.from, lost.to), (3, 3));
    assert!(lost.after < lost.before, "{lost:?}");
    assert_same_elsewhere(&report, &found, &base_image(), "a segment is gone");
    assert!(!report.is_whole());
    fs::remove_file(segment(&root, 1)).unwrap();
    fs::remove_file(file(&root, "session.snapless")).unwrap();
    let (report, _) = salvaged(&root, At::T0).unwrap();
    assert_eq!(report.missing, [Bytes { offset: 0, len: 2 * BLOCK }], "{report:?}");
    for number in 3..20 {
        drop(fs::remove_file(segment(&root, number)));
    }
    assert!(matches!(salvaged(&root, At::Latest), Err(Error::NothingToSalvage(_))));
}

#[test]
fn a_segment_that_was_cut_off_ends_where_it_ends() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root, 1 << 20);
    let path = segment(&root, 1);
    let good = fs::read(&path).unwrap();
    for len in [good.len() - 1, good.len() / 2, 64 + 80 + 100, 64 + 80] {
        fs::write(&path, &good[..len]).unwrap();
        let (report, found) = salvaged(&root, At::Latest).unwrap();
        let last = report.lost.last().unwrap();
        assert_eq!((last.to, &last.before), (14, &None), "cut at {len}: {report:?}");
        assert_same_elsewhere(&report, &found[..], &found, "cut");
    }
}

#[test]
fn frames_that_are_a_volumes_data_are_taken_for_no_entries() {
    // A volume with a Snapless repository on it: its blocks hold whole frames.
    let mut inner = Driver { seq: 2, ..Driver::default() };
    let record = inner.write(0, SECTOR, 0xee);
    let frame = common::frame(FrameKind::Records, &record);
    let mut block = vec![0; 16_384];
    for place in [0, 600, 1200] {
        block[place..place + frame.len()].copy_from_slice(&frame);
    }
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let frames = [
        driver.start(),
        driver.blocks(0..1),
        driver.data(RecordKind::Block, BLOCK, &block),
        driver.blocks(2..5),
        [driver.base_complete(), driver.epoch_end()].concat(),
    ];
    common::ingest(&root, LENGTH, 1 << 20, &frames);
    let path = segment(&root, 1);
    let mut bytes = fs::read(&path).unwrap();
    // The header of the entry with that block: where the next one begins must be searched for.
    bytes[64 + 80 + 80 + 16_384] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (report, found) = salvaged(&root, At::Latest).unwrap();
    let first = &found[..512];
    assert!(first.iter().all(|byte| *byte == 1), "no write of the inner frame is applied");
    assert_eq!(report.missing, [Bytes { offset: BLOCK, len: BLOCK }]);
}

#[test]
fn an_instant_in_a_gap_and_the_choice_of_a_session_are_told() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let gap = [driver.gap(), driver.write(0, SECTOR, 9), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[first, gap]);
    let (report, _) = salvaged(&root, At::Latest).unwrap();
    assert!(report.gap_since.is_some() && !report.is_whole(), "{report:?}");
    let other = snapless_server::format::session::SessionHeader {
        session: snapless_wire::id::SessionId([9; 16]),
        ..common::header(LENGTH)
    };
    common::ingest_as(&root, &other, 1 << 20, &[Driver::default().first_sync()]);
    let refused = salvaged(&root, At::Latest).unwrap_err().to_string();
    assert!(refused.contains("--session") && refused.contains(&SESSION.to_string()), "{refused}");
}

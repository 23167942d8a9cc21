//! What the volume had when it was verified, beside its copy.

use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, program};
use crate::fold::{image_in, reader_of};
use snapless_server::checks::{Checks, Differing};
use snapless_server::copy::{How, copy_all};
use snapless_server::export;
use snapless_server::fold::{Plan, collect, fold_into};
use snapless_server::repository::Repository;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_types::{RecordKind, Seq};
use snapless_wire::id::FileTime;

/// What came of the checks of a stored stream.
fn compared(root: &Path) -> Checks {
    let repository = Repository::open(root).unwrap();
    let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
    let [found] = &report.checks[..] else { panic!("{:?}", report.checks) };
    assert_eq!(found.not_compared, None);
    found.clone()
}

/// A repository with these frames.
fn repository(frames: &[Vec<u8>]) -> (tempfile::TempDir, PathBuf) {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    common::ingest(&root, LENGTH, 1 << 20, frames);
    (dir, root)
}

fn stored(frames: &[Vec<u8>]) -> Checks {
    let (_dir, root) = repository(frames);
    compared(&root)
}

/// The volume has this byte in all of a block.
fn check(driver: &mut Driver, block: u64, byte: u8) -> Vec<u8> {
    let len = BLOCK.min(LENGTH - block * BLOCK);
    driver.check(block * BLOCK, &vec![byte; usize::try_from(len).unwrap()])
}

#[test]
fn a_copy_that_is_what_the_volume_had_is_the_same() {
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let all = driver.check(0, &common::base_image());
    let found = stored(&[first, [all, driver.epoch_end()].concat()]);
    assert_eq!((found.checks, found.same_bytes, found.differ()), (1, LENGTH, false));
    assert_eq!((found.unclear_bytes, found.overtaken_bytes, found.left_out_bytes), (0, 0, 0));
}

#[test]
fn a_check_is_compared_with_what_the_stream_gives_at_its_place() {
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let records = [
        check(&mut driver, 0, 1),
        driver.write(0, BLOCK, 9),
        driver.write(2 * BLOCK, BLOCK, 8),
        check(&mut driver, 1, 2),
        // Changed before it, and not since.
        check(&mut driver, 2, 8),
        // Changed before it and since.
        driver.write(3 * BLOCK, BLOCK, 9),
        check(&mut driver, 3, 9),
        driver.write(3 * BLOCK, SECTOR, 7),
        driver.epoch_end(),
    ];
    let found = stored(&[first, records.concat()]);
    assert_eq!((found.checks, found.same_bytes, found.overtaken_bytes), (4, 3 * BLOCK, BLOCK));
    assert!(!found.differ(), "{found:?}");
}

#[test]
fn what_differs_is_named_though_every_checksum_is_right() {
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let records = [
        check(&mut driver, 1, 2),
        driver.write(3 * BLOCK, BLOCK, 8),
        check(&mut driver, 2, 77),
        check(&mut driver, 3, 77),
        driver.epoch_end(),
    ];
    let (_dir, root) = repository(&[first, records.concat()]);
    let found = compared(&root);
    assert_eq!((found.same_bytes, found.differing_bytes), (BLOCK, 2 * BLOCK));
    assert_eq!(found.differing, [Differing { offset: 2 * BLOCK, len: 2 * BLOCK, seq: 12 }]);
    let run = |more: &[&str]| {
        let mut command = program();
        command.arg("verify").arg("--repository").arg(&root).args(more).output().unwrap()
    };
    let told = run(&[]);
    assert_eq!(told.status.code(), Some(6));
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("32768 bytes at 32768 are not what the volume had"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    assert_eq!(json["checks"][0]["differing"][0]["offset"], 2 * BLOCK);
}

#[test]
fn free_space_may_be_anything_and_paging_files_are_left_out() {
    let mut driver = Driver::default();
    let first = [
        driver.start(),
        driver.plain(RecordKind::Unallocated, 0, BLOCK),
        driver.plain(RecordKind::Excluded, BLOCK, BLOCK),
        driver.blocks(2..5),
        driver.base_complete(),
        driver.epoch_end(),
    ];
    let records = [
        driver.plain(RecordKind::Trim, 2 * BLOCK, SECTOR),
        check(&mut driver, 0, 55),
        check(&mut driver, 1, 55),
        // The trimmed sector is as it was.
        check(&mut driver, 2, 3),
        check(&mut driver, 3, 4),
        driver.epoch_end(),
    ];
    let found = stored(&[first.concat(), records.concat()]);
    assert_eq!((found.same_bytes, found.differing_bytes), (BLOCK, 0));
    assert_eq!((found.unclear_bytes, found.left_out_bytes), (2 * BLOCK, BLOCK));
}

#[test]
fn whatever_the_stream_is_only_what_differs_is_called_so() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut driver = Driver::default();
        let mut frames = vec![driver.first_sync()];
        let mut image = common::base_image();
        // Of the last verification.
        let (mut next, mut checked, mut wrong) = (0, 0, 0);
        for _ in 0..rng.u64(1..8) {
            let mut frame = Vec::new();
            for _ in 0..rng.u64(1..30) {
                if rng.bool() {
                    let sector = rng.u64(0..LENGTH / SECTOR);
                    let byte = rng.u8(1..);
                    common::patch(&mut image, sector * SECTOR, SECTOR, byte);
                    frame.extend(driver.write(sector * SECTOR, SECTOR, byte));
                    continue;
                }
                let block = next;
                next = (next + 1) % 5;
                if block == 0 {
                    (checked, wrong) = (0, 0);
                }
                let start = usize::try_from(block * BLOCK).unwrap();
                let end = usize::try_from(LENGTH.min((block + 1) * BLOCK)).unwrap();
                let mut content = image[start..end].to_vec();
                let flips = rng.u8(0..4) == 0;
                if flips {
                    content[rng.usize(0..end - start)] ^= 1;
                    wrong += (end - start) as u64;
                }
                checked += (end - start) as u64;
                frame.extend(driver.check(block * BLOCK, &content));
            }
            frame.extend(driver.epoch_end());
            frames.push(frame);
        }
        if checked == 0 {
            continue;
        }
        let found = stored(&frames);
        let all = found.same_bytes + found.differing_bytes + found.overtaken_bytes;
        assert_eq!((all, found.unclear_bytes), (checked, 0), "seed {seed}: {found:?}");
        assert!(found.differing_bytes <= wrong, "seed {seed}: {found:?}");
        assert!(found.same_bytes <= checked - wrong, "seed {seed}: {found:?}");
    }
}

#[test]
fn a_copy_keeps_points_and_checks_and_a_fold_those_behind_its_boundary() {
    let mut driver = Driver::default();
    let first = driver.first_sync();
    let before = [
        driver.write(0, BLOCK, 9),
        check(&mut driver, 0, 9),
        check(&mut driver, 1, 77),
        driver.epoch_end(),
    ];
    let boundary = driver.seq;
    let behind = [
        driver.write(SECTOR, SECTOR, 8),
        check(&mut driver, 2, 3),
        check(&mut driver, 3, 77),
        driver.write(2 * BLOCK, SECTOR, 7),
        driver.epoch_end(),
    ];
    let (dir, root) = repository(&[first, before.concat(), behind.concat()]);
    let stop = StopFlag::default();
    let open = |root: &Path| Repository::open(root).unwrap();
    let instants = |root: &Path| {
        let records = (boundary..=driver.seq).map(|record| common::T0 + 10 * (record - 1));
        let times = records.map(|time| At::Time(FileTime::new(time)));
        let repository = open(root);
        let images = times.chain([At::T0, At::Latest]).map(|at| image_in(&repository, at));
        images.map(|image| image.map_err(|why| why.to_string())).collect::<Vec<_>>()
    };
    let images = instants(&root);
    assert!(images.iter().filter(|image| image.is_ok()).count() > 3);
    let all = compared(&root);
    assert_eq!((all.checks, all.same_bytes), (4, 2 * BLOCK));
    let differing: Vec<_> = all.differing.iter().map(|it| it.offset).collect();
    assert_eq!(differing, [BLOCK, 3 * BLOCK]);

    let copy = dir.path().join("copy");
    let target = common::repository(&copy);
    let how = How { segment_bytes: 1 << 20, map_bytes: 1, commit_bytes: 1, limit: None };
    export::begin(&open(&root), &target).unwrap();
    let report = copy_all(&open(&root), &target, &how, &stop).unwrap();
    assert!(report.is_complete(), "{report:?}");
    export::finish(&target).unwrap();
    drop(target);
    export::check(&open(&copy)).unwrap();
    assert_eq!(compared(&copy), all);
    assert!(instants(&copy) == images);

    let plan = Plan { boundary: Seq::new(boundary), points: vec![Cut::Base] };
    assert!(fold_into(&reader_of(&open(&root)), &plan, 1 << 20, &stop, |_, _| {}).unwrap().is_new);
    collect(&reader_of(&open(&root)), || Ok(false), &stop).unwrap();
    let rest = compared(&root);
    // The checks before the boundary have gone with their stretch of the log.
    let differing = vec![all.differing[1]];
    let want = Checks { checks: 2, same_bytes: BLOCK, differing_bytes: BLOCK, differing, ..all };
    assert_eq!(rest, want);
    assert!(instants(&root) == images);
}

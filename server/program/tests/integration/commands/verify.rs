//! `verify` of a part of a repository, and against an image.

use std::fs;
use std::path::Path;

use serde_json::Value;
use snapless_server::format::session::SessionHeader;
use snapless_types::RecordKind;
use snapless_wire::id::{SessionId, VolumeGuid};

use super::{assert_done, assert_fails, filled, filled_image, json, run, run_for_volume, text};
use crate::common::{self, BLOCK, Driver, LENGTH, SESSION, VOLUME};

fn flip(root: &Path, volume: VolumeGuid, session: SessionId) {
    let dir = root.join("volumes").join(volume.to_string()).join(session.to_string());
    let segment = dir.join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    fs::write(&segment, bytes).unwrap();
}

#[test]
fn a_volume_or_a_session_can_be_verified_alone() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let other_session = SessionId([0x44; 16]);
    let other_volume = VolumeGuid([0x33; 16]);
    let same_volume = SessionHeader { session: other_session, ..common::header(LENGTH) };
    let elsewhere = SessionHeader { volume: other_volume, ..same_volume };
    for header in [same_volume, elsewhere] {
        common::ingest_as(&root, &header, 1 << 20, &[Driver::default().first_sync()]);
    }
    flip(&root, VOLUME, other_session);
    let verify = |more: &[&str]| run(&["verify"], &root, &[more, &["--json"]].concat());
    let [volume, other_volume, session, other_session] = [
        VOLUME.to_string(),
        other_volume.to_string(),
        SESSION.to_string(),
        other_session.to_string(),
    ];
    for (more, code, sessions) in [
        (&[][..], 4, 3),
        (&["--volume", &volume], 4, 2),
        (&["--volume", &other_volume], 0, 1),
        (&["--volume", &volume, "--session", &session], 0, 1),
        (&["--session", &session], 0, 1),
        (&["--session", &other_session], 4, 2),
    ] {
        let verified = verify(more);
        assert_eq!(verified.status.code(), Some(code), "{more:?}");
        assert_eq!(json(&verified)["sessions"], sessions, "{more:?}");
    }
    let missing = "3f2504e0-4f89-11d3-9a0c-0305e82c3301";
    assert_fails(&verify(&["--volume", missing]), 1, &volume);
    assert_fails(&verify(&["--volume", &volume, "--session", missing]), 1, "no session");
    assert_fails(&verify(&["--session", missing]), 1, "no volume has a session");
}

fn against(root: &Path, at: &str, file: &Path) -> (Option<i32>, Value) {
    let more = ["--at", at, "--against", file.to_str().unwrap(), "--json"];
    let done = run_for_volume(&["verify"], root, &more);
    (done.status.code(), json(&done))
}

fn ranges(report: &Value) -> Vec<[u64; 2]> {
    let ranges = report["differing"].as_array().unwrap().iter();
    ranges.map(|it| ["offset", "len"].map(|field| it[field].as_u64().unwrap())).collect()
}

#[test]
fn an_image_that_differs_is_told_from_one_that_does_not() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("image"));
    filled(&root);
    fs::write(&file, filled_image()).unwrap();
    let (code, report) = against(&root, "latest", &file);
    assert_eq!((code, ranges(&report)), (Some(0), vec![]));
    assert_eq!(report["compared_bytes"], LENGTH);
    let (code, report) = against(&root, "t0", &file);
    assert_eq!((code, ranges(&report)), (Some(6), vec![[BLOCK, 512]]));
    // A byte in the first and one in each of the last sectors.
    let mut image = filled_image();
    for at in [0, LENGTH - 1, LENGTH - 513] {
        image[usize::try_from(at).unwrap()] ^= 1;
    }
    fs::write(&file, &image).unwrap();
    let (code, report) = against(&root, "latest", &file);
    assert_eq!((code, ranges(&report)), (Some(6), vec![[0, 512], [LENGTH - 1024, 1024]]));
    let more = ["--at", "latest", "--against", file.to_str().unwrap()];
    let told = run_for_volume(&["verify"], &root, &more);
    assert!(text(&told.stdout).contains("differs: 512 bytes at 0\n"), "{}", text(&told.stdout));
}

#[test]
fn past_a_shorter_files_end_all_differs_and_a_longer_one_may_go_on() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("image"));
    let mut driver = Driver::default();
    // The volume ends in zeros, as a file that is too short seems to.
    let sync =
        [driver.start(), driver.blocks(0..3), driver.zero(RecordKind::Block, 3 * BLOCK, BLOCK)];
    let tail = driver.zero(RecordKind::Block, 4 * BLOCK, LENGTH - 4 * BLOCK);
    let end = [driver.base_complete(), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[[sync.concat(), tail, end].concat()]);
    let mut image = common::base_image();
    common::patch(&mut image, 3 * BLOCK, LENGTH - 3 * BLOCK, 0);
    image.resize(image.len() + 700, 9);
    fs::write(&file, &image).unwrap();
    let (code, report) = against(&root, "latest", &file);
    assert_eq!((code, report["file_bytes"].as_u64()), (Some(0), Some(LENGTH + 700)));
    for short in [1, 512, 600, LENGTH] {
        let len = LENGTH - short;
        fs::write(&file, &image[..usize::try_from(len).unwrap()]).unwrap();
        let from = len / 512 * 512;
        let (code, report) = against(&root, "latest", &file);
        assert_eq!((code, ranges(&report)), (Some(6), vec![[from, LENGTH - from]]), "{short}");
    }
}

#[test]
fn what_the_point_does_not_know_is_left_out() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("image"));
    let mut driver = Driver::default();
    let excluded = RecordKind::Excluded;
    let mut records = vec![driver.start(), driver.plain(excluded, 0, BLOCK)];
    records.extend([driver.unreadable(BLOCK, BLOCK), driver.blocks(2..5)]);
    records.extend([driver.base_complete(), driver.epoch_end()]);
    common::ingest(&root, LENGTH, 1 << 20, &[records.concat()]);
    let mut image = common::base_image();
    common::patch(&mut image, 0, 2 * BLOCK, 0xab);
    fs::write(&file, &image).unwrap();
    let (code, report) = against(&root, "t0", &file);
    assert_eq!(code, Some(0));
    let counts = ["excluded_bytes", "unreadable_bytes", "compared_bytes"];
    assert_eq!(counts.map(|it| report[it].as_u64().unwrap()), [BLOCK, BLOCK, LENGTH - 2 * BLOCK]);
}

#[test]
fn a_comparison_names_damage_points_that_are_none_and_files_that_are_none() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("image"));
    filled(&root);
    fs::write(&file, filled_image()).unwrap();
    let compare = |more: &[&str]| run_for_volume(&["verify"], &root, more);
    let image = file.to_str().unwrap();
    let at = |at: &str, file: &str| compare(&["--at", at, "--against", file]);
    assert_fails(&at("2019-01-01T00:00:00Z", image), 3, "2020-01-01");
    assert_fails(&at("latest", dir.path().to_str().unwrap()), 1, "is a folder");
    assert_fails(&at("latest", dir.path().join("none").to_str().unwrap()), 1, "cannot open");
    assert_fails(&compare(&["--against", image]), 2, "--at");
    assert_fails(&compare(&["--at", "t0"]), 2, "--against");
    assert_done(&at("latest", image));
    flip(&root, VOLUME, SESSION);
    assert_fails(&at("latest", image), 4, "is damaged");
}

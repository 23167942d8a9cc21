//! Pins the bytes of a repository's files: what one release wrote, every later one must read.

mod common;

use std::fs;
use std::path::Path;

use common::{Driver, SESSION, VOLUME};
use snapless_server::format::repository::session_dir;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Request, Source, restore};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_types::RecordKind;

/// One short block.
const LENGTH: u64 = 1024;

const SEGMENT: &[u8] = include_bytes!("golden/segment-00000001.slseg");
const HEADER: &[u8] = include_bytes!("golden/session.snapless");
const ACKNOWLEDGED: &[u8] = include_bytes!("golden/acknowledged.snapless");

/// Two epochs: one in two frames, one in a frame.
fn frames() -> [Vec<u8>; 3] {
    let mut driver = Driver::default();
    let first = [driver.start(), driver.data(RecordKind::Block, 0, &[0x5a; 1024])].concat();
    let second = [driver.marker(RecordKind::BaseComplete), driver.epoch_end()].concat();
    let third = [driver.zero(RecordKind::Write, 512, 512), driver.epoch_end()].concat();
    [first, second, third]
}

#[test]
fn this_release_writes_the_pinned_bytes() {
    let dir = tempfile::tempdir().unwrap();
    common::ingest(dir.path(), LENGTH, 1 << 20, &frames());
    let session = dir.path().join(session_dir(VOLUME, SESSION));
    for (name, golden) in [
        ("segment-00000001.slseg", SEGMENT),
        ("session.snapless", HEADER),
        ("acknowledged.snapless", ACKNOWLEDGED),
    ] {
        let written = fs::read(session.join(name)).unwrap();
        if written != golden {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&kept, written).unwrap();
            panic!("{name} is not as pinned; what was written is in {}", kept.display());
        }
    }
}

#[test]
fn this_release_reads_the_pinned_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    drop(WritableRepository::open(&root).unwrap());
    let repository = Repository::open(&root).unwrap();
    let session = root.join(session_dir(VOLUME, SESSION));
    fs::create_dir_all(&session).unwrap();
    fs::write(session.join("segment-00000001.slseg"), SEGMENT).unwrap();
    fs::write(session.join("session.snapless"), HEADER).unwrap();
    fs::write(session.join("acknowledged.snapless"), ACKNOWLEDGED).unwrap();
    let to = dir.path().join("image");
    for (at, second_half) in [(At::T0, 0x5a), (At::Latest, 0)] {
        let request = Request {
            source: Source { volume: VOLUME, session: None, at },
            to: to.clone(),
            force: true,
        };
        restore(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second_half; 512]].concat());
    }
}

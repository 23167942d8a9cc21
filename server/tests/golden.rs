//! Pins the bytes of a repository's files: what one release wrote, every later one must read.

mod common;

use std::fs;
use std::path::Path;

use common::{Driver, SESSION, VOLUME};
use snapless_server::format::repository::session_dir;
use snapless_server::repository::WritableRepository;
use snapless_server::restore::Source;
use snapless_server::timeline::At;
use snapless_types::RecordKind;

/// One short block.
const LENGTH: u64 = 1024;

const FILES: [(&str, &[u8]); 3] = [
    ("segment-00000001.slseg", include_bytes!("golden/segment-00000001.slseg")),
    ("session.snapless", include_bytes!("golden/session.snapless")),
    ("acknowledged.snapless", include_bytes!("golden/acknowledged.snapless")),
];

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
    for (name, golden) in FILES {
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
    drop(WritableRepository::init(&root).unwrap());
    let session = root.join(session_dir(VOLUME, SESSION));
    fs::create_dir_all(&session).unwrap();
    for (name, golden) in FILES {
        fs::write(session.join(name), golden).unwrap();
    }
    let to = dir.path().join("image");
    for (at, second_half) in [(At::T0, 0x5a), (At::Latest, 0)] {
        common::restore_to(&root, Source { volume: VOLUME, session: None, at }, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second_half; 512]].concat());
    }
}

//! Pins the bytes of a repository's files: what one release wrote, every later one must read.

mod common;

use std::fs;
use std::path::Path;

use common::{Driver, SESSION, VOLUME};
use snapless_server::format::repository::session_dir;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::RecordKind;
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::record::Records;

/// One short block.
const LENGTH: u64 = 1024;

const FILES: [(&str, &[u8]); 5] = [
    ("state.snapless", include_bytes!("golden/state.snapless")),
    ("../../../sessions.snapless", include_bytes!("golden/sessions.snapless")),
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

/// Stores the frames over one connection, at whose end the state is kept.
fn store(root: &Path) {
    let repository = common::repository(root);
    let (header, stop) = (common::header(LENGTH), StopFlag::default());
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &header, 1 << 20, &stop).unwrap();
    for payload in frames() {
        for record in Records::new(&payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, &payload).unwrap(), &payload).unwrap();
        let last = state.last().unwrap();
        if state.ended_epoch() == last.epoch {
            writer.commit(last.epoch, last.seq).unwrap();
        }
    }
    writer.keep_state_at_end(&state);
}

#[test]
fn this_release_writes_the_pinned_bytes() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let session = dir.path().join(session_dir(VOLUME, SESSION));
    for (name, golden) in FILES {
        let written = fs::read(session.join(name)).unwrap();
        if written != golden {
            let name = Path::new(name).file_name().unwrap();
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&kept, written).unwrap();
            panic!("{name:?} is not as pinned; what was written is in {}", kept.display());
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
    let report = verify(&Repository::open(&root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
    let to = dir.path().join("image");
    for (at, second_half) in [(At::T0, 0x5a), (At::Latest, 0)] {
        common::restore_to(&root, Source { volume: VOLUME, session: None, at }, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second_half; 512]].concat());
    }
}

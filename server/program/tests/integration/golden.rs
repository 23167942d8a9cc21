//! Pins the bytes of a repository's files: what one release wrote, every later one must read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, Driver, SESSION, VOLUME};
use snapless_server::compression::Compression;
use snapless_server::format::repository::session_dir;
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Request, Source, restore};
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::RecordKind;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;

/// One short block.
const LENGTH: u64 = 1024;

const FILES: [(&str, &[u8]); 8] = [
    ("state.snapless", include_bytes!("golden/state.snapless")),
    ("segment-00000001.slidx", include_bytes!("golden/segment-00000001.slidx")),
    ("map-0000000000000004.slmap", include_bytes!("golden/map-0000000000000004.slmap")),
    ("map-0000000000000006.slmap", include_bytes!("golden/map-0000000000000006.slmap")),
    ("../../../sessions.snapless", include_bytes!("golden/sessions.snapless")),
    ("segment-00000001.slseg", include_bytes!("golden/segment-00000001.slseg")),
    ("session.snapless", include_bytes!("golden/session.snapless")),
    ("acknowledged.snapless", include_bytes!("golden/acknowledged.snapless")),
];

/// The same session with an hour in which nothing was written after each epoch.
const QUIET_FILES: [(&str, &[u8]); 8] = [
    ("watermark.snapless", include_bytes!("golden/quiet/watermark.snapless")),
    ("segment-00000001.slidx", include_bytes!("golden/quiet/segment-00000001.slidx")),
    ("map-0000000000000004.slmap", include_bytes!("golden/map-0000000000000004.slmap")),
    ("map-0000000000000006.slmap", include_bytes!("golden/quiet/map-0000000000000006.slmap")),
    ("../../../sessions.snapless", include_bytes!("golden/sessions.snapless")),
    ("segment-00000001.slseg", include_bytes!("golden/quiet/segment-00000001.slseg")),
    ("session.snapless", include_bytes!("golden/session.snapless")),
    ("acknowledged.snapless", include_bytes!("golden/quiet/acknowledged.snapless")),
];
/// Ticks in an hour.
const HOUR: u64 = 3_600 * FileTime::TICKS_PER_SECOND;

/// Two epochs: one in two frames, one in a frame.
fn frames() -> [Vec<u8>; 3] {
    let mut driver = Driver::default();
    let first = [driver.start(), driver.data(RecordKind::Block, 0, &[0x5a; 1024])].concat();
    let second = [driver.marker(RecordKind::BaseComplete), driver.epoch_end()].concat();
    let third = [driver.zero(RecordKind::Write, 512, 512), driver.epoch_end()].concat();
    [first, second, third]
}

/// Stores the frames over one connection, at whose end the state is kept, and then maps; if
/// `is_quiet`, with a watermark after each epoch.
fn store(root: &Path, is_quiet: bool) {
    store_in(common::repository(root), is_quiet);
}

fn store_in(repository: WritableRepository, is_quiet: bool) {
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
            if is_quiet {
                let time = FileTime::new(last.time().get() + HOUR);
                let watermark = Watermark::new(last.seq, time, time.get() - common::T0);
                state.mark(&watermark).unwrap();
                writer.mark(&watermark).unwrap();
            }
        }
    }
    writer.keep_state_at_end(&state);
    let reader = SessionReader::open(repository.repository().store(), header).unwrap();
    assert_eq!(keep(&reader, 1, &stop).unwrap(), 2);
}

#[test]
fn this_release_writes_the_pinned_bytes() {
    for (is_quiet, files) in [(false, FILES), (true, QUIET_FILES)] {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), is_quiet);
        let session = dir.path().join(session_dir(VOLUME, SESSION));
        let mut others: Vec<PathBuf> = Vec::new();
        for (name, golden) in files {
            let written = fs::read(session.join(name)).unwrap();
            if written != golden {
                let name = Path::new(name).file_name().unwrap();
                let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
                fs::write(&kept, written).unwrap();
                others.push(kept);
            }
        }
        assert!(others.is_empty(), "not as pinned; what was written is in {others:?}");
    }
}

/// Puts pinned files into a new repository; returns the session's directory.
fn pinned(root: &Path, files: [(&str, &[u8]); 8]) -> PathBuf {
    drop(WritableRepository::init(root).unwrap());
    let session = root.join(session_dir(VOLUME, SESSION));
    fs::create_dir_all(&session).unwrap();
    for (name, golden) in files {
        fs::write(session.join(name), golden).unwrap();
    }
    session
}

#[test]
fn a_state_of_an_earlier_release_is_no_damage_and_the_stream_is_read_instead() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let session = pinned(&root, FILES);
    let kept = session.join("state.snapless");
    fs::write(&kept, include_bytes!("golden/state-1.snapless")).unwrap();
    let stop = StopFlag::default();
    let verified = || verify(&Repository::open(&root).unwrap(), &stop, |_| {}).unwrap().damage;
    assert_eq!(verified(), []);
    let repository = WritableRepository::open(&root).unwrap();
    let (_, state) =
        SessionWriter::open(&repository, &common::header(LENGTH), 1 << 20, &stop).unwrap();
    assert_eq!(state.timeline().records(), 6);
    // One flipped bit of its version is damage.
    let mut bytes = FILES[0].1.to_vec();
    bytes[8] ^= 2;
    fs::write(&kept, bytes).unwrap();
    assert_eq!(verified().len(), 1);
}

/// Checks that pinned files are sound, and that these points are there.
#[track_caller]
fn reads(files: [(&str, &[u8]); 8], points: &[(At, u8)]) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    pinned(&root, files);
    let report = verify(&Repository::open(&root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
    let to = dir.path().join("image");
    for &(at, second_half) in points {
        common::restore_to(&root, Source { volume: VOLUME, session: None, at }, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second_half; 512]].concat());
    }
}

#[test]
fn this_release_reads_the_pinned_bytes() {
    reads(FILES, &[(At::T0, 0x5a), (At::Latest, 0)]);
}

#[test]
fn this_release_reads_the_pinned_bytes_of_a_quiet_volume() {
    let at = |time| At::Time(FileTime::new(common::T0 + time));
    reads(QUIET_FILES, &[(At::T0, 0x5a), (at(30), 0x5a), (at(HOUR + 30), 0), (At::Latest, 0)]);
}

/// Where the pinned files of an encrypted and compressed repository are, and its key.
fn sealed_golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/golden/sealed")
}

/// What is random is not pinned: that this release writes such files is shown by reading them.
#[test]
fn this_release_reads_the_pinned_bytes_of_a_sealed_repository() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let session = root.join(session_dir(VOLUME, SESSION));
    fs::create_dir_all(&session).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(sealed_golden()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let folder = if ["repository.snapless", "sessions.snapless"].contains(&&*name) {
            &root
        } else {
            &session
        };
        if name != "key" {
            fs::copy(entry.path(), folder.join(&name)).unwrap();
            names.push(name);
        }
    }
    assert_eq!(names.len(), FILES.len() + 1, "{names:?}");
    let key = KeySource::KeyFile(sealed_golden().join("key"));
    let repository = Repository::open(&root).unwrap().unlock(&key).unwrap();
    assert_eq!(verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
    for (at, second_half) in [(At::T0, 0x5a), (At::Latest, 0)] {
        let source = Source { volume: VOLUME, session: None, at };
        let to = dir.path().join("image");
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        restore(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second_half; 512]].concat());
    }
}

#[test]
#[ignore = "makes the pinned files of a sealed repository anew, in the folder $SNAPLESS_PINNED"]
fn pin_a_sealed_repository() {
    let folder = PathBuf::from(std::env::var_os("SNAPLESS_PINNED").unwrap());
    let root = folder.join("repository");
    let key = KeySource::KeyFile(folder.join("key"));
    let repository = WritableRepository::init_with(&root, Compression::Zstd(3), &key).unwrap();
    store_in(repository, false);
}

//! A stored stream, as `list`, `verify` and `restore` read it: a segment in a file, with the
//! acknowledgement that says how far it counts.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use snapless_server::error::Error;
use snapless_server::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};
use snapless_server::format::session::SESSION_FILE;
use snapless_server::reader::{SessionReader, Wanted};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Request, Source};
use snapless_server::salvage::salvage;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::At;
use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};

use super::{Target, repository, split, stream};

pub(super) const TARGET: Target =
    Target { name: "segment", repairs: &[seal, renumber], run, reached: &["whole", "damaged"] };

thread_local! {
    /// Where this thread's input lies, in memory where the system has such a thing.
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fn seal(input: &mut [u8]) {
    stream::seal_frames(input.get_mut(SEGMENT_HEADER_LEN..).unwrap_or_default());
}

fn renumber(input: &mut [u8]) {
    stream::renumber(input.get_mut(SEGMENT_HEADER_LEN..).unwrap_or_default());
}

fn run(input: &[u8]) -> &'static str {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            tempfile::tempdir_in(place).expect("a temporary folder")
        });
        read(folder.path(), input)
    })
}

fn read(folder: &Path, input: &[u8]) -> &'static str {
    let (epoch, seq) = last_epoch_end(input);
    let acknowledged = Acknowledged {
        generation: 1,
        epoch,
        seq,
        segment: SegmentNumber::FIRST,
        offset: input.len() as u64,
    };
    let mut file = Acknowledged::new_file();
    let start = acknowledged.slot_offset();
    let slot = acknowledged.to_slot();
    file[start..start + slot.len()].copy_from_slice(&slot);
    let session = repository::session();
    let dir = folder.join(session_dir(session.volume, session.session));
    fs::create_dir_all(&dir).expect("a directory in a temporary folder");
    fs::write(dir.join(ACKNOWLEDGED_FILE), file).expect("a file in it");
    fs::write(dir.join(SegmentNumber::FIRST.file_name()), input).expect("another one");
    fs::write(dir.join(SESSION_FILE), session.to_bytes()).expect("and one more");

    let reader = SessionReader::open(&Store::local(folder), session);
    let reader = reader.expect("the acknowledgement is whole");
    let stop = StopFlag::default();
    let surveyed = reader.survey(&stop).map(|state| state.timeline().records());
    let mut replayed = 0;
    let whole = reader.replay(&stop, |_, _| {
        replayed += 1;
        Ok(Wanted::More)
    });
    match (surveyed, whole) {
        (Ok(records), Ok(())) => {
            assert_eq!(records, replayed, "a survey and a replay see the same records");
            check_restore(folder, true);
            check_salvage(folder, true);
            "whole"
        }
        // A survey looks at no more than it needs, so that a replay alone may find damage.
        (Ok(_), Err(error)) | (Err(error), Err(_)) => {
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            check_restore(folder, false);
            check_salvage(folder, false);
            "damaged"
        }
        (Err(error), Ok(())) => panic!("a replay took what a survey refused: {error}"),
    }
}

/// Of a sound stream each point is restored that it has.
fn check_restore(folder: &Path, is_sound: bool) {
    for at in [At::T0, At::Latest] {
        let source = Source { volume: stream::VOLUME, session: Some(stream::SESSION), at };
        let length = usize::try_from(stream::LENGTH).expect("a small volume");
        let mut image = vec![0; length];
        let stop = StopFlag::default();
        let restored = Found::find(&Repository::to_salvage(folder), &source, &stop)
            .and_then(|found| found.write_to(&mut image, &stop, |_| ()));
        match restored {
            Ok(_) | Err(Error::NotRestorable { .. }) => {}
            Err(error) => assert!(!is_sound && matches!(error, Error::Damaged { .. }), "{error}"),
        }
    }
}

/// Of any stream something is salvaged, or nothing; of a sound one all.
fn check_salvage(folder: &Path, is_sound: bool) {
    let source = Source { volume: stream::VOLUME, session: None, at: At::Latest };
    let request =
        Request { source, to: folder.join("image"), force: true, other_sector_size: false };
    let repository = Repository::to_salvage(folder);
    match salvage(&repository, &request, &StopFlag::default(), |_| ()) {
        Ok(report) => {
            assert_eq!(report.bytes, stream::LENGTH);
            let is_whole = report.damage.is_empty() && report.lost.is_empty();
            assert!(is_whole || !is_sound, "{report:?}");
        }
        Err(Error::NothingToSalvage(_)) => assert!(!is_sound, "a sound stream has records"),
        Err(error) => panic!("{error}"),
    }
}

/// The last end of an epoch in the frames, which is what a server would have acknowledged.
fn last_epoch_end(input: &[u8]) -> (EpochId, Seq) {
    let mut last = (EpochId::new(1), Seq::new(1));
    let mut rest = input.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    while let Some((header, payload)) = split::<FRAME_HEADER_LEN>(rest) {
        let Ok(frame) = FrameHeader::read(&header) else { break };
        let Some((mut records, after)) = payload.split_at_checked(frame.payload_len()) else {
            break;
        };
        while let Ok(record) = RecordHeader::read(records) {
            if record.kind() == RecordKind::EpochEnd {
                last = (record.epoch(), record.seq());
            }
            records = records.get(RECORD_HEADER_LEN + record.payload_len()..).unwrap_or_default();
        }
        rest = after;
    }
    last
}

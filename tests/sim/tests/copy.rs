//! A copy into another repository over a disk that crashes and refuses calls: whatever happened,
//! the next copy ends with what the source has.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use snapless_server::copy::{How, Outcome, copy_all};
use snapless_server::format::session::SessionHeader;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::reader::{SessionReader, Wanted};
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_sim::rng::Rng;
use snapless_sim::storage::{Disk, Fault, Lies, SimStorage, Survivors};
use snapless_types::{EpochId, Geometry, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordHeader};
use zerocopy::IntoBytes;

const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
const SESSION: SessionId = SessionId([2; 16]);
const BLOCK: u64 = 16 << 10;
const T0: u64 = 132_223_104_000_000_000;
/// A segment of the target is full after an epoch or two, and each epoch is committed.
const HOW: How = How { segment_bytes: 9_000, map_bytes: 20_000, commit_bytes: 1, limit: None };

fn header() -> SessionHeader {
    let geometry = Geometry::new(2 * BLOCK, 512, u32::try_from(BLOCK).unwrap()).unwrap();
    SessionHeader { volume: VOLUME, session: SESSION, geometry, created: FileTime::new(T0) }
}

/// The driver of the session.
#[derive(Default)]
struct Driver {
    seq: u64,
    epoch: u64,
}

impl Driver {
    fn position(&mut self) -> Position {
        self.seq += 1;
        let (time, monotonic) = (FileTime::new(T0 + 10 * self.seq), 10 * self.seq);
        Position { seq: Seq::new(self.seq), time, monotonic, epoch: EpochId::new(1 + self.epoch) }
    }

    fn marker(&mut self, kind: RecordKind) -> Vec<u8> {
        RecordHeader::marker(kind, self.position()).unwrap().to_bytes().to_vec()
    }

    fn data(&mut self, kind: RecordKind, offset: u64, len: u64) -> Vec<u8> {
        let header = RecordHeader::extent(kind, self.position(), offset, len).unwrap();
        let byte = u8::try_from(self.seq % 251).unwrap();
        [&header.to_bytes()[..], &vec![byte; usize::try_from(len).unwrap()]].concat()
    }

    fn end(&mut self) -> Vec<u8> {
        let end = self.marker(RecordKind::EpochEnd);
        self.epoch += 1;
        end
    }

    fn sync(&mut self) -> Vec<u8> {
        let start = self.marker(RecordKind::SessionStart);
        let blocks = self.data(RecordKind::Block, 0, 2 * BLOCK);
        [start, blocks, self.marker(RecordKind::BaseComplete), self.end()].concat()
    }

    fn write(&mut self) -> Vec<u8> {
        let offset = 512 * (self.seq % 40);
        [self.data(RecordKind::Write, offset, 4096), self.end()].concat()
    }
}

fn store(storage: &SimStorage) -> Store {
    Store::new(Arc::new(storage.clone()))
}

fn disk() -> SimStorage {
    SimStorage::new(Rng::new(1, 0), Lies::default())
}

/// A source to which these epochs come, each perhaps with some quiet after it.
fn ingest(storage: &SimStorage, frames: &[Vec<u8>]) {
    let store = store(storage);
    let repository = match Repository::open_in(store.clone()) {
        Ok(_) => WritableRepository::open_in(store),
        Err(_) => WritableRepository::init_in(store),
    };
    let repository = repository.unwrap();
    let (mut writer, state) =
        SessionWriter::open(&repository, &header(), 12_000, &StopFlag::default()).unwrap();
    let mut ingest = Ingest::AwaitingHello;
    ingest.begin(state);
    for payload in frames {
        let frame = FrameHeader::new(FrameKind::Records, payload).unwrap();
        let Action::Store { ends: Some(ends) } = ingest.frame(frame, payload).unwrap() else {
            panic!("a frame is an epoch");
        };
        writer.append(&frame, payload).unwrap();
        writer.commit(ends.epoch(), ends.seq()).unwrap();
        let seq = ends.seq().get();
        if seq % 3 == 0 {
            let time = FileTime::new(T0 + 10 * seq + 5);
            let mark = Watermark::new(ends.seq(), time, 10 * seq + 5);
            let frame = FrameHeader::new(FrameKind::Watermark, mark.as_bytes()).unwrap();
            ingest.frame(frame, mark.as_bytes()).unwrap();
            writer.mark(&mark).unwrap();
        }
    }
    writer.keep_state_at_end(ingest.state().unwrap());
}

fn reader(storage: &SimStorage) -> Result<SessionReader, String> {
    let repository = Repository::open_in(store(storage)).map_err(|error| error.to_string())?;
    match repository.session(VOLUME, SESSION) {
        Ok(Presence::Header(header)) => SessionReader::open(repository.store(), header),
        Ok(Presence::Nothing) => return Err("the session is not there".to_owned()),
        Err(error) => Err(error),
    }
    .map_err(|error| error.to_string())
}

/// Every record of the session, and its latest point.
fn content(storage: &SimStorage) -> Result<(Vec<Vec<u8>>, Option<FileTime>), String> {
    let (reader, stop) = (reader(storage)?, StopFlag::default());
    let mut records = Vec::new();
    let replayed = reader.replay(&stop, |record, _| {
        records.push([&record.header.to_bytes()[..], record.payload].concat());
        Ok(Wanted::More)
    });
    replayed.map_err(|error| error.to_string())?;
    let state = reader.survey(&stop).map_err(|error| error.to_string())?;
    Ok((records, state.timeline().latest().map(|latest| latest.time())))
}

/// A copy as the program makes one; false if it failed.
fn copy(from: &SimStorage, to: &SimStorage) -> Result<bool, String> {
    let source = Repository::open_in(store(from)).map_err(|error| error.to_string())?;
    let Ok(target) = WritableRepository::open_in(store(to)) else { return Ok(false) };
    let copied = copy_all(&source, &target, &HOW, &StopFlag::default());
    Ok(copied.is_ok_and(|it| !matches!(it.sessions[0].outcome, Outcome::Failed { .. })))
}

/// A copy that must come to its end, and what must be there then.
fn completes(from: &SimStorage, to: &SimStorage) -> Result<(), String> {
    if !copy(from, to)? {
        return Err("the copy fails though nothing is in its way".to_owned());
    }
    is_same(from, to)
}

fn is_same(from: &SimStorage, to: &SimStorage) -> Result<(), String> {
    if content(from)? != content(to)? {
        return Err("the target has other records, or another latest point".to_owned());
    }
    let target = Repository::open_in(store(to)).map_err(|error| error.to_string())?;
    let report =
        verify(&target, &StopFlag::default(), |_| {}).map_err(|error| error.to_string())?;
    report.damage.first().map_or(Ok(()), |found| {
        Err(format!("verify finds {}: {}", found.file.display(), found.error))
    })
}

/// A source, and a target with a part of it.
fn twins(lies: Lies) -> (SimStorage, SimStorage) {
    let (from, to) = (disk(), SimStorage::new(Rng::new(2, 0), lies));
    drop(WritableRepository::init_in(store(&to)).unwrap());
    let mut driver = Driver::default();
    ingest(&from, &[driver.sync(), driver.write()]);
    copy(&from, &to).unwrap();
    let more: Vec<_> = (0..6).map(|_| driver.write()).collect();
    ingest(&from, &more);
    (from, to)
}

/// The power fails before each change of a copy, with each choice of what survives; returns how
/// many different disks that left.
fn crashes(from: &SimStorage, to: &SimStorage, lies: Lies) -> Result<usize, String> {
    to.record();
    copy(from, to)?;
    let mut disks = to.take_recorded();
    disks.push(to.disk());
    let mut seen = HashSet::new();
    for (change, disk) in disks.iter().enumerate() {
        let pending = disk.pending();
        let single = (0..pending)
            .flat_map(|it| [Survivors::Only(it), Survivors::AllBut(it), Survivors::Torn(it)]);
        for mut survivors in [Survivors::None, Survivors::All].into_iter().chain(single) {
            let mut left: Disk = disk.clone();
            left.crash(&mut survivors);
            if !seen.insert(left.digest()) {
                continue;
            }
            let after = SimStorage::with(left, Rng::new(3, 0), lies);
            completes(from, &after).map_err(|what| format!("before change {change}: {what}"))?;
        }
    }
    Ok(seen.len())
}

#[test]
fn a_copy_goes_on_after_a_loss_of_power_at_any_moment() {
    let (from, to) = twins(Lies::default());
    let some = crashes(&from, &to, Lies::default()).unwrap();
    // Also where the target has nothing of the session yet.
    let empty = disk();
    drop(WritableRepository::init_in(store(&empty)).unwrap());
    let all = crashes(&from, &empty, Lies::default()).unwrap();
    assert!(some > 100 && all > 100, "{some} and {all} disks");
}

#[test]
fn a_disk_that_does_not_sync_is_found() {
    let lies = Lies { sync: true, ..Lies::default() };
    let (from, to) = twins(lies);
    crashes(&from, &to, lies).unwrap_err();
}

#[test]
fn a_copy_goes_on_after_any_call_was_refused_and_on_a_full_disk() {
    let mut refused = 0;
    for fault in [Fault::Refused, Fault::Full, Fault::Dropped] {
        for call in 1.. {
            let (from, to) = twins(Lies::default());
            let before = to.calls();
            to.refuse(before + call, fault);
            let is_done = copy(&from, &to).unwrap();
            if to.calls() < before + call {
                assert!(is_done, "nothing was in its way");
                break;
            }
            to.took_failure();
            refused += 1;
            completes(&from, &to).unwrap_or_else(|what| panic!("call {call}, {fault:?}: {what}"));
            // All records are durable; a watermark need not be, as in a server.
            let mut disk = to.disk();
            disk.crash(&mut Survivors::None);
            let after = SimStorage::with(disk, Rng::new(4, 0), Lies::default());
            let [want, found] = [&from, &after].map(|it| content(it).map(|(records, _)| records));
            assert!(want == found, "call {call}, {fault:?}: records are lost");
        }
    }
    assert!(refused > 300, "{refused} calls");
}

#[test]
fn the_source_is_never_written() {
    let (from, to) = twins(Lies::default());
    from.record();
    assert!(copy(&from, &to).unwrap());
    assert!(from.take_recorded().is_empty(), "not even its lock");
    assert!(from.disk().has(Path::new("lock")));
}

//! A repository in an object store: the storage, two servers at one store, and that all that is
//! read from it is what a directory gives.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::common::objects::{self, Fault, FaultyStore};
use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, header};
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::format::claim::{Claim, WriterId};
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::{SegmentHeader, SegmentNumber};
use snapless_server::ingest::{Action, Ingest};
use snapless_server::list::{Content, Stream, list};
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Request, Source};
use snapless_server::salvage::salvage;
use snapless_server::stop::StopFlag;
use snapless_server::storage::object::ObjectStorage;
use snapless_server::storage::{Objects, OpenMode, Put, Storage, Store};
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_wire::frame::{FrameHeader, FrameKind};

const LIMIT: u64 = 64 << 10;

// The storage.

fn check_storage(storage: &ObjectStorage) {
    let (dir, path) = (Path::new("some/dir"), Path::new("some/dir/name-2"));
    let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind());
    assert_eq!(storage.open(path, OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(kind(storage.put(path, b"one".to_vec(), Put::Create)), Ok(()));
    assert_eq!(kind(storage.put(path, b"one".to_vec(), Put::Create)), Ok(()), "the same content");
    let other = storage.put(path, b"two".to_vec(), Put::Create);
    assert_eq!(kind(other), Err(ErrorKind::AlreadyExists));
    storage.put(path, b"three".to_vec(), Put::Replace).unwrap();
    storage.put(Path::new("some/dir/name-1"), Vec::new(), Put::Create).unwrap();
    storage.put(Path::new("some/dir/other"), vec![1], Put::Create).unwrap();
    storage.put(Path::new("some/dir/name-3/below"), vec![1], Put::Create).unwrap();

    let mut names = storage.list(dir).unwrap();
    names.sort_unstable();
    assert_eq!(names, ["name-1", "name-2", "name-3", "other"]);
    assert_eq!(storage.list(Path::new("missing")).unwrap(), Vec::<String>::new());
    let listed = |from| storage.list_from(dir, "name-", from).unwrap();
    assert_eq!(listed("name-"), [("name-1".to_owned(), 0), ("name-2".to_owned(), 5)]);
    assert_eq!(listed("name-2"), [("name-2".to_owned(), 5)]);
    assert_eq!(listed("name-3"), []);

    let empty = storage.open(Path::new("some/dir/name-1"), OpenMode::Read).unwrap();
    assert_eq!((empty.len().unwrap(), empty.read_at(0, &mut [0; 4]).unwrap()), (0, 0));
    storage.remove(path).unwrap();
    assert_eq!(storage.open(path, OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    for mode in [OpenMode::Write, OpenMode::Create, OpenMode::CreateNew] {
        assert_eq!(storage.open(path, mode).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// Every byte is that of the object, wherever reads begin and however long they are.
fn check_reads(storage: &ObjectStorage) {
    let mut rng = fastrand::Rng::with_seed(7);
    let content: Vec<u8> = (0..9_000_000).map(|_| rng.u8(..)).collect();
    storage.put(Path::new("large"), content.clone(), Put::Create).unwrap();
    let store = Store::new(Arc::new(storage.clone()));
    let file = store.open(Path::new("large"), OpenMode::Read).unwrap();
    assert_eq!(file.len().unwrap(), content.len() as u64);
    for _ in 0..300 {
        let start = rng.usize(..content.len());
        let most = 1 << rng.u32(0..22);
        let len = rng.usize(..most).min(content.len() - start);
        let mut bytes = vec![0; len];
        file.read_exact_at(start as u64, &mut bytes).unwrap();
        assert!(bytes == content[start..start + len], "{len} bytes at {start}");
    }
    let mut all = Vec::new();
    let mut file = store.open(Path::new("large"), OpenMode::Read).unwrap();
    std::io::Read::read_to_end(&mut file, &mut all).unwrap();
    assert!(all == content);
    let past = file.read_exact_at(content.len() as u64 - 1, &mut [0; 2]);
    assert_eq!(past.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn the_storage_keeps_its_contract_in_memory() {
    let storage = FaultyStore::default().storage();
    check_storage(&storage);
    check_reads(&storage);
    storage.probe().unwrap();
}

#[test]
fn the_storage_keeps_its_contract_where_lists_have_no_order() {
    let dir = common::scratch();
    let local = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let storage = ObjectStorage::new(Arc::new(local), ObjectPath::from("p"), "file://p", "");
    let storage = storage.unwrap().unsorted();
    check_storage(&storage);
    check_reads(&storage);
    storage.probe().unwrap();
}

#[test]
fn an_object_that_is_read_in_order_takes_few_requests() {
    let store = FaultyStore::default();
    let storage = store.storage();
    storage.put(Path::new("large"), vec![1; 20 << 20], Put::Create).unwrap();
    let before = store.gets();
    let file = Store::new(Arc::new(storage)).open(Path::new("large"), OpenMode::Read).unwrap();
    let mut file = std::io::BufReader::with_capacity(4 << 10, file);
    assert_eq!(std::io::copy(&mut file, &mut std::io::sink()).unwrap(), 20 << 20);
    assert!(store.gets() - before <= 6, "{} requests", store.gets() - before);
}

#[test]
fn a_hello_costs_as_many_requests_after_a_long_history_as_after_a_short_one() {
    let requests = [20, 400].map(|epochs| {
        let store = FaultyStore::default();
        let repository = store.repository();
        let mut driver = Driver::default();
        let mut connection = Connection::open(&repository);
        assert!(connection.store(&driver.first_sync()).unwrap());
        for byte in 0..epochs {
            let byte = u8::try_from(byte % 256).unwrap();
            let epoch = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
            assert!(connection.store(&epoch).unwrap());
        }
        connection.close();
        let before = (store.gets(), store.listed());
        drop(Connection::open(&repository));
        (store.gets() - before.0, store.listed() - before.1)
    });
    assert_eq!(requests[0], requests[1]);
    println!("{requests:?} GETs and listed objects");
}

#[test]
fn objects_that_are_read_in_order_are_asked_for_ahead() {
    let storage = FaultyStore::default().storage();
    let names: Vec<_> = (0..40).map(|number| Path::new("dir").join(number.to_string())).collect();
    for name in &names {
        storage.put(name, name.to_string_lossy().as_bytes().to_vec(), Put::Create).unwrap();
    }
    for (at, name) in names.iter().enumerate() {
        storage.will_open(&mut names[at + 1..].iter().take(20).cloned());
        storage.will_open(&mut [Path::new("missing").to_owned()].into_iter());
        let file = storage.open(name, OpenMode::Read).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        assert_eq!(file.read_at(0, &mut content).unwrap(), content.len());
        assert_eq!(content, name.to_string_lossy().as_bytes());
    }
    let missing = storage.open(Path::new("missing"), OpenMode::Read).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn a_creation_whose_answer_was_lost_has_succeeded_and_one_that_was_refused_is_repeated() {
    let store = FaultyStore::default();
    let storage = store.storage();
    for (number, fault) in [Fault::AnswerLost, Fault::Refused].into_iter().enumerate() {
        let name = format!("name-{number}");
        store.next([Some(fault), Some(fault)]);
        storage.put(Path::new(&name), vec![7], Put::Create).unwrap();
        let other = storage.put(Path::new(&name), vec![8], Put::Create).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::AlreadyExists);
    }
    store.always(Fault::Refused);
    let refused = storage.put(Path::new("never"), vec![7], Put::Create).unwrap_err();
    assert!(refused.to_string().contains("503") && refused.to_string().contains("try again"));
}

#[test]
fn a_store_that_creates_what_is_there_is_refused() {
    let store = FaultyStore::default();
    drop(store.repository());
    store.always(Fault::Unconditional);
    let error = store.storage().probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("of 32 creations of one name 32 succeeded"), "{error}");
    let error = WritableRepository::open_in(store.store()).unwrap_err();
    assert!(matches!(error, Error::Unsafe { .. }), "{error}");
}

#[test]
fn only_init_makes_a_repository_and_only_where_nothing_else_is() {
    let store = FaultyStore::default();
    let missing = WritableRepository::open_in(store.store()).unwrap_err();
    assert!(matches!(missing, Error::NotARepository(_)), "{missing}");
    store.storage().put(Path::new("letter.txt"), vec![1], Put::Create).unwrap();
    let other = WritableRepository::init_in(store.store()).unwrap_err();
    assert!(other.to_string().contains("letter.txt"), "{other}");
    store.storage().remove(Path::new("letter.txt")).unwrap();
    drop(WritableRepository::init_in(store.store()).unwrap());
    let twice = WritableRepository::init_in(store.store()).unwrap_err();
    assert!(matches!(twice, Error::Exists(_)), "{twice}");
}

// The stream.

/// A connection's half of the server without a network.
struct Connection {
    writer: SessionWriter,
    ingest: Ingest,
}

impl Connection {
    fn open(repository: &WritableRepository) -> Self {
        let (writer, state) =
            SessionWriter::open(repository, &header(LENGTH), LIMIT, &StopFlag::default()).unwrap();
        let mut ingest = Ingest::AwaitingHello;
        ingest.begin(state);
        Self { writer, ingest }
    }

    /// Stores one frame; true if its epoch was acknowledged.
    fn store(&mut self, payload: &[u8]) -> Result<bool, Error> {
        let frame = FrameHeader::new(FrameKind::Records, payload).unwrap();
        let Action::Store { ends } = self.ingest.frame(frame, payload)? else {
            panic!("records are stored");
        };
        self.writer.append(&frame, payload)?;
        if let Some(ends) = ends {
            self.writer.commit(ends.epoch(), ends.seq())?;
            if let Some(state) = self.ingest.state() {
                self.writer.keep_state_if_due(state);
            }
        }
        Ok(ends.is_some())
    }

    fn close(mut self) {
        if let Some(state) = self.ingest.state() {
            self.writer.keep_state_at_end(state);
        }
    }

    fn durable(&self) -> (u64, u64) {
        let end = self.writer.acknowledged();
        (end.epoch.get(), end.seq.get())
    }
}

fn image(repository: &Repository, at: At) -> Vec<u8> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let found = Found::find(repository, &source, &StopFlag::default()).unwrap();
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    found.write_to(&mut image, &StopFlag::default(), |_| {}).unwrap();
    image
}

fn stream(repository: &Repository) -> Stream {
    let volumes = list(repository, &StopFlag::default()).unwrap();
    let content = &volumes[0].sessions[0].content;
    content.stream().unwrap_or_else(|| panic!("{content:?}")).clone()
}

fn assert_sound(repository: &Repository) {
    assert_eq!(verify(repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
}

fn segments(store: &FaultyStore) -> Vec<u64> {
    let names = store.storage().list(&session_dir(VOLUME, SESSION)).unwrap();
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|name| SegmentNumber::from_file_name(name))
        .map(|it| it.0)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// A first sync, writes in many epochs, a gap.
fn history(driver: &mut Driver) -> Vec<Vec<u8>> {
    let mut frames = vec![driver.first_sync()];
    for number in 0..30_u8 {
        let offset = u64::from(number % 6) * BLOCK / 2;
        frames.push(driver.write(offset, 3 * SECTOR, number));
        frames.push([driver.write(offset + BLOCK, SECTOR, number), driver.epoch_end()].concat());
    }
    frames.push(driver.bridged_gap(0xdd));
    frames
}

#[test]
fn what_is_read_from_objects_is_what_a_directory_gives() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let frames = history(&mut driver);
    let repositories = [common::repository(&root), store.repository()];
    for (number, repository) in repositories.iter().enumerate() {
        // Two connections, so that the second begins with what the first has kept.
        for part in frames.chunks(41) {
            let mut connection = Connection::open(repository);
            for frame in part {
                connection.store(frame).unwrap();
            }
            connection.close();
        }
        assert_eq!(repository.repository().known().unwrap().sessions.len(), 1, "{number}");
    }
    drop(repositories);
    let [files, objects] =
        [Repository::open(&root), Repository::open_in(store.store())].map(Result::unwrap);
    for repository in [&files, &objects] {
        assert_sound(repository);
    }
    let same = |stream: Stream| Stream { stored_bytes: 0, rpo_seconds: None, ..stream };
    assert_eq!(same(stream(&files)), same(stream(&objects)));
    let middle = At::Time(snapless_wire::id::FileTime::new(common::T0 + driver.tick * 40));
    for at in [At::T0, middle, At::Latest] {
        assert!(image(&files, at) == image(&objects, at), "{at:?}");
    }
    let changed = [&files, &objects].map(|repository| {
        let sources = [At::T0, At::Latest].map(|at| Source { volume: VOLUME, session: None, at });
        let stop = StopFlag::default();
        let found = Comparison::find(repository, sources, &stop, |_| {}).unwrap();
        (found.by_place().unwrap(), found.by_content(&stop, |_| {}).unwrap())
    });
    assert_eq!(changed[0], changed[1]);
}

#[test]
fn a_point_on_a_kept_map_of_objects_is_the_point_without_one() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    for frame in history(&mut driver) {
        connection.store(&frame).unwrap();
    }
    connection.close();
    let repository = Repository::open_in(store.store()).unwrap();
    let (stop, points) = (StopFlag::default(), [At::T0, At::Latest]);
    let before = points.map(|at| image(&repository, at));
    let source = Source { volume: VOLUME, session: None, at: At::Latest };
    let requests = || {
        let (begin, found) = (store.gets(), Found::find(&repository, &source, &stop).unwrap());
        let point = found.open(&stop, |_| {}).unwrap();
        (store.gets() - begin, point)
    };
    let (without, _) = requests();
    let Presence::Header(session) = repository.session(VOLUME, SESSION).unwrap() else {
        panic!("the session is there");
    };
    let reader = SessionReader::open(repository.store(), session).unwrap();
    assert!(keep(&reader, 64 << 10, &stop).unwrap() > 1);
    // Another server that keeps the same maps leaves them as they are.
    let puts = store.puts();
    assert_eq!(keep(&reader, 64 << 10, &stop).unwrap(), 0);
    assert_eq!(store.puts(), puts);
    let (with, point) = requests();
    assert!(with < without, "{with} requests with maps, {without} without");
    assert!(point.map().kept().is_some());
    assert!(points.map(|at| image(&repository, at)) == before);
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let start = rng.u64(..LENGTH);
        let mut bytes = vec![0; usize::try_from(rng.u64(..=LENGTH - start)).unwrap()];
        point.read(start, &mut bytes).unwrap();
        assert!(bytes == before[1][usize::try_from(start).unwrap()..][..bytes.len()]);
    }
    assert_sound(&repository);
}

#[test]
fn a_writer_that_was_taken_over_stores_nothing_more_and_nothing_is_lost() {
    let store = FaultyStore::default();
    let (one, two) = (store.repository(), store.repository());
    let mut driver = Driver::default();
    let mut older = Connection::open(&one);
    assert!(older.store(&driver.first_sync()).unwrap());
    let mut newer = Connection::open(&two);
    assert_eq!(newer.durable(), (1, 8));
    let epoch = [driver.write(0, SECTOR, 0xaa), driver.epoch_end()].concat();
    let error = older.store(&epoch).unwrap_err();
    assert!(matches!(error, Error::TakenOver(_)), "{error}");
    assert!(error.to_string().contains("another server has taken session"), "{error}");
    // It stays so, also once the newer one has gone on.
    assert!(newer.store(&epoch).unwrap());
    let later = [driver.write(0, SECTOR, 0xbb), driver.epoch_end()].concat();
    assert!(older.store(&later).is_err());
    assert!(newer.store(&later).unwrap());
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 0xbb);
    let repository = Repository::open_in(store.store()).unwrap();
    assert!(image(&repository, At::Latest) == want);
    assert_eq!((stream(&repository).gaps.len(), stream(&repository).records), (0, 12));
    assert_sound(&repository);
}

#[test]
fn a_part_of_an_epoch_that_a_writer_left_is_void_and_the_epoch_is_stored_again() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut older = Connection::open(&store.repository());
    assert!(older.store(&driver.first_sync()).unwrap());
    let mut want = common::base_image();
    for round in 0..3_u8 {
        // More than a segment holds, and no end of the epoch.
        let mut lost = driver.clone();
        for _ in 0..12 {
            older.store(&lost.write(0, BLOCK, 0x10 + round)).unwrap();
        }
        let parts = segments(&store).len();
        let mut newer = Connection::open(&store.repository());
        assert_eq!(newer.durable(), (u64::from(round) + 1, driver.seq));
        assert_eq!(segments(&store).len(), parts + 1);
        let fill = 0x20 + round;
        let epoch = [driver.write(BLOCK, BLOCK, fill), driver.epoch_end()].concat();
        assert!(newer.store(&epoch).unwrap());
        common::patch(&mut want, BLOCK, BLOCK, fill);
        if round == 1 {
            // The kept state is where lists begin.
            newer.close();
            newer = Connection::open(&store.repository());
        }
        let repository = Repository::open_in(store.store()).unwrap();
        assert!(image(&repository, At::Latest) == want, "round {round}");
        assert!(image(&repository, At::T0) == common::base_image());
        assert_sound(&repository);
        assert_eq!(stream(&repository).records, driver.seq);
        older = newer;
    }
    let numbers = segments(&store);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "no number is left out");

    let dir = common::scratch();
    let to = dir.path().join("salvaged.img");
    let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
    let request = Request { source, to: to.clone(), force: false, other_sector_size: false };
    let repository = Repository::to_salvage_in(store.store());
    let report = salvage(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
    assert!(report.is_whole() && std::fs::read(to).unwrap() == want, "{report:?}");
}

#[test]
fn an_epoch_longer_than_a_segment_is_stored_in_several_and_read_as_one() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    assert!(connection.store(&driver.first_sync()).unwrap());
    let before = segments(&store).len();
    for fill in 0..20 {
        connection.store(&driver.write(0, BLOCK, fill)).unwrap();
    }
    let repository = Repository::open_in(store.store()).unwrap();
    assert_eq!(stream(&repository).records, 8, "nothing of it is acknowledged");
    assert!(connection.store(&driver.epoch_end()).unwrap());
    assert!(segments(&store).len() > before + 3);
    let repository = Repository::open_in(store.store()).unwrap();
    let mut want = common::base_image();
    common::patch(&mut want, 0, BLOCK, 19);
    assert!(image(&repository, At::Latest) == want);
    assert_sound(&repository);
}

#[test]
fn a_creation_that_comes_late_changes_nothing() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut older = Connection::open(&store.repository());
    assert!(older.store(&driver.first_sync()).unwrap());
    // Every attempt fails, and one of them arrives when the session was taken over.
    store.next([Some(Fault::Held); 4]);
    let epoch = [driver.write(0, SECTOR, 0xaa), driver.epoch_end()].concat();
    let error = older.store(&epoch).unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    let error = older.store(&[driver.clone().epoch_end()].concat()).unwrap_err();
    assert!(matches!(error, Error::InDoubt(_)), "{error}");
    let mut newer = Connection::open(&store.repository());
    assert_eq!(newer.durable(), (1, 8), "it has not arrived yet");
    assert_eq!(store.release(), [false; 4]);
    assert!(newer.store(&epoch).unwrap());
    let repository = Repository::open_in(store.store()).unwrap();
    assert_eq!(stream(&repository).records, driver.seq);
    assert_sound(&repository);
}

#[test]
fn a_creation_that_arrives_before_the_takeover_belongs_to_the_stream() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut older = Connection::open(&store.repository());
    assert!(older.store(&driver.first_sync()).unwrap());
    store.next([Some(Fault::Held); 4]);
    let epoch = [driver.write(0, SECTOR, 0xaa), driver.epoch_end()].concat();
    assert!(older.store(&epoch).is_err());
    assert_eq!(store.release(), [true, false, false, false]);
    let mut newer = Connection::open(&store.repository());
    assert_eq!(newer.durable(), (2, 10));
    assert!(newer.store(&driver.epoch_end()).unwrap());
    assert_sound(&Repository::open_in(store.store()).unwrap());
}

#[test]
fn a_session_whose_numbers_are_used_up_is_read_and_takes_nothing_more() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    assert!(connection.store(&driver.first_sync()).unwrap());
    connection.close();
    let path = |number: u64| session_dir(VOLUME, SESSION).join(SegmentNumber(number).file_name());
    let header =
        SegmentHeader { volume: VOLUME, session: SESSION, number: SegmentNumber(99_999_999) };
    let end = store.repository();
    let end = SessionReader::open(end.repository().store(), common::header(LENGTH)).unwrap();
    let end = *end.acknowledged();
    let claim = Claim {
        epoch: end.epoch,
        seq: end.seq,
        segment: end.segment,
        offset: end.offset,
        ..Claim::first(WriterId::random())
    };
    store
        .storage()
        .put(&path(header.number.0), claim.behind(header, false).to_vec(), Put::Create)
        .unwrap();
    let refused = SessionWriter::open(
        &store.repository(),
        &common::header(LENGTH),
        LIMIT,
        &StopFlag::default(),
    );
    assert!(refused.unwrap_err().to_string().contains("takes nothing more"));
    let repository = Repository::open_in(store.store()).unwrap();
    assert!(image(&repository, At::Latest) == common::base_image());
}

#[test]
fn an_object_that_is_missing_or_damaged_is_named() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    for frame in history(&mut driver) {
        connection.store(&frame).unwrap();
    }
    connection.close();
    let memory = store.memory.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let path = |number: u64| {
        objects::place(&session_dir(VOLUME, SESSION).join(SegmentNumber(number).file_name()))
    };
    let repository = Repository::open_in(store.store()).unwrap();
    let damage = || {
        let found = verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage;
        found.into_iter().map(|found| format!("{found:?}")).collect::<Vec<_>>().join("; ")
    };
    let newest = *segments(&store).last().unwrap();
    for number in [1, 5, newest] {
        let content =
            runtime.block_on(async { memory.get(&path(number)).await?.bytes().await }).unwrap();
        let name = SegmentNumber(number).file_name();
        for at in [70, content.len() - 1] {
            let mut flipped = content.to_vec();
            flipped[at] ^= 1;
            runtime.block_on(memory.put(&path(number), flipped.into())).unwrap();
            assert!(damage().contains(&name), "byte {at} of {name}: {}", damage());
        }
        runtime.block_on(memory.delete(&path(number))).unwrap();
        assert!(!damage().is_empty(), "{name} is gone");
        if number == newest {
            let (before, stop) = (segments(&store), StopFlag::default());
            let refused = SessionWriter::open(&store.repository(), &header(LENGTH), LIMIT, &stop);
            assert!(refused.unwrap_err().to_string().contains("acknowledged once"), "{name}");
            assert_eq!(segments(&store), before, "its number is not taken");
        }
        runtime.block_on(memory.put(&path(number), content.into())).unwrap();
    }
    let content = list(&repository, &StopFlag::default()).unwrap();
    assert!(matches!(content[0].sessions[0].content, Content::Complete(_)));
}

//! A repository in an object store: two servers at one store, and that all that is read from it is
//! what a directory gives. Of the storage alone are the tests in `object_storage`.

use object_store::ObjectStoreExt;
use snapless_server::compression::Compression;
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::format::bookmark::{Bookmark, BookmarkName, Making};
use snapless_server::format::claim::{CLAIM_LEN, Claim, WriterId};
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::{SegmentForm, SegmentHeader, SegmentNumber};
use snapless_server::list::{Content, Stream, list};
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Request, Source};
use snapless_server::salvage::salvage;
use snapless_server::seal::KeySource;
use snapless_server::stat::{Usage, stat};
use snapless_server::stop::StopFlag;
use snapless_server::storage::{Objects, Put};
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_wire::id::FileTime;

use crate::common::object_stream::{Connection, LIMIT, history, image, segments};
use crate::common::objects::{self, Fault, FaultyStore};
use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, header};

fn stream(repository: &Repository) -> Stream {
    let volumes = list(repository, &StopFlag::default()).unwrap();
    let content = &volumes[0].sessions[0].content;
    content.stream().unwrap_or_else(|| panic!("{content:?}")).clone()
}

fn assert_sound(repository: &Repository) {
    assert_eq!(verify(repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
}

#[test]
fn a_hello_costs_as_many_requests_after_a_long_history_as_after_a_short_one() {
    let dir = common::scratch();
    let encrypted = |store: &FaultyStore| {
        let key = KeySource::KeyFile(dir.path().join("key"));
        WritableRepository::init_in_with(store.store(), Compression::None, &key).unwrap()
    };
    let requests =
        [(20, false), (400, false), (20, true), (400, true)].map(|(epochs, is_sealed)| {
            let store = FaultyStore::default();
            let repository = if is_sealed { encrypted(&store) } else { store.repository() };
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
    assert_eq!(requests[2], requests[3], "encrypted");
    println!("{requests:?} GETs and listed objects");
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
    let middle = At::Time(FileTime::new(common::T0 + driver.tick * 40));
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
    let [files, objects] = [&files, &objects].map(usage);
    assert_eq!(files.causes, objects.causes);
    assert_eq!(files.growth, objects.growth);
    let header_bytes = objects.overhead.segment_header_bytes;
    assert_eq!(header_bytes, objects.segments * (64 + CLAIM_LEN as u64));
    assert_eq!(objects.stored_bytes, stored_bytes(&store));
    let parts = [files, objects].map(|usage| {
        usage.stored_bytes
            - usage.overhead.bytes()
            - usage.causes.each().iter().map(|(_, it)| it.stored_bytes).sum::<u64>()
    });
    assert_eq!(parts, [0, 0], "bytes without a cause");
}

fn usage(repository: &Repository) -> Usage {
    stat(repository, None, &StopFlag::default(), |_, _| {}).unwrap().total
}

/// Bytes of all objects of the session.
fn stored_bytes(store: &FaultyStore) -> u64 {
    let listed = store.storage().list_from(&session_dir(VOLUME, SESSION), "", "").unwrap();
    listed.iter().map(|(_, len)| len).sum()
}

#[test]
fn a_bookmark_among_objects_is_made_once_and_removed() {
    let store = FaultyStore::default();
    let repository = store.repository();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&repository);
    assert!(connection.store(&driver.first_sync()).unwrap());
    let bookmark = |created: u64, name: &str| Bookmark {
        name: BookmarkName::parse(name).unwrap(),
        volume: VOLUME,
        session: SESSION,
        created: FileTime::new(created),
        time: FileTime::new(common::T0),
        cut: Cut::Base,
        keep: None,
        making: Making::default(),
    };
    let repository = repository.repository();
    // The answer to its creation is lost.
    store.next([Some(Fault::AnswerLost)]);
    repository.add_bookmark(&bookmark(1, "Before")).unwrap();
    let twice = repository.add_bookmark(&bookmark(2, "before")).unwrap_err();
    assert!(matches!(twice, Error::BookmarkExists { .. }), "{twice}");
    assert_eq!(repository.bookmark(VOLUME, &bookmark(1, "before").name).unwrap().created.get(), 1);
    let found = repository.bookmarks(None).unwrap();
    assert_eq!(found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["Before"]);
    repository.remove_bookmark(VOLUME, &bookmark(1, "before").name).unwrap();
    let gone = repository.remove_bookmark(VOLUME, &bookmark(1, "before").name).unwrap_err();
    assert!(matches!(gone, Error::NoBookmark { .. }), "{gone}");
    assert!(repository.bookmarks(None).unwrap().is_empty());
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
    assert!(report.is_whole() && std::fs::read(&to).unwrap() == want, "{report:?}");

    // The claim of any segment is damaged: what is void stays so.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in numbers {
        let name = SegmentNumber(number).file_name();
        let at = objects::place(&session_dir(VOLUME, SESSION).join(&name));
        let read = async { store.memory.get(&at).await?.bytes().await };
        let content = runtime.block_on(read).unwrap();
        let mut flipped = content.to_vec();
        flipped[100] ^= 1;
        runtime.block_on(store.memory.put(&at, flipped.into())).unwrap();
        let repository = Repository::to_salvage_in(store.store());
        let request = Request { to: to.clone(), force: true, ..request.clone() };
        let report = salvage(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        assert_eq!(report.lost, [], "{name}: {report:?}");
        assert!(std::fs::read(&to).unwrap() == want, "{name}: {report:?}");
        runtime.block_on(store.memory.put(&at, content.into())).unwrap();
    }
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
        .put(
            &path(header.number.0),
            claim.behind(header, SegmentForm::default()).to_vec(),
            Put::Create,
        )
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

//! A repository in an object store that is compressed, encrypted, or both.

use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;
use snapless_server::compression::Compression;
use snapless_server::error::Error;
use snapless_server::format::claim::CLAIMED_HEADER_LEN;
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::{Report, verify};
use snapless_wire::id::FileTime;
use tempfile::TempDir;

use crate::common::object_stream::{Connection, history, image, segments};
use crate::common::objects::{self, Fault, FaultyStore};
use crate::common::{self, BLOCK, Driver, SECTOR, SESSION, VOLUME};

const ZSTD: Compression = Compression::Zstd(3);

/// A repository, and the key to it.
struct Site {
    dir: TempDir,
    store: FaultyStore,
    key: KeySource,
}

impl Site {
    fn new(compression: Compression, is_encrypted: bool) -> Self {
        let (dir, store) = (common::scratch(), FaultyStore::default());
        let file = KeySource::KeyFile(dir.path().join("key"));
        let key = if is_encrypted { file } else { KeySource::None };
        drop(WritableRepository::init_in_with(store.store(), compression, &key).unwrap());
        Self { dir, store, key }
    }

    /// A plain one, and one of each other kind.
    fn all() -> [Self; 4] {
        [(Compression::None, false), (ZSTD, false), (Compression::None, true), (ZSTD, true)]
            .map(|(compression, is_encrypted)| Self::new(compression, is_encrypted))
    }

    /// A server at the store.
    fn server(&self) -> WritableRepository {
        WritableRepository::open_in_with(self.store.store(), &self.key).unwrap()
    }

    fn repository(&self) -> Repository {
        Repository::open_in(self.store.store()).unwrap().unlock(&self.key).unwrap()
    }

    fn verified(&self) -> Report {
        verify(&self.repository(), &StopFlag::default(), |_| {}).unwrap()
    }

    fn place(number: u64) -> ObjectPath {
        objects::place(&session_dir(VOLUME, SESSION).join(SegmentNumber(number).file_name()))
    }

    fn read(&self, number: u64) -> Vec<u8> {
        let memory = &self.store.memory;
        let read = async { memory.get(&Self::place(number)).await?.bytes().await };
        runtime().block_on(read).unwrap().to_vec()
    }

    fn replace(&self, number: u64, content: Vec<u8>) {
        runtime().block_on(self.store.memory.put(&Self::place(number), content.into())).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A history over two servers: the first one has a part of an epoch stored when the second one
/// takes the session over.
fn store_history(site: &Site, driver: &mut Driver) {
    let first = site.server();
    let mut older = Connection::open(&first);
    for frame in history(driver) {
        older.store(&frame).unwrap();
    }
    let mut lost = driver.clone();
    for fill in 0..20 {
        older.store(&lost.write(0, BLOCK, fill)).unwrap();
    }
    let before = segments(&site.store).len();
    let mut newer = Connection::open(&site.server());
    assert_eq!(newer.durable().1, driver.seq);
    let refused = older.store(&lost.epoch_end()).unwrap_err();
    assert!(matches!(refused, Error::TakenOver(_)), "{refused}");
    for byte in 0..8 {
        let epoch = [driver.write(BLOCK, 5 * SECTOR, byte), driver.epoch_end()].concat();
        assert!(newer.store(&epoch).unwrap());
    }
    newer.close();
    assert!(segments(&site.store).len() > before);
}

#[test]
fn a_sealed_repository_that_changes_between_servers_gives_what_a_plain_one_gives() {
    let sites = Site::all();
    let ends = sites.each_ref().map(|site| {
        let mut driver = Driver::default();
        store_history(site, &mut driver);
        (driver.seq, driver.tick)
    });
    let (last, tick) = ends[0];
    let middle = At::Time(FileTime::new(common::T0 + tick * 40));
    let points = [At::T0, middle, At::Latest];
    let images = |site: &Site| points.map(|at| image(&site.repository(), at));
    let want = images(&sites[0]);
    assert!(want[0] != want[2]);
    for site in &sites {
        let verified = site.verified();
        assert_eq!((verified.damage, verified.without_key), (vec![], false));
        assert!(images(site) == want, "{:?}", site.key);
        let end = Connection::open(&site.server());
        assert_eq!(end.durable(), (40, last), "the next server reads its kept state");
    }
    let lens = sites.each_ref().map(|site| {
        segments(&site.store).iter().map(|number| site.read(*number).len()).sum::<usize>()
    });
    assert!(lens[1] < lens[0] / 2 && lens[3] < lens[2] / 2, "{lens:?}");
}

#[test]
fn objects_show_nothing_of_the_content_and_none_is_served_elsewhere() {
    for compression in [Compression::None, ZSTD] {
        let site = Site::new(compression, true);
        let mut driver = Driver::default();
        let mut connection = Connection::open(&site.server());
        assert!(connection.store(&driver.first_sync()).unwrap());
        for byte in [0xa7, 0xb7] {
            let epoch = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
            assert!(connection.store(&epoch).unwrap());
        }
        let all = segments(&site.store);
        for number in &all {
            let content = site.read(*number);
            assert!(!content.windows(32).any(|it| it == [0xa7; 32]), "{number}");
        }
        if compression != Compression::None {
            continue;
        }
        // Two of one length: the entries of one behind the head of the other.
        let [.., older, newer] = all[..] else { panic!("{all:?}") };
        let (mut forged, other) = (site.read(newer), site.read(older));
        assert_eq!(forged.len(), other.len());
        forged[CLAIMED_HEADER_LEN..].copy_from_slice(&other[CLAIMED_HEADER_LEN..]);
        site.replace(newer, forged);
        let found = site.verified().damage;
        assert!(found.iter().any(|it| it.file.0.ends_with(SegmentNumber(newer).file_name())));
        let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
        let stop = StopFlag::default();
        let served = snapless_server::restore::Found::find(&site.repository(), &source, &stop);
        assert!(served.is_err());
    }
}

#[test]
fn without_the_key_a_server_changes_nothing_and_verify_checks_what_is_stored() {
    let site = Site::new(ZSTD, true);
    store_history(&site, &mut Driver::default());
    let before = segments(&site.store);
    let refused = WritableRepository::open_in(site.store.store()).unwrap_err();
    assert!(matches!(refused, Error::KeyNeeded { .. }), "{refused}");
    let other = KeySource::KeyFile(site.dir.path().join("other"));
    let own = FaultyStore::default();
    drop(WritableRepository::init_in_with(own.store(), ZSTD, &other).unwrap());
    let refused = WritableRepository::open_in_with(site.store.store(), &other).unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
    assert_eq!(segments(&site.store), before);
    let locked = Repository::open_in(site.store.store()).unwrap();
    let verified = verify(&locked, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!((verified.damage, verified.without_key), (vec![], true));
    let mut flipped = site.read(5);
    *flipped.last_mut().unwrap() ^= 1;
    site.replace(5, flipped);
    let found = verify(&locked, &StopFlag::default(), |_| {}).unwrap().damage;
    assert!(found.iter().any(|it| it.file.0.ends_with(SegmentNumber(5).file_name())), "{found:?}");
}

#[test]
fn a_store_that_is_not_safe_any_more_does_not_cost_the_key() {
    let site = Site::new(Compression::None, true);
    site.store.always(Fault::Unconditional);
    for _ in 0..2 {
        let refused = WritableRepository::open_in_with(site.store.store(), &site.key).unwrap_err();
        assert!(matches!(refused, Error::Unsafe { .. }), "{refused}");
    }
    WritableRepository::open_in_with(site.store.healed().store(), &site.key).unwrap();
}

#[test]
fn a_key_is_replaced_beside_the_data() {
    let mut site = Site::new(ZSTD, true);
    store_history(&site, &mut Driver::default());
    let want = image(&site.repository(), At::Latest);
    let new = KeySource::KeyFile(site.dir.path().join("new"));
    site.server().rekey(&new).unwrap();
    let refused = Repository::open_in(site.store.store()).unwrap().unlock(&site.key).unwrap_err();
    assert!(matches!(refused, Error::WrongKey { .. }), "{refused}");
    site.key = new;
    assert!(image(&site.repository(), At::Latest) == want);
}

//! The storage in an object store alone.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use snapless_server::error::Error;
use snapless_server::repository::WritableRepository;
use snapless_server::storage::object::ObjectStorage;
use snapless_server::storage::{Objects, OpenMode, Put, Storage, Store};

use crate::common;
use crate::common::objects::{Fault, FaultyStore};

/// Does what the contract of a storage names.
pub fn check_storage(storage: &ObjectStorage) {
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
    assert_eq!(kind(storage.remove(path)), Err(ErrorKind::NotFound));
    assert_eq!(storage.open(path, OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    for mode in [OpenMode::Write, OpenMode::Create, OpenMode::CreateNew] {
        assert_eq!(storage.open(path, mode).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// Every byte is that of the object, wherever reads begin and however long they are.
pub fn check_reads(storage: &ObjectStorage) {
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

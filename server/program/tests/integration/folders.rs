//! File systems that cannot sync a folder, and links that others put into one. No test here starts
//! a process: until that one has begun, it holds the locks that this one lets go.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::common::{self, Driver, LENGTH};
use snapless_server::error::Error;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile, Store};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_wire::frame::{FrameHeader, FrameKind};

/// A directory whose file system answers the sync of a folder with an error of this number.
#[derive(Debug)]
struct Odd {
    local: LocalStorage,
    answer: Arc<AtomicI32>,
}

impl Storage for Odd {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        self.local.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.local.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.local.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.local.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.local.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.answer.load(Ordering::Relaxed)))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.local.lock(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.local.locate(path)
    }
}

fn odd(root: &Path, answer: &Arc<AtomicI32>) -> Store {
    let local = LocalStorage::create(root).unwrap();
    Store::new(Arc::new(Odd { local, answer: answer.clone() }))
}

/// Stores a first sync.
fn store(repository: &WritableRepository) -> Result<(), Error> {
    let header = common::header(LENGTH);
    let (mut writer, state) =
        SessionWriter::open(repository, &header, 1 << 20, &StopFlag::default())?;
    let mut ingest = Ingest::AwaitingHello;
    ingest.begin(state);
    let payload = Driver::default().first_sync();
    let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
    let Action::Store { ends: Some(ends) } = ingest.frame(frame, &payload).unwrap() else {
        panic!("an epoch is stored");
    };
    writer.append(&frame, &payload)?;
    writer.commit(ends.epoch(), ends.seq())
}

#[test]
fn a_repository_works_where_no_folder_can_be_synced() {
    // EINVAL, EOPNOTSUPP, ENOTTY, EBADF, EACCES.
    for number in [22, 95, 25, 9, 13] {
        let dir = common::scratch();
        let answer = Arc::new(AtomicI32::new(number));
        let storage = odd(&dir.path().join("repository"), &answer);
        let repository = WritableRepository::init_in(storage).unwrap();
        store(&repository).unwrap();
        let report = verify(repository.repository(), &StopFlag::default(), |_| {}).unwrap();
        assert_eq!((report.sessions, report.damage), (1, vec![]), "{number}");
    }
}

#[test]
fn a_disk_that_fails_ends_it_and_nothing_is_half_made() {
    const EIO: i32 = 5;
    const EINVAL: i32 = 22;
    let dir = common::scratch();
    let answer = Arc::new(AtomicI32::new(EIO));
    let storage = odd(&dir.path().join("repository"), &answer);
    let failed = WritableRepository::init_in(storage.clone()).unwrap_err().to_string();
    assert!(failed.contains("cannot sync"), "{failed}");
    // Once the disk works, making it goes on.
    answer.store(EINVAL, Ordering::Relaxed);
    let repository = WritableRepository::init_in(storage).unwrap();
    answer.store(EIO, Ordering::Relaxed);
    assert!(store(&repository).is_err());
    answer.store(EINVAL, Ordering::Relaxed);
    store(&repository).unwrap();
    let report = verify(repository.repository(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!((report.sessions, report.damage), (1, vec![]));
}

#[test]
fn nothing_of_a_repository_is_written_through_a_link() {
    let dir = common::scratch();
    let (root, precious) = (dir.path().join("repository"), dir.path().join("precious"));
    fs::create_dir(&root).unwrap();
    fs::write(&precious, "precious").unwrap();
    // Names of an interrupted init, which may be there.
    for name in ["lock", "sessions.new", "repository.new"] {
        let link = root.join(name);
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        let refused = WritableRepository::init(&root).unwrap_err().to_string();
        assert!(refused.contains("it is a link"), "{refused}");
        assert_eq!(fs::read(&precious).unwrap(), b"precious", "{name}");
        fs::remove_file(&link).unwrap();
    }
    WritableRepository::init(&root).unwrap();
}

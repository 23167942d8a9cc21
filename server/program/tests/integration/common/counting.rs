//! A storage that counts what is read, how many files are opened and how many directories listed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile};

/// A storage that counts the bytes that are read of files of each kind.
#[derive(Clone, Debug)]
pub struct Counting {
    storage: Arc<dyn Storage>,
    read: Arc<Mutex<BTreeMap<String, u64>>>,
    opened: Arc<AtomicU64>,
    listed: Arc<AtomicU64>,
    /// What was said to be read soon, of each file.
    announced: Arc<Mutex<BTreeMap<PathBuf, Vec<Range<u64>>>>>,
    /// Bytes that were read and not announced, by the files' extension.
    unannounced: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    kind: String,
    storage: Counting,
}

impl Counting {
    pub fn new(root: &Path) -> Self {
        Self {
            storage: Arc::new(LocalStorage::new(root)),
            read: Arc::default(),
            opened: Arc::default(),
            listed: Arc::default(),
            announced: Arc::default(),
            unannounced: Arc::default(),
        }
    }

    /// Bytes since the last call, of files with this extension.
    pub fn taken(&self, kind: &str) -> u64 {
        self.read.lock().unwrap().remove(kind).unwrap_or(0)
    }

    /// Bytes since the last call, of files with this extension, that were read and never announced.
    pub fn unannounced(&self, kind: &str) -> u64 {
        self.unannounced.lock().unwrap().remove(kind).unwrap_or(0)
    }

    /// Files that were opened since the last call.
    pub fn opened(&self) -> u64 {
        self.opened.swap(0, Ordering::Relaxed)
    }

    /// Directories that were listed since the last call, with lengths or without.
    pub fn listed(&self) -> u64 {
        self.listed.swap(0, Ordering::Relaxed)
    }
}

impl Storage for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let file = self.storage.open(path, mode)?;
        // Relaxed: a count, read by the thread that opens.
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(CountedFile { file, path: path.to_owned(), kind, storage: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.storage.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // Relaxed: see `open`.
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.storage.list(dir)
    }

    fn list_with_lengths(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.storage.list_with_lengths(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.storage.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.storage.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.storage.lock(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.storage.locate(path)
    }
}

impl StorageFile for CountedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(offset, buffer)?;
        let add = |to: &Mutex<BTreeMap<String, u64>>| {
            *to.lock().unwrap().entry(self.kind.clone()).or_default() += count as u64;
        };
        add(&self.storage.read);
        let announced = self.storage.announced.lock().unwrap();
        let end = offset + count as u64;
        let is_within = |it: &Range<u64>| it.start <= offset && end <= it.end;
        if !announced.get(&self.path).is_some_and(|all| all.iter().any(is_within)) {
            add(&self.storage.unannounced);
        }
        Ok(count)
    }

    fn will_read(&self, offset: u64, len: u64) {
        let mut announced = self.storage.announced.lock().unwrap();
        announced.entry(self.path.clone()).or_default().push(offset..offset + len);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn has_its_name(&self) -> io::Result<bool> {
        self.file.has_its_name()
    }
}

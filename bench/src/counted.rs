//! A storage in a directory that counts what is written and syncs nothing.
//!
//! For histories that are made to be measured afterwards: thousands of syncs would take most of the
//! time, and after a power loss the history is made anew. It also knows the names that there are:
//! a history is written by one process, in less time than its directories are read in.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile};

/// The files below a directory.
#[derive(Debug)]
pub struct Counted {
    below: LocalStorage,
    written: Arc<AtomicU64>,
    /// Protects the names in each directory that was listed.
    names: Mutex<HashMap<PathBuf, BTreeSet<String>>>,
}

impl Counted {
    /// The files below a directory, which must be there; `written` counts the bytes of all writes.
    pub fn new(root: &Path, written: Arc<AtomicU64>) -> Self {
        Self { below: LocalStorage::new(root), written, names: Mutex::default() }
    }

    /// There is such a name, or no more.
    fn note(&self, path: &Path, is_there: bool) {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
        let name = name.to_string_lossy().into_owned();
        if let Some(names) = self.names().get_mut(dir) {
            if is_there {
                names.insert(name)
            } else {
                names.remove(&name)
            };
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<PathBuf, BTreeSet<String>>> {
        // Every change is one call: a panic leaves no half-made change.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Counted {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let file = self.below.open(path, mode)?;
        if matches!(mode, OpenMode::Create | OpenMode::CreateNew) {
            self.note(path, true);
        }
        Ok(Box::new(CountedFile { file, written: Arc::clone(&self.written) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let made = self.below.create_dir(path)?;
        self.note(path, true);
        Ok(made)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.names();
        if let Some(names) = names.get(dir) {
            return Ok(names.iter().cloned().collect());
        }
        let found = self.below.list(dir)?;
        names.insert(dir.to_owned(), found.iter().cloned().collect());
        Ok(found)
    }

    fn list_with_lengths(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.below.list_with_lengths(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)?;
        self.note(from, false);
        self.note(to, true);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)?;
        self.note(path, false);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let lock = self.below.lock(path)?;
        self.note(path, true);
        Ok(lock)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.below.locate(path)
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn StorageFile>,
    written: Arc<AtomicU64>,
}

impl StorageFile for CountedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A count: it orders nothing.
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn has_its_name(&self) -> io::Result<bool> {
        self.file.has_its_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_bytes_and_lists_the_names_that_the_directory_has() {
        let folder = tempfile::tempdir().unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let counted = Counted::new(folder.path(), Arc::clone(&written));
        let root = Path::new("");
        assert_eq!(counted.list(root).unwrap(), [""; 0]);
        let file = |name: &str| counted.open(Path::new(name), OpenMode::CreateNew).unwrap();
        file("a").write_at(7, b"five5").unwrap();
        file("b").write_at(0, b"six666").unwrap();
        counted.create_dir(Path::new("d")).unwrap();
        file("d/e");
        drop(counted.lock(Path::new("lock")).unwrap());
        counted.rename(Path::new("a"), Path::new("c")).unwrap();
        counted.remove(Path::new("b")).unwrap();
        assert!(counted.open(Path::new("none"), OpenMode::Read).is_err());
        assert_eq!(written.load(Ordering::Relaxed), 11);
        for dir in ["", "d"].map(Path::new) {
            let mut below = LocalStorage::new(folder.path()).list(dir).unwrap();
            below.sort();
            assert_eq!(counted.list(dir).unwrap(), below);
        }
    }
}

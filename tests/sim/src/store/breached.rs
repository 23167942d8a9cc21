//! A storage that is broken on purpose: of each sabotage only what it does otherwise is told, all
//! else is done by the storage below.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_server::storage::{
    Held, Lock, Objects, OpenMode, Put, Removal, Storage, StorageFile, Store, Terms,
};
use snapless_wire::id::FileTime;

/// What a broken storage does otherwise than the one below it.
pub(super) trait Breach: Debug + Send + Sync + 'static {
    /// Opens a file.
    fn open(
        &self,
        below: &dyn Storage,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<Box<dyn StorageFile>> {
        below.open(path, mode)
    }

    /// Gives a file another name.
    fn rename(&self, below: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
        below.rename(from, to)
    }

    /// Writes an object.
    fn put(&self, below: &dyn Objects, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()> {
        below.put(path, content, put)
    }
}

/// The storage that this breaks.
pub(super) fn store(below: Arc<dyn Storage>, breach: impl Breach) -> Store {
    Store::new(Arc::new(Breached { below, breach }))
}

#[derive(Debug)]
struct Breached<B> {
    below: Arc<dyn Storage>,
    breach: B,
}

impl<B: Breach> Breached<B> {
    fn objects_below(&self) -> io::Result<&dyn Objects> {
        self.below.objects().ok_or_else(|| ErrorKind::Unsupported.into())
    }
}

impl<B: Breach> Objects for Breached<B> {
    fn put(&self, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()> {
        self.breach.put(self.objects_below()?, path, content, put)
    }

    fn list_from(&self, dir: &Path, beginning: &str, from: &str) -> io::Result<Vec<(String, u64)>> {
        self.objects_below()?.list_from(dir, beginning, from)
    }

    fn stored_at(&self, path: &Path) -> io::Result<FileTime> {
        self.objects_below()?.stored_at(path)
    }

    fn list_stored_at(&self, dir: &Path, beginning: &str) -> io::Result<Vec<(String, FileTime)>> {
        self.objects_below()?.list_stored_at(dir, beginning)
    }

    fn remove_all(&self, paths: &[PathBuf]) -> io::Result<Vec<Removal>> {
        self.objects_below()?.remove_all(paths)
    }

    fn terms(&self) -> Terms {
        self.objects_below().map_or_else(|_| Terms::default(), Objects::terms)
    }

    fn will_open(&self, paths: &mut dyn Iterator<Item = PathBuf>) {
        if let Ok(below) = self.objects_below() {
            below.will_open(paths);
        }
    }
}

impl<B: Breach> Storage for Breached<B> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        self.breach.open(&*self.below, path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.breach.rename(&*self.below, from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.below.lock(path)
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.below.hold(path)
    }

    fn held(&self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        self.below.held(dir, wanted)
    }

    fn is_held(&self, path: &Path) -> io::Result<bool> {
        self.below.is_held(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.below.locate(path)
    }

    fn objects(&self) -> Option<&dyn Objects> {
        self.below.objects().map(|_| self as &dyn Objects)
    }
}

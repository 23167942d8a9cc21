//! A server that is careless with its objects: each sabotage of a bucket is a storage that does, or
//! believes, what the server's own must not.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_server::format::claim::CLAIMED_HEADER_LEN;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::storage::{
    Held, Lock, Objects, OpenMode, Put, Removal, Storage, StorageFile, Store, Terms,
};
use snapless_wire::id::FileTime;

use super::StoreSabotage;

/// The storage of such a server.
pub(super) fn store(inner: Arc<dyn Storage>, sabotage: StoreSabotage) -> Store {
    Store::new(Arc::new(Careless { inner, sabotage }))
}

#[derive(Debug)]
struct Careless {
    inner: Arc<dyn Storage>,
    sabotage: StoreSabotage,
}

impl Careless {
    fn inner(&self) -> io::Result<&dyn Objects> {
        self.inner.objects().ok_or_else(|| ErrorKind::Unsupported.into())
    }
}

/// True for a segment of a stream.
fn is_segment(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SegmentNumber::from_file_name(name).is_some())
}

impl Objects for Careless {
    fn put(&self, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()> {
        let is_takeover = is_segment(path) && content.len() == CLAIMED_HEADER_LEN;
        match self.sabotage {
            StoreSabotage::NoFence if is_takeover => return Ok(()),
            StoreSabotage::Overwrite if is_segment(path) => {
                return self.inner()?.put(path, content, Put::Replace);
            }
            _ => {}
        }
        match (self.inner()?.put(path, content, put), self.sabotage) {
            (Err(error), StoreSabotage::AnyWinner)
                if error.kind() == ErrorKind::AlreadyExists && is_segment(path) =>
            {
                Ok(())
            }
            (Err(error), StoreSabotage::TrustedLoss)
                if error.kind() != ErrorKind::AlreadyExists && is_segment(path) =>
            {
                Ok(())
            }
            (put, _) => put,
        }
    }

    fn list_from(&self, dir: &Path, beginning: &str, from: &str) -> io::Result<Vec<(String, u64)>> {
        self.inner()?.list_from(dir, beginning, from)
    }

    fn stored_at(&self, path: &Path) -> io::Result<FileTime> {
        self.inner()?.stored_at(path)
    }

    fn list_stored_at(&self, dir: &Path, beginning: &str) -> io::Result<Vec<(String, FileTime)>> {
        self.inner()?.list_stored_at(dir, beginning)
    }

    fn remove_all(&self, paths: &[PathBuf]) -> io::Result<Vec<Removal>> {
        self.inner()?.remove_all(paths)
    }

    fn terms(&self) -> Terms {
        self.inner().map_or_else(|_| Terms::default(), Objects::terms)
    }

    fn will_open(&self, paths: &mut dyn Iterator<Item = PathBuf>) {
        if let Ok(inner) = self.inner() {
            inner.will_open(paths);
        }
    }
}

impl Storage for Careless {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        self.inner.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.inner.lock(path)
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        self.inner.hold(path)
    }

    fn held(&self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        self.inner.held(dir, wanted)
    }

    fn is_held(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_held(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.inner.locate(path)
    }

    fn objects(&self) -> Option<&dyn Objects> {
        Some(self)
    }
}

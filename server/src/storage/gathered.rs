//! A file in memory, in which the content of an object is gathered before it is stored.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Objects, OpenMode, Put, Storage, StorageFile, Store, StoredFile};
use crate::error::Result;

impl Store {
    /// Makes a file that is written once, from its begin to its end, and durable after a
    /// [`StoredFile::sync`] and a sync of the directory. An object is gathered in memory, and made
    /// by the sync. One that is there stays: the error is one of [`Error::is_already_there`].
    pub fn create_new(&self, path: &Path) -> Result<StoredFile> {
        if self.objects().is_none() {
            return self.open(path, OpenMode::CreateNew);
        }
        let file = Box::new(NewObject::new(Arc::clone(&self.storage), path));
        Ok(StoredFile::new(file, self.locate(path), None))
    }

    /// Puts an object with the content that `write` writes into memory.
    pub(super) fn put_with(
        &self,
        objects: &dyn Objects,
        path: &Path,
        put: Put,
        write: impl FnOnce(&StoredFile) -> Result<()>,
    ) -> Result<()> {
        let gathered = Gathered::default();
        let file = Box::new(gathered.clone());
        write(&StoredFile::new(file, self.locate(path), None))?;
        objects.put(path, gathered.take(), put).map_err(self.failed("store", path))
    }
}

/// An object that is made by a sync.
#[derive(Debug)]
struct NewObject {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    content: Gathered,
}

impl NewObject {
    fn new(storage: Arc<dyn Storage>, path: &Path) -> Self {
        Self { storage, path: path.to_owned(), content: Gathered::default() }
    }
}

impl StorageFile for NewObject {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        self.content.write_at(offset, new)
    }

    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.content.set_len(len)
    }

    /// Makes the object. Its content is not in memory any more then.
    fn sync(&self) -> io::Result<()> {
        let objects = self.storage.objects().ok_or(io::ErrorKind::Unsupported)?;
        objects.put(&self.path, self.content.take(), Put::Create)
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// The content; clones share it.
#[derive(Clone, Default, Debug)]
struct Gathered(Arc<Mutex<Vec<u8>>>);

impl Gathered {
    /// Takes the content out.
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.bytes())
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // No change is left half made by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageFile for Gathered {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes();
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(new.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}

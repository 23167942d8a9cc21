//! A storage as the rest of the server uses it: errors name the file, and durable operations are
//! composed of the small ones.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_trust::folders;
use snapless_trust::regular::NotAFile;

use super::{Held, Lock, Objects, OpenMode, Put, Removal, Space, Storage, StoredFile};
use crate::error::{Damage, Error, Result};
use crate::format::claim::WriterId;
use crate::seal::Seal;

/// A storage whose errors name the file, and how content is sealed in it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) storage: Arc<dyn Storage>,
    seal: Seal,
    /// Without it nothing is read.
    guard: Option<Arc<dyn Held>>,
}

impl Store {
    /// Uses this storage, for content as it came.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, seal: Seal::default(), guard: None }
    }

    /// The same for content that is sealed in this way.
    pub(crate) fn sealed(&self, seal: Seal) -> Self {
        Self { seal, ..self.clone() }
    }

    /// The same, in which nothing is read once this is not held any more.
    pub(crate) fn guarded(&self, guard: Option<Arc<dyn Held>>) -> Self {
        Self { guard, ..self.clone() }
    }

    fn check_guard(&self, path: &Path) -> Result<()> {
        let checked = self.guard.as_ref().map_or(Ok(()), |guard| guard.check());
        checked.map_err(self.failed("read", path))
    }

    /// How content is sealed.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The full name of a path, for messages.
    pub fn locate(&self, path: &Path) -> PathBuf {
        self.storage.locate(path)
    }

    /// The files as objects, if they are that.
    pub fn objects(&self) -> Option<&dyn Objects> {
        self.storage.objects()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`Damage::NotAFile`] where a file is to be, but something else is.
    pub fn open(&self, path: &Path, mode: OpenMode) -> Result<StoredFile> {
        let (action, is_there) = match mode {
            OpenMode::Read | OpenMode::Write => ("open", true),
            OpenMode::Create | OpenMode::CreateNew => ("create", false),
        };
        self.check_guard(path)?;
        match self.storage.open(path, mode) {
            Ok(file) => Ok(StoredFile::new(file, self.locate(path), self.guard.clone())),
            Err(error) => Err(match NotAFile::in_error(&error).filter(|_| is_there) {
                Some(why) => Error::damaged(&self.locate(path), 0, why),
                None if is_there && error.kind() == io::ErrorKind::NotADirectory => {
                    Error::damaged(&self.locate(path), 0, Damage::Below)
                }
                None => self.failed(action, path)(error),
            }),
        }
    }

    /// Reads the first `len` bytes of a file, or all of a shorter one.
    pub fn read_head(&self, path: &Path, len: usize) -> Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let mut bytes = Vec::with_capacity(len);
        let read = file.take(len as u64).read_to_end(&mut bytes);
        read.map_err(self.failed("read", path))?;
        Ok(bytes)
    }

    /// The entries of a directory whose names parse, in order; none if there is no such directory.
    ///
    /// # Errors
    /// [`Damage::NotADirectory`] where a directory is to be, but something else is.
    pub fn list<T: Ord>(&self, dir: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let names = match self.storage.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::damaged(&self.locate(dir), 0, Damage::NotADirectory));
            }
            Err(error) => return Err(self.failed("list", dir)(error)),
        };
        let mut found: Vec<T> = names.iter().filter_map(|name| parse(name)).collect();
        found.sort();
        Ok(found)
    }

    /// The entries of a directory whose names begin with `beginning` and parse, in order. Among
    /// objects this reads no other names.
    pub fn list_of<T: Ord>(
        &self,
        dir: &Path,
        beginning: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let Some(objects) = self.objects() else { return self.list(dir, parse) };
        let found =
            objects.list_from(dir, beginning, beginning).map_err(self.failed("list", dir))?;
        let mut found: Vec<T> = found.iter().filter_map(|(name, _)| parse(name)).collect();
        found.sort();
        Ok(found)
    }

    /// The files in a directory and their lengths in bytes, in any order; none if there is no such
    /// directory. See [`Storage::list_with_lengths`].
    pub fn list_with_lengths(&self, dir: &Path) -> Result<Vec<(String, u64)>> {
        match self.storage.list_with_lengths(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Err(Error::damaged(&self.locate(dir), 0, Damage::NotADirectory))
            }
            found => found.map_err(self.failed("list", dir)),
        }
    }

    /// Bytes of a file that was listed; `None` if it was removed or replaced meanwhile, or is no
    /// regular file.
    pub fn len_of(&self, path: &Path) -> Result<Option<u64>> {
        match self.open(path, OpenMode::Read).and_then(|file| file.len()) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.is_not_found() || error.is_no_file() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.storage.remove(path).map_err(self.failed("remove", path))
    }

    /// Removes files: of each in order what became of it. One that is missing counts as removed.
    pub fn remove_all(&self, paths: &[PathBuf]) -> Result<Vec<Removal>> {
        let (Some(objects), Some(first)) = (self.objects(), paths.first()) else {
            let removed = paths.iter().map(|path| match self.remove(path) {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(Removal::Removed),
            });
            return removed.collect();
        };
        objects.remove_all(paths).map_err(self.failed("remove", first))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> Result<()> {
        self.storage.remove_dir(path).map_err(self.failed("remove", path))
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> Result<()> {
        let outcome = folders::as_far_as_possible(&self.locate(dir), self.storage.sync_dir(dir));
        outcome.map_err(self.failed("sync", dir))
    }

    /// The space of the file system; `None` if there is no such limit.
    pub fn space(&self) -> Result<Option<Space>> {
        self.storage.space().map_err(self.failed("ask for the free space of", Path::new("")))
    }

    /// Takes a lock; `None` if it is taken.
    pub fn lock(&self, path: &Path) -> Result<Option<Lock>> {
        match self.storage.lock(path) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.failed("lock", path)(error)),
        }
    }

    /// [`Storage::hold`].
    pub fn hold(&self, path: &Path) -> Result<Arc<dyn Held>> {
        self.storage.hold(path).map(Arc::from).map_err(self.failed("lock", path))
    }

    /// [`Storage::held`], as far as the names parse to what is wanted; in order.
    pub fn held<T: Ord>(&self, dir: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let names = self.storage.held(dir, &|name| parse(name).is_some());
        let names = names.map_err(self.failed("look at", dir))?;
        let mut found: Vec<T> = names.iter().filter_map(|name| parse(name)).collect();
        found.sort();
        Ok(found)
    }

    /// [`Storage::is_held`].
    pub fn is_held(&self, path: &Path) -> Result<bool> {
        self.storage.is_held(path).map_err(self.failed("look at", path))
    }

    /// Makes a directory and those above it, durably.
    ///
    /// The directories above are synced even if they exist: an earlier process may have made them
    /// and ended before it synced them.
    pub fn create_dirs(&self, path: &Path) -> Result<()> {
        if self.objects().is_some() {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        self.create_dirs(parent)?;
        self.storage.create_dir(path).map_err(self.failed("create", path))?;
        self.sync_dir(parent)
    }

    /// Makes a file with this content so that after a crash it is there whole or not at all.
    pub fn create_durably(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.create_durably_with(path, |file| file.write_at(0, content))
    }

    /// [`Self::create_durably`] with the content that `write` writes.
    pub fn create_durably_with(
        &self,
        path: &Path,
        write: impl FnOnce(&StoredFile) -> Result<()>,
    ) -> Result<()> {
        if let Some(objects) = self.objects() {
            return self.put_with(objects, path, Put::Replace, write);
        }
        let temporary = path.with_extension("new");
        let file = self.open(&temporary, OpenMode::Create)?;
        write(&file)?;
        file.sync()?;
        drop(file);
        self.storage.rename(&temporary, path).map_err(self.failed("name", path))?;
        self.sync_dir(path.parent().unwrap_or(path))
    }

    /// [`Self::create_durably`] for what is written once: among objects, one that is there stays,
    /// and unless it has this content the error is one of [`Error::is_already_there`]. In a
    /// directory the repository's lock keeps a second writer out.
    pub fn create_once(&self, path: &Path, content: Vec<u8>) -> Result<()> {
        match self.objects() {
            None => self.create_durably(path, &content),
            Some(objects) => {
                objects.put(path, content, Put::Create).map_err(self.failed("store", path))
            }
        }
    }

    /// [`Self::create_once`] with the content that `write` writes.
    pub fn create_once_with(
        &self,
        path: &Path,
        write: impl FnOnce(&StoredFile) -> Result<()>,
    ) -> Result<()> {
        match self.objects() {
            None => self.create_durably_with(path, write),
            Some(objects) => self.put_with(objects, path, Put::Create, write),
        }
    }

    /// Makes a small file with this content whose name must not be taken: after a crash, or the end
    /// of the process at any moment, it is there whole or not at all. No lock is needed: of several
    /// that make it at the same time one succeeds.
    ///
    /// # Errors
    /// One of [`Error::is_already_there`] for a name that is taken, or what keeps the file from
    /// being made.
    pub fn create_whole(&self, path: &Path, content: &[u8]) -> Result<()> {
        if let Some(objects) = self.objects() {
            return objects
                .put(path, content.to_vec(), Put::Create)
                .map_err(self.failed("store", path));
        }
        // Of its own: another process may be making the same file.
        let temporary = path.with_extension(format!("{}.new", WriterId::random()));
        let written = self.open(&temporary, OpenMode::CreateNew).and_then(|file| {
            file.write_at(0, content)?;
            file.sync()
        });
        let named = written.and_then(|()| {
            self.storage.rename_new(&temporary, path).map_err(self.failed("create", path))
        });
        if named.is_err() {
            // Best effort: no reader opens what is left.
            drop(self.storage.remove(&temporary));
        }
        named?;
        self.sync_dir(path.parent().unwrap_or(path))
    }

    /// An error of the storage about a file: `action` is a verb.
    pub(super) fn failed(
        &self,
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = self.locate(path);
        move |source| Error::File { action, path, source }
    }
}

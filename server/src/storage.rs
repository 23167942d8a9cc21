//! The files below a repository: a trait, so that the same code runs over a directory, over the
//! objects of a cloud, and over a simulated disk that crashes.
//!
//! Objects are written once, whole. A storage of them says so by [`Storage::objects`]; its files
//! can be opened for reading only.
//!
//! An implementation provides [`Storage`] and [`StorageFile`]; their documentation says what
//! survives a crash. The rest of the server calls [`Store`], which adds the file's full name to
//! every error and composes the durable operations from the small ones.

mod gathered;
pub mod lease;
pub mod local;
#[cfg(feature = "cloud")]
pub mod object;
mod terms;

pub use terms::Terms;

use std::any::Any;
use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_trust::folders;
use snapless_trust::regular::NotAFile;
use snapless_wire::id::FileTime;

use crate::error::{Damage, Error, Result};
use crate::format::claim::WriterId;
use crate::seal::Seal;

/// A tree of named files.
///
/// Paths are relative; the empty path is the root, which always exists. Every method may be called
/// from several threads at the same time.
///
/// # What survives a crash
/// A *crash* is a power loss or the end of the operating system. The end of the process alone loses
/// nothing that a call did.
///
/// - **Content and length** of a file survive if [`StorageFile::sync`] succeeded after the change,
///   on any handle of the file. Until then each change since the last successful sync may survive
///   whole, in part, or not at all, in any order: a write tears anywhere, and where the new length
///   survived without the bytes there are zeros. Bytes that were synced and not overwritten since
///   survive.
/// - **Names** (a file created, renamed or removed; a directory made) survive if
///   [`Storage::sync_dir`] of the directory that holds the name succeeded after the change. Until
///   then each change may or may not survive, in any order. A directory whose own name did not
///   survive is lost with all that is in it.
/// - **A rename is atomic**: after a crash the new name stands for the old file or for the renamed
///   one, as a whole. It does not make the renamed file's content durable.
/// - **A sync of a file does not make its name durable**, and a sync of a directory no content.
/// - **After a failed sync** the changes since the last successful one are in doubt for ever: they
///   are visible, a later sync may succeed, and a crash may lose them all the same.
///
/// What a call did is visible to every later call at once, whether it is durable or not.
pub trait Storage: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing file, or a missing directory above a new one;
    /// [`io::ErrorKind::AlreadyExists`] for [`OpenMode::CreateNew`] and a file that is there; one
    /// with [`NotAFile`] for what is no regular file, which is neither followed nor waited for.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>>;

    /// Makes a directory; false if it is there already.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if the directory above it is missing.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such directory; [`io::ErrorKind::NotADirectory`]
    /// if it is something else.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The files in a directory and their lengths in bytes, in any order. What is no regular file
    /// is left out. One that is removed or made meanwhile may be left out, and of one that grows
    /// meanwhile the length may be an earlier one.
    ///
    /// A storage that gets the lengths with the names, or without opening the files, provides this.
    ///
    /// # Errors
    /// As for [`Self::list`].
    fn list_with_lengths(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        if let Some(objects) = self.objects() {
            return objects.list_from(dir, "", "");
        }
        let mut found = Vec::new();
        for name in self.list(dir)? {
            match self.open(&dir.join(&name), OpenMode::Read).and_then(|file| file.len()) {
                Ok(len) => found.push((name, len)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if NotAFile::in_error(&error).is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Gives a file another name in the same directory. A file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// [`Self::rename`] to a name that is not taken. Of several at the same time one succeeds.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] for a name that is taken, whatever it stands for: both
    /// names stay as they are, or the file goes. [`io::ErrorKind::Unsupported`] from a storage that
    /// cannot tell.
    fn rename_new(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] from a storage that has none.
    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// A system's error that says that there is no such call is none for [`Store::sync_dir`].
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock of this name for as long as the result lives, at most until the process ends.
    /// Makes the lock's file if it is missing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if the lock is taken.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Makes a file that is held for as long as the result lives, at most until the process ends.
    /// Other than a lock it says so to [`Self::is_held`] without being taken away. It need not
    /// survive a crash. The result removes it when it is dropped, as far as that is possible.
    ///
    /// Among objects it is a lease ([`lease`]): it lapses unless it is renewed.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is such a file, or it was removed meanwhile as one
    /// that is not held: take another name. [`io::ErrorKind::NotFound`] if its directory is
    /// missing. [`io::ErrorKind::Unsupported`] from a storage that cannot tell others.
    fn hold(&self, _: &Path) -> io::Result<Box<dyn Held>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The names in a directory that are wanted and held, by whatever process. Those that are not
    /// held are removed, if that is possible.
    ///
    /// # Errors
    /// What keeps it from being known.
    fn held(&self, dir: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let names = match self.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let mut held = Vec::new();
        for name in names.into_iter().filter(|name| wanted(name)) {
            if self.is_held(&dir.join(&name))? {
                held.push(name);
            }
        }
        Ok(held)
    }

    /// True if this file is there and held, by whatever process. One that is not held is removed,
    /// if that is possible.
    ///
    /// # Errors
    /// What keeps it from being known.
    fn is_held(&self, _: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The space of the file system below the root; `None` for a storage without such a limit.
    fn space(&self) -> io::Result<Option<Space>> {
        Ok(None)
    }

    /// The full name of a path, for messages.
    fn locate(&self, path: &Path) -> PathBuf;

    /// The files as objects, if they are that. Then they are changed through this alone, and
    /// directories are no more than parts of names: there is nothing to make, sync or lock.
    fn objects(&self) -> Option<&dyn Objects> {
        None
    }
}

/// Files that are written once, whole: as soon as one is visible it is durable.
pub trait Objects {
    /// Writes an object.
    ///
    /// An object that is there already with this very content counts as written: the answer to an
    /// earlier attempt may have been lost.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] for [`Put::Create`] and an object of other content. After
    /// any other error the object may be there, or come to be there later.
    fn put(&self, path: &Path, content: Vec<u8>, put: Put) -> io::Result<()>;

    /// The objects of a directory whose names begin with `beginning`, from the name `from` on, with
    /// their lengths in bytes, in order of their names.
    fn list_from(&self, dir: &Path, beginning: &str, from: &str) -> io::Result<Vec<(String, u64)>>;

    /// Says that these objects, which are never replaced, will be opened soon and in this order:
    /// their first bytes may be asked for now.
    fn will_open(&self, paths: &mut dyn Iterator<Item = PathBuf>);

    /// When an object was stored, by the store's clock.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing object.
    fn stored_at(&self, path: &Path) -> io::Result<FileTime>;

    /// The objects of a directory whose names begin with `beginning`, in order of their names, and
    /// when each was stored, by the store's clock.
    fn list_stored_at(&self, dir: &Path, beginning: &str) -> io::Result<Vec<(String, FileTime)>>;

    /// Removes objects: with few requests, however many they are. Of each in order what became of
    /// it; one that is missing counts as removed.
    ///
    /// # Errors
    /// A failure that may pass: any of them may be there still.
    fn remove_all(&self, paths: &[PathBuf]) -> io::Result<Vec<Removal>>;

    /// How long leases last.
    fn terms(&self) -> Terms {
        Terms::default()
    }
}

/// What became of an object that was to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// The store does not let it be removed, or not yet: why.
    Refused(String),
}

/// A file that is held; dropping it releases it.
pub trait Held: Debug + Send + Sync {
    /// Checks that it still is.
    ///
    /// # Errors
    /// It may not be any more, or not for long.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What becomes of an object that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It stays. Of several attempts at the same time one succeeds.
    Create,
    /// It is replaced.
    Replace,
}

/// The space of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes that this process may still store.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A lock that is held; dropping it releases it.
pub type Lock = Box<dyn Any + Send + Sync>;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// For reading; the file must be there.
    Read,
    /// For writing; the file must be there.
    Write,
    /// For writing; a new empty file, or an old one made empty.
    Create,
    /// For writing; a new empty file. Fails if there is one.
    CreateNew,
}

/// An open file. See [`Storage`] for what survives a crash.
#[expect(clippy::len_without_is_empty, reason = "a file is no collection")]
pub trait StorageFile: Debug + Send + Sync {
    /// Reads some bytes; returns how many, 0 at or past the file's end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Says that these bytes will be read soon, so that a storage which can may fetch them now. It
    /// waits for nothing, and there is no harm in bytes that are not there, or are never read.
    fn will_read(&self, _offset: u64, _len: u64) {}

    /// Writes all bytes. Past the file's end the file grows.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or lets it grow by zeros. A change also if the file has that length already.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file's content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// True if the name that it was opened by still stands for this file: it was not removed,
    /// renamed or replaced, and neither was a directory above it.
    fn has_its_name(&self) -> io::Result<bool>;
}

/// A storage whose errors name the file, and how content is sealed in it.
#[derive(Clone, Debug)]
pub struct Store {
    storage: Arc<dyn Storage>,
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
            Ok(file) => {
                let (path, guard) = (self.locate(path), self.guard.clone());
                Ok(StoredFile { file, path, position: 0, guard })
            }
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

    fn failed(&self, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = self.locate(path);
        move |source| Error::File { action, path, source }
    }
}

/// An open file whose errors name it, and a position in it.
///
/// As a stream it reads and writes at the position; [`StoredFile::write_at`] leaves that alone.
#[derive(Debug)]
pub struct StoredFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    position: u64,
    /// Without it nothing is read.
    guard: Option<Arc<dyn Held>>,
}

#[expect(clippy::len_without_is_empty, reason = "a file is no collection")]
impl StoredFile {
    /// The full name, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all bytes.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes).map_err(Error::file("write", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check())?;
        self.file.read_at(offset, buffer)
    }

    /// Fills the buffer from a place. Leaves the position alone.
    pub fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    offset += count as u64;
                    buffer = &mut buffer[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// [`StorageFile::will_read`].
    pub fn will_read(&self, offset: u64, len: u64) {
        self.file.will_read(offset, len);
    }

    /// Bytes of the file.
    pub fn len(&self) -> Result<u64> {
        self.file.len().map_err(Error::file("look at", &self.path))
    }

    /// Cuts the file to a length.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(Error::file("shorten", &self.path))
    }

    /// Makes the file's content and length durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync().map_err(Error::file("sync", &self.path))
    }

    /// Checks that the file can be found by its name.
    ///
    /// # Errors
    /// [`Error::Moved`] if it cannot, or if another file has that name.
    pub fn check_name(&self) -> Result<()> {
        let has_its_name = self.file.has_its_name().map_err(Error::file("look at", &self.path))?;
        if has_its_name { Ok(()) } else { Err(Error::Moved(self.path.clone())) }
    }
}

impl Read for StoredFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for StoredFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for StoredFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.len()?.checked_add_signed(distance),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

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
mod store;
mod stored_file;
mod terms;

pub use store::Store;
pub use stored_file::StoredFile;
pub use terms::Terms;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use snapless_trust::regular::NotAFile;
use snapless_wire::id::FileTime;

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

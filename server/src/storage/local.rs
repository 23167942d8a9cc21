//! A storage in a directory of the local file system.
//!
//! On Unix, what it makes is its owner's alone from the first byte, whatever the umask: the files
//! hold the raw blocks of volumes. What is opened is a regular file: no link is followed that
//! another account may have put in its place, and nothing waits at a FIFO.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::FileExt;
use snapless_trust::{folders, private, regular};
use tempfile::TempPath;

use super::{Held, Lock, OpenMode, Space, Storage, StorageFile, Store, StoredFile};
use crate::error::{Error, Result};

/// The files below one directory.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// The files below `root`, which may be missing: then every call fails.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The files below `root`; makes it, and the directories above it, durably.
    pub fn create(root: &Path) -> Result<Self> {
        create_dirs(root)?;
        Ok(Self::new(root))
    }
}

impl Store {
    /// Uses the files below a directory.
    pub fn local(root: &Path) -> Self {
        Self::new(Arc::new(LocalStorage::new(root)))
    }
}

impl Storage for LocalStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::Write => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        private::only_owner(&mut options);
        let path = self.locate(path);
        let file = match mode {
            OpenMode::CreateNew => options.open(&path),
            _ => regular::open(&options, &path),
        }?;
        Ok(Box::new(LocalFile { file, path }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let path = self.locate(path);
        match make_dir(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not Unicode is not one of ours; its stand-in is not either.
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        fs::read_dir(self.locate(dir))?.map(|entry| entry.map(name)).collect()
    }

    fn list_with_lengths(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.locate(dir))? {
            let entry = entry?;
            match entry.metadata() {
                Ok(file) if !file.is_file() => {}
                Ok(file) => found.push((entry.file_name().to_string_lossy().into(), file.len())),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.locate(from), self.locate(to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Where the system or the file system has no such rename, by a second name.
        let from = TempPath::try_from_path(self.locate(from))?;
        from.persist_noclobber(self.locate(to)).map_err(|refused| refused.error)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.locate(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(self.locate(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        folders::try_sync(&self.locate(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        // The operating system releases the lock when the file is closed, or its process dies.
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        private::only_owner(&mut options);
        let file = regular::open(&options, &self.locate(path))?;
        match FileExt::try_lock(&file) {
            Ok(()) => Ok(Box::new(file)),
            Err(fs4::TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        let path = self.locate(path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private::only_owner(&mut options);
        let held = LocalFile { file: options.open(&path)?, path };
        match FileExt::try_lock(&held.file) {
            // Until it was locked, another process may have taken it for one that is not held.
            Ok(()) if held.has_its_name()? => Ok(Box::new(HeldFile(held))),
            Ok(()) | Err(fs4::TryLockError::WouldBlock) => Err(ErrorKind::AlreadyExists.into()),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_held(&self, path: &Path) -> io::Result<bool> {
        let path = self.locate(path);
        // Some file systems lock only what is open for writing.
        let opened = match regular::open(OpenOptions::new().write(true), &path) {
            Err(error) if is_read_only(&error) => regular::open_to_read(&path),
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match FileExt::try_lock(&file) {
            Ok(()) => {
                // Best effort: one that stays is looked at again. It is locked until it is gone.
                drop(fs::remove_file(&path));
                Ok(false)
            }
            Err(fs4::TryLockError::WouldBlock) => Ok(true),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let found = fs4::statvfs(&self.root)?;
        // A file system that counts no blocks, as some over a network, has no limit that is known.
        let is_known = found.total_space() > 0;
        let space = Space { free: found.available_space(), total: found.total_space() };
        Ok(is_known.then_some(space))
    }

    fn locate(&self, path: &Path) -> PathBuf {
        // Joining the empty path would add a separator.
        if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl StoredFile {
    /// A file without a name in the system's folder for such files, to write and to read.
    pub(crate) fn temporary() -> Result<(Self, Self)> {
        let path = std::env::temp_dir();
        let failed = || Error::file("make a temporary file in", &path);
        let file = tempfile::tempfile().map_err(failed())?;
        let again = file.try_clone().map_err(failed())?;
        let of = |file| {
            let file = Box::new(LocalFile { file, path: path.clone() });
            Self::new(file, path.clone(), None)
        };
        Ok((of(file), of(again)))
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// A file that is locked; removed when it is released.
#[derive(Debug)]
struct HeldFile(LocalFile);

impl Held for HeldFile {}

impl Drop for HeldFile {
    fn drop(&mut self) {
        // While it is locked: nothing else removes it. What stays is removed by the next look.
        drop(fs::remove_file(&self.0.path));
    }
}

/// An open file, and the name that it was opened by.
#[derive(Debug)]
struct LocalFile {
    file: File,
    path: PathBuf,
}

impl StorageFile for LocalFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_at(&self.file, buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn will_read(&self, offset: u64, len: u64) {
        use rustix::fs::{Advice, fadvise};
        if let Some(len) = NonZeroU64::new(len) {
            // Best effort: a file system without a page cache refuses.
            let _ = fadvise(&self.file, offset, Some(len), Advice::WillNeed);
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // The length and what is needed to find the content count as data.
        self.file.sync_data()
    }

    fn has_its_name(&self) -> io::Result<bool> {
        regular::is_named(&self.file, &self.path)
    }
}

/// True if any account can list or enter the directory.
#[cfg(unix)]
pub(crate) fn is_open_to_others(dir: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o005 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_open_to_others(_: &Path) -> bool {
    false
}

fn create_dirs(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dirs(parent)?;
    }
    match make_dir(path) {
        Ok(()) => {
            let parent = folders::of(path);
            folders::sync(parent).map_err(Error::file("sync", parent))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::file("create", path)(error)),
    }
}

/// Makes a directory that only its owner opens. On Windows it inherits from the one above it.
fn make_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        private::create_folder(path)
    }
    #[cfg(not(unix))]
    {
        fs::create_dir(path)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Fills the buffer from a place.
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                buffer = &mut buffer[count..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let count = file.seek_write(bytes, offset)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

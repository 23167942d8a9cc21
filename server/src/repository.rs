//! A repository: a directory with one folder per volume and one per session in it (see [`mod@crate::format`]).
//!
//! Many may read it at the same time; one server at a time may write, held apart by a lock on a file that
//! the operating system releases when its holder dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::repository::{
    LOCK_FILE, REPOSITORY_FILE, REPOSITORY_LEN, RepositoryHeader, VOLUMES_DIR,
};
use crate::format::session::{SESSION_FILE, SESSION_LEN, SessionHeader};
use crate::time;

/// A repository that can be read.
#[derive(Clone, Debug)]
pub struct Repository {
    root: PathBuf,
}

/// A repository that this process alone may write.
#[derive(Debug)]
pub struct WritableRepository {
    repository: Repository,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Repository {
    /// Opens a repository for reading.
    ///
    /// # Errors
    /// [`Error::NotARepository`], or damage of its header.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(REPOSITORY_FILE);
        match read_head(&path, REPOSITORY_LEN) {
            Ok(bytes) => {
                RepositoryHeader::read(&bytes).map_err(|why| Error::damaged(&path, 0, why))?;
                Ok(Self { root: root.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotARepository(root.to_owned()))
            }
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// Every volume, in order of its GUID.
    pub fn volumes(&self) -> Result<Vec<VolumeGuid>> {
        names(&self.root.join(VOLUMES_DIR), VolumeGuid::parse)
    }

    /// Every finished session of a volume, oldest first. A session whose header is damaged is an error.
    pub fn sessions(&self, volume: VolumeGuid) -> Result<Vec<SessionHeader>> {
        let mut sessions = Vec::new();
        for session in names(&self.volume_dir(volume), SessionId::parse)? {
            sessions.extend(self.session(volume, session)?);
        }
        sessions.sort_by_key(|header| (header.created, header.session));
        Ok(sessions)
    }

    /// The identities of the session folders of a volume, whatever is in them.
    pub fn session_ids(&self, volume: VolumeGuid) -> Result<Vec<SessionId>> {
        names(&self.volume_dir(volume), SessionId::parse)
    }

    /// A session's header; `None` if the repository does not know the session.
    pub fn session(&self, volume: VolumeGuid, session: SessionId) -> Result<Option<SessionHeader>> {
        let path = self.session_dir(volume, session).join(SESSION_FILE);
        let bytes = match read_head(&path, SESSION_LEN) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let damaged = |why: FormatError| Error::damaged(&path, 0, why);
        let header = SessionHeader::read(&bytes).map_err(damaged)?;
        if header.volume != volume || header.session != session {
            return Err(damaged(FormatError::Content("identity")));
        }
        Ok(Some(header))
    }

    /// The folder of a session.
    pub fn session_dir(&self, volume: VolumeGuid, session: SessionId) -> PathBuf {
        self.volume_dir(volume).join(session.to_string())
    }

    /// The folder of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn volume_dir(&self, volume: VolumeGuid) -> PathBuf {
        self.root.join(VOLUMES_DIR).join(volume.to_string())
    }
}

impl WritableRepository {
    /// Opens a repository for writing, making it if the directory is empty or not there.
    ///
    /// # Errors
    /// [`Error::Locked`] if another server has it, [`Error::NotEmpty`] for a directory of something else.
    pub fn open(root: &Path) -> Result<Self> {
        create_dirs(root)?;
        let header = root.join(REPOSITORY_FILE);
        let is_new = !header.try_exists().map_err(Error::file("look at", &header))?;
        if is_new && !holds_nothing_else(root)? {
            return Err(Error::NotEmpty(root.to_owned()));
        }
        let lock = lock(root)?;
        if is_new {
            create_dirs(&root.join(VOLUMES_DIR))?;
            let bytes = RepositoryHeader { created: time::now() }.to_bytes();
            create_durably(&header, &bytes)?;
        }
        Ok(Self { repository: Repository::open(root)?, _lock: lock })
    }

    /// The repository for reading.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }
}

/// Makes a file with this content so that after a crash it is there whole or not at all.
pub(crate) fn create_durably(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).map_err(Error::file("create", &temporary))?;
    file.write_all(content).map_err(Error::file("write", &temporary))?;
    file.sync_all().map_err(Error::file("sync", &temporary))?;
    drop(file);
    fs::rename(&temporary, path).map_err(Error::file("name", path))?;
    sync_dir_of(path)
}

/// Makes a directory and those above it, durably.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dirs(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => sync_dir_of(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::file("create", path)(error)),
    }
}

/// Makes the names in the file's folder durable.
pub(crate) fn sync_dir_of(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", dir))
}

/// NTFS logs the change of a name with the file's own flush; a directory cannot be opened for it.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where it can fail")]
fn sync_dir(_: &Path) -> Result<()> {
    Ok(())
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(Error::Locked(root.to_owned())),
        Err(fs4::TryLockError::Error(error)) => Err(Error::file("lock", &path)(error)),
    }
}

/// True if the directory holds at most what an interrupted creation leaves, or a file system's own folder.
fn holds_nothing_else(root: &Path) -> Result<bool> {
    let leftover = [LOCK_FILE, VOLUMES_DIR, "repository.new", "lost+found"];
    for entry in fs::read_dir(root).map_err(Error::file("list", root))? {
        let entry = entry.map_err(Error::file("list", root))?;
        if !leftover.iter().any(|name| entry.file_name() == *name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_head(path: &Path, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    File::open(path)?.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The entries of a folder whose names parse, in order; none if there is no such folder.
fn names<T: Ord>(dir: &Path, parse: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", dir))?;
        found.extend(entry.file_name().to_str().and_then(parse));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_repository_can_be_read_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        assert!(matches!(Repository::open(&root), Err(Error::NotARepository(_))));
        let writable = WritableRepository::open(&root).unwrap();
        assert_eq!(Repository::open(&root).unwrap().volumes().unwrap(), []);
        assert!(matches!(WritableRepository::open(&root), Err(Error::Locked(_))));
        drop(writable);
        WritableRepository::open(&root).unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let refused = WritableRepository::open(dir.path());
        assert!(matches!(refused, Err(Error::NotEmpty(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_header_is_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(WritableRepository::open(dir.path()).unwrap());
        fs::write(dir.path().join(REPOSITORY_FILE), [0; 64]).unwrap();
        let error = Repository::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(REPOSITORY_FILE), "{error}");
    }
}

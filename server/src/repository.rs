//! A repository: one directory per volume, in it one per session (see [`mod@crate::format`]).
//!
//! Any number of processes may read it at the same time. One may write: a lock keeps a second
//! writer out.

use std::path::Path;
use std::sync::Arc;

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::repository::{
    LOCK_FILE, REPOSITORY_FILE, REPOSITORY_LEN, RepositoryHeader, VOLUMES_DIR, session_dir,
    volume_dir,
};
use crate::format::session::{SESSION_FILE, SESSION_LEN, SessionHeader};
use crate::storage::local::LocalStorage;
use crate::storage::{Lock, Store};
use crate::time;

/// A repository that can be read.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
}

/// A repository that this process alone may write.
#[derive(Debug)]
pub struct WritableRepository {
    repository: Repository,
    _lock: Lock,
}

impl Repository {
    /// Opens the repository in a directory for reading.
    ///
    /// # Errors
    /// [`Error::NotARepository`], or damage of its header.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_in(Store::local(root))
    }

    /// Opens the repository in a storage for reading.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(store: Store) -> Result<Self> {
        let path = Path::new(REPOSITORY_FILE);
        match store.read_head(path, REPOSITORY_LEN) {
            Ok(bytes) => {
                let damaged = |why| Error::damaged(&store.locate(path), 0, why);
                RepositoryHeader::read(&bytes).map_err(damaged)?;
                Ok(Self { store })
            }
            Err(error) if error.is_not_found() => {
                Err(Error::NotARepository(store.locate(Path::new(""))))
            }
            Err(error) => Err(error),
        }
    }

    /// Every volume, in order of its GUID.
    pub fn volumes(&self) -> Result<Vec<VolumeGuid>> {
        self.store.list(Path::new(VOLUMES_DIR), VolumeGuid::parse)
    }

    /// Every finished session of a volume, oldest first. A session whose header is damaged is an
    /// error.
    pub fn sessions(&self, volume: VolumeGuid) -> Result<Vec<SessionHeader>> {
        let mut sessions = Vec::new();
        for session in self.session_ids(volume)? {
            sessions.extend(self.session(volume, session)?);
        }
        sessions.sort_by_key(|header| (header.created, header.session));
        Ok(sessions)
    }

    /// The identities of the session directories of a volume, whatever is in them.
    pub fn session_ids(&self, volume: VolumeGuid) -> Result<Vec<SessionId>> {
        self.store.list(&volume_dir(volume), SessionId::parse)
    }

    /// A session's header; `None` if the repository does not know the session.
    pub fn session(&self, volume: VolumeGuid, session: SessionId) -> Result<Option<SessionHeader>> {
        let path = session_dir(volume, session).join(SESSION_FILE);
        let bytes = match self.store.read_head(&path, SESSION_LEN) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = |why: FormatError| Error::damaged(&self.store.locate(&path), 0, why);
        let header = SessionHeader::read(&bytes).map_err(damaged)?;
        if header.volume != volume || header.session != session {
            return Err(damaged(FormatError::Content("identity")));
        }
        Ok(Some(header))
    }

    /// Where the repository's files lie.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl WritableRepository {
    /// Opens the repository in a directory for writing; makes it if the directory is empty or
    /// missing.
    ///
    /// # Errors
    /// [`Error::Locked`] if another server has it, [`Error::NotEmpty`] for a directory of something
    /// else.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_in(Store::new(Arc::new(LocalStorage::create(root)?)))
    }

    /// Opens the repository in a storage for writing; makes it if the storage is empty.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(store: Store) -> Result<Self> {
        let root = Path::new("");
        let names = store.list(root, |name| Some(name.to_owned()))?;
        let is_new = !names.iter().any(|name| name == REPOSITORY_FILE);
        if is_new && !names.iter().all(|name| is_leftover(name)) {
            return Err(Error::NotEmpty(store.locate(root)));
        }
        let lock = store.lock(Path::new(LOCK_FILE))?;
        let lock = lock.ok_or_else(|| Error::Locked(store.locate(root)))?;
        if is_new {
            store.create_dirs(Path::new(VOLUMES_DIR))?;
            let bytes = RepositoryHeader { created: time::now() }.to_bytes();
            store.create_durably(Path::new(REPOSITORY_FILE), &bytes)?;
        }
        Ok(Self { repository: Repository::open_in(store)?, _lock: lock })
    }

    /// The repository for reading.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }
}

/// True for what an interrupted creation leaves, and for a file system's own directory.
fn is_leftover(name: &str) -> bool {
    [LOCK_FILE, VOLUMES_DIR, "repository.new", "lost+found"].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::fs;

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

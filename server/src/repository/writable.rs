//! A repository that this process alone may write: it is made and opened, knows its sessions, and
//! gets another key.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use snapless_wire::id::{SessionId, VolumeGuid};

use super::{Presence, Repository, leftovers};
use crate::compression::Compression;
use crate::error::{Error, Result};
use crate::format::repository::{
    LOCK_FILE, REPOSITORY_FILE, RepositoryHeader, VOLUMES_DIR, volume_dir,
};
use crate::format::sealing::{SEALING_FILE_LEN, SealingHeader};
use crate::format::session::SessionHeader;
use crate::format::sessions::{
    ENTRY_LEN, FORGOTTEN_DIR, KnownSession, KnownSessions, SESSIONS_FILE, forgotten_file,
    known_file,
};
use crate::seal::{KeySource, RepositoryKey};
use crate::storage::local::LocalStorage;
use crate::storage::{Lock, OpenMode, Store, StoredFile};
use crate::time;

/// Most bytes of the repository's header, with what a store that was not safe has added.
const HEADER_LEN_MAX: u64 = 1 << 20;

/// A repository that this process alone may write.
#[derive(Debug)]
pub struct WritableRepository {
    repository: Repository,
    place: Place,
    /// Protects the list of the sessions that the repository must have, and its file.
    known: Mutex<KnownSessions>,
    /// Among objects there is none.
    _lock: Option<Lock>,
}

/// Where a repository is, and whose: a disk that is no longer mounted leaves an empty directory,
/// into which nothing may be written, and a lock that was removed admits another server.
#[derive(Clone, Debug)]
pub struct Place {
    /// The repository's header and the lock's file; none among objects, which cannot be written
    /// into another store in their place. Clones share them.
    files: Arc<[StoredFile]>,
}

impl Place {
    fn open(store: &Store) -> Result<Self> {
        let names = [REPOSITORY_FILE, LOCK_FILE];
        let names = if store.objects().is_some() { &[][..] } else { &names[..] };
        let open = |name: &&str| store.open(Path::new(name), OpenMode::Read);
        Ok(Self { files: names.iter().map(open).collect::<Result<_>>()? })
    }

    /// Checks that the repository is still there, and this server's alone.
    ///
    /// # Errors
    /// [`Error::Moved`] if it is not.
    pub fn check(&self) -> Result<()> {
        self.files.iter().try_for_each(StoredFile::check_name)
    }
}

impl WritableRepository {
    /// Makes a repository in a directory that is missing or empty, and opens it for writing. What
    /// operating systems put into the root of every drive does not count.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] for a directory of something else; [`Error::Exists`] if it is a
    /// repository already.
    pub fn init(root: &Path) -> Result<Self> {
        Self::init_with(root, Compression::None, &KeySource::None)
    }

    /// [`Self::init`] of one that is compressed, or encrypted with a key.
    ///
    /// # Errors
    /// As [`Self::init`], or what is wrong with the key's file.
    pub fn init_with(root: &Path, compression: Compression, key: &KeySource) -> Result<Self> {
        let store = Store::new(Arc::new(LocalStorage::create(root)?));
        Self::init_in_with(store, compression, key)
    }

    /// [`Self::init`] in a storage.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn init_in(store: Store) -> Result<Self> {
        Self::init_in_with(store, Compression::None, &KeySource::None)
    }

    /// [`Self::init_with`] in a storage.
    ///
    /// # Errors
    /// As [`Self::init_with`].
    pub fn init_in_with(store: Store, compression: Compression, key: &KeySource) -> Result<Self> {
        let root = Path::new("");
        let names = store.list(root, |name| Some(name.to_owned()))?;
        if names.iter().any(|name| name == REPOSITORY_FILE) {
            return Err(Error::Exists(store.locate(root)));
        }
        let other = names.into_iter().find(|name| !leftovers::is_leftover(name));
        // Volumes without a header are a repository that has lost it.
        let volume = store.list(Path::new(VOLUMES_DIR), |name| Some(name.to_owned()))?.pop();
        let volume = volume.map(|name| format!("{VOLUMES_DIR}/{name}"));
        if let Some(other) = other.or(volume) {
            return Err(Error::NotEmpty { dir: store.locate(root), other });
        }
        let lock = lock(&store)?;
        store.create_dirs(Path::new(VOLUMES_DIR))?;
        if store.objects().is_none() {
            store.create_durably(Path::new(SESSIONS_FILE), &[])?;
        }
        let created = time::now();
        let bytes = if compression == Compression::None && *key == KeySource::None {
            RepositoryHeader { created }.to_bytes().to_vec()
        } else {
            let wrapped = match key {
                KeySource::None => None,
                key => Some(RepositoryKey::random()?.wrap(key)?),
            };
            SealingHeader { created, compression, key: wrapped }.to_file()
        };
        match store.create_once(Path::new(REPOSITORY_FILE), bytes) {
            Err(error) if error.is_already_there() => Err(Error::Exists(store.locate(root))),
            Err(error) => Err(error),
            Ok(()) => Self::with_lock(Repository::open_in(store)?.unlock(key)?, lock),
        }
    }

    /// Opens the repository in a directory for writing.
    ///
    /// # Errors
    /// [`Error::NotARepository`] if there is none; [`Error::Locked`] if another server has it.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(root, &KeySource::None)
    }

    /// [`Self::open`] with the key of an encrypted one.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Repository::unlock`].
    pub fn open_with(root: &Path, key: &KeySource) -> Result<Self> {
        Self::open_in_with(Store::local(root), key)
    }

    /// Opens the repository in a storage for writing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(store: Store) -> Result<Self> {
        Self::open_in_with(store, &KeySource::None)
    }

    /// [`Self::open_in`] with the key of an encrypted one.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open_in_with(store: Store, key: &KeySource) -> Result<Self> {
        // First, so that nothing is made where no repository is.
        let repository = Repository::open_in(store)?.unlock(key)?;
        check_creation(&repository.store)?;
        let lock = lock(&repository.store)?;
        Self::with_lock(repository, lock)
    }

    /// Wraps the repository's key anew: from now on this key file or passphrase unlocks it, and the
    /// one before does not. No data is touched. The header is replaced as a whole, so that after a
    /// crash the old or the new one is in force.
    ///
    /// # Errors
    /// [`Error::NotEncrypted`], or what is wrong with the key's file.
    pub fn rekey(self, by: &KeySource) -> Result<()> {
        let store = self.repository.store();
        let key = store.seal().key(&store.locate(Path::new("")))?;
        let path = Path::new(REPOSITORY_FILE);
        let bytes = store.read_head(path, SEALING_FILE_LEN)?;
        let damaged = |why| Error::damaged(&store.locate(path), 0, why);
        let (header, _) = SealingHeader::read_file(&bytes).map_err(damaged)?;
        let header = SealingHeader { key: Some(key.wrap(by)?), ..header };
        store.create_durably(path, &header.to_file())
    }

    fn with_lock(repository: Repository, lock: Option<Lock>) -> Result<Self> {
        let place = Place::open(repository.store())?;
        let known = Mutex::new(repository.known()?);
        let this = Self { repository, place, known, _lock: lock };
        this.know_all()?;
        Ok(this)
    }

    /// The repository for reading.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The place of the repository.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// From now on the repository must have this session.
    pub fn know(&self, header: &SessionHeader) -> Result<()> {
        let SessionHeader { volume, session, created, .. } = *header;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.repository.forgotten()?.contains(&(volume, session)) {
            // It has come again.
            self.repository.store.remove(&forgotten_file(volume, session))?;
            self.repository.store.sync_dir(Path::new(FORGOTTEN_DIR))?;
        }
        if known.has(volume, session) {
            return Ok(());
        }
        let entry = KnownSession { volume, session, created };
        let (store, path) = (self.repository.store(), Path::new(SESSIONS_FILE));
        if store.objects().is_some() {
            let created =
                store.create_once(&known_file(volume, session), entry.to_bytes().to_vec());
            match created {
                Err(error) if !error.is_already_there() => return Err(error),
                // Another server may know it already.
                _ => known.sessions.push(entry),
            }
            return Ok(());
        }
        known.sessions.push(entry);
        let written = match store.open(path, OpenMode::Write) {
            Ok(file) => file.write_at(known.end, &entry.to_bytes()).and_then(|()| file.sync()),
            // Of an earlier release, or removed: all of it is made.
            Err(error) if error.is_not_found() => {
                let all: Vec<_> = known.sessions.iter().flat_map(KnownSession::to_bytes).collect();
                known.end = (all.len() - ENTRY_LEN) as u64;
                store.create_durably(path, &all)
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => known.end += ENTRY_LEN as u64,
            Err(_) => _ = known.sessions.pop(),
        }
        written
    }

    /// Knows the sessions that the repository has, of an earlier release or whose creation was
    /// interrupted.
    fn know_all(&self) -> Result<()> {
        let repository = &self.repository;
        for volume in repository.store.list(Path::new(VOLUMES_DIR), VolumeGuid::parse)? {
            for session in repository.store.list(&volume_dir(volume), SessionId::parse)? {
                // A session that is damaged is told of by whoever asks for it.
                if let Ok(Presence::Header(header)) = repository.session(volume, session) {
                    self.know(&header)?;
                }
            }
        }
        Ok(())
    }
}

fn lock(store: &Store) -> Result<Option<Lock>> {
    if store.objects().is_some() {
        return Ok(None);
    }
    let locked = || Error::Locked(store.locate(Path::new("")));
    store.lock(Path::new(LOCK_FILE))?.map(Some).ok_or_else(locked)
}

/// Checks that a store of objects still refuses to create what is there: `init` has probed it, but
/// the objects may have been copied to another store since.
fn check_creation(store: &Store) -> Result<()> {
    if store.objects().is_none() {
        return Ok(());
    }
    let path = Path::new(REPOSITORY_FILE);
    // All of the same content, which has the key, but for one byte behind it, which no reader looks
    // at.
    let len = store.open(path, OpenMode::Read)?.len()?.min(HEADER_LEN_MAX);
    let mut content = store.read_head(path, usize::try_from(len).unwrap_or(usize::MAX))?;
    content.push(0);
    match store.create_once(path, content) {
        Err(error) if error.is_already_there() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let why = "an object that was there could be created again".to_owned();
            Err(Error::Unsafe { store: store.locate(Path::new("")), why })
        }
    }
}

//! A repository: one directory per volume, in it one per session (see [`mod@crate::format`]).
//!
//! Any number of processes may read it at the same time. One may write: a lock keeps a second
//! writer out of a directory; among objects each session keeps the writer before out of itself
//! (`writer/objects.rs`). Only [`WritableRepository::init`] makes one: a server whose disk is not
//! mounted must not begin an empty repository in its place.

use std::path::Path;

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::repository::{
    REPOSITORY_FILE, REPOSITORY_LEN, RepositoryHeader, VOLUMES_DIR, session_dir, volume_dir,
};
use crate::format::sealing::{SEALING_FILE_LEN, SealingHeader};
use crate::format::segment::SegmentNumber;
use crate::format::session::{SESSION_FILE, SESSION_LEN, SessionHeader};
use crate::format::sessions::{
    ENTRY_LEN, FORGOTTEN_DIR, KnownSession, KnownSessions, REMOVED_DIR, SESSIONS_DIR,
    SESSIONS_FILE, forgotten_file, removed_file, session_of_name,
};
use crate::format::slots::SLOTS_FILE_LEN;
use crate::pin::{Pin, Pins};
use crate::reader::SessionReader;
use crate::seal::{KeySource, Seal};
use crate::storage::{OpenMode, Store};

mod leftovers;
mod writable;

pub use writable::{Place, WritableRepository};

/// Most bytes that are read of the list of sessions: a million of them.
const SESSIONS_LEN_MAX: u64 = (ENTRY_LEN as u64) << 20;

/// A repository that can be read.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    /// The command that reads for long, if one does.
    command: Option<&'static str>,
}

/// What a repository has of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Its header; its stream may still be damaged.
    Header(SessionHeader),
    /// Nothing that was ever acknowledged: it is new, or its creation was interrupted.
    Nothing,
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
        match read_header(&store) {
            Ok((seal, _)) => Ok(Self { store: store.sealed(seal), command: None }),
            Err(error) if error.is_not_found() => {
                Err(Error::NotARepository(store.locate(Path::new(""))))
            }
            Err(error) => Err(error),
        }
    }

    /// The same with the key of its content.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`] if there is none and one is wanted; [`Error::WrongKey`],
    /// [`Error::NotEncrypted`], or what is wrong with the key's file.
    pub fn unlock(self, by: &KeySource) -> Result<Self> {
        let dir = self.store.locate(Path::new(""));
        let seal = self.store.seal().unlock(by, &dir)?;
        Ok(Self { store: self.store.sealed(seal), ..self })
    }

    /// The repository in a directory, whatever became of its header. Without a header it is taken
    /// for one that is neither compressed nor encrypted.
    pub fn to_salvage(root: &Path) -> Self {
        Self::to_salvage_in(Store::local(root))
    }

    /// [`Self::to_salvage`] in a storage.
    pub fn to_salvage_in(store: Store) -> Self {
        match Self::open_in(store.clone()) {
            Ok(repository) => repository,
            Err(_) => Self { store, command: None },
        }
    }

    /// Damage of the header that leaves the repository usable: of one of its copies.
    pub(crate) fn header_damage(&self) -> Result<Option<Error>> {
        let damage = read_header(&self.store)?.1;
        let path = self.store.locate(Path::new(REPOSITORY_FILE));
        Ok(damage.map(|(at, why)| Error::damaged(&path, at as u64, why)))
    }

    /// From now on sessions are pinned while this command reads them: see [`crate::pin`].
    #[must_use]
    pub fn pinned_for(self, command: &'static str) -> Self {
        Self { command: Some(command), ..self }
    }

    /// Pins a session, whatever became of its header, if a command is named.
    pub fn pin(&self, volume: VolumeGuid, session: SessionId) -> Option<Pin> {
        let pins = Pins::of_session(&self.store, volume, session);
        self.command.map(|command| pins.hold(command))
    }

    /// Opens a session's stream; pins it if a command is named.
    ///
    /// # Errors
    /// As for [`SessionReader::open`].
    pub fn open_session(&self, header: SessionHeader) -> Result<SessionReader> {
        match self.command {
            Some(command) => SessionReader::open_pinned(&self.store, header, command),
            None => SessionReader::open(&self.store, header),
        }
    }

    /// Nothing, if it has each of these volumes, or must have it.
    ///
    /// # Errors
    /// [`Error::NoVolume`].
    pub fn must_have(&self, volumes: &[VolumeGuid]) -> Result<()> {
        let known = self.volumes()?;
        match volumes.iter().find(|volume| !known.contains(volume)) {
            Some(&volume) => Err(Error::NoVolume { volume, known }),
            None => Ok(()),
        }
    }

    /// Every volume, in order of its GUID: those that it has, and those that it must have.
    pub fn volumes(&self) -> Result<Vec<VolumeGuid>> {
        let mut volumes = self.store.list(Path::new(VOLUMES_DIR), VolumeGuid::parse)?;
        volumes.extend(self.known()?.sessions.iter().map(|known| known.volume));
        volumes.sort_unstable();
        volumes.dedup();
        Ok(volumes)
    }

    /// The identities of a volume's sessions: of their directories, whatever is in them, and of
    /// those that must be there.
    pub fn session_ids(&self, volume: VolumeGuid) -> Result<Vec<SessionId>> {
        let mut sessions = match self.store.list(&volume_dir(volume), SessionId::parse) {
            Err(error) if error.is_no_directory() => Vec::new(),
            listed => listed?,
        };
        let known = self.known()?.sessions;
        sessions.extend(known.iter().filter(|it| it.volume == volume).map(|it| it.session));
        sessions.sort_unstable();
        sessions.dedup();
        Ok(sessions)
    }

    /// What is wrong with the directory of a volume as a whole: something else in its place.
    pub fn volume_damage(&self, volume: VolumeGuid) -> Option<Error> {
        let listed = self.store.list(&volume_dir(volume), |_| None::<()>);
        listed.err().filter(Error::is_no_directory)
    }

    /// What the repository has of a session.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the session's header is damaged, or if it is gone and something of the
    /// session was acknowledged.
    pub fn session(&self, volume: VolumeGuid, session: SessionId) -> Result<Presence> {
        if self.is_going(volume, session)? {
            return Ok(Presence::Nothing);
        }
        let dir = session_dir(volume, session);
        let path = dir.join(SESSION_FILE);
        let damaged = |why: Damage| Error::damaged(&self.store.locate(&path), 0, why);
        let bytes = match self.store.read_head(&path, SESSION_LEN) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                if !self.known()?.has(volume, session) && !self.has_acknowledged(&dir)? {
                    return Ok(Presence::Nothing);
                }
                // Another server may have made the session meanwhile: first its header, then what
                // says that it must be there.
                match self.store.read_head(&path, SESSION_LEN) {
                    Err(error) if error.is_not_found() => return Err(damaged(Damage::Gone)),
                    read => read?,
                }
            }
            Err(error) => return Err(error),
        };
        let header = SessionHeader::read(&bytes).map_err(|why| damaged(why.into()))?;
        if header.volume != volume || header.session != session {
            return Err(damaged(FormatError::Content("identity").into()));
        }
        Ok(Presence::Header(header))
    }

    /// The sessions that the repository must have. A repository of an earlier release names none.
    pub fn known(&self) -> Result<KnownSessions> {
        let mut known = if self.store.objects().is_some() {
            self.known_objects()?
        } else {
            self.known_entries()?
        };
        let forgotten = self.forgotten()?;
        known.sessions.retain(|it| forgotten.binary_search(&(it.volume, it.session)).is_err());
        Ok(known)
    }

    /// The sessions that have an object of their own, whose name tells all but when they began.
    fn known_objects(&self) -> Result<KnownSessions> {
        let names = self.store.list(Path::new(SESSIONS_DIR), session_of_name)?;
        let created = FileTime::UNIX_EPOCH;
        let known = |(volume, session)| KnownSession { volume, session, created };
        let sessions = names.into_iter().map(known).collect();
        Ok(KnownSessions { sessions, ..KnownSessions::default() })
    }

    /// The sessions that have an entry in the file.
    fn known_entries(&self) -> Result<KnownSessions> {
        let path = Path::new(SESSIONS_FILE);
        let len = match self.store.open(path, OpenMode::Read) {
            Ok(file) => file.len()?.min(SESSIONS_LEN_MAX),
            Err(error) if error.is_not_found() => return Ok(KnownSessions::default()),
            Err(error) => return Err(error),
        };
        let bytes = self.store.read_head(path, usize::try_from(len).unwrap_or(usize::MAX))?;
        Ok(KnownSessions::read(&bytes))
    }

    /// From now on the repository need not have a session that was removed. Works while a server
    /// runs.
    ///
    /// # Errors
    /// [`Error::StillThere`] if it has not been removed; [`Error::NoSession`] if there was none.
    pub fn forget(&self, volume: VolumeGuid, session: SessionId) -> Result<()> {
        let dir = session_dir(volume, session);
        let of_volume = self.store.list(&volume_dir(volume), SessionId::parse)?;
        if of_volume.contains(&session) {
            return Err(Error::StillThere { session, dir: self.store.locate(&dir) });
        }
        if !self.known()?.has(volume, session) {
            return Err(Error::NoSession { volume, session });
        }
        self.mark(FORGOTTEN_DIR, &forgotten_file(volume, session))
    }

    /// From now on the repository has nothing of a session, durably, whatever is left of its
    /// directory.
    pub(crate) fn mark_removed(&self, volume: VolumeGuid, session: SessionId) -> Result<()> {
        self.mark(REMOVED_DIR, &removed_file(volume, session))?;
        self.mark(FORGOTTEN_DIR, &forgotten_file(volume, session))
    }

    /// Nothing is left of a session that was marked as removed.
    pub(crate) fn end_removal(&self, volume: VolumeGuid, session: SessionId) -> Result<()> {
        // A crash may have come between the two marks.
        self.mark(FORGOTTEN_DIR, &forgotten_file(volume, session))?;
        // Among objects it may be refused: the session is then looked at again.
        self.store.remove_all(&[removed_file(volume, session)])?;
        self.store.sync_dir(Path::new(REMOVED_DIR))
    }

    /// The sessions that are being removed, in order.
    pub(crate) fn going(&self) -> Result<Vec<(VolumeGuid, SessionId)>> {
        self.store.list(Path::new(REMOVED_DIR), session_of_name)
    }

    /// True if a session is being removed.
    pub(crate) fn is_going(&self, volume: VolumeGuid, session: SessionId) -> Result<bool> {
        match self.store.open(&removed_file(volume, session), OpenMode::Read) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mark(&self, dir: &str, file: &Path) -> Result<()> {
        self.store.create_dirs(Path::new(dir))?;
        self.store.create_durably(file, &[])
    }

    /// When the repository was made. No two have the same time: it tells them apart.
    ///
    /// # Errors
    /// What keeps its header from being read.
    pub fn created(&self) -> Result<FileTime> {
        let path = Path::new(REPOSITORY_FILE);
        let bytes = self.store.read_head(path, SEALING_FILE_LEN)?;
        let damaged = |why| Error::damaged(&self.store.locate(path), 0, why);
        match RepositoryHeader::read(&bytes) {
            Ok(header) => Ok(header.created),
            Err(plain) if bytes.len() <= REPOSITORY_LEN => Err(damaged(plain)),
            Err(_) => Ok(SealingHeader::read_file(&bytes).map_err(damaged)?.0.created),
        }
    }

    /// True if the repository need not have this session any more.
    pub(crate) fn has_forgotten(&self, volume: VolumeGuid, session: SessionId) -> Result<bool> {
        Ok(self.forgotten()?.binary_search(&(volume, session)).is_ok())
    }

    fn forgotten(&self) -> Result<Vec<(VolumeGuid, SessionId)>> {
        self.store.list(Path::new(FORGOTTEN_DIR), session_of_name)
    }

    /// Where the repository's files lie.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// True if a session's directory holds what was acknowledged, or may have been: files of its
    /// stream are made after its header.
    fn has_acknowledged(&self, dir: &Path) -> Result<bool> {
        if !self.store.list(dir, SegmentNumber::from_file_name)?.is_empty() {
            return Ok(true);
        }
        match self.store.read_head(&dir.join(ACKNOWLEDGED_FILE), SLOTS_FILE_LEN) {
            Ok(bytes) => Ok(Acknowledged::read(&bytes).is_ok_and(|end| end.epoch.get() > 0)),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How the repository keeps content, and damage of a copy of its header.
fn read_header(store: &Store) -> Result<(Seal, Option<(usize, FormatError)>)> {
    let path = Path::new(REPOSITORY_FILE);
    let bytes = store.read_head(path, SEALING_FILE_LEN)?;
    let Err(plain) = RepositoryHeader::read(&bytes) else { return Ok((Seal::default(), None)) };
    let damaged = |why| Error::damaged(&store.locate(path), 0, why);
    match SealingHeader::read_file(&bytes) {
        Ok((header, damage)) => Ok((Seal::locked(&header, &store.locate(Path::new(""))), damage)),
        // The header of a plain repository is shorter.
        Err(_) if bytes.len() <= REPOSITORY_LEN => Err(damaged(plain)),
        Err(why) => Err(damaged(why)),
    }
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
        let writable = WritableRepository::init(&root).unwrap();
        assert_eq!(Repository::open(&root).unwrap().volumes().unwrap(), []);
        assert!(matches!(WritableRepository::open(&root), Err(Error::Locked(_))));
        drop(writable);
        WritableRepository::open(&root).unwrap();
        assert!(matches!(WritableRepository::init(&root), Err(Error::Exists(_))));
    }

    #[test]
    fn opening_makes_nothing_where_no_repository_is() {
        let dir = tempfile::tempdir().unwrap();
        for root in [dir.path().to_owned(), dir.path().join("missing")] {
            let refused = WritableRepository::open(&root).unwrap_err();
            assert!(refused.to_string().contains("snapless-server init"), "{refused}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let refused = WritableRepository::init(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("letter.txt"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_drives_own_folders_are_in_the_way_of_no_repository() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["System Volume Information", "$RECYCLE.BIN", "lost+found", ".Trash-1000"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("desktop.ini"), "[.ShellClassInfo]").unwrap();
        WritableRepository::init(dir.path()).unwrap();
        WritableRepository::open(dir.path()).unwrap();
    }

    #[test]
    fn a_damaged_header_is_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(WritableRepository::init(dir.path()).unwrap());
        fs::write(dir.path().join(REPOSITORY_FILE), [0; 64]).unwrap();
        let error = Repository::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(REPOSITORY_FILE), "{error}");
    }
}

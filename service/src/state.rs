//! The service's memory of a volume's session across restarts: one small JSON file.
//!
//! Rule: a file is replaced as a whole. A file that cannot be parsed, or is none, is renamed and
//! ignored: the driver knows the session too, and the server decides what is durable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, Durability, FileError, replace};
use serde::{Deserialize, Serialize};
use snapless_driver_client::identity::{session_text, volume_text};
use snapless_types::{Extent, Geometry};
use snapless_wire::id::{SessionId, VolumeGuid};

/// Version of the file format.
const STATE_VERSION: u32 = 2;

/// The session of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Version of the file format.
    version: u32,
    /// The volume.
    #[serde(with = "volume_text")]
    pub volume: VolumeGuid,
    /// Its session.
    #[serde(with = "session_text")]
    pub session: SessionId,
    /// Bytes of the volume, of a sector and of a block, as the session has them.
    length: u64,
    sector_size: u32,
    block_size: u32,
    /// An acknowledged epoch; later ones may be durable too.
    pub acknowledged_epoch: u64,
    /// The extents of the volume's paging, swap and hibernation files that the session excludes:
    /// where each begins, and its bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    excluded: Vec<(u64, u64)>,
    /// The volume's write-intent log is not to be trusted after a crash: its disk has failed it,
    /// and failed to make it void.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distrusts_log: bool,
}

impl Remembered {
    /// A session without a known durable epoch.
    pub fn new(volume: VolumeGuid, session: SessionId, geometry: &Geometry) -> Self {
        Self {
            version: STATE_VERSION,
            volume,
            session,
            length: geometry.length(),
            sector_size: geometry.sector_size(),
            block_size: geometry.block_size(),
            acknowledged_epoch: 0,
            excluded: Vec::new(),
            distrusts_log: false,
        }
    }

    /// Notes which extents the session excludes.
    pub fn set_excluded(&mut self, extents: impl Iterator<Item = Extent>) {
        self.excluded = extents.map(|extent| (extent.offset(), extent.len())).collect();
    }

    /// The extents that the session excludes.
    pub fn excluded(&self) -> impl Iterator<Item = Extent> + '_ {
        self.excluded.iter().filter_map(|&(offset, len)| Extent::new(offset, len))
    }

    /// True if the session can go on, on a volume of whatever length with such sectors and blocks.
    pub fn has_shape(&self, sector_size: u32, block_size: u32) -> bool {
        (self.sector_size, self.block_size) == (sector_size, block_size)
    }

    /// Bytes of the volume when the session was claimed last.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The session, claimed on a volume of so many bytes.
    #[must_use]
    pub fn of_length(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with it: it is no such file, of another version, or of another volume.
    pub fn parse(bytes: &[u8], volume: VolumeGuid) -> Result<Self, String> {
        let found: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if (found.version, found.volume) == (STATE_VERSION, volume) {
            return Ok(found);
        }
        Err(format!("it has version {} and volume {}", found.version, found.volume))
    }

    /// The bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers and texts are always JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The session with a known durable epoch.
    #[must_use]
    pub fn acknowledged(self, epoch: u64) -> Self {
        Self { acknowledged_epoch: epoch, ..self }
    }
}

/// The file of one volume.
#[derive(Clone, Debug)]
pub struct SessionStore {
    file: PathBuf,
    volume: VolumeGuid,
}

impl SessionStore {
    /// The file of `volume` in `state_dir`.
    pub fn new(state_dir: &Path, volume: VolumeGuid) -> Self {
        Self { file: state_dir.join(format!("{volume}.session.json")), volume }
    }

    /// The remembered session; `None` if there is none, or its file cannot be parsed.
    pub fn load(&self) -> Result<Option<Remembered>, StateError> {
        let text = match files::read(&self.file) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => text,
            // A directory, a link, a FIFO: nothing that this service has written.
            Err(FileError::Other(why)) => return self.put_aside(&why),
            Err(FileError::System(source)) => return Err(self.failed("read", source)),
        };
        match Remembered::parse(&text, self.volume) {
            Ok(state) => Ok(Some(state)),
            Err(why) => self.put_aside(&why),
        }
    }

    /// Writes `state` durably.
    pub fn save(&self, state: &Remembered) -> Result<(), StateError> {
        replace(&self.file, &state.to_bytes(), Durability::Synced)
            .map_err(|source| self.failed("write", source))
    }

    /// Removes the file.
    pub fn forget(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| self.failed("remove", source)),
        }
    }

    fn put_aside(&self, why: &str) -> Result<Option<Remembered>, StateError> {
        let aside = self.file.with_extension("unreadable");
        log::warn!(
            "cannot parse {}, renamed it to {}: {why}",
            self.file.display(),
            aside.display()
        );
        fs::rename(&self.file, &aside).map_err(|source| self.failed("rename", source))?;
        Ok(None)
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> StateError {
        StateError { verb, file: self.file.clone(), source }
    }
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {file}: {source}; check the disk and the folder's permissions")]
pub struct StateError {
    verb: &'static str,
    file: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeGuid = VolumeGuid([7; 16]);

    fn state() -> Remembered {
        remembered(9).acknowledged(5)
    }

    fn remembered(session: u8) -> Remembered {
        let geometry = Geometry::new(1 << 30, 512, 64 << 10).unwrap();
        Remembered::new(VOLUME, SessionId([session; 16]), &geometry)
    }

    #[test]
    fn a_session_has_one_shape() {
        assert!(state().has_shape(512, 64 << 10));
        for (sector, block) in [(4096, 64 << 10), (512, 128 << 10)] {
            assert!(!state().has_shape(sector, block));
        }
    }

    #[test]
    fn a_saved_session_is_loaded_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = SessionStore::new(folder.path(), VOLUME);
        assert_eq!(store.load().unwrap(), None);
        store.save(&remembered(1)).unwrap();
        store.save(&state()).unwrap();
        assert_eq!(SessionStore::new(folder.path(), VOLUME).load().unwrap(), Some(state()));
        store.forget().unwrap();
        store.forget().unwrap();
        assert_eq!(store.load().unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_renamed_and_nothing_is_followed_or_waited_for() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let store = SessionStore::new(folder.path(), VOLUME);
        let precious = folder.path().join("precious");
        fs::write(&precious, serde_json::to_vec(&state()).unwrap()).unwrap();
        let aside = store.file.with_extension("unreadable");
        for turn in 0..3 {
            match turn {
                0 => symlink(&precious, &store.file).unwrap(),
                1 => fs::create_dir(&store.file).unwrap(),
                _ => drop(std::os::unix::net::UnixListener::bind(&store.file).unwrap()),
            }
            assert_eq!(store.load().unwrap(), None, "{turn}");
            assert!(fs::symlink_metadata(&aside).is_ok() && !store.file.exists(), "{turn}");
            store.save(&state()).unwrap();
            assert_eq!(store.load().unwrap(), Some(state()));
            store.forget().unwrap();
            if aside.is_dir() { fs::remove_dir(&aside) } else { fs::remove_file(&aside) }.unwrap();
        }
        // Nor is what stands in the place of the file that is written first.
        let beside = store.file.with_file_name(format!("{VOLUME}.session.json.new"));
        symlink(&precious, &beside).unwrap();
        store.save(&remembered(1)).unwrap();
        let kept: Remembered = serde_json::from_slice(&fs::read(&precious).unwrap()).unwrap();
        assert_eq!(kept, state());
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let store = SessionStore::new(folder.path(), VOLUME);
        let [older, newer] = [STATE_VERSION - 1, STATE_VERSION + 1]
            .map(|version| serde_json::to_vec(&Remembered { version, ..state() }).unwrap());
        for text in [b"{".to_vec(), older, newer] {
            fs::write(&store.file, &text).unwrap();
            assert_eq!(store.load().unwrap(), None);
            assert_eq!(fs::read(store.file.with_extension("unreadable")).unwrap(), text);
            assert!(!store.file.exists());
        }
    }
}

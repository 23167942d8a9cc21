//! Pins: who reads a session, so that no file that is read is removed.
//!
//! A pin is a file ([`mod@crate::format::pin`]) that its holder keeps locked. The system releases
//! the lock when the process ends, however that comes; a file that nothing locks is removed by the
//! next look.
//!
//! The rule between readers and the collector: a reader holds its pin *before* it reads which
//! history of the session is the newest; the collector publishes the newest history, *then* asks
//! for pins, then removes what that history does not refer to. A reader whose pin the collector
//! does not see reads the newest history, and needs nothing of what is removed.
//!
//! Among objects, which have no locks, a pin is a lease ([`mod@crate::storage::lease`]). A reader
//! that cannot renew it ends with an error, before it lapses.

use std::path::Path;
use std::process;
use std::sync::{Arc, Once};

use log::warn;
use serde::Serialize;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::error::Result;
use crate::format::pin::{Holder, PINS_DIR};
use crate::format::session::SessionHeader;
use crate::storage::{Held, Store};
use crate::time;

/// Names that are tried; each is taken only if another process has the same number.
const ATTEMPTS: u64 = 16;

/// The pins of a session.
#[derive(Clone, Debug)]
pub struct Pins {
    store: Store,
    volume: VolumeGuid,
    session: SessionId,
}

/// Keeps every file that a session has now from being removed; dropping it releases them.
#[derive(Debug)]
#[must_use = "files may be removed as soon as the pin is dropped"]
pub struct Pin(Option<Arc<dyn Held>>);

/// A holder of a pin, as a report tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shown {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The command that reads.
    pub command: String,
    /// The number of its process.
    pub process: u32,
    /// Since when, by the clock of its machine.
    pub since: String,
}

impl Pins {
    /// Those of a session in a repository.
    pub fn of(store: &Store, session: &SessionHeader) -> Self {
        Self::of_session(store, session.volume, session.session)
    }

    /// Those of a session, whatever became of its header.
    pub fn of_session(store: &Store, volume: VolumeGuid, session: SessionId) -> Self {
        Self { store: store.clone(), volume, session }
    }

    /// Holds the session for a command, until the result is dropped.
    ///
    /// Where no pin can be made, on a read-only or a full disk, that is said once, and the command
    /// goes on: what it reads may be removed meanwhile.
    pub fn hold(&self, command: &str) -> Pin {
        static SAID: Once = Once::new();
        match self.try_hold(command) {
            Ok(held) => Pin(Some(held)),
            Err(error) => {
                SAID.call_once(|| {
                    warn!(
                        "a `gc` or a fold may remove what this command reads, since it cannot be \
                         told: {error}"
                    );
                });
                Pin(None)
            }
        }
    }

    fn try_hold(&self, command: &str) -> Result<Arc<dyn Held>> {
        let now = time::now().get();
        let mut attempt = 0;
        loop {
            let since = FileTime::new(now.saturating_add(attempt));
            let (volume, session, process) = (self.volume, self.session, process::id());
            let path =
                Holder { volume, session, command: command.to_owned(), process, since }.file();
            attempt += 1;
            match self.store.hold(&path) {
                Ok(held) => return Ok(held),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) if error.is_not_found() => {
                    self.store.create_dirs(Path::new(PINS_DIR))?;
                }
                Err(error) if error.is_already_there() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// True if a pin of the session is held, by whatever process.
    ///
    /// # Errors
    /// What keeps that from being known: then nothing may be removed.
    pub fn any_held(&self) -> Result<bool> {
        self.holders().map(|holders| !holders.is_empty())
    }

    /// Who holds the session. Removes what dead holders have left.
    ///
    /// # Errors
    /// What keeps that from being known: then nothing may be removed.
    pub fn holders(&self) -> Result<Vec<Holder>> {
        let is_mine = |it: &Holder| (it.volume, it.session) == (self.volume, self.session);
        holders(&self.store, is_mine)
    }
}

/// Who holds the sessions of a repository, and of which `wanted` wants to know. Removes what dead
/// holders of those have left.
///
/// # Errors
/// What keeps that from being known.
pub fn holders(store: &Store, wanted: impl Fn(&Holder) -> bool) -> Result<Vec<Holder>> {
    store.held(Path::new(PINS_DIR), |name| Holder::from_file_name(name).filter(&wanted))
}

impl Shown {
    /// What a report tells of a holder.
    pub fn of(holder: &Holder) -> Self {
        Self {
            volume: holder.volume.to_string(),
            session: holder.session.to_string(),
            command: holder.command.clone(),
            process: holder.process,
            since: time::to_text(holder.since),
        }
    }
}

impl Pin {
    /// What tells whether it is held still.
    pub(crate) fn guard(&self) -> Option<Arc<dyn Held>> {
        self.0.clone()
    }

    /// False where no pin could be made.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use snapless_types::Geometry;

    use super::*;

    fn header(session: u8) -> SessionHeader {
        SessionHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([session; 16]),
            geometry: Geometry::new(1 << 20, 512, 65_536).unwrap(),
            created: FileTime::new(5),
        }
    }

    #[test]
    fn a_pin_is_seen_until_it_is_dropped_and_only_in_its_session() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::local(dir.path());
        let pins = Pins::of(&store, &header(1));
        assert!(!pins.any_held().unwrap());
        let (first, second) = (pins.hold("restore"), pins.hold("mount"));
        let commands = || {
            let mut found: Vec<_> =
                pins.holders().unwrap().into_iter().map(|it| it.command).collect();
            found.sort();
            found
        };
        assert_eq!(commands(), ["mount", "restore"]);
        assert!(!Pins::of(&store, &header(2)).any_held().unwrap());
        drop(first);
        assert_eq!(commands(), ["mount"]);
        drop(second);
        assert!(!pins.any_held().unwrap());
        assert_eq!(fs::read_dir(dir.path().join(PINS_DIR)).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_holder_has_left_is_removed_by_a_look() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::local(dir.path());
        let pins = Pins::of(&store, &header(1));
        drop(pins.hold("restore"));
        let holder = Holder {
            volume: header(1).volume,
            session: header(1).session,
            command: "restore".to_owned(),
            process: 7,
            since: FileTime::new(9),
        };
        fs::write(dir.path().join(holder.file()), "").unwrap();
        fs::write(dir.path().join(PINS_DIR).join("lost+found"), "").unwrap();
        assert!(!pins.any_held().unwrap());
        let left: Vec<_> = fs::read_dir(dir.path().join(PINS_DIR)).unwrap().collect();
        assert_eq!(left.len(), 1, "what is no pin is left alone");
    }

    #[cfg(unix)]
    #[test]
    fn where_no_pin_can_be_made_the_reader_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        // No folder can be made in the place of a file, whoever asks.
        fs::write(dir.path().join(PINS_DIR), "").unwrap();
        let pins = Pins::of(&Store::local(dir.path()), &header(1));
        let pin = pins.hold("restore");
        assert!(!pin.is_held());
        pins.any_held().unwrap_err();
    }
}

//! Machines that may read back what they have sent: a file each in `restores/`, with the instant
//! until which one may begin.
//!
//! Without it a machine only appends, so that a stolen key reads nothing. The server's
//! administrator allows it for a time when a machine is to be restored over the network.
//!
//! Rule: what cannot be looked up is not allowed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::audit::seconds;
use crate::error::TrustError;
use crate::files;
use crate::identity::MachineId;

/// The longest time for which it can be allowed.
pub const RESTORES_MAX: Duration = Duration::from_hours(7 * 24);

/// Which machines may read back what they have sent.
#[derive(Clone, Debug)]
pub struct Restores {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    until: u64,
}

impl Restores {
    /// Those of the authority in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("restores") }
    }

    /// Allows it until an instant; replaces what was said before.
    ///
    /// # Errors
    /// It could not be stored.
    pub fn allow(&self, machine: MachineId, until: SystemTime) -> Result<(), TrustError> {
        // An authority of an earlier release has no such folder.
        if !self.folder.is_dir() {
            files::create_folder(&self.folder)?;
        }
        let entry = Entry { until: seconds(until) };
        files::replace(&self.file(machine), &files::to_json(&entry)?)
    }

    /// Allows it no longer; false if it was not allowed.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn end(&self, machine: MachineId) -> Result<bool, TrustError> {
        let file = self.file(machine);
        match fs::remove_file(&file) {
            Ok(()) => files::sync_parent(&file).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(TrustError::file("remove", &file)(error)),
        }
    }

    /// True if the machine may begin a restore now.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn covers(&self, machine: MachineId, now: SystemTime) -> Result<bool, TrustError> {
        let entry: Option<Entry> = files::read_json(&self.file(machine))?;
        Ok(entry.is_some_and(|entry| seconds(now) < entry.until))
    }

    fn file(&self, machine: MachineId) -> PathBuf {
        self.folder.join(format!("{machine}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_may_for_a_time_and_a_damaged_file_allows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let restores = Restores::new(dir.path());
        let (machine, other) = (MachineId([1; 16]), MachineId([2; 16]));
        let now = SystemTime::now();
        let later = now + Duration::from_mins(1);
        assert!(!restores.covers(machine, now).unwrap());
        restores.allow(machine, later).unwrap();
        assert!(restores.covers(machine, now).unwrap() && !restores.covers(other, now).unwrap());
        assert!(!restores.covers(machine, later + Duration::from_secs(1)).unwrap());
        restores.allow(machine, later + Duration::from_mins(1)).unwrap();
        assert!(restores.covers(machine, later).unwrap());
        assert!(restores.end(machine).unwrap() && !restores.end(machine).unwrap());
        assert!(!restores.covers(machine, now).unwrap());
        restores.allow(machine, later).unwrap();
        fs::write(restores.file(machine), "x").unwrap();
        assert!(restores.covers(machine, now).is_err());
    }
}

//! Machines and certificates that are no longer accepted: a file each in `revoked/`.
//!
//! Every connection asks at its handshake, and again while it lives. A name is looked up, nothing
//! is kept in memory, so that a revocation by another process is in force at once.
//!
//! Rule: what cannot be looked up counts as revoked.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::audit::seconds;
use crate::error::TrustError;
use crate::files;
use crate::identity::{Certified, MachineId, Serial};

/// What is revoked.
#[derive(Clone, Debug)]
pub struct Revocations {
    folder: PathBuf,
}

/// Whom a revocation concerns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Every certificate of a machine, those of the future included.
    Machine(MachineId),
    /// One certificate.
    Serial(Serial),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    revoked: u64,
}

impl Revocations {
    /// The revocations of the authority in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("revoked") }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<(), TrustError> {
        files::create_folder(&self.folder)
    }

    /// Revokes; false if it was revoked before.
    ///
    /// # Errors
    /// The revocation could not be stored.
    pub fn revoke(&self, subject: &Subject, now: SystemTime) -> Result<bool, TrustError> {
        let file = self.file(subject);
        if file.try_exists().map_err(TrustError::file("look for", &file))? {
            return Ok(false);
        }
        let entry = Entry { revoked: seconds(now) };
        files::replace(&file, &files::to_json(&entry)?).map(|()| true)
    }

    /// True if a certificate is no longer accepted, or if that cannot be found out.
    pub fn covers(&self, certified: &Certified) -> bool {
        let machine = Subject::Machine(certified.identity.machine);
        let serial = Subject::Serial(certified.serial.clone());
        self.has(&machine) || self.has(&serial)
    }

    /// True if a machine is no longer accepted, or if that cannot be found out.
    pub fn covers_machine(&self, machine: MachineId) -> bool {
        self.has(&Subject::Machine(machine))
    }

    fn has(&self, subject: &Subject) -> bool {
        let file = self.file(subject);
        match file.try_exists() {
            // A folder that is gone, such as an unmounted one, has no file either.
            Ok(false) if self.folder.is_dir() => false,
            Ok(false) => {
                log::error!("{} is missing: every machine is refused", self.folder.display());
                true
            }
            Ok(true) => true,
            Err(error) => {
                log::error!("cannot look for {}: {error}; it counts as revoked", file.display());
                true
            }
        }
    }

    fn file(&self, subject: &Subject) -> PathBuf {
        self.folder.join(match subject {
            Subject::Machine(machine) => format!("machine-{machine}"),
            Subject::Serial(serial) => format!("serial-{serial}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Role, Validity};

    fn certified(machine: u8, serial: u8) -> Certified {
        let now = SystemTime::now();
        Certified {
            identity: Identity {
                machine: MachineId([machine; 16]),
                role: Role::Client,
                name: "x".into(),
            },
            serial: Serial::new(&[serial]),
            validity: Validity { from: now, to: now },
        }
    }

    #[test]
    fn a_machine_or_one_certificate_is_revoked_at_once_for_every_process() {
        let dir = tempfile::tempdir().unwrap();
        let here = Revocations::new(dir.path());
        here.create().unwrap();
        let elsewhere = Revocations::new(dir.path());
        let now = SystemTime::now();
        assert!(!here.covers(&certified(1, 1)));
        assert!(elsewhere.revoke(&Subject::Serial(Serial::new(&[1])), now).unwrap());
        assert!(!elsewhere.revoke(&Subject::Serial(Serial::new(&[1])), now).unwrap());
        assert!(here.covers(&certified(1, 1)) && !here.covers(&certified(1, 2)));
        elsewhere.revoke(&Subject::Machine(MachineId([1; 16])), now).unwrap();
        assert!(here.covers(&certified(1, 2)) && !here.covers(&certified(2, 3)));
        assert!(here.covers_machine(MachineId([1; 16])));
    }

    #[test]
    fn without_the_list_every_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Revocations::new(dir.path()).covers(&certified(1, 1)));
    }
}

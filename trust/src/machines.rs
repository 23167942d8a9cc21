//! What the authority has issued, machine by machine: a file each, `machines/<id>.json`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::audit::seconds;
use crate::error::TrustError;
use crate::files;
use crate::identity::{Certified, MachineId, Role};

/// The most certificates that a machine's file remembers; the oldest have expired long before.
const SERIALS_MAX: usize = 100;

/// The machines that have enrolled.
#[derive(Clone, Debug)]
pub struct Machines {
    folder: PathBuf,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its id.
    pub machine: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it enrolled first, in seconds since 1970.
    pub enrolled: u64,
    /// When its newest certificate expires, in seconds since 1970.
    pub expires: u64,
    /// The numbers of its certificates, the newest last.
    pub serials: Vec<String>,
}

impl Machines {
    /// The machines of the authority in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("machines") }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<(), TrustError> {
        files::create_folder(&self.folder)
    }

    /// Notes that a certificate was issued.
    pub(crate) fn note(&self, issued: &Certified, now: SystemTime) -> Result<(), TrustError> {
        let id = issued.identity.machine;
        let mut machine = self.find(id)?.unwrap_or_else(|| Machine {
            machine: id.to_string(),
            name: String::new(),
            role: issued.identity.role,
            enrolled: seconds(now),
            expires: 0,
            serials: Vec::new(),
        });
        machine.name.clone_from(&issued.identity.name);
        machine.role = issued.identity.role;
        machine.expires = seconds(issued.validity.to);
        machine.serials.push(issued.serial.to_string());
        let surplus = machine.serials.len().saturating_sub(SERIALS_MAX);
        machine.serials.drain(..surplus);
        files::replace(&self.file(id), &files::to_json(&machine)?)
    }

    /// A machine; `None` if it never enrolled.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn find(&self, machine: MachineId) -> Result<Option<Machine>, TrustError> {
        files::read_json(&self.file(machine))
    }

    /// Every machine, in order of its id.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn all(&self) -> Result<Vec<Machine>, TrustError> {
        let names = files::names(&self.folder)?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok());
        ids.filter_map(|id| self.find(id).transpose()).collect()
    }

    fn file(&self, machine: MachineId) -> PathBuf {
        self.folder.join(format!("{machine}.json"))
    }
}

//! A file of accounts, read again when it has changed: `snapless-server console user` and a running
//! console use it at once.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use snapless_trust::{files, folders, private};

use crate::fault::{Code, Fault, Result};

/// Most bytes that are read.
const LEN_MAX: u64 = 4 << 20;

/// The file, and what was in it last.
#[derive(Debug)]
pub(super) struct Kept<T> {
    path: PathBuf,
    /// Protects what was read, with the file's length and time.
    read: Mutex<Option<(Stamp, Arc<T>)>>,
    /// Held while the file is changed.
    change: Mutex<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    len: u64,
    modified: SystemTime,
    inode: u64,
}

impl<T: Default + Serialize + DeserializeOwned> Kept<T> {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default(), change: Mutex::default() }
    }

    /// What is in the file; the default if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be. Then nobody is known.
    pub(super) fn get(&self) -> Result<Arc<T>> {
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            found => found.map_err(|error| self.failed("read", &error))?,
        };
        let modified = found.modified().map_err(|error| self.failed("read", &error))?;
        let stamp = Stamp { len: found.len(), modified, inode: inode(&found) };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = read.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(known));
        }
        if stamp.len > LEN_MAX {
            return Err(self.failed("use", &"it is too long"));
        }
        let bytes = fs::read(&self.path).map_err(|error| self.failed("read", &error))?;
        let parsed: T =
            serde_json::from_slice(&bytes).map_err(|error| self.failed("use", &error))?;
        let parsed = Arc::new(parsed);
        *read = Some((stamp, Arc::clone(&parsed)));
        Ok(parsed)
    }

    /// Changes the file, durably; whole or not at all. One change at a time, of all processes.
    ///
    /// # Errors
    /// What `change` says, or the file cannot be written.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> Result<R>) -> Result<R>
    where
        T: Clone,
    {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: io::Error| self.failed("write", &error);
        private::create_folders(folders::of(&self.path)).map_err(failed)?;
        let lock = File::create(self.path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut content = (*self.get()?).clone();
        let made = change(&mut content)?;
        let bytes = serde_json::to_vec_pretty(&content).map_err(Fault::internal)?;
        files::replace(&self.path, &bytes).map_err(|error| self.failed("write", &error))?;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(made)
    }

    fn failed(&self, what: &str, why: &dyn std::fmt::Display) -> Fault {
        log::error!("cannot {what} {}: {why}", self.path.display());
        Fault::new(
            Code::Internal,
            format!("cannot {what} the console's accounts: the server's log says why"),
        )
    }
}

#[cfg(unix)]
fn inode(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

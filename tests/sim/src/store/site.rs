//! A repository on the simulated disk: plain, compressed, encrypted or both, and what opens it.

use std::fmt;
use std::sync::Arc;

use snapless_server::compression::Compression;
use snapless_server::error::Error;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::seal::KeySource;
use snapless_server::storage::Store;
use tempfile::TempDir;

use crate::rng::Rng;

/// Where a repository is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Medium {
    /// In a directory of a disk.
    #[default]
    Files,
    /// In a bucket of an object store.
    Objects,
}

/// How a repository keeps content, and where. Clones have the same key.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    medium: Medium,
    compression: Compression,
    /// The folder of the key file, on the real disk; `None` without encryption.
    key: Option<Arc<TempDir>>,
}

/// A disk, and how the repository on it keeps content.
#[derive(Clone, Debug)]
pub struct Site {
    store: Store,
    keeping: Keeping,
}

impl fmt::Display for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = if self.key.is_some() { "encrypted" } else { "not encrypted" };
        write!(f, "the repository is {encryption}, its compression {}", self.compression)
    }
}

impl Keeping {
    /// As it comes.
    pub fn plain(medium: Medium) -> Self {
        Self { medium, ..Self::default() }
    }

    /// Compressed or encrypted, or not.
    pub fn any(medium: Medium, rng: &mut Rng) -> Self {
        let compression = rng.pick(&[Compression::None, Compression::Zstd(1)]);
        let key = rng.once_in(2).then(|| {
            let folder = TempDir::new();
            Arc::new(folder.unwrap_or_else(|error| panic!("no folder for a key: {error}")))
        });
        Self { medium, compression, key }
    }

    /// True if it is in a bucket.
    pub fn is_in_objects(&self) -> bool {
        self.medium == Medium::Objects
    }

    /// True if it is not plain.
    pub fn is_sealed(&self) -> bool {
        self.compression != Compression::None || self.key.is_some()
    }

    fn key(&self) -> KeySource {
        match &self.key {
            None => KeySource::None,
            Some(folder) => KeySource::KeyFile(folder.path().join("key")),
        }
    }
}

impl Site {
    /// The repository on this disk.
    pub fn new(store: Store, keeping: Keeping) -> Self {
        Self { store, keeping }
    }

    /// The disk.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// True if the repository is not plain.
    pub fn is_sealed(&self) -> bool {
        self.keeping.is_sealed()
    }

    /// Opens the repository for reading.
    ///
    /// # Errors
    /// Those of the server.
    pub fn open(&self) -> Result<Repository, Error> {
        Repository::open_in(self.store.clone())?.unlock(&self.keeping.key())
    }

    /// Opens the repository for writing.
    ///
    /// # Errors
    /// Those of the server.
    pub fn open_writable(&self) -> Result<WritableRepository, Error> {
        WritableRepository::open_in_with(self.store.clone(), &self.keeping.key())
    }

    /// Makes the repository, and opens it for writing.
    ///
    /// # Errors
    /// Those of the server.
    pub fn init(&self) -> Result<WritableRepository, Error> {
        let Keeping { compression, .. } = self.keeping;
        WritableRepository::init_in_with(self.store.clone(), compression, &self.keeping.key())
    }
}

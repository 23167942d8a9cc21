//! How a repository keeps content: as it came, or *sealed*, that is compressed, encrypted, or both.
//!
//! One place seals and one opens: [`EntrySeal`] the entries of segments, [`BlobSeal`] what is
//! derived from them. All that reads and writes streams sees frames.
//!
//! Each file has a key of its own, derived from the repository key and the file's identity
//! (`key.rs`), so that what is moved into another file is refused. Only the repository's header has
//! a key in it: no other file can be lost and take content with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapless_wire::id::{SessionId, VolumeGuid};

use crate::compression::{Compression, Compressor};
use crate::crypto::{BlobSeal, Cipher};
use crate::error::{Error, Result};
use crate::format::map::MapNumber;
use crate::format::sealing::{SealingHeader, Wrapped};
use crate::format::segment::SegmentNumber;
use crate::format::session::SessionHeader;

mod entry;
mod key;

pub use entry::EntrySeal;
pub(crate) use entry::{Packed, Packer};
pub use key::KeySource;
use key::Purpose;
pub(crate) use key::RepositoryKey;

/// How a repository keeps content. Clones are of one repository.
#[derive(Clone, Debug, Default)]
pub struct Seal(Option<Arc<Sealing>>);

#[derive(Debug)]
struct Sealing {
    compression: Compression,
    encryption: Encryption,
}

#[derive(Debug)]
enum Encryption {
    None,
    With(RepositoryKey),
    /// There is a key, and it was not given.
    Locked {
        dir: PathBuf,
        wrapped: Wrapped,
    },
}

impl Seal {
    /// That of the repository in `dir`, which is locked if it is encrypted.
    pub(crate) fn locked(header: &SealingHeader, dir: &Path) -> Self {
        let encryption = match header.key {
            None => Encryption::None,
            Some(wrapped) => Encryption::Locked { dir: dir.to_owned(), wrapped },
        };
        Self(Some(Arc::new(Sealing { compression: header.compression, encryption })))
    }

    /// The same with its key.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`], [`Error::WrongKey`], or [`Error::NotEncrypted`] for a key that the
    /// repository does not want.
    pub(crate) fn unlock(&self, by: &KeySource, dir: &Path) -> Result<Self> {
        match self.0.as_deref() {
            Some(Sealing { compression, encryption: Encryption::Locked { wrapped, .. } }) => {
                let key = RepositoryKey::unwrap(wrapped, by, dir)?;
                let encryption = Encryption::With(key);
                Ok(Self(Some(Arc::new(Sealing { compression: *compression, encryption }))))
            }
            Some(Sealing { encryption: Encryption::With(_), .. }) => Ok(self.clone()),
            Some(Sealing { encryption: Encryption::None, .. }) | None => match by {
                KeySource::None => Ok(self.clone()),
                _ => Err(Error::NotEncrypted(dir.to_owned())),
            },
        }
    }

    /// True if content is encrypted and there is no key.
    pub fn is_locked(&self) -> bool {
        matches!(self.0.as_deref(), Some(Sealing { encryption: Encryption::Locked { .. }, .. }))
    }

    /// The repository's key.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`], or [`Error::NotEncrypted`].
    pub(crate) fn key(&self, dir: &Path) -> Result<&RepositoryKey> {
        let key = self.0.as_deref().map_or(Ok(None), |sealing| sealing.encryption.key())?;
        key.ok_or_else(|| Error::NotEncrypted(dir.to_owned()))
    }

    /// That of a session.
    pub(crate) fn of(&self, session: &SessionHeader) -> SessionSeal {
        self.of_ids((session.volume, session.session))
    }

    /// That of the session of these identities.
    pub(crate) fn of_ids(&self, ids: (VolumeGuid, SessionId)) -> SessionSeal {
        SessionSeal { seal: self.clone(), ids }
    }
}

impl Encryption {
    fn key(&self) -> Result<Option<&RepositoryKey>> {
        match self {
            Self::None => Ok(None),
            Self::With(key) => Ok(Some(key)),
            Self::Locked { dir, wrapped } => Err(Error::KeyNeeded {
                dir: dir.clone(),
                want: wrapped.wrap.name(),
                id: wrapped.id,
            }),
        }
    }
}

/// How the content of a session is kept.
#[derive(Clone, Debug)]
pub(crate) struct SessionSeal {
    seal: Seal,
    ids: (VolumeGuid, SessionId),
}

impl SessionSeal {
    /// True if segments have sealed entries.
    pub(crate) fn is_sealed(&self) -> bool {
        self.seal.0.is_some()
    }

    /// What packs frames for the entries of segments; `None` if they are plain frames.
    ///
    /// # Errors
    /// [`Error::Compressor`].
    pub(crate) fn packer(&self) -> Result<Option<Packer>> {
        let Some(sealing) = self.seal.0.as_deref() else { return Ok(None) };
        let compressor = Compressor::new(sealing.compression).map_err(Error::Compressor)?;
        let is_encrypted = !matches!(sealing.encryption, Encryption::None);
        Ok(Some(Packer { compressor, is_encrypted }))
    }

    /// That of the entries of a segment; `None` if they are plain frames.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`].
    pub(crate) fn entries(&self, number: SegmentNumber) -> Result<Option<EntrySeal>> {
        let cipher = self.cipher(Purpose::Segment, number.0)?;
        Ok(self.is_sealed().then_some(EntrySeal { cipher }))
    }

    /// That of the index of a segment; `None` if its entries are plain frames.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`].
    pub(crate) fn index(&self, number: SegmentNumber) -> Result<Option<BlobSeal>> {
        let cipher = self.cipher(Purpose::Index, number.0)?;
        Ok(self.is_sealed().then_some(BlobSeal::new(cipher)))
    }

    /// That of the kept state.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`].
    pub(crate) fn state(&self) -> Result<BlobSeal> {
        self.cipher(Purpose::State, 0).map(BlobSeal::new)
    }

    /// That of a kept map.
    ///
    /// # Errors
    /// [`Error::KeyNeeded`].
    pub(crate) fn map(&self, number: MapNumber) -> Result<BlobSeal> {
        self.cipher(Purpose::Map, number.0).map(BlobSeal::new)
    }

    fn cipher(&self, purpose: Purpose, number: u64) -> Result<Option<Cipher>> {
        let Some(sealing) = self.seal.0.as_deref() else { return Ok(None) };
        let key = sealing.encryption.key()?;
        key.map(|key| key.cipher(self.ids, purpose, number)).transpose()
    }
}

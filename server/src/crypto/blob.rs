//! How the parts of one file that is derived from the stream are kept: the chunks of an index, the
//! pages and the root of a map, the state.

use super::cipher::{Cipher, CipherError, NONCE_LEN};
use crate::format::FormatError;
use crate::format::sealed::SEAL_LEN;

/// Encrypts the parts of one file, or leaves them as they are.
#[derive(Clone, Debug, Default)]
pub struct BlobSeal(Option<Cipher>);

impl BlobSeal {
    /// Encrypts with this cipher; without one, parts stay as they are.
    pub(crate) fn new(cipher: Option<Cipher>) -> Self {
        Self(cipher)
    }

    /// Bytes by which a part is longer than its content.
    pub(crate) fn added(&self) -> usize {
        if self.0.is_some() { SEAL_LEN } else { 0 }
    }

    /// How many of these are in front of the content.
    pub(crate) fn in_front(&self) -> usize {
        if self.0.is_some() { NONCE_LEN } else { 0 }
    }

    /// Seals the bytes behind `start`; `part` is the part's place in its file.
    ///
    /// # Errors
    /// [`CipherError`].
    pub(crate) fn seal(
        &self,
        part: u64,
        bytes: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), CipherError> {
        match &self.0 {
            Some(cipher) => cipher.seal(&part.to_le_bytes(), bytes, start),
            None => Ok(()),
        }
    }

    /// The content of what [`Self::seal`] made of a part of this place.
    ///
    /// # Errors
    /// [`FormatError::Sealed`] for any other bytes.
    pub(crate) fn open<'a>(
        &self,
        part: u64,
        bytes: &'a mut [u8],
    ) -> Result<&'a mut [u8], FormatError> {
        match &self.0 {
            Some(cipher) => cipher.open(&part.to_le_bytes(), bytes),
            None => Ok(bytes),
        }
    }
}

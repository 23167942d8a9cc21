//! Authenticated encryption of what is stored: AES-256-GCM with a random nonce each time, so that
//! a tail that was cut off and is written again never has a nonce twice.
//!
//! A key is one file's of one session and purpose: its file is bound by the key, and so few
//! messages have the same key that random nonces do not meet.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

use crate::format::FormatError;
use crate::format::sealed::SEAL_LEN;

/// Bytes of a nonce.
pub(super) const NONCE_LEN: usize = 12;

/// The cryptographic library refused, which it does only without randomness or memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system gives no random numbers, or no memory: nothing can be encrypted")]
pub struct CipherError;

/// The cipher of one file.
#[derive(Clone)]
pub(crate) struct Cipher(Arc<RandomizedNonceKey>);

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    /// With this key.
    ///
    /// # Errors
    /// [`CipherError`].
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, CipherError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| CipherError)?;
        Ok(Self(Arc::new(key)))
    }

    /// Encrypts the bytes behind `start` in place; the nonce goes in front of them, the tag behind
    /// them: the buffer grows by [`SEAL_LEN`].
    ///
    /// # Errors
    /// [`CipherError`].
    pub(crate) fn seal(
        &self,
        bound: &[u8],
        bytes: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), CipherError> {
        // The nonce is known last: room is made for it first.
        let end = bytes.len();
        bytes.resize(end + SEAL_LEN, 0);
        bytes.copy_within(start..end, start + NONCE_LEN);
        let body = &mut bytes[start + NONCE_LEN..end + NONCE_LEN];
        let sealed = self.0.seal_in_place_separate_tag(Aad::from(bound), body);
        let (nonce, tag) = sealed.map_err(|_| CipherError)?;
        bytes[start..start + NONCE_LEN].copy_from_slice(nonce.as_ref());
        bytes[end + NONCE_LEN..].copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts what [`Self::seal`] made, in place; returns the content.
    ///
    /// # Errors
    /// [`FormatError::Sealed`] for any other bytes, [`FormatError::Short`] for too few.
    pub(crate) fn open<'a>(
        &self,
        bound: &[u8],
        bytes: &'a mut [u8],
    ) -> Result<&'a mut [u8], FormatError> {
        let (nonce, body) = bytes.split_first_chunk_mut().ok_or(FormatError::Short)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(bound), body).map_err(|_| FormatError::Sealed)
    }
}

//! Seals and opens the entries of a segment.

use crate::compression::{Compressor, unpack};
use crate::crypto::{Cipher, CipherError};
use crate::error::{Damage, Result};
use crate::format::FormatError;
use crate::format::sealed::{Codec, SEAL_LEN, SEALED_HEADER_LEN, SealedHeader};

/// How the entries of one segment are sealed.
#[derive(Clone, Debug)]
pub struct EntrySeal {
    /// `None` if they are not encrypted, or there is no key.
    pub(super) cipher: Option<Cipher>,
}

/// A frame that is packed and has no place yet.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Room for the entry's header, then the packed frame.
    bytes: Vec<u8>,
    codec: Codec,
    frame_len: usize,
    is_encrypted: bool,
}

/// Packs frames for the entries of segments.
#[derive(Debug)]
pub(crate) struct Packer {
    pub(super) compressor: Compressor,
    pub(super) is_encrypted: bool,
}

impl Packer {
    /// Packs a frame: its header and its payload.
    pub(crate) fn pack(&mut self, [header, payload]: [&[u8]; 2]) -> Packed {
        let frame = [header, payload].concat();
        let mut bytes = vec![0; SEALED_HEADER_LEN];
        let is_smaller = self.compressor.pack(&frame, &mut bytes);
        let codec = if is_smaller { Codec::Zstd } else { Codec::None };
        if codec == Codec::None {
            bytes.reserve(frame.len() + SEAL_LEN);
            bytes.extend(&frame);
        }
        Packed { bytes, codec, frame_len: frame.len(), is_encrypted: self.is_encrypted }
    }
}

impl Packed {
    /// Bytes of the entry that it becomes.
    pub(crate) fn entry_len(&self) -> usize {
        self.bytes.len() + if self.is_encrypted { SEAL_LEN } else { 0 }
    }
}

impl EntrySeal {
    /// Without a key: opens no encrypted entry.
    pub fn without_key() -> Self {
        Self { cipher: None }
    }

    /// The entry of a packed frame at a place of the segment.
    ///
    /// # Errors
    /// [`crate::error::Error::Cipher`].
    pub(crate) fn seal(&self, packed: Packed, offset: u64) -> Result<Vec<u8>> {
        let stored_len = packed.entry_len() - SEALED_HEADER_LEN;
        let Packed { mut bytes, codec, frame_len, is_encrypted } = packed;
        assert_eq!(is_encrypted, self.cipher.is_some(), "what is to be encrypted has a key");
        let header = SealedHeader::new(codec, is_encrypted, stored_len, frame_len);
        // A frame has these lengths, and what does not shrink is not packed.
        let header = header.ok_or(CipherError)?;
        if let Some(cipher) = &self.cipher {
            cipher.seal(&header.bound_to(offset), &mut bytes, SEALED_HEADER_LEN)?;
        }
        let header = header.with_body(&bytes[SEALED_HEADER_LEN..]);
        bytes[..SEALED_HEADER_LEN].copy_from_slice(&header.to_bytes());
        Ok(bytes)
    }

    /// The frame in an entry's body, which is used up. Allocates nothing of the length that the
    /// header names before the body is known to be the one that was stored.
    ///
    /// # Errors
    /// What is damaged, or not of this place.
    pub fn open(
        &self,
        header: &SealedHeader,
        offset: u64,
        body: &mut [u8],
    ) -> Result<Vec<u8>, Damage> {
        header.verify(body)?;
        if header.is_encrypted != self.cipher.is_some() {
            return Err(FormatError::Sealed.into());
        }
        let packed = match &self.cipher {
            Some(cipher) => cipher.open(&header.bound_to(offset), body)?,
            None => body,
        };
        match header.codec {
            Codec::None => Ok(packed.to_vec()),
            Codec::Zstd => unpack(packed, header.frame_len)
                .ok_or_else(|| FormatError::Content("compressed frame").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;

    /// An entry of this packed frame, whose checksum is right.
    fn entry(packed: &[u8], frame_len: usize) -> (SealedHeader, Vec<u8>) {
        let header = SealedHeader::new(Codec::Zstd, false, packed.len(), frame_len).unwrap();
        (header.with_body(packed), packed.to_vec())
    }

    #[test]
    fn a_packed_frame_that_is_longer_or_shorter_than_its_header_says_is_refused() {
        let mut packer = Packer {
            compressor: Compressor::new(Compression::Zstd(3)).unwrap(),
            is_encrypted: false,
        };
        let frame = vec![7; 8 << 20];
        let sealed = packer.pack([&frame[..16], &frame[16..]]);
        let bomb = &sealed.bytes[SEALED_HEADER_LEN..];
        assert!(bomb.len() < 8 << 10, "it grows a thousandfold");
        let seal = EntrySeal::without_key();
        for (len, is_right) in [(8 << 20, true), (9 << 20, false), (16 << 10, false)] {
            let (header, mut body) = entry(bomb, len);
            let opened = seal.open(&header, 64, &mut body);
            assert_eq!(opened.is_ok_and(|opened| opened == frame), is_right, "{len}");
        }
    }

    #[test]
    fn an_encrypted_entry_is_not_opened_without_a_key_nor_a_clear_one_with_it() {
        let key = crate::seal::RepositoryKey::random().unwrap();
        let ids = (snapless_wire::id::VolumeGuid([1; 16]), snapless_wire::id::SessionId([2; 16]));
        let cipher = key.cipher(ids, crate::seal::Purpose::Segment, 1).unwrap();
        let seals = [EntrySeal::without_key(), EntrySeal { cipher: Some(cipher) }];
        for (is_encrypted, seal) in [false, true].into_iter().zip(&seals) {
            let compressor = Compressor::new(Compression::None).unwrap();
            let mut packer = Packer { compressor, is_encrypted };
            let entry = seal.seal(packer.pack([&[1; 16], b"payload"]), 64).unwrap();
            let (head, body) = entry.split_first_chunk().unwrap();
            let header = SealedHeader::read(head).unwrap();
            for (other, seal) in [false, true].into_iter().zip(&seals) {
                let opened = seal.open(&header, 64, &mut body.to_vec());
                assert_eq!(opened.is_ok(), other == is_encrypted);
                let elsewhere = seal.open(&header, 65, &mut body.to_vec());
                assert_eq!(elsewhere.is_ok(), !other && !is_encrypted);
            }
        }
    }
}

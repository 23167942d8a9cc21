//! A sealed entry: how a segment keeps a frame in a repository that is compressed or encrypted.
//!
//! ```text
//! header    SEALED_HEADER_LEN bytes, in the clear
//! body      the frame, whole, with its own header; as it is, or compressed with zstd
//!           encrypted: a nonce, the same with AES-256-GCM, the tag
//! ```
//!
//! The header's checksum is of the bytes as they are stored: it tells damage without the key, and
//! says nothing about the content. The key is one segment's alone. The tag also covers the header
//! without its checksum, and where in the segment the entry begins: an entry that was moved is
//! refused.

use snapless_wire::frame::{FRAME_HEADER_LEN, FRAME_PAYLOAD_MAX};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FormatError;

/// Bytes of the header.
pub const SEALED_HEADER_LEN: usize = 24;
/// The first bytes of every sealed entry.
pub const SEALED_MAGIC: &[u8; 4] = b"SLSE";
/// Bytes by which encryption makes a body longer: the nonce and the tag.
pub const SEAL_LEN: usize = 12 + 16;
/// The longest frame, in bytes.
pub const FRAME_LEN_MAX: usize = FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX;

const VERSION: u16 = 1;

snapless_types::numbered_enum! {
    /// How the frame of an entry is packed.
    pub enum Codec: u16 {
        /// As it is.
        None = 0 => "none",
        /// One frame of zstd.
        Zstd = 1 => "zstd",
    }
}

/// The header of a sealed entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedHeader {
    /// How the frame is packed.
    pub codec: Codec,
    /// The body is encrypted.
    pub is_encrypted: bool,
    /// Bytes of the body.
    pub stored_len: usize,
    /// Bytes of the frame.
    pub frame_len: usize,
    crc: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    version: U16,
    codec: U16,
    cipher: U16,
    reserved: U16,
    stored_len: U32,
    frame_len: U32,
    /// CRC-32C of the header before it and of the body.
    crc: U32,
}

const _: () = assert!(size_of::<Raw>() == SEALED_HEADER_LEN);

impl SealedHeader {
    /// The header of an entry whose body is not made yet; `None` for lengths that no entry has.
    pub fn new(
        codec: Codec,
        is_encrypted: bool,
        stored_len: usize,
        frame_len: usize,
    ) -> Option<Self> {
        let header = Self { codec, is_encrypted, stored_len, frame_len, crc: 0 };
        header.is_possible().then_some(header)
    }

    /// The same with the checksum of this body.
    #[must_use]
    pub fn with_body(self, body: &[u8]) -> Self {
        Self { crc: self.checksum(body), ..self }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Any [`FormatError`] but [`FormatError::Checksum`] and [`FormatError::Sealed`].
    pub fn read(bytes: &[u8; SEALED_HEADER_LEN]) -> Result<Self, FormatError> {
        let raw: Raw = zerocopy::transmute!(*bytes);
        if raw.magic != *SEALED_MAGIC {
            return Err(FormatError::Magic);
        }
        if raw.version.get() != VERSION {
            let (found, known) = (raw.version.get().into(), VERSION.into());
            return Err(FormatError::Version { found, known });
        }
        let codec = Codec::from_wire(raw.codec.get()).ok_or(FormatError::Content("codec"))?;
        let is_encrypted = match (raw.cipher.get(), raw.reserved.get()) {
            (0, 0) => false,
            (1, 0) => true,
            _ => return Err(FormatError::Content("cipher")),
        };
        let [stored_len, frame_len] = [raw.stored_len, raw.frame_len].map(|len| len.get() as usize);
        let header = Self { codec, is_encrypted, stored_len, frame_len, crc: raw.crc.get() };
        if header.is_possible() { Ok(header) } else { Err(FormatError::Content("length")) }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; SEALED_HEADER_LEN] {
        // No length is past that of the longest frame and its seal.
        let length = |len: usize| U32::new(u32::try_from(len).unwrap_or(u32::MAX));
        let raw = Raw {
            magic: *SEALED_MAGIC,
            version: U16::new(VERSION),
            codec: U16::new(self.codec.to_wire()),
            cipher: U16::new(self.is_encrypted.into()),
            reserved: U16::ZERO,
            stored_len: length(self.stored_len),
            frame_len: length(self.frame_len),
            crc: U32::new(self.crc),
        };
        zerocopy::transmute!(raw)
    }

    /// Bytes of the entry.
    pub fn entry_len(&self) -> usize {
        SEALED_HEADER_LEN + self.stored_len
    }

    /// Bytes of the packed frame.
    pub fn packed_len(&self) -> usize {
        self.stored_len - if self.is_encrypted { SEAL_LEN } else { 0 }
    }

    /// Checks the body as it is stored.
    ///
    /// # Errors
    /// [`FormatError::Checksum`] if the header or the body was damaged.
    pub fn verify(&self, body: &[u8]) -> Result<(), FormatError> {
        let is_sound = body.len() == self.stored_len && self.checksum(body) == self.crc;
        if is_sound { Ok(()) } else { Err(FormatError::Checksum) }
    }

    /// What the tag covers besides the body: the header without its checksum, and where in its
    /// segment the entry begins.
    pub fn bound_to(&self, offset: u64) -> [u8; SEALED_HEADER_LEN + 4] {
        let mut bound = [0; SEALED_HEADER_LEN + 4];
        bound[..SEALED_HEADER_LEN].copy_from_slice(&self.to_bytes());
        bound[SEALED_HEADER_LEN - 4..].copy_from_slice(&offset.to_le_bytes());
        bound
    }

    /// What is packed is no longer than the frame: a frame that does not shrink is kept as it is.
    fn is_possible(&self) -> bool {
        let seal = if self.is_encrypted { SEAL_LEN } else { 0 };
        let packed = self.stored_len.checked_sub(seal);
        (FRAME_HEADER_LEN..=FRAME_LEN_MAX).contains(&self.frame_len)
            && packed.is_some_and(|packed| match self.codec {
                Codec::None => packed == self.frame_len,
                Codec::Zstd => (1..self.frame_len).contains(&packed),
            })
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let bytes = self.to_bytes();
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..SEALED_HEADER_LEN - 4]), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_comes_back_and_its_bytes_are_pinned() {
        let body = [7; 48];
        let header = SealedHeader::new(Codec::Zstd, true, 48, 64).unwrap().with_body(&body);
        let bytes = header.to_bytes();
        assert_eq!(bytes[..12], *b"SLSE\x01\0\x01\0\x01\0\0\0");
        assert_eq!(bytes[12..20], [48, 0, 0, 0, 64, 0, 0, 0]);
        assert_eq!(SealedHeader::read(&bytes), Ok(header));
        assert_eq!(header.verify(&body), Ok(()));
        assert_eq!(header.packed_len(), 20);
        assert_eq!(header.bound_to(5)[20..], 5_u64.to_le_bytes());
    }

    #[test]
    fn lengths_that_no_entry_has_are_refused() {
        let made = |codec, is_encrypted, stored, frame| {
            SealedHeader::new(codec, is_encrypted, stored, frame).is_some()
        };
        assert!(made(Codec::None, false, 16, 16));
        assert!(made(Codec::None, true, 44, 16));
        assert!(made(Codec::Zstd, false, 15, 16));
        assert!(made(Codec::None, true, FRAME_LEN_MAX + SEAL_LEN, FRAME_LEN_MAX));
        assert!(!made(Codec::None, false, 15, 15));
        assert!(!made(Codec::None, false, 17, 16));
        assert!(!made(Codec::None, true, 27, 16));
        assert!(!made(Codec::Zstd, false, 16, 16));
        assert!(!made(Codec::Zstd, true, 28, 16));
        assert!(!made(Codec::None, false, FRAME_LEN_MAX + 1, FRAME_LEN_MAX + 1));
        assert!(!made(Codec::Zstd, false, 20, FRAME_LEN_MAX + 1));
    }

    #[test]
    fn each_flipped_bit_is_found() {
        let body = [9; 20];
        let sound = SealedHeader::new(Codec::None, false, 20, 20).unwrap().with_body(&body);
        let entry = [&sound.to_bytes()[..], &body].concat();
        for bit in 0..entry.len() * 8 {
            let mut damaged = entry.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (header, body) = damaged.split_first_chunk().unwrap();
            let found = SealedHeader::read(header).and_then(|header| header.verify(body));
            assert!(found.is_err(), "bit {bit}");
        }
    }
}

//! `repository.snapless` of a repository that is compressed or encrypted: what it does with
//! entries, and its key, wrapped.
//!
//! Version 2 of that file, so that an older server refuses it in words. Without the wrapped key all
//! is lost: the file has two copies of [`SEALING_LEN`] bytes, [`COPY_STRIDE`] bytes apart, of which
//! one is enough.

use std::fmt;

use snapless_wire::id::FileTime;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, Head, check, seal};
use crate::compression::{Compression, LEVEL_MAX};

/// Bytes of a copy.
pub const SEALING_LEN: usize = 256;
/// Bytes between the starts of the copies: the largest common physical sector.
pub const COPY_STRIDE: usize = 4096;
/// Bytes of the file.
pub const SEALING_FILE_LEN: usize = COPY_STRIDE + SEALING_LEN;
/// Bytes of the salt from which a wrapping key is made.
pub const SALT_LEN: usize = 32;
/// Bytes of a wrapped key: a nonce, the key, a tag.
pub const WRAPPED_LEN: usize = 12 + 32 + 16;

const MAGIC: [u8; 8] = *b"SLREPOS\0";
/// 1 is [`super::repository::RepositoryHeader`].
const VERSION: u32 = 2;
/// The most that a header may demand for a passphrase: 1 GiB of memory,
const MEMORY_KIB_MAX: u32 = 1 << 20;
/// so many passes over it,
const PASSES_MAX: u32 = 64;
/// and so many lanes.
const LANES_MAX: u32 = 16;

/// The head of a repository that is compressed or encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealingHeader {
    /// When it was made.
    pub created: FileTime,
    /// How new entries are compressed.
    pub compression: Compression,
    /// Its key; `None` if it is not encrypted.
    pub key: Option<Wrapped>,
}

/// A repository's key, encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrapped {
    /// With what.
    pub wrap: Wrap,
    /// The identity of the key file or passphrase.
    pub id: KeyId,
    /// Random.
    pub salt: [u8; SALT_LEN],
    /// The encrypted key.
    pub key: [u8; WRAPPED_LEN],
}

/// The identity of a key file's key, which says nothing of the key; for a passphrase a random
/// number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyId(pub [u8; 8]);

/// What a repository's key is encrypted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrap {
    /// The key in a key file.
    KeyFile,
    /// A key that follows from a passphrase by Argon2id.
    Passphrase(PassphraseCost),
}

/// What an attempt of a passphrase costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes that can be computed at the same time.
    pub lanes: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    created: FileTime,
    /// 0: none; 1: zstd.
    compression: U16,
    level: U16,
    /// 0: none; 1: AES-256-GCM.
    cipher: U16,
    wrap: U16,
    id: [u8; 8],
    salt: [u8; SALT_LEN],
    memory_kib: U32,
    passes: U32,
    lanes: U32,
    key: [u8; WRAPPED_LEN],
    reserved: [u8; 108],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == SEALING_LEN);

const KEY_FILE: u16 = 1;
const PASSPHRASE: u16 = 2;

impl SealingHeader {
    /// The file's bytes.
    pub fn to_file(&self) -> Vec<u8> {
        let copy = self.to_bytes();
        let mut file = vec![0; SEALING_FILE_LEN];
        file[..SEALING_LEN].copy_from_slice(&copy);
        file[COPY_STRIDE..].copy_from_slice(&copy);
        file
    }

    /// Reads a file's bytes; also says if one of the copies is not sound, and where it is.
    ///
    /// # Errors
    /// Any [`FormatError`], of the first copy, if none is sound.
    pub fn read_file(bytes: &[u8]) -> Result<(Self, Option<(usize, FormatError)>), FormatError> {
        let copy = |at: usize| {
            let copy = bytes.get(at..).and_then(|rest| rest.first_chunk());
            copy.ok_or(FormatError::Short).and_then(Self::read)
        };
        match (copy(0), copy(COPY_STRIDE)) {
            (Ok(first), Ok(second)) if first == second => Ok((first, None)),
            (Ok(first), second) => {
                let why = second.err().unwrap_or(FormatError::Content("copy"));
                Ok((first, Some((COPY_STRIDE, why))))
            }
            (Err(why), Ok(second)) => Ok((second, Some((0, why)))),
            (Err(why), Err(_)) => Err(why),
        }
    }

    /// The bytes of a copy.
    pub fn to_bytes(&self) -> [u8; SEALING_LEN] {
        let (compression, level) = match self.compression {
            Compression::None => (0, 0),
            Compression::Zstd(level) => (1, level.into()),
        };
        let none = PassphraseCost { memory_kib: 0, passes: 0, lanes: 0 };
        let (wrap, cost) = match self.key.map(|key| key.wrap) {
            None => (0, none),
            Some(Wrap::KeyFile) => (KEY_FILE, none),
            Some(Wrap::Passphrase(cost)) => (PASSPHRASE, cost),
        };
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            created: self.created,
            compression: U16::new(compression),
            level: U16::new(level),
            cipher: U16::new(self.key.is_some().into()),
            wrap: U16::new(wrap),
            id: self.key.map_or([0; 8], |key| key.id.0),
            salt: self.key.map_or([0; SALT_LEN], |key| key.salt),
            memory_kib: U32::new(cost.memory_kib),
            passes: U32::new(cost.passes),
            lanes: U32::new(cost.lanes),
            key: self.key.map_or([0; WRAPPED_LEN], |key| key.key),
            reserved: [0; 108],
            crc: [0; 4],
        };
        let mut bytes: [u8; SEALING_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads a copy.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8; SEALING_LEN]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw: Raw = zerocopy::transmute!(*bytes);
        let level = u8::try_from(raw.level.get()).unwrap_or(u8::MAX);
        let compression = match (raw.compression.get(), level) {
            (0, 0) => Compression::None,
            (1, 1..=LEVEL_MAX) => Compression::Zstd(level),
            _ => return Err(FormatError::Content("compression")),
        };
        let [memory_kib, passes, lanes] =
            [raw.memory_kib, raw.passes, raw.lanes].map(|number| number.get());
        let cost = PassphraseCost { memory_kib, passes, lanes };
        let key = |wrap| Some(Wrapped { wrap, id: KeyId(raw.id), salt: raw.salt, key: raw.key });
        let key = match (raw.cipher.get(), raw.wrap.get()) {
            (0, 0) => None,
            (1, KEY_FILE) => key(Wrap::KeyFile),
            (1, PASSPHRASE) if cost.is_possible() => key(Wrap::Passphrase(cost)),
            _ => return Err(FormatError::Content("encryption")),
        };
        Ok(Self { created: raw.created, compression, key })
    }
}

impl Wrapped {
    /// What the wrapped key is bound to: all but the key itself.
    pub(crate) fn bound_to(&self) -> [u8; 8 + SALT_LEN] {
        let mut bound = [0; 8 + SALT_LEN];
        bound[..8].copy_from_slice(&self.id.0);
        bound[8..].copy_from_slice(&self.salt);
        bound
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wrap {
    /// What unwraps it, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyFile => "key file",
            Self::Passphrase(_) => "passphrase",
        }
    }
}

impl PassphraseCost {
    fn is_possible(self) -> bool {
        (1..=LANES_MAX).contains(&self.lanes)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (8 * self.lanes..=MEMORY_KIB_MAX).contains(&self.memory_kib)
    }
}

#[cfg(test)]
mod tests {
    use super::super::repository::RepositoryHeader;
    use super::*;

    fn header(cost: PassphraseCost) -> SealingHeader {
        SealingHeader {
            created: FileTime::new(0x0102),
            compression: Compression::Zstd(7),
            key: Some(Wrapped {
                wrap: Wrap::Passphrase(cost),
                id: KeyId([1; 8]),
                salt: [2; SALT_LEN],
                key: [3; WRAPPED_LEN],
            }),
        }
    }

    const COST: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 3, lanes: 2 };

    #[test]
    fn the_file_comes_back_and_its_bytes_are_pinned() {
        let bytes = header(COST).to_bytes();
        assert_eq!(bytes[..18], *b"SLREPOS\0\x02\0\0\0\0\0\0\0\x02\x01");
        assert_eq!(bytes[24..32], [1, 0, 7, 0, 1, 0, 2, 0]);
        assert_eq!(bytes[32..40], [1; 8]);
        assert_eq!(bytes[40..72], [2; 32]);
        assert_eq!(bytes[72..84], [64, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[84..144], [3; 60]);
        assert_eq!(SealingHeader::read(&bytes), Ok(header(COST)));
        let plain = SealingHeader { key: None, ..header(COST) };
        assert_eq!(SealingHeader::read(&plain.to_bytes()), Ok(plain));
    }

    #[test]
    fn a_server_that_knows_only_plain_repositories_refuses_it_in_words() {
        let refused = RepositoryHeader::read(&header(COST).to_file()).unwrap_err();
        assert_eq!(refused, FormatError::Version { found: 2, known: 1 });
        assert!(refused.to_string().contains("use a newer release"));
    }

    #[test]
    fn one_sound_copy_is_enough_and_each_flipped_bit_is_told() {
        let sound = header(COST);
        let file = sound.to_file();
        assert_eq!(SealingHeader::read_file(&file), Ok((sound.clone(), None)));
        for copy in [0, COPY_STRIDE] {
            for bit in 0..SEALING_LEN * 8 {
                let mut damaged = file.clone();
                damaged[copy + bit / 8] ^= 1 << (bit % 8);
                let (read, damage) = SealingHeader::read_file(&damaged).unwrap();
                assert_eq!((read, damage.map(|(at, _)| at)), (sound.clone(), Some(copy)));
            }
        }
        let mut damaged = file.clone();
        (damaged[99], damaged[COPY_STRIDE + 99]) = (0, 0);
        assert_eq!(SealingHeader::read_file(&damaged), Err(FormatError::Checksum));
        let short = SealingHeader::read_file(&file[..SEALING_LEN]).unwrap();
        assert_eq!(short, (sound, Some((COPY_STRIDE, FormatError::Short))));
    }

    #[test]
    fn a_header_that_demands_too_much_for_a_passphrase_is_refused() {
        for cost in [
            PassphraseCost { memory_kib: MEMORY_KIB_MAX + 1, ..COST },
            PassphraseCost { memory_kib: 15, ..COST },
            PassphraseCost { passes: 0, ..COST },
            PassphraseCost { passes: PASSES_MAX + 1, ..COST },
            PassphraseCost { lanes: 0, ..COST },
            PassphraseCost { lanes: LANES_MAX + 1, ..COST },
        ] {
            let read = SealingHeader::read(&header(cost).to_bytes());
            assert_eq!(read, Err(FormatError::Content("encryption")), "{cost:?}");
        }
    }
}

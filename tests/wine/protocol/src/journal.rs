//! The journal of the test volume: every write, in the order in which the volume's image took it.
//!
//! The rule: the image is what it was at the start plus the journal's data, entry after entry. An entry of a write that
//! failed holds what was nevertheless written (a part, or nothing).
//!
//! ```text
//! file   := header entry*
//! header := 64 bytes, see [`Header`]
//! entry  := 56 bytes, see [`Entry`], then `length` bytes of data
//! ```

use crate::{
    crc32c,
    record::{Reader, Writer},
};

/// The length of the file's header.
pub const HEADER_LENGTH: usize = 64;
/// The length of an entry's header.
pub const ENTRY_LENGTH: usize = 56;

const HEADER_MAGIC: [u8; 8] = *b"SNPLJRNL";
const ENTRY_MAGIC: [u8; 4] = *b"JENT";
const VERSION: u32 = 1;

/// What the journal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The volume's length in bytes.
    pub volume_length: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// The seed that the volume ran with.
    pub seed: u32,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number in order of application, from 0 on, without gaps.
    pub index: u64,
    /// The number in order of arrival at the volume, from 0 on.
    pub submission: u64,
    /// Where the data went, in bytes.
    pub offset: u64,
    /// How much was written.
    pub length: u32,
    /// What the request asked for. Larger than `length` only if the write failed.
    pub requested: u32,
    /// The `NTSTATUS` that the request was completed with.
    pub status: i32,
    /// CRC-32C of the data.
    pub checksum: u32,
}

/// What is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file ends within a header or within an entry's data.
    Truncated,
    /// A header does not begin with its magic.
    Magic,
    /// The file is of another version.
    Version(u32),
    /// Entries are not numbered 0, 1, 2, …
    Index {
        /// The number that was due.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// The data of the entry with this number does not match its checksum.
    Checksum(u64),
}

impl core::fmt::Display for Error {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => {
                write!(formatter, "the journal ends within an entry: flush it before reading it")
            }
            Self::Magic => {
                write!(formatter, "this is no journal of the test volume, or it was overwritten")
            }
            Self::Version(found) => {
                write!(formatter, "the journal is of version {found}, not {VERSION}")
            }
            Self::Index { expected, found } => {
                write!(
                    formatter,
                    "journal entry {expected} is missing: {found} stands in its place"
                )
            }
            Self::Checksum(index) => {
                write!(formatter, "the data of journal entry {index} does not match its checksum")
            }
        }
    }
}

impl core::error::Error for Error {}

impl Header {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        Writer::new()
            .put(HEADER_MAGIC)
            .put(VERSION.to_le_bytes())
            .put(self.sector_size.to_le_bytes())
            .put(self.volume_length.to_le_bytes())
            .put(self.seed.to_le_bytes())
            .finish()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, HEADER_LENGTH).ok_or(Error::Truncated)?;
        if reader.take() != HEADER_MAGIC {
            return Err(Error::Magic);
        }
        let version = reader.u32();
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let sector_size = reader.u32();
        Ok(Self { sector_size, volume_length: reader.u64(), seed: reader.u32() })
    }
}

impl Entry {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LENGTH] {
        Writer::new()
            .put(ENTRY_MAGIC)
            .put([0; 4])
            .put(self.index.to_le_bytes())
            .put(self.submission.to_le_bytes())
            .put(self.offset.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.requested.to_le_bytes())
            .put(self.status.to_le_bytes())
            .put(self.checksum.to_le_bytes())
            .finish()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, ENTRY_LENGTH).ok_or(Error::Truncated)?;
        if reader.take() != ENTRY_MAGIC {
            return Err(Error::Magic);
        }
        let _reserved: [u8; 4] = reader.take();
        Ok(Self {
            index: reader.u64(),
            submission: reader.u64(),
            offset: reader.u64(),
            length: reader.u32(),
            requested: reader.u32(),
            status: reader.u32().cast_signed(),
            checksum: reader.u32(),
        })
    }
}

/// Reads a journal that is in memory, entry by entry; stops after the first error.
pub struct Entries<'a> {
    rest: &'a [u8],
    next: u64,
    failed: bool,
}

/// Reads the header, and then the entries of a journal that is in memory.
pub fn read(bytes: &[u8]) -> Result<(Header, Entries<'_>), Error> {
    let header = Header::decode(bytes)?;
    Ok((header, Entries { rest: &bytes[HEADER_LENGTH..], next: 0, failed: false }))
}

impl<'a> Entries<'a> {
    fn take(&mut self) -> Result<(Entry, &'a [u8]), Error> {
        let entry = Entry::decode(self.rest)?;
        if entry.index != self.next {
            return Err(Error::Index { expected: self.next, found: entry.index });
        }
        let end = ENTRY_LENGTH + entry.length as usize;
        let data = self.rest.get(ENTRY_LENGTH..end).ok_or(Error::Truncated)?;
        if crc32c::checksum(data) != entry.checksum {
            return Err(Error::Checksum(entry.index));
        }
        self.rest = &self.rest[end..];
        self.next += 1;
        Ok((entry, data))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(Entry, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        self.failed = taken.is_err();
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::{ENTRY_LENGTH, Entry, Error, HEADER_LENGTH, Header, read};
    use crate::crc32c;

    fn journal(entries: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes =
            Header { volume_length: 1 << 20, sector_size: 512, seed: 7 }.encode().to_vec();
        for (index, data) in entries {
            let length = u32::try_from(data.len()).expect("short");
            let entry = Entry {
                index: *index,
                submission: index + 3,
                offset: 512 * index,
                length,
                requested: length,
                status: -1,
                checksum: crc32c::checksum(data),
            };
            bytes.extend(entry.encode());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = journal(&[(0, b"abc"), (1, b""), (2, b"defgh")]);
        let (header, entries) = read(&bytes).expect("a good header");
        assert_eq!((header.volume_length, header.sector_size, header.seed), (1 << 20, 512, 7));
        let data: Vec<_> = entries.map(|entry| entry.expect("a good entry").1.to_vec()).collect();
        assert_eq!(data, [b"abc".to_vec(), b"".to_vec(), b"defgh".to_vec()]);
    }

    fn first(bytes: &[u8]) -> Result<(Entry, &[u8]), Error> {
        read(bytes)?.1.next().expect("one entry")
    }

    #[test]
    fn damage_is_told_apart() {
        let good = journal(&[(0, b"abc")]);
        assert_eq!(first(&good[..good.len() - 1]), Err(Error::Truncated));
        assert_eq!(first(&good[..HEADER_LENGTH + ENTRY_LENGTH - 1]), Err(Error::Truncated));
        let mut flipped = good.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        assert_eq!(first(&flipped), Err(Error::Checksum(0)));
        let mut magic = good.clone();
        magic[0] ^= 1;
        assert_eq!(first(&magic), Err(Error::Magic));
        let mut version = good;
        version[8] = 9;
        assert_eq!(first(&version), Err(Error::Version(9)));
        assert_eq!(first(&journal(&[(1, b"abc")])), Err(Error::Index { expected: 0, found: 1 }));
    }

    #[test]
    fn the_layout_is_pinned() {
        let header =
            Header { volume_length: 0x0102_0304_0506_0708, sector_size: 512, seed: 0xA1B2_C3D4 }
                .encode();
        assert_eq!(
            header[..28],
            *b"SNPLJRNL\x01\0\0\0\0\x02\0\0\x08\x07\x06\x05\x04\x03\x02\x01\xD4\xC3\xB2\xA1"
        );
        let entry = Entry {
            index: 1,
            submission: 2,
            offset: 3,
            length: 4,
            requested: 5,
            status: 6,
            checksum: 7,
        };
        let bytes = entry.encode();
        assert_eq!(bytes[..4], *b"JENT");
        assert_eq!([8, 16, 24, 32, 36, 40, 44].map(|at| bytes[at]), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Entry::decode(&bytes), Ok(entry));
    }
}

//! The journal of the test volume: every write, in the order in which the volume's image took it.
//!
//! The rule: the image is the image at the start plus the journal's data, entry after entry.
//!
//! ```text
//! file   := Header entry*
//! entry  := Entry, then `length` bytes of data
//! ```

use crc::{CRC_32_ISCSI, Crc, Table};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: [u8; 8],
    /// The volume's length in bytes.
    pub volume_length: u64,
    /// The seed that the volume ran with.
    pub seed: u64,
}

/// The first bytes of a journal.
pub const MAGIC: [u8; 8] = *b"SNPLJRN2";

/// The header of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Entry {
    /// The number in order of application, from 0 on, without gaps.
    pub index: u64,
    /// Where the data went, in bytes.
    pub offset: u64,
    /// How many bytes of data follow.
    pub length: u32,
    /// CRC-32C of the data.
    pub checksum: u32,
}

/// The checksum of an entry's data.
#[must_use]
pub fn checksum(data: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
    CRC.checksum(data)
}

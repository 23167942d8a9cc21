//! `floor.snapless`: how much space `serve` leaves free, so that other commands can tell when it
//! has stopped taking. Derived from the server's options: it is written at each start.

use snapless_wire::id::FileTime;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, Head, check, seal};

/// The file's name.
pub const FLOOR_FILE: &str = "floor.snapless";
/// Bytes of the file.
pub const FLOOR_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"SLFLOOR\0";
const VERSION: u32 = 1;

/// The floor of a server: the lower of both bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FloorHeader {
    /// When the server started.
    pub created: FileTime,
    /// Bytes to leave free.
    pub bytes: u64,
    /// Hundredths of the file system to leave free, at most 100.
    pub percent: u8,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    created: FileTime,
    bytes: [u8; 8],
    percent: u8,
    reserved: [u8; 27],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == FLOOR_LEN);

impl FloorHeader {
    /// The file's bytes.
    pub fn to_bytes(self) -> [u8; FLOOR_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            created: self.created,
            bytes: self.bytes.to_le_bytes(),
            percent: self.percent,
            reserved: [0; 27],
            crc: [0; 4],
        };
        let mut bytes: [u8; FLOOR_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, _) = bytes.split_at_checked(FLOOR_LEN).ok_or(FormatError::Short)?;
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        if raw.percent > 100 {
            return Err(FormatError::Content("percentage"));
        }
        let bytes = u64::from_le_bytes(raw.bytes);
        Ok(Self { created: raw.created, bytes, percent: raw.percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_and_its_bytes_are_pinned() {
        let header = FloorHeader { created: FileTime::new(0x0102), bytes: 0x0304, percent: 5 };
        let bytes = header.to_bytes();
        assert_eq!(
            bytes[..34],
            *b"SLFLOOR\0\x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x05\0"
        );
        assert_eq!(FloorHeader::read(&bytes), Ok(header));
        assert_eq!(FloorHeader::read(&bytes[..63]), Err(FormatError::Short));
        let wrong = FloorHeader { percent: 101, ..header }.to_bytes();
        assert_eq!(FloorHeader::read(&wrong), Err(FormatError::Content("percentage")));
    }
}

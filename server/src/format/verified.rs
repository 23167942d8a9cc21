//! `verified.snapless`: what came of the last verification of a session's copy, and how far the
//! checks of its stream were compared.
//!
//! It is there once a check has come. The server replaces it after each stretch that it has
//! compared. All of it follows from the stream: if it is lost, `verify` tells the same.

use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::verified::Verified;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::session::SessionHeader;
use super::{FormatError, Head, check, seal};

/// The file's name.
pub const VERIFIED_FILE: &str = "verified.snapless";
/// The most bytes of a file.
pub const VERIFIED_LEN_MAX: usize = size_of::<Begin>() + Verified::LEN_MAX + CRC_LEN;

const MAGIC: [u8; 8] = *b"SLVERIF\0";
const VERSION: u32 = 1;
const CRC_LEN: usize = 4;

/// What stands before the outcome.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Begin {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
}

const _: () = assert!(size_of::<Begin>() == 48);

/// The file's bytes.
pub fn to_bytes(verified: &Verified, of: &SessionHeader) -> Vec<u8> {
    let (volume, session) = (of.volume, of.session);
    let begin = Begin { head: Head::new(MAGIC, VERSION), volume, session };
    let mut bytes = [begin.as_bytes(), &verified.to_bytes(), &[0; CRC_LEN]].concat();
    seal(&mut bytes);
    bytes
}

/// Reads the file's bytes.
///
/// # Errors
/// Any [`FormatError`]; [`FormatError::Content`] for the file of another session.
pub fn read(bytes: &[u8], of: &SessionHeader) -> Result<Verified, FormatError> {
    check(bytes, MAGIC, VERSION)?;
    let (begin, rest) = Begin::read_from_prefix(bytes).map_err(|_| FormatError::Short)?;
    if (begin.volume, begin.session) != (of.volume, of.session) {
        return Err(FormatError::Content("session"));
    }
    let (outcome, _) = rest.split_last_chunk::<CRC_LEN>().ok_or(FormatError::Short)?;
    Verified::read(outcome).map_err(|_| FormatError::Content("outcome"))
}

#[cfg(test)]
mod tests {
    use snapless_types::{Extent, Geometry, Seq};
    use snapless_wire::id::FileTime;
    use snapless_wire::verified::Differing;

    use super::*;

    fn session(number: u8) -> SessionHeader {
        SessionHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([number; 16]),
            geometry: Geometry::new(1 << 20, 512, 16 << 10).unwrap(),
            created: FileTime::new(1),
        }
    }

    fn verified() -> Verified {
        let differing = Differing { extent: Extent::new(512, 1024).unwrap(), seq: Seq::new(7) };
        Verified {
            first: Seq::new(5),
            through: Seq::new(9),
            extents: vec![differing],
            ..Verified::default()
        }
    }

    #[test]
    fn the_file_comes_back_and_its_begin_is_pinned() {
        let bytes = to_bytes(&verified(), &session(2));
        assert_eq!(read(&bytes, &session(2)), Ok(verified()));
        assert_eq!((&bytes[..8], bytes[8], bytes.len()), (&b"SLVERIF\0"[..], 1, 48 + 80 + 24 + 4));
        assert_eq!((&bytes[16..48], bytes[48]), ([[1; 16], [2; 16]].as_flattened(), 5));
    }

    #[test]
    fn a_flipped_bit_another_length_and_another_session_are_noticed() {
        let bytes = to_bytes(&verified(), &session(2));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged, &session(2)).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], &session(2)).is_err(), "{len} bytes");
        }
        assert_eq!(read(&bytes, &session(3)), Err(FormatError::Content("session")));
    }
}

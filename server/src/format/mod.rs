//! The bytes of a repository, every structure in one place.
//!
//! ```text
//! DIR/
//!   repository.snapless              marks the directory as a repository         repository.rs
//!                                    if it is compressed or encrypted, how       sealing.rs
//!   sessions.snapless                the sessions that the repository must have  sessions.rs
//!   forgotten/<volume>.<session>     sessions that it need not have any more     sessions.rs
//!   bookmarks/<volume>.<name>.slmark a named point, written once                 bookmark.rs
//!   pins/<volume>.<session>.….slpin  a command that reads a session               pin.rs
//!   export.snapless                  marks an export, and says if it is whole    export.rs
//!   floor.snapless                   how much space the server leaves free        floor.rs
//!   lock                             locked by the server that writes
//!   volumes/<volume>/<session>/
//!     session.snapless               identities and geometry, written once       session.rs
//!     acknowledged.snapless          the acknowledged end of the stream          acknowledged.rs
//!     segment-00000001.slseg …       the stream                                  segment.rs
//!                                    its entries, compressed or encrypted        sealed.rs
//!     segment-00000001.slidx …       its record headers; may be missing          index.rs
//!     map-0000000000000012.slmap …   where the volume's bytes are; may be missing  map.rs
//!     history-00000001.slhist        what a fold has kept of the time before       history.rs
//!     compact-00000001.slseg …       content that a fold has gathered              segment.rs
//!     pages-00000001.slmap           the pages of the maps of a fold                map.rs
//!     state.snapless                 the rules' state within it; may be missing  state.rs
//!     watermark.snapless             up to when nothing newer was captured       watermark.rs
//!     verified.snapless              what came of the last verification          verified.rs
//! ```
//!
//! Among objects there is no `lock` and no `acknowledged.snapless`: the claim behind the header of
//! each segment stands for both (claim.rs). In place of `sessions.snapless` there is a file of one
//! entry for each session, `sessions/<volume>.<session>`, and segments have no index.
//!
//! Outside of it, an unfinished image has two slots that say what it is (unfinished.rs).
//!
//! Every fixed structure is little-endian, begins with an 8-byte magic and a version, and ends with
//! the CRC-32C of all bytes before it. No byte read from a file is used before `check` and the
//! structure's own constructor accepted it.

pub mod acknowledged;
pub mod bookmark;
pub mod claim;
pub(crate) mod codec;
mod cut;
pub mod export;
pub mod fence;
pub mod floor;
mod geometry;
pub mod history;
pub mod index;
pub mod map;
pub mod pin;
pub mod point_key;
pub mod repository;
pub mod sealed;
pub mod sealing;
pub mod segment;
pub mod session;
pub mod sessions;
pub mod slots;
pub mod state;
pub mod unfinished;
pub mod verified;
pub mod watermark;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of every fixed structure.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: U32,
    /// Zero.
    reserved: U32,
}

impl Head {
    fn new(magic: [u8; 8], version: u32) -> Self {
        Self { magic, version: U32::new(version), reserved: U32::ZERO }
    }
}

/// Why bytes are not the expected structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The file is shorter than the structure.
    #[error("it is too short")]
    Short,
    /// Another kind of file, or an overwritten one.
    #[error("it does not begin like a Snapless file of this kind")]
    Magic,
    /// Written by another release.
    #[error("it has version {found}, this release reads version {known}: use a newer release")]
    Version {
        /// The version in the file.
        found: u32,
        /// The version that this release reads.
        known: u32,
    },
    /// Damaged.
    #[error("its checksum does not match: it was damaged")]
    Checksum,
    /// It is whole, but encrypted with another key or for another place.
    #[error("it is not what was encrypted here: it was changed, or comes from elsewhere")]
    Sealed,
    /// The checksum is right, a value is impossible.
    #[error("its {0} is impossible")]
    Content(&'static str),
}

/// The number of eight digits or more in a file name between these two, from 1; `None` for any
/// other file.
fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let number: u64 = digits.parse().ok()?;
    (format!("{number:08}") == digits && number > 0).then_some(number)
}

/// Writes the checksum into the last four bytes.
fn seal(bytes: &mut [u8]) {
    let (body, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
}

/// Checks the head and the checksum of a structure that fills `bytes`.
fn check(bytes: &[u8], magic: [u8; 8], version: u32) -> Result<(), FormatError> {
    let (head, _) = Head::read_from_prefix(bytes).map_err(|_| FormatError::Short)?;
    if head.magic != magic {
        return Err(FormatError::Magic);
    }
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(FormatError::Short)?;
    // As if it had the known version: whether only the version is damaged.
    let known = Head { version: U32::new(version), ..head };
    let sum = crc32c::crc32c(known.as_bytes());
    let sum = crc32c::crc32c_append(sum, body.get(size_of::<Head>()..).unwrap_or_default());
    let is_sound = sum == u32::from_le_bytes(*crc);
    let found = head.version.get();
    match (found == version, is_sound) {
        (true, true) => Ok(()),
        (false, false) => Err(FormatError::Version { found, known: version }),
        _ => Err(FormatError::Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_structure_passes_and_every_flipped_bit_is_found() {
        let mut bytes = [0_u8; 64];
        bytes[..8].copy_from_slice(b"SLTEST\0\0");
        bytes[8] = 1;
        seal(&mut bytes);
        assert_eq!(check(&bytes, *b"SLTEST\0\0", 1), Ok(()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = check(&damaged, *b"SLTEST\0\0", 1);
            let want = if bit < 64 { FormatError::Magic } else { FormatError::Checksum };
            assert_eq!(found, Err(want), "bit {bit}");
        }
        assert_eq!(
            check(&bytes, *b"SLTEST\0\0", 2),
            Err(FormatError::Version { found: 1, known: 2 })
        );
        assert_eq!(check(&bytes[..8], *b"SLTEST\0\0", 1), Err(FormatError::Short));
    }
}

//! `repository.snapless`: marks a directory as a repository of one version.

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, Head, check, seal};

/// The file's name.
pub const REPOSITORY_FILE: &str = "repository.snapless";
/// The lock file's name.
pub const LOCK_FILE: &str = "lock";
/// The directory of all volumes.
pub const VOLUMES_DIR: &str = "volumes";
/// Bytes of the file.
pub const REPOSITORY_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"SLREPOS\0";
const VERSION: u32 = 1;

/// The directory of a volume, from the repository's root.
pub fn volume_dir(volume: VolumeGuid) -> PathBuf {
    Path::new(VOLUMES_DIR).join(volume.to_string())
}

/// The directory of a session, from the repository's root.
pub fn session_dir(volume: VolumeGuid, session: SessionId) -> PathBuf {
    volume_dir(volume).join(session.to_string())
}

/// The head of a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RepositoryHeader {
    /// When it was made.
    pub created: FileTime,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    created: FileTime,
    reserved: [u8; 36],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == REPOSITORY_LEN);

impl RepositoryHeader {
    /// The file's bytes.
    pub fn to_bytes(self) -> [u8; REPOSITORY_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            created: self.created,
            reserved: [0; 36],
            crc: [0; 4],
        };
        let mut bytes: [u8; REPOSITORY_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, _) = bytes.split_at_checked(REPOSITORY_LEN).ok_or(FormatError::Short)?;
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        Ok(Self { created: raw.created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_and_its_bytes_are_pinned() {
        let header = RepositoryHeader { created: FileTime::new(0x0102) };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..18], *b"SLREPOS\0\x01\0\0\0\0\0\0\0\x02\x01");
        assert_eq!(RepositoryHeader::read(&bytes), Ok(header));
        assert_eq!(RepositoryHeader::read(&bytes[..63]), Err(FormatError::Short));
    }
}

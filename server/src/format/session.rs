//! `session.snapless`: the volume that a session protects, and the volume's shape.
//!
//! Written once, as the last file of a new session: a session directory without it was never
//! finished and holds no record.

use snapless_types::Geometry;
use snapless_wire::frame::Hello;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::geometry::{GeometryLe, within_limit};
use super::index::IndexIdentity;
use super::segment::{SegmentHeader, SegmentNumber};
use super::{FormatError, Head, check, seal};

/// The file's name.
pub const SESSION_FILE: &str = "session.snapless";
/// Bytes of the file.
pub const SESSION_LEN: usize = 128;

const MAGIC: [u8; 8] = *b"SLSESSN\0";
const VERSION: u32 = 1;

/// The head of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionHeader {
    /// The protected volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The volume's shape at t0. Its length may be another one since.
    pub geometry: Geometry,
    /// When the server first opened the session, by the server's clock.
    pub created: FileTime,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    geometry: GeometryLe,
    created: FileTime,
    reserved: [u8; 52],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == SESSION_LEN);

impl SessionHeader {
    /// The volume and the session.
    pub(crate) fn ids(&self) -> (VolumeGuid, SessionId) {
        (self.volume, self.session)
    }

    /// True if a service that says this may continue the session: the volume's length may have
    /// changed, as the stream then says, but nothing else.
    pub(crate) fn is_continued_by(&self, said: &Self) -> bool {
        let shape = |it: &Self| (it.geometry.sector_size(), it.geometry.block_size());
        shape(self) == shape(said)
    }

    /// The header of a session that a service announces now; `None` for a volume past the server's
    /// limit.
    pub fn from_hello(hello: &Hello, created: FileTime) -> Option<Self> {
        let geometry = within_limit(hello.geometry().ok()?)?;
        Some(Self { volume: hello.volume, session: hello.session, geometry, created })
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> [u8; SESSION_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            volume: self.volume,
            session: self.session,
            geometry: GeometryLe::from(&self.geometry),
            created: self.created,
            reserved: [0; 52],
            crc: [0; 4],
        };
        let mut bytes: [u8; SESSION_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// The identity of the index of one of its segments.
    pub fn index_of(&self, number: SegmentNumber) -> IndexIdentity {
        IndexIdentity::new(SegmentHeader { volume: self.volume, session: self.session, number })
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, _) = bytes.split_at_checked(SESSION_LEN).ok_or(FormatError::Short)?;
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        if raw.volume.is_nil() || raw.session.is_nil() {
            return Err(FormatError::Content("identity"));
        }
        let geometry = raw.geometry.get().ok_or(FormatError::Content("geometry"))?;
        Ok(Self { volume: raw.volume, session: raw.session, geometry, created: raw.created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitmap::BLOCKS_MAX;

    fn header() -> SessionHeader {
        SessionHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([2; 16]),
            geometry: Geometry::new(1 << 20, 512, 65_536).unwrap(),
            created: FileTime::new(5),
        }
    }

    #[test]
    fn a_session_without_identity_or_geometry_is_refused() {
        let refused = |range: std::ops::Range<usize>| {
            let mut bytes = header().to_bytes();
            bytes[range].fill(0);
            seal(&mut bytes);
            SessionHeader::read(&bytes)
        };
        assert_eq!(refused(16..32), Err(FormatError::Content("identity")));
        assert_eq!(refused(32..48), Err(FormatError::Content("identity")));
        assert_eq!(refused(48..56), Err(FormatError::Content("geometry")));
    }

    #[test]
    fn a_volume_past_the_limit_is_refused() {
        let opened = |length| {
            let geometry = Geometry::new(length, 512, 16 << 10).unwrap();
            let hello = Hello::new(header().volume, header().session, &geometry);
            SessionHeader::from_hello(&hello, FileTime::new(5))
        };
        assert!(opened(BLOCKS_MAX << 14).is_some());
        assert!(opened((BLOCKS_MAX << 14) + 512).is_none());
    }
}

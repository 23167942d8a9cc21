//! `export.snapless`: marks a repository as an export of another one, and says whether it is whole.
//!
//! It is made before the first session is copied and replaced when the last one is durable, with
//! the end of each: an export that was cut short, or lost something on its way, is noticed before
//! anything is imported.

use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::IntoBytes;

use super::codec::{Input, Stored};
use super::{FormatError, Head, check, seal};

/// The file's name.
pub const EXPORT_FILE: &str = "export.snapless";
/// The longest file that is written or read, in bytes.
pub const EXPORT_LEN_MAX: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"SLEXPRT\0";
const VERSION: u32 = 1;

/// An export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// The repository that it is of.
    pub origin: Origin,
    /// When it was begun, or finished, by the clock of the machine that made it.
    pub time: FileTime,
    /// Each session when it was finished; `None` until then.
    pub sessions: Option<Vec<Exported>>,
}

/// The repository that an export is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// When it was made, which tells it from others.
    pub created: FileTime,
    /// Where it was, for people.
    pub place: String,
}

/// A session of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The last record.
    pub seq: Seq,
}

impl Stored for Exported {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.volume.0);
        out.extend(self.session.0);
        self.seq.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let volume = VolumeGuid(input.bytes(16)?.try_into().ok()?);
        let session = SessionId(input.bytes(16)?.try_into().ok()?);
        Some(Self { volume, session, seq: Stored::take(input)? })
    }
}

impl Export {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Head::new(MAGIC, VERSION).as_bytes().to_vec();
        self.origin.created.put(&mut bytes);
        self.time.put(&mut bytes);
        self.sessions.put(&mut bytes);
        (self.origin.place.len() as u64).put(&mut bytes);
        bytes.extend(self.origin.place.as_bytes());
        bytes.extend([0; 4]);
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Any [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let body = bytes.get(size_of::<Head>()..).and_then(|body| body.split_last_chunk::<4>());
        let (body, _) = body.ok_or(FormatError::Short)?;
        let mut input = Input::new(body);
        let export = Self::take(&mut input).filter(|_| input.is_empty());
        export.ok_or(FormatError::Content("content"))
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let (created, time) = (Stored::take(input)?, Stored::take(input)?);
        let sessions = Stored::take(input)?;
        let len = usize::try_from(u64::take(input)?).ok()?;
        let place = String::from_utf8(input.bytes(len)?.to_vec()).ok()?;
        Some(Self { origin: Origin { created, place }, time, sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(sessions: Option<Vec<Exported>>) -> Export {
        let origin = Origin { created: FileTime::new(0x0102), place: "/srv/ä".to_owned() };
        Export { origin, time: FileTime::new(0x0304), sessions }
    }

    fn exported(byte: u8) -> Exported {
        Exported {
            volume: VolumeGuid([byte; 16]),
            session: SessionId([byte + 1; 16]),
            seq: Seq::new(7),
        }
    }

    #[test]
    fn the_file_comes_back_and_its_bytes_are_pinned() {
        for sessions in [None, Some(vec![]), Some(vec![exported(1), exported(3)])] {
            let export = export(sessions);
            assert_eq!(Export::read(&export.to_bytes()), Ok(export));
        }
        let bytes = export(Some(vec![exported(1)])).to_bytes();
        assert_eq!(bytes[..16], *b"SLEXPRT\0\x01\0\0\0\0\0\0\0");
        assert_eq!(
            bytes[16..44],
            [&[2, 1][..], &[0; 6], &[4, 3], &[0; 6], &[1, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0]]
                .concat()
        );
        assert_eq!(bytes[44..84], [&[1; 16][..], &[2; 16], &[7, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(bytes[84..99], *b"\x07\0\0\0\0\0\0\0/srv/\xc3\xa4");
    }

    #[test]
    fn what_is_cut_short_or_flipped_is_refused() {
        let bytes = export(Some(vec![exported(1)])).to_bytes();
        for len in 0..bytes.len() {
            assert!(Export::read(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Export::read(&damaged).is_err(), "bit {bit}");
        }
    }
}

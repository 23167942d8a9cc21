//! `sessions.snapless`: the sessions that the repository must have.
//!
//! An entry of [`ENTRY_LEN`] bytes is appended, durably, when a session is new and before anything
//! of it is acknowledged. A session that was removed, or whose header is gone, is thereby missed.
//! What a torn append leaves at the end is no entry; the next append takes its place.
//!
//! To objects nothing is appended: there each entry is one of its own, in [`SESSIONS_DIR`].

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, Head, check, seal};

/// The directory of the sessions that the repository need not have any more: an empty file each.
/// They have files of their own, so that they can be made beside a server that appends to the list.
pub const FORGOTTEN_DIR: &str = "forgotten";
/// Among objects, the directory of the sessions that the repository must have: one entry each.
pub const SESSIONS_DIR: &str = "sessions";
/// The directory of the sessions that are being removed, whatever is left of them: an empty file
/// each, named as in [`FORGOTTEN_DIR`], until nothing is left.
pub const REMOVED_DIR: &str = "removed";
/// The file's name.
pub const SESSIONS_FILE: &str = "sessions.snapless";
/// Bytes of an entry.
pub const ENTRY_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"SLKNOWN\0";
const VERSION: u32 = 1;

/// A session that the repository must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownSession {
    /// The protected volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// When the server first opened it, by the server's clock.
    pub created: FileTime,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    created: FileTime,
    reserved: [u8; 4],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == ENTRY_LEN);

/// What is in the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownSessions {
    /// The sound entries, oldest first.
    pub sessions: Vec<KnownSession>,
    /// Where the next entry belongs, in bytes from the file's start.
    pub end: u64,
    /// The first entry that is damaged: where it begins, and how.
    pub damage: Option<(u64, FormatError)>,
    /// The last entry, if it looks as an append that a crash has torn; the next one takes its
    /// place.
    pub torn: Option<(u64, FormatError)>,
}

impl KnownSession {
    /// The entry's bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            volume: self.volume,
            session: self.session,
            created: self.created,
            reserved: [0; 4],
            crc: [0; 4],
        };
        let mut bytes: [u8; ENTRY_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    fn read(bytes: &[u8; ENTRY_LEN]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw: Raw = zerocopy::transmute!(*bytes);
        Ok(Self { volume: raw.volume, session: raw.session, created: raw.created })
    }
}

/// The file of a session that need not be there any more, from the repository's root.
pub fn forgotten_file(volume: VolumeGuid, session: SessionId) -> PathBuf {
    Path::new(FORGOTTEN_DIR).join(format!("{volume}.{session}"))
}

/// The object of a session that the repository must have, from the repository's root.
pub fn known_file(volume: VolumeGuid, session: SessionId) -> PathBuf {
    Path::new(SESSIONS_DIR).join(format!("{volume}.{session}"))
}

/// The file of a session that is being removed, from the repository's root.
pub fn removed_file(volume: VolumeGuid, session: SessionId) -> PathBuf {
    Path::new(REMOVED_DIR).join(format!("{volume}.{session}"))
}

/// The session of such a file's name.
pub fn session_of_name(name: &str) -> Option<(VolumeGuid, SessionId)> {
    let (volume, session) = name.split_once('.')?;
    VolumeGuid::parse(volume).zip(SessionId::parse(session))
}

impl KnownSessions {
    /// Reads the file's bytes. An entry that is damaged hides no other.
    pub fn read(bytes: &[u8]) -> Self {
        let (entries, _) = bytes.as_chunks::<ENTRY_LEN>();
        let mut found = Self::default();
        for (entry, start) in entries.iter().zip((0..).step_by(ENTRY_LEN)) {
            let end = start + ENTRY_LEN as u64;
            match KnownSession::read(entry) {
                Ok(session) => found.sessions.push(session),
                Err(why) if is_torn(entry) && end >= bytes.len() as u64 => {
                    found.torn = Some((start, why));
                    break;
                }
                Err(why) => _ = found.damage.get_or_insert((start, why)),
            }
            found.end = end;
        }
        found
    }

    /// True if this session is among them.
    pub fn has(&self, volume: VolumeGuid, session: SessionId) -> bool {
        self.sessions.iter().any(|it| (it.volume, it.session) == (volume, session))
    }
}

/// True for what a crash may leave of an append: its length may be durable and a part of its bytes
/// not, at the begin or at the end. An entry begins with another byte than zero.
fn is_torn(entry: &[u8; ENTRY_LEN]) -> bool {
    entry[0] == 0 || entry[ENTRY_LEN - 1] == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(number: u8) -> KnownSession {
        KnownSession {
            volume: VolumeGuid([1; 16]),
            session: SessionId([number; 16]),
            created: FileTime::new(5),
        }
    }

    #[test]
    fn entries_come_back_and_a_damaged_one_hides_no_other() {
        let mut bytes = [1, 2, 3].map(|number| known(number).to_bytes()).concat();
        let all = KnownSessions::read(&bytes);
        assert_eq!((all.sessions.len(), all.end, all.damage), (3, 192, None));
        assert!(all.has(VolumeGuid([1; 16]), SessionId([2; 16])));
        bytes[70] ^= 1;
        let rest = KnownSessions::read(&bytes);
        assert_eq!(rest.sessions, [known(1), known(3)]);
        assert_eq!(rest.damage.map(|damage| damage.0), Some(64));
    }

    #[test]
    fn a_torn_append_is_no_entry_and_its_place_is_taken() {
        let whole = [known(1).to_bytes(), known(2).to_bytes()].concat();
        for len in ENTRY_LEN..whole.len() {
            let mut grown = whole[..len].to_vec();
            let cut = KnownSessions::read(&grown);
            assert_eq!((cut.sessions.len(), cut.end, cut.damage), (1, 64, None), "{len}");
            grown.resize(2 * ENTRY_LEN, 0);
            let mut end_only = whole.clone();
            end_only[ENTRY_LEN..=len].fill(0);
            for torn in [grown, end_only].iter().filter(|torn| **torn != whole) {
                let found = KnownSessions::read(torn);
                assert_eq!((found.sessions.len(), found.end, found.damage), (1, 64, None), "{len}");
                assert_eq!(found.torn.map(|torn| torn.0), Some(64), "{len}");
            }
        }
    }
}

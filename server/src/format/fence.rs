//! `history-NNNNNNNN.slhist` of a fence: the number is used, and is no history.
//!
//! Among objects, whoever folds a session or removes garbage begins by creating the next number of
//! the histories. A fold that began before it would publish that very number, and cannot any more:
//! what it has written is garbage. The fence says who made it, so that another one can tell whether
//! he still works: he holds [`FoldFence::hold_name`].

use snapless_wire::id::{SessionId, VolumeGuid};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::claim::WriterId;
use super::history::HistoryNumber;
use super::session::SessionHeader;
use super::{FormatError, Head, check, seal};

/// Bytes of a fence.
pub const FENCE_LEN: usize = 96;
/// What the names of all leases of fences begin with.
pub const HOLDS_BEGINNING: &str = "fold-";

const MAGIC: [u8; 8] = *b"SLFENCE\0";
const VERSION: u32 = 1;
const HOLD_SUFFIX: &str = ".slhold";

/// Who folds a session, or removes what a fold has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoldFence {
    /// The number that is used.
    pub number: HistoryNumber,
    /// Who made it.
    pub owner: WriterId,
    /// The number of its process.
    pub process: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    volume: VolumeGuid,
    session: SessionId,
    number: U64,
    owner: WriterId,
    process: U32,
    reserved: [u8; 16],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == FENCE_LEN);

impl FoldFence {
    /// The fence's bytes.
    pub fn to_bytes(self, session: &SessionHeader) -> [u8; FENCE_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            volume: session.volume,
            session: session.session,
            number: U64::new(self.number.0),
            owner: self.owner,
            process: U32::new(self.process),
            reserved: [0; 16],
            crc: [0; 4],
        };
        let mut bytes: [u8; FENCE_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// True for the bytes of a fence, damaged or not.
    pub fn is_fence(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads the fence of this number.
    ///
    /// # Errors
    /// Any [`FormatError`]; one for a fence of another session or number.
    pub fn read(
        bytes: &[u8],
        number: HistoryNumber,
        session: &SessionHeader,
    ) -> Result<Self, FormatError> {
        let bytes: &[u8; FENCE_LEN] = bytes.try_into().map_err(|_| FormatError::Short)?;
        check(bytes, MAGIC, VERSION)?;
        let raw: Raw = zerocopy::transmute!(*bytes);
        let is_ours = (raw.volume, raw.session) == (session.volume, session.session);
        if !is_ours || raw.number.get() != number.0 {
            return Err(FormatError::Content("identity"));
        }
        Ok(Self { number, owner: raw.owner, process: raw.process.get() })
    }

    /// The name in the session's folder that its owner holds as long as he works.
    pub fn hold_name(&self) -> String {
        format!("{HOLDS_BEGINNING}{:08}-{}{HOLD_SUFFIX}", self.number.0, self.owner)
    }

    /// The number of the fence whose owner holds this name; `None` for any other name.
    pub fn of_hold(name: &str) -> Option<HistoryNumber> {
        let (number, id) =
            name.strip_prefix(HOLDS_BEGINNING)?.strip_suffix(HOLD_SUFFIX)?.split_once('-')?;
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed: u64 = number.parse().ok()?;
        (is_id && format!("{parsed:08}") == number).then_some(HistoryNumber(parsed))
    }
}

#[cfg(test)]
mod tests {
    use snapless_types::Geometry;
    use snapless_wire::id::FileTime;

    use super::*;

    #[test]
    fn a_fence_comes_back_and_its_bytes_are_pinned() {
        let session = SessionHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([2; 16]),
            geometry: Geometry::new(1 << 20, 512, 65_536).unwrap(),
            created: FileTime::new(5),
        };
        let number = HistoryNumber(7);
        let fence = FoldFence { number, owner: WriterId([9; 16]), process: 11 };
        let bytes = fence.to_bytes(&session);
        assert!(FoldFence::is_fence(&bytes));
        assert_eq!(FoldFence::read(&bytes, number, &session), Ok(fence));
        assert_eq!(bytes[..9], *b"SLFENCE\0\x01");
        assert_eq!((&bytes[16..32], &bytes[32..48]), (&[1; 16][..], &[2; 16][..]));
        assert_eq!((bytes[48], &bytes[56..72], bytes[72]), (7, &[9; 16][..], 11));
        assert!(FoldFence::read(&bytes, number.next(), &session).is_err());
        let name = fence.hold_name();
        assert_eq!(name, format!("fold-00000007-{}.slhold", "09".repeat(16)));
        assert_eq!(FoldFence::of_hold(&name), Some(number));
        assert_eq!(FoldFence::of_hold(&format!("{name}.00000001")), None);
        assert_eq!(FoldFence::of_hold("fold.lock"), None);
    }
}

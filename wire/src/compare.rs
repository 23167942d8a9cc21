//! Comparing by hash: the service asks what the server has of some extents, the server answers with
//! hashes.
//!
//! ```text
//! service                                server
//!   Compare ────────────────────────────▶  what does the stream give these extents?
//!   ◀───────────────────────────── Hashes  as of this record: a hash for each, or none
//! ```
//!
//! Both frames stand between the others and change nothing: a server may leave any extent out, and
//! a service may ignore any answer.

use snapless_types::{Extent, Seq};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::FrameError;
use crate::id::SeqLe;
use crate::record::{RECORD_GRANULE, RECORD_PAYLOAD_MAX};

/// The most extents of a request.
pub const COMPARE_EXTENTS_MAX: usize = 1024;
/// The most bytes that the extents of a request have together.
pub const COMPARE_BYTES_MAX: u64 = RECORD_PAYLOAD_MAX as u64;

/// BLAKE3-256 of an extent's content.
pub type ContentHash = [u8; 32];

/// What does the stream give these extents, after a record or a later one?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    id: u64,
    since: Seq,
    extents: Vec<Extent>,
}

/// The answer to a [`Compare`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashes {
    id: u64,
    seq: Seq,
    hashes: Vec<Option<ContentHash>>,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    id: U64,
    seq: SeqLe,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawExtent {
    offset: U64,
    len: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHash {
    /// 1 before a hash, 0 before zeros.
    is_known: u8,
    hash: ContentHash,
}

const _: () = {
    assert!(size_of::<Head>() == 16);
    assert!(size_of::<RawExtent>() == 16);
    assert!(size_of::<RawHash>() == 33);
};

impl Compare {
    /// Asks for these extents of the stream's content after record `since` or a later one. The
    /// answer has the same `id`.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for none or too many extents, for one that no record can have, or
    /// for too many bytes.
    pub fn new(id: u64, since: Seq, extents: Vec<Extent>) -> Result<Self, FrameError> {
        let mut left = COMPARE_BYTES_MAX;
        let mut fits = |extent: &Extent| {
            let is_aligned = extent.offset().is_multiple_of(RECORD_GRANULE)
                && extent.len().is_multiple_of(RECORD_GRANULE);
            left.checked_sub(extent.len()).is_some_and(|rest| {
                left = rest;
                is_aligned
            })
        };
        let is_valid =
            (1..=COMPARE_EXTENTS_MAX).contains(&extents.len()) && extents.iter().all(&mut fits);
        if is_valid { Ok(Self { id, since, extents }) } else { Err(FrameError::Payload("Compare")) }
    }

    /// Reads and checks a payload.
    ///
    /// # Errors
    /// As for [`Self::new`]; also for a wrong size.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Compare");
        let (head, rest) = Head::read_from_prefix(payload).map_err(|_| bad)?;
        let raw = <[RawExtent]>::ref_from_bytes(rest).map_err(|_| bad)?;
        if raw.len() > COMPARE_EXTENTS_MAX {
            return Err(bad);
        }
        let extents = raw.iter().map(|raw| Extent::new(raw.offset.get(), raw.len.get()));
        let extents = extents.collect::<Option<Vec<_>>>().ok_or(bad)?;
        Self::new(head.id.get(), head.seq.get(), extents)
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head { id: U64::new(self.id), seq: self.since.into() };
        let raw = self.extents.iter().map(|extent| RawExtent {
            offset: U64::new(extent.offset()),
            len: U64::new(extent.len()),
        });
        let extents: Vec<_> = raw.collect();
        [head.as_bytes(), extents.as_bytes()].concat()
    }

    /// The number of the request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The content after this record, or a later one, is asked for.
    pub fn since(&self) -> Seq {
        self.since
    }

    /// The extents.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The answer that says nothing of any extent.
    pub fn unanswered(&self) -> Hashes {
        Hashes { id: self.id, seq: Seq::new(0), hashes: vec![None; self.extents.len()] }
    }

    /// The answer with the content after record `seq`: a hash for each extent, in order, or `None`
    /// where the content is not known. An answer of another length says nothing.
    pub fn answered(&self, seq: Seq, hashes: Vec<Option<ContentHash>>) -> Hashes {
        if hashes.len() == self.extents.len() {
            Hashes { id: self.id, seq, hashes }
        } else {
            self.unanswered()
        }
    }
}

impl Hashes {
    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for a wrong size, none or too many hashes, or an unknown flag.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Hashes");
        let (head, rest) = Head::read_from_prefix(payload).map_err(|_| bad)?;
        let raw = <[RawHash]>::ref_from_bytes(rest).map_err(|_| bad)?;
        if !(1..=COMPARE_EXTENTS_MAX).contains(&raw.len()) {
            return Err(bad);
        }
        let hash = |raw: &RawHash| match raw.is_known {
            0 if raw.hash == [0; 32] => Ok(None),
            1 => Ok(Some(raw.hash)),
            _ => Err(bad),
        };
        let hashes = raw.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { id: head.id.get(), seq: head.seq.get(), hashes })
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head { id: U64::new(self.id), seq: self.seq.into() };
        let raw = self.hashes.iter().map(|hash| RawHash {
            is_known: u8::from(hash.is_some()),
            hash: hash.unwrap_or_default(),
        });
        let hashes: Vec<_> = raw.collect();
        [head.as_bytes(), hashes.as_bytes()].concat()
    }

    /// The number of the request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The record after which the content was this.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// A hash for each extent of the request, in order; `None` where the server does not know the
    /// content, or does not say.
    pub fn hashes(&self) -> &[Option<ContentHash>] {
        &self.hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(all: &[(u64, u64)]) -> Vec<Extent> {
        all.iter().map(|&(offset, len)| Extent::new(offset, len).unwrap()).collect()
    }

    fn ask(all: &[(u64, u64)]) -> Result<Compare, FrameError> {
        Compare::new(7, Seq::new(9), extents(all))
    }

    #[test]
    fn both_frames_are_pinned_byte_for_byte() {
        let compare = ask(&[(4096, 512), (0x10000, 1024)]).unwrap();
        let numbers = |all: &[u64]| all.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(compare.to_bytes(), numbers(&[7, 9, 4096, 512, 0x10000, 1024]));
        assert_eq!(Compare::read(&compare.to_bytes()), Ok(compare.clone()));
        let hashes = compare.answered(Seq::new(11), vec![Some([0xab; 32]), None]);
        let want = [&numbers(&[7, 11])[..], &[1], &[0xab; 32], &[0; 33]].concat();
        assert_eq!(hashes.to_bytes(), want);
        assert_eq!(Hashes::read(&want), Ok(hashes));
    }

    #[test]
    fn what_a_request_costs_is_bounded_before_it_is_looked_at() {
        assert!(ask(&[]).is_err());
        assert!(ask(&[(0, COMPARE_BYTES_MAX)]).is_ok());
        assert!(ask(&[(0, COMPARE_BYTES_MAX), (0, 512)]).is_err());
        assert!(ask(&[(0, 513)]).is_err() && ask(&[(1, 512)]).is_err());
        let many = vec![(0, 512); COMPARE_EXTENTS_MAX];
        assert!(ask(&many).is_ok());
        assert!(ask(&[&many[..], &[(0, 512)]].concat()).is_err());
        let bytes = ask(&many).unwrap().to_bytes();
        assert!(Compare::read(&[&bytes[..], &bytes[16..32]].concat()).is_err());
        for len in (0..64).chain([bytes.len() - 1, bytes.len() + 1]) {
            let cut: Vec<_> = bytes.iter().copied().chain([0]).take(len).collect();
            let is_whole = len >= 32 && len.is_multiple_of(16);
            assert_eq!(Compare::read(&cut).is_ok(), is_whole, "{len} bytes");
        }
        // An extent of no bytes, and one past the end of numbers.
        for (offset, len) in [(0, 0), (u64::MAX - 511, 512)] {
            let raw = [7_u64, 9, offset, len].map(u64::to_le_bytes).concat();
            assert!(Compare::read(&raw).is_err(), "{len} bytes at {offset}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_refused() {
        let compare = ask(&[(0, 512)]).unwrap();
        let good = compare.answered(Seq::new(1), vec![Some([0; 32])]).to_bytes();
        assert!(Hashes::read(&good).is_ok());
        for (index, value) in [(16, 2), (16, 0xff)] {
            let mut bytes = good.clone();
            bytes[index] = value;
            assert!(Hashes::read(&bytes).is_err(), "byte {index} = {value}");
        }
        let mut absent = compare.unanswered().to_bytes();
        assert_eq!(Hashes::read(&absent).unwrap().hashes(), [None]);
        absent[20] = 1;
        assert!(Hashes::read(&absent).is_err());
        for len in [0, 16, 48, 50] {
            assert!(Hashes::read(&vec![0; len]).is_err(), "{len} bytes");
        }
        let many = [&[0; 16][..], &vec![0; 33 * (COMPARE_EXTENTS_MAX + 1)]].concat();
        assert!(Hashes::read(&many).is_err());
        assert!(Hashes::read(&many[..many.len() - 33]).is_ok());
        let short = ask(&[(0, 512), (512, 512)]).unwrap().answered(Seq::new(3), vec![Some([1; 32])]);
        assert_eq!(short.hashes(), [None, None]);
    }
}

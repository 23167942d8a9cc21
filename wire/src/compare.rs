//! Comparing by hash: the service says what it has read of some extents, the server says where its
//! stream gives the same.
//!
//! ```text
//! service                                server
//!   Compare ────────────────────────────▶  does the stream give these extents this content?
//!   ◀─────────────────────────── Compared  as of this record: where it does
//! ```
//!
//! Both frames stand between the others and change nothing: a server may say of any extent that it
//! does not know, and a service may ignore any answer. The hashes go to the server and not from it:
//! a machine whose key was stolen gets no hash of what it does not know.

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

/// What is said of an extent: nothing, that the stream gives the same content, or that the server
/// has it from before the session.
const OTHER: u8 = 0;
const SAME: u8 = 1;
const SEEDED: u8 = 2;

/// BLAKE3-256 of an extent's content.
pub type ContentHash = [u8; 32];

/// Does the stream give these extents this content, after a record or a later one?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    id: u64,
    since: Seq,
    extents: Vec<(Extent, ContentHash)>,
}

/// The answer to a [`Compare`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    id: u64,
    seq: Seq,
    same: Vec<bool>,
    seeded: Vec<bool>,
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
    hash: ContentHash,
}

const _: () = {
    assert!(size_of::<Head>() == 16);
    assert!(size_of::<RawExtent>() == 48);
};

impl Compare {
    /// Asks whether the stream gives these extents this content after record `since` or a later
    /// one. The answer has the same `id`.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for none or too many extents, for one that no record can have, or
    /// for too many bytes.
    pub fn new(
        id: u64,
        since: Seq,
        extents: Vec<(Extent, ContentHash)>,
    ) -> Result<Self, FrameError> {
        let mut left = COMPARE_BYTES_MAX;
        let mut fits = |(extent, _): &(Extent, ContentHash)| {
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
        let part = |raw: &RawExtent| {
            Extent::new(raw.offset.get(), raw.len.get()).map(|extent| (extent, raw.hash))
        };
        let extents = raw.iter().map(part).collect::<Option<Vec<_>>>().ok_or(bad)?;
        Self::new(head.id.get(), head.seq.get(), extents)
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head { id: U64::new(self.id), seq: self.since.into() };
        let raw = self.extents.iter().map(|(extent, hash)| RawExtent {
            offset: U64::new(extent.offset()),
            len: U64::new(extent.len()),
            hash: *hash,
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

    /// The extents, and the hash of the content of each.
    pub fn extents(&self) -> &[(Extent, ContentHash)] {
        &self.extents
    }

    /// The answer that nothing is known to be the same.
    pub fn unanswered(&self) -> Compared {
        let none = vec![false; self.extents.len()];
        Compared { id: self.id, seq: Seq::new(0), same: none.clone(), seeded: none }
    }

    /// The answer after record `seq`: for each extent, in order, whether the content is known and
    /// the same. An answer of another length says nothing.
    pub fn answered(&self, seq: Seq, same: Vec<bool>) -> Compared {
        if same.len() == self.extents.len() {
            let seeded = vec![false; same.len()];
            Compared { id: self.id, seq, same, seeded }
        } else {
            self.unanswered()
        }
    }
}

impl Compared {
    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for a wrong size, none or too many extents, or an unknown flag.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Compared");
        let (head, flags) = Head::read_from_prefix(payload).map_err(|_| bad)?;
        if !(1..=COMPARE_EXTENTS_MAX).contains(&flags.len()) {
            return Err(bad);
        }
        if flags.iter().any(|flag| *flag > SEEDED) {
            return Err(bad);
        }
        let all = |wanted| flags.iter().map(|flag| *flag == wanted).collect();
        Ok(Self { id: head.id.get(), seq: head.seq.get(), same: all(SAME), seeded: all(SEEDED) })
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head { id: U64::new(self.id), seq: self.seq.into() };
        let flag = |(is_same, is_seeded): (&bool, &bool)| match (is_same, is_seeded) {
            (true, _) => SAME,
            (false, true) => SEEDED,
            (false, false) => OTHER,
        };
        let flags: Vec<u8> = self.same.iter().zip(&self.seeded).map(flag).collect();
        [head.as_bytes(), &flags].concat()
    }

    /// The number of the request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The record after which the content was compared.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The same answer; the server has the content of these extents from before the session, and
    /// stores it itself if it gets the hash in its place ([`RecordHeader::seeded`]). A list of
    /// another length says nothing.
    ///
    /// [`RecordHeader::seeded`]: crate::record::RecordHeader::seeded
    #[must_use]
    pub fn with_seeded(self, seeded: Vec<bool>) -> Self {
        if seeded.len() == self.same.len() { Self { seeded, ..self } } else { self }
    }

    /// For each extent of the request, in order, whether the server has its content from before the
    /// session.
    pub fn seeded(&self) -> &[bool] {
        &self.seeded
    }

    /// For each extent of the request, in order, whether its content is known and the same.
    pub fn same(&self) -> &[bool] {
        &self.same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(all: &[(u64, u64)]) -> Result<Compare, FrameError> {
        let extent = |&(offset, len): &(u64, u64)| (Extent::new(offset, len).unwrap(), [0xab; 32]);
        Compare::new(7, Seq::new(9), all.iter().map(extent).collect())
    }

    fn numbers(all: &[u64]) -> Vec<u8> {
        all.iter().flat_map(|it| it.to_le_bytes()).collect()
    }

    #[test]
    fn both_frames_are_pinned_byte_for_byte() {
        let compare = ask(&[(4096, 512), (0x10000, 1024)]).unwrap();
        let [first, second] = [numbers(&[4096, 512]), numbers(&[0x10000, 1024])];
        let want = [&numbers(&[7, 9]), &first, &[0xab; 32][..], &second, &[0xab; 32]].concat();
        assert_eq!(compare.to_bytes(), want);
        assert_eq!(Compare::read(&want), Ok(compare.clone()));
        let compared = compare.answered(Seq::new(11), vec![true, false]);
        let want = [&numbers(&[7, 11])[..], &[1, 0]].concat();
        assert_eq!(compared.to_bytes(), want);
        assert_eq!(Compared::read(&want), Ok(compared.clone()));
        let seeded = compared.with_seeded(vec![false, true]);
        let want = [&numbers(&[7, 11])[..], &[1, 2]].concat();
        assert_eq!(seeded.to_bytes(), want);
        assert_eq!((seeded.same(), seeded.seeded()), (&[true, false][..], &[false, true][..]));
        assert_eq!(Compared::read(&want), Ok(seeded));
    }

    #[test]
    fn what_a_request_costs_is_bounded_before_it_is_looked_at() {
        assert!(ask(&[]).is_err());
        assert!(ask(&[(0, COMPARE_BYTES_MAX)]).is_ok());
        assert!(ask(&[(0, COMPARE_BYTES_MAX), (0, 512)]).is_err());
        assert!(ask(&[(0, 513)]).is_err() && ask(&[(1, 512)]).is_err());
        let many = vec![(0, 512); COMPARE_EXTENTS_MAX];
        assert!(ask(&[&many[..], &[(0, 512)]].concat()).is_err());
        let bytes = ask(&many).unwrap().to_bytes();
        assert!(Compare::read(&[&bytes[..], &bytes[16..64]].concat()).is_err());
        for len in 0..=256 {
            let is_whole = len >= 64 && (len - 16) % 48 == 0;
            assert_eq!(Compare::read(&bytes[..len]).is_ok(), is_whole, "{len} bytes");
        }
        // An extent of no bytes, and one past the end of numbers.
        for (offset, len) in [(0, 0), (u64::MAX - 511, 512)] {
            let raw = [&numbers(&[7, 9, offset, len])[..], &[0; 32]].concat();
            assert!(Compare::read(&raw).is_err(), "{len} bytes at {offset}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let compare = ask(&[(0, 512), (512, 512)]).unwrap();
        assert_eq!(compare.answered(Seq::new(3), vec![true]).same(), [false, false]);
        for bytes in [&[0; 15][..], &[0; 16], &[3; 17], &[0; 17 + COMPARE_EXTENTS_MAX]] {
            assert!(Compared::read(bytes).is_err(), "{} bytes", bytes.len());
        }
        assert!(Compared::read(&[0; 16 + COMPARE_EXTENTS_MAX]).is_ok());
    }
}

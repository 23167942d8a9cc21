//! The claim of a segment that is an object: which server wrote it, and what came before.
//!
//! It stands behind the segment's header. An object is written once and whole, so a stream of
//! objects has no file for its acknowledged end: the claim of its newest segment tells the end.
//! A server that takes a session over creates the next segment without an entry. The creation of
//! that number by the server before it fails from then on, and that server stops.
//!
//! What the other server had stored of an epoch without its end is *void*: those segments stay, and
//! no reader reads them. The takeover's claim says so, and every later one leads to it.

use std::fmt;

use snapless_types::{EpochId, Seq};
use snapless_wire::id::{EpochIdLe, SeqLe};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::segment::{SEGMENT_HEADER_LEN, SegmentForm, SegmentHeader, SegmentNumber};
use super::{FormatError, Head, check, seal};

/// Bytes of a claim.
pub const CLAIM_LEN: usize = 96;
/// Bytes of a segment's header with the claim behind it.
pub const CLAIMED_HEADER_LEN: usize = SEGMENT_HEADER_LEN + CLAIM_LEN;

const MAGIC: [u8; 8] = *b"SLCLAIM\0";
const VERSION: u32 = 1;

/// A server's writer of one session, from one Hello to the end of the connection.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct WriterId(pub [u8; 16]);

impl WriterId {
    /// One that no other writer has.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // Each state has keys of the system's randomness.
        let half = |salt: u64| RandomState::new().hash_one(salt).to_le_bytes();
        let (mut id, time) = ([0; 16], crate::time::now().get());
        id[..8].copy_from_slice(&half(time));
        id[8..].copy_from_slice(&half(u64::from(std::process::id())));
        Self(id)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The claim of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which writer created the segment.
    pub writer: WriterId,
    /// The last epoch that ends in this segment or before it; 0 before the first.
    pub epoch: EpochId,
    /// Its last record; 0 before the first.
    pub seq: Seq,
    /// The segment at whose end the epoch ends; 0 before the first.
    pub segment: SegmentNumber,
    /// Bytes of that segment.
    pub offset: u64,
    /// Bytes of the stream up to there.
    pub bytes: u64,
    /// The segments from this one up to the claim's own are void; 0 if none are.
    pub void_from: SegmentNumber,
    /// The last segment before the void ones, or before this one, whose claim makes others void; 0
    /// if there is none.
    pub voids_before: SegmentNumber,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    writer: WriterId,
    epoch: EpochIdLe,
    seq: SeqLe,
    segment: U64,
    offset: U64,
    bytes: U64,
    void_from: U64,
    voids_before: U64,
    reserved: [u8; 4],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == CLAIM_LEN);

impl Claim {
    /// The claim of a stream's first takeover, before anything is stored.
    pub fn first(writer: WriterId) -> Self {
        let (epoch, seq, none) = (EpochId::new(0), Seq::new(0), SegmentNumber(0));
        Self {
            writer,
            epoch,
            seq,
            segment: none,
            offset: 0,
            bytes: 0,
            void_from: none,
            voids_before: none,
        }
    }

    /// Where the segment of this number, which has the claim, ends; `None` if no epoch ends there:
    /// one goes on behind it.
    pub fn end_of(&self, number: SegmentNumber) -> Option<u64> {
        (self.segment == number).then_some(self.offset)
    }

    /// The claim's bytes.
    pub fn to_bytes(self) -> [u8; CLAIM_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            writer: self.writer,
            epoch: self.epoch.into(),
            seq: self.seq.into(),
            segment: U64::new(self.segment.0),
            offset: U64::new(self.offset),
            bytes: U64::new(self.bytes),
            void_from: U64::new(self.void_from.0),
            voids_before: U64::new(self.voids_before.0),
            reserved: [0; 4],
            crc: [0; 4],
        };
        let mut bytes: [u8; CLAIM_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// The claim's bytes behind those of the header of its segment of this form.
    pub fn behind(self, header: SegmentHeader, form: SegmentForm) -> [u8; CLAIMED_HEADER_LEN] {
        let mut bytes = [0; CLAIMED_HEADER_LEN];
        let (start, rest) = bytes.split_at_mut(SEGMENT_HEADER_LEN);
        start.copy_from_slice(&header.to_bytes_of(SegmentForm { has_claim: true, ..form }));
        rest.copy_from_slice(&self.to_bytes());
        bytes
    }

    /// Reads the claim of the segment of this number.
    ///
    /// # Errors
    /// Any [`FormatError`]; one for a claim that this segment cannot have.
    pub fn read(bytes: &[u8; CLAIM_LEN], own: SegmentNumber) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw: Raw = zerocopy::transmute!(*bytes);
        let claim = Self {
            writer: raw.writer,
            epoch: raw.epoch.get(),
            seq: raw.seq.get(),
            segment: SegmentNumber(raw.segment.get()),
            offset: raw.offset.get(),
            bytes: raw.bytes.get(),
            void_from: SegmentNumber(raw.void_from.get()),
            voids_before: SegmentNumber(raw.voids_before.get()),
        };
        // The void segments lie between the end and this one.
        let first = if claim.void_from.0 > 0 { claim.void_from } else { own };
        let is_possible = claim.segment <= own
            && first <= own
            && claim.voids_before < first
            && (claim.void_from.0 == 0 || (claim.segment < first && first < own));
        if is_possible { Ok(claim) } else { Err(FormatError::Content("claim")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            writer: WriterId([7; 16]),
            epoch: EpochId::new(1),
            seq: Seq::new(2),
            segment: SegmentNumber(3),
            offset: 4,
            bytes: 5,
            void_from: SegmentNumber(6),
            voids_before: SegmentNumber(2),
        }
    }

    #[test]
    fn a_claim_comes_back_and_its_bytes_are_pinned() {
        let bytes = claim().to_bytes();
        assert_eq!(Claim::read(&bytes, SegmentNumber(8)), Ok(claim()));
        assert_eq!(bytes[..9], *b"SLCLAIM\0\x01");
        let fields = [1_u64, 2, 3, 4, 5, 6, 2].map(u64::to_le_bytes).concat();
        assert_eq!((&bytes[16..32], &bytes[32..88]), (&[7; 16][..], &fields[..]));
    }

    #[test]
    fn a_claim_that_the_segment_cannot_have_is_refused() {
        let refused = |claim: Claim, own| {
            let read = Claim::read(&claim.to_bytes(), SegmentNumber(own));
            assert_eq!(read, Err(FormatError::Content("claim")), "{claim:?} of {own}");
        };
        refused(claim(), 6);
        refused(Claim { segment: SegmentNumber(9), ..claim() }, 8);
        refused(Claim { segment: SegmentNumber(6), ..claim() }, 8);
        refused(Claim { voids_before: SegmentNumber(6), ..claim() }, 8);
        refused(
            Claim { void_from: SegmentNumber(0), voids_before: SegmentNumber(8), ..claim() },
            8,
        );
    }

    #[test]
    fn no_two_writers_have_one_id() {
        let ids: Vec<_> = (0..100).map(|_| WriterId::random()).collect();
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id));
        }
    }
}

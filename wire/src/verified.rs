//! What came of a verification: the server compares the checks of a stream with its copy
//! ([`crate::check`]) and tells the service, and keeps the same beside the stream.
//!
//! ```text
//! service                                server
//!   Records, with checks ───────────────▶  stores, acknowledges, compares later
//!   ◀─────────────────────────── Verified  up to this record, and what came of it
//! ```
//!
//! The frame stands between the others and changes nothing. Only a service that has sent checks
//! gets one.

use snapless_types::{Extent, Seq};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::FrameError;
use crate::id::{FileTime, SeqLe};

/// Extents that differ and are listed; further ones are counted.
pub const DIFFERING_MAX: usize = 64;

/// What came of the checks of one verification, as far as they were compared. The bytes are those
/// of the volume that were checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// The verification's first check; 0 as long as there is none.
    pub first: Seq,
    /// All checks up to this record were compared.
    pub through: Seq,
    /// When the volume was read for the last check, on the machine's wall clock.
    pub time: FileTime,
    /// Where in the volume the last check ends: the next one of this verification lies behind it.
    pub end: u64,
    /// Bytes that are the same.
    pub same: u64,
    /// Bytes that differ.
    pub differing: u64,
    /// Bytes that differ where the copy has free space or trimmed bytes: they may be anything.
    pub unclear: u64,
    /// Bytes that were written to before and after their check, too soon to be compared.
    pub overtaken: u64,
    /// Bytes of paging, swap and hibernation files, or that the disk could not read.
    pub left_out: u64,
    /// True if damage of what is stored has kept checks from being compared.
    pub is_damaged: bool,
    /// Extents that differ, [`DIFFERING_MAX`] at most, in the order in which they were found.
    pub extents: Vec<Differing>,
}

/// An extent of a volume that differs from its copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Differing {
    /// Where it is.
    pub extent: Extent,
    /// The last check that says so.
    pub seq: Seq,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    first: SeqLe,
    through: SeqLe,
    time: FileTime,
    end: U64,
    same: U64,
    differing: U64,
    unclear: U64,
    overtaken: U64,
    left_out: U64,
    /// 1 or 0.
    is_damaged: U32,
    /// Extents that follow.
    count: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDiffering {
    offset: U64,
    len: U64,
    seq: SeqLe,
}

const _: () = {
    assert!(size_of::<Head>() == 80);
    assert!(size_of::<RawDiffering>() == 24);
};

impl Verified {
    /// The most bytes that [`Self::to_bytes`] gives.
    pub const LEN_MAX: usize = size_of::<Head>() + DIFFERING_MAX * size_of::<RawDiffering>();

    /// Reads and checks a payload.
    ///
    /// # Errors
    /// [`FrameError::Payload`] for a wrong size, too many extents, one that no volume has, or an
    /// unknown flag.
    pub fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let bad = FrameError::Payload("Verified");
        let (head, rest) = Head::read_from_prefix(payload).map_err(|_| bad)?;
        let raw = <[RawDiffering]>::ref_from_bytes(rest).map_err(|_| bad)?;
        if raw.len() > DIFFERING_MAX || u64::from(head.count.get()) != raw.len() as u64 {
            return Err(bad);
        }
        let is_damaged = match head.is_damaged.get() {
            0 => false,
            1 => true,
            _ => return Err(bad),
        };
        let one = |raw: &RawDiffering| {
            let extent = Extent::new(raw.offset.get(), raw.len.get())?;
            Some(Differing { extent, seq: raw.seq.get() })
        };
        Ok(Self {
            first: head.first.get(),
            through: head.through.get(),
            time: head.time,
            end: head.end.get(),
            same: head.same.get(),
            differing: head.differing.get(),
            unclear: head.unclear.get(),
            overtaken: head.overtaken.get(),
            left_out: head.left_out.get(),
            is_damaged,
            extents: raw.iter().map(one).collect::<Option<_>>().ok_or(bad)?,
        })
    }

    /// The payload's bytes, with as many extents as may be listed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let listed = self.extents.iter().take(DIFFERING_MAX).map(|it| RawDiffering {
            offset: U64::new(it.extent.offset()),
            len: U64::new(it.extent.len()),
            seq: it.seq.into(),
        });
        let listed: Vec<_> = listed.collect();
        let head = Head {
            first: self.first.into(),
            through: self.through.into(),
            time: self.time,
            end: U64::new(self.end),
            same: U64::new(self.same),
            differing: U64::new(self.differing),
            unclear: U64::new(self.unclear),
            overtaken: U64::new(self.overtaken),
            left_out: U64::new(self.left_out),
            is_damaged: U32::new(u32::from(self.is_damaged)),
            // DIFFERING_MAX at most.
            count: U32::new(u32::try_from(listed.len()).unwrap_or(u32::MAX)),
        };
        [head.as_bytes(), listed.as_bytes()].concat()
    }

    /// True if a check was compared, or could not be.
    pub fn has_begun(&self) -> bool {
        self.first > Seq::new(0) || self.is_damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(count: u64) -> Verified {
        let one = |at| Differing { extent: Extent::new(at << 16, 512).unwrap(), seq: Seq::new(at) };
        Verified {
            first: Seq::new(1),
            through: Seq::new(2),
            time: FileTime::new(3),
            end: 4,
            same: 5,
            differing: 6,
            unclear: 7,
            overtaken: 8,
            left_out: 9,
            is_damaged: true,
            extents: (0..count).map(one).collect(),
        }
    }

    #[test]
    fn it_is_pinned_byte_for_byte() {
        let numbers = [1_u64, 2, 3, 4, 5, 6, 7, 8, 9].map(u64::to_le_bytes).concat();
        let second = [1_u64 << 16, 512, 1].map(u64::to_le_bytes).concat();
        let first = [0_u64, 512, 0].map(u64::to_le_bytes).concat();
        let want = [&numbers[..], &[1, 0, 0, 0, 2, 0, 0, 0], &first, &second].concat();
        assert_eq!(verified(2).to_bytes(), want);
        assert_eq!(Verified::read(&want), Ok(verified(2)));
    }

    #[test]
    fn what_is_not_one_is_refused_and_its_length_has_a_bound() {
        let many = verified(DIFFERING_MAX as u64 + 9).to_bytes();
        assert_eq!(many.len(), Verified::LEN_MAX);
        assert_eq!(Verified::read(&many).unwrap().extents.len(), DIFFERING_MAX);
        for len in 0..many.len() {
            assert!(Verified::read(&many[..len]).is_err(), "{len} bytes");
        }
        let mut more = [&many[..], &many[80..104]].concat();
        more[76] += 1;
        assert!(Verified::read(&more).is_err());
        // An unknown flag; an extent of no bytes.
        for (at, byte) in [(72, 2), (89, 0)] {
            let mut bytes = many.clone();
            bytes[at] = byte;
            assert!(Verified::read(&bytes).is_err(), "byte {at}");
        }
    }
}

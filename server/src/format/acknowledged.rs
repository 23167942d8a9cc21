//! `acknowledged.snapless`: the end of the stream that has been acknowledged to the service.
//!
//! Written and synced after the segment and before the acknowledgement leaves: the stream up to
//! this end is durable, and no acknowledgement goes past it. Readers read exactly this far. On
//! reopening, the server cuts off what lies past the end.
//!
//! It has two slots: see [`super::slots`].

use snapless_types::{EpochId, Seq};
use snapless_wire::id::{EpochIdLe, SeqLe};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::segment::SegmentNumber;
use super::slots::{self, SLOT_STRIDE, SLOTS_FILE_LEN, Slot};
use super::{FormatError, Head, check, seal};

/// The file's name.
pub const ACKNOWLEDGED_FILE: &str = "acknowledged.snapless";
/// Bytes of a slot.
pub const SLOT_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"SLACKED\0";
const VERSION: u32 = 1;

/// The acknowledged end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// Number of this write of the file; the slot with the higher one is the newer.
    pub generation: u64,
    /// The last acknowledged epoch; 0 before the first.
    pub epoch: EpochId,
    /// Its last record; 0 before the first.
    pub seq: Seq,
    /// The segment in which it ends; 0 before the first.
    pub segment: SegmentNumber,
    /// Where in that segment the epoch ends, in bytes from the file's start.
    pub offset: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    generation: U64,
    epoch: EpochIdLe,
    seq: SeqLe,
    segment: U64,
    offset: U64,
    reserved: [u8; 4],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == SLOT_LEN);

impl Acknowledged {
    /// Nothing acknowledged yet.
    pub const NOTHING: Self = Self {
        generation: 1,
        epoch: EpochId::new(0),
        seq: Seq::new(0),
        segment: SegmentNumber(0),
        offset: 0,
    };

    /// The first content of the file: [`Self::NOTHING`] in both slots, so that a bad slot always
    /// means damage.
    pub fn new_file() -> Vec<u8> {
        let mut file = vec![0; SLOTS_FILE_LEN];
        for first in [Self { generation: 0, ..Self::NOTHING }, Self::NOTHING] {
            let start = first.slot_offset();
            file[start..start + SLOT_LEN].copy_from_slice(&first.to_slot());
        }
        file
    }

    /// A slot's bytes.
    pub fn to_slot(self) -> [u8; SLOT_LEN] {
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            generation: U64::new(self.generation),
            epoch: self.epoch.into(),
            seq: self.seq.into(),
            segment: U64::new(self.segment.0),
            offset: U64::new(self.offset),
            reserved: [0; 4],
            crc: [0; 4],
        };
        let mut bytes: [u8; SLOT_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        bytes
    }

    /// Where in the file this generation's slot begins.
    pub fn slot_offset(&self) -> usize {
        if self.generation.is_multiple_of(2) { SLOT_STRIDE } else { 0 }
    }

    /// The newest sound slot of a file's bytes.
    ///
    /// # Errors
    /// The first slot's [`FormatError`] if neither is sound.
    pub fn read(file: &[u8]) -> Result<Self, FormatError> {
        slots::newest(file)
    }

    /// Checks that the older slot is sound too; only a torn write excuses a bad one.
    ///
    /// # Errors
    /// The [`FormatError`] of the bad slot.
    pub fn check_older(self, file: &[u8]) -> Result<(), FormatError> {
        slots::read::<Self>(file, slots::other(self.slot_offset())).map(|_| ())
    }
}

impl Slot for Acknowledged {
    const LEN: usize = SLOT_LEN;
    type Age = u64;

    fn read_slot(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        Ok(Self {
            generation: raw.generation.get(),
            epoch: raw.epoch.get(),
            seq: raw.seq.get(),
            segment: SegmentNumber(raw.segment.get()),
            offset: raw.offset.get(),
        })
    }
    fn age(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second() -> Acknowledged {
        Acknowledged {
            generation: 2,
            epoch: EpochId::new(3),
            seq: Seq::new(4),
            segment: SegmentNumber(5),
            offset: 6,
        }
    }

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_leaves_the_other() {
        let mut file = Acknowledged::new_file();
        assert_eq!(Acknowledged::read(&file), Ok(Acknowledged::NOTHING));
        let start = second().slot_offset();
        file[start..start + SLOT_LEN].copy_from_slice(&second().to_slot());
        assert_eq!(Acknowledged::read(&file), Ok(second()));
        assert_eq!(second().check_older(&file), Ok(()));
        file[start + 20] ^= 1;
        assert_eq!(Acknowledged::read(&file), Ok(Acknowledged::NOTHING));
        file[0] ^= 1;
        assert_eq!(second().check_older(&file), Err(FormatError::Magic));
        assert_eq!(Acknowledged::NOTHING.check_older(&file), Err(FormatError::Checksum));
        assert_eq!(Acknowledged::read(&file), Err(FormatError::Magic));
        assert_eq!(Acknowledged::read(&file[..10]), Err(FormatError::Short));
    }
}

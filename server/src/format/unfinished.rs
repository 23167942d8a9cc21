//! The slots of an unfinished image, on its target: which image it is, and how far it has come.
//!
//! A restore that was interrupted goes on by them. They stand behind the image of a file, or in the
//! first MiB of a device, which gets the image's own bytes last. See [`super::slots`] for the two.
//!
//! They say nothing of the bytes themselves: a slot is written when the bytes before
//! [`Unfinished::done`] have reached the disk.

use snapless_types::Geometry;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::cut::CutLe;
use super::geometry::GeometryLe;
use super::slots::{self, SLOT_STRIDE, Slot};
use super::{FormatError, Head, check, seal};
use crate::timeline::Cut;

/// Bytes of a slot.
pub const UNFINISHED_LEN: usize = 1152;
/// Most bytes of a target's name.
pub const TARGET_NAME_MAX: usize = 1024;

const MAGIC: [u8; 8] = *b"SLUNFIN\0";
const VERSION: u32 = 1;

/// An image: two with the same identity have the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageId {
    /// The volume.
    pub volume: VolumeGuid,
    /// The session.
    pub session: SessionId,
    /// The volume's shape.
    pub geometry: Geometry,
    /// The changes that belong to the image.
    pub cut: Cut,
}

/// An image that is not complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// Which image it is.
    pub image: ImageId,
    /// The instant that it shows.
    pub time: FileTime,
    /// The name that the file gets, in the system's encoding; empty for a device.
    pub name: Vec<u8>,
    /// The image's bytes before this one are on the disk.
    pub done: u64,
    /// Number of this write of the slots; the slot with the higher one is the newer.
    pub generation: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    generation: U64,
    volume: VolumeGuid,
    session: SessionId,
    geometry: GeometryLe,
    time: FileTime,
    cut: CutLe,
    done: U64,
    name_len: U32,
    name: [u8; TARGET_NAME_MAX],
    reserved: [u8; 16],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == UNFINISHED_LEN && UNFINISHED_LEN <= SLOT_STRIDE);

impl Unfinished {
    /// A slot's bytes; `None` if the name is longer than [`TARGET_NAME_MAX`].
    pub fn to_slot(&self) -> Option<[u8; UNFINISHED_LEN]> {
        let mut name = [0; TARGET_NAME_MAX];
        name.get_mut(..self.name.len())?.copy_from_slice(&self.name);
        let raw = Raw {
            head: Head::new(MAGIC, VERSION),
            generation: U64::new(self.generation),
            volume: self.image.volume,
            session: self.image.session,
            geometry: GeometryLe::from(&self.image.geometry),
            time: self.time,
            cut: self.image.cut.into(),
            done: U64::new(self.done),
            name_len: U32::new(u32::try_from(self.name.len()).ok()?),
            name,
            reserved: [0; 16],
            crc: [0; 4],
        };
        let mut bytes: [u8; UNFINISHED_LEN] = zerocopy::transmute!(raw);
        seal(&mut bytes);
        Some(bytes)
    }

    /// Where this generation's slot begins, behind the first one.
    pub fn slot_offset(&self) -> usize {
        if self.generation.is_multiple_of(2) { 0 } else { SLOT_STRIDE }
    }

    /// The newest sound one of both slots.
    ///
    /// # Errors
    /// The first slot's [`FormatError`] if neither is sound.
    pub fn read(slots: &[u8]) -> Result<Self, FormatError> {
        slots::newest(slots)
    }
}

impl Slot for Unfinished {
    const LEN: usize = UNFINISHED_LEN;
    type Age = u64;

    fn read_slot(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        let Raw { volume, session, time, .. } = raw;
        if volume.is_nil() || session.is_nil() {
            return Err(FormatError::Content("identity"));
        }
        let geometry = raw.geometry.get().ok_or(FormatError::Content("geometry"))?;
        let cut = raw.cut.get().ok_or(FormatError::Content("point"))?;
        let done = raw.done.get();
        if done > geometry.length() {
            return Err(FormatError::Content("progress"));
        }
        let image = ImageId { volume, session, geometry, cut };
        Ok(Self { image, time, name: raw.name()?, done, generation: raw.generation.get() })
    }

    fn age(&self) -> u64 {
        self.generation
    }
}

impl Raw {
    fn name(&self) -> Result<Vec<u8>, FormatError> {
        let len = usize::try_from(self.name_len.get()).unwrap_or(usize::MAX);
        let (name, rest) =
            self.name.split_at_checked(len).ok_or(FormatError::Content("name's length"))?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(FormatError::Content("name"));
        }
        Ok(name.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use snapless_types::Seq;

    use super::super::slots::SLOTS_FILE_LEN;
    use super::*;

    fn unfinished() -> Unfinished {
        let image = ImageId {
            volume: VolumeGuid([0x11; 16]),
            session: SessionId([0x22; 16]),
            geometry: Geometry::new(1 << 20, 512, 16 << 10).unwrap(),
            cut: Cut::Through(Seq::new(9)),
        };
        let (time, name) = (FileTime::new(7), b"volume.img".to_vec());
        Unfinished { image, time, name, done: 1 << 19, generation: 3 }
    }

    #[test]
    fn a_slot_comes_back_and_its_bytes_are_pinned() {
        let slot = unfinished().to_slot().unwrap();
        assert_eq!(Unfinished::read_slot(&slot), Ok(unfinished()));
        assert_eq!(slot[..16], *b"SLUNFIN\0\x01\0\0\0\0\0\0\0");
        assert_eq!(slot[16..24], 3_u64.to_le_bytes());
        assert_eq!((&slot[24..40], &slot[40..56]), (&[0x11; 16][..], &[0x22; 16][..]));
        let shape = [1 << 20, 512 | (16 << 10) << 32].map(u64::to_le_bytes).concat();
        assert_eq!(slot[56..72], shape);
        let point = [7_u64, 1, 9, 1 << 19].map(u64::to_le_bytes).concat();
        assert_eq!(slot[72..104], point);
        assert_eq!(slot[104..118], *b"\x0a\0\0\0volume.img");
        assert!(slot[118..1148].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_newer_sound_slot_counts() {
        let mut slots = vec![0; SLOTS_FILE_LEN];
        assert_eq!(Unfinished::read(&slots), Err(FormatError::Magic));
        for (generation, done) in [(1, 5), (2, 6), (3, 7)] {
            let slot = Unfinished { done, generation, ..unfinished() };
            slots[slot.slot_offset()..][..UNFINISHED_LEN].copy_from_slice(&slot.to_slot().unwrap());
            assert_eq!(Unfinished::read(&slots), Ok(slot));
        }
        // Torn while it was written.
        slots[SLOT_STRIDE + 600] ^= 1;
        assert_eq!(Unfinished::read(&slots).unwrap().done, 6);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |at: usize, byte: u8| {
            let mut slot = unfinished().to_slot().unwrap();
            slot[at] = byte;
            seal(&mut slot);
            Unfinished::read_slot(&slot).unwrap_err()
        };
        assert_eq!(refused(64, 3), FormatError::Content("geometry"));
        assert_eq!(refused(80, 9), FormatError::Content("point"));
        assert_eq!(refused(99, 1), FormatError::Content("progress"));
        assert_eq!(refused(106, 1), FormatError::Content("name's length"));
        assert_eq!(refused(200, b'x'), FormatError::Content("name"));
        let long = Unfinished { name: vec![b'n'; TARGET_NAME_MAX + 1], ..unfinished() };
        assert_eq!(long.to_slot(), None);
        let nil = Unfinished {
            image: ImageId { session: SessionId([0; 16]), ..unfinished().image },
            ..unfinished()
        };
        let slot = nil.to_slot().unwrap();
        assert_eq!(Unfinished::read_slot(&slot), Err(FormatError::Content("identity")));
    }
}

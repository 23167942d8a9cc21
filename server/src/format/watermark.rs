//! `watermark.snapless`: up to when nothing newer than the stream's end was captured.
//!
//! The server writes it at each watermark, in place and without a sync: a power loss may leave an
//! older one, and then the latest point is earlier than it was, never wrong. It counts only after
//! the record that it names. When a record follows, the last watermark is appended to the segment
//! in front of it, and is as durable as the record; so is the last one before each step of the wall
//! clock, unless the server was restarted meanwhile.
//!
//! It has two slots, so that a reader always finds a whole one: see [`super::slots`].

use snapless_types::Seq;
use snapless_wire::frame::Watermark;
use snapless_wire::id::{FileTime, SeqLe};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::slots::{self, Slot};
use super::{FormatError, Head, check, seal};

/// The file's name.
pub const WATERMARK_FILE: &str = "watermark.snapless";
/// Bytes of a slot.
pub const WATERMARK_SLOT_LEN: usize = 48;

const MAGIC: [u8; 8] = *b"SLWATER\0";
const VERSION: u32 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    head: Head,
    seq: SeqLe,
    time: FileTime,
    monotonic: U64,
    reserved: [u8; 4],
    crc: [u8; 4],
}

const _: () = assert!(size_of::<Raw>() == WATERMARK_SLOT_LEN);

/// The bytes of a slot.
pub fn to_slot(watermark: &Watermark) -> [u8; WATERMARK_SLOT_LEN] {
    let raw = Raw {
        head: Head::new(MAGIC, VERSION),
        seq: watermark.seq().into(),
        time: watermark.time(),
        monotonic: U64::new(watermark.monotonic()),
        reserved: [0; 4],
        crc: [0; 4],
    };
    let mut bytes: [u8; WATERMARK_SLOT_LEN] = zerocopy::transmute!(raw);
    seal(&mut bytes);
    bytes
}

/// The slot to write next, as its place in the file, if `file` is what is there: the one that is
/// not sound, or the older one.
pub fn next_slot(file: &[u8]) -> usize {
    slots::next::<Watermark>(file)
}

/// The newest watermark of a file's bytes; `None` if no slot is sound.
pub fn read(file: &[u8]) -> Option<Watermark> {
    slots::newest(file).ok()
}

impl Slot for Watermark {
    const LEN: usize = WATERMARK_SLOT_LEN;
    type Age = (Seq, u64);

    fn read_slot(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes, MAGIC, VERSION)?;
        let raw = Raw::read_from_bytes(bytes).map_err(|_| FormatError::Short)?;
        Ok(Self::new(raw.seq.get(), raw.time, raw.monotonic.get()))
    }

    fn age(&self) -> (Seq, u64) {
        (self.seq(), self.monotonic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermark(seq: u64, monotonic: u64) -> Watermark {
        Watermark::new(Seq::new(seq), FileTime::new(3), monotonic)
    }

    fn put(file: &mut [u8], watermark: &Watermark) -> usize {
        let start = next_slot(file);
        file[start..start + WATERMARK_SLOT_LEN].copy_from_slice(&to_slot(watermark));
        start
    }

    #[test]
    fn the_newest_counts_and_a_torn_one_leaves_the_one_before() {
        let mut file = vec![0; slots::SLOTS_FILE_LEN];
        assert_eq!((read(&file), read(&[])), (None, None));
        for (seq, monotonic) in [(7, 100), (7, 200), (9, 200), (9, 300)] {
            put(&mut file, &watermark(seq, monotonic));
            assert_eq!(read(&file), Some(watermark(seq, monotonic)));
        }
        let newest = put(&mut file, &watermark(10, 300));
        file[newest + 20] ^= 1;
        assert_eq!(read(&file), Some(watermark(9, 300)));
        assert_eq!(put(&mut file, &watermark(11, 300)), newest, "the damaged one is replaced");
        assert_eq!(read(&file), Some(watermark(11, 300)));
    }

    #[test]
    fn a_slot_is_pinned_byte_for_byte() {
        let slot = to_slot(&watermark(0x11, 0x22));
        let fields = [0x11_u64, 3, 0x22].map(u64::to_le_bytes).concat();
        assert_eq!((&slot[..8], &slot[16..40]), (&b"SLWATER\0"[..], &fields[..]));
    }
}

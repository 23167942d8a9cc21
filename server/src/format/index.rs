//! `segment-NNNNNNNN.slidx`: the record headers of a segment, one behind the other, with checksums
//! of the records' content.
//!
//! A reader of headers reads this file instead of the segment, and a reader of content checks a
//! part of a record without the rest of its entry. The index says nothing that the segment does not
//! say: where it is missing, damaged or ends early, the segment is read.
//!
//! A header like the segment's, then chunks: [`CHUNK_HEADER_LEN`] bytes and a body of whole
//! entries. The chunks follow each other in the segment without a gap. A chunk's checksum begins
//! with the file's identity, so that a chunk of another index is never taken for one of this one.
//! Headers are written as differences to the one before in the chunk: a write of 4 KiB at a random
//! place takes some 17 bytes. A watermark is there as it is in the segment: it is a part of the
//! stream's timeline. Where the segment's entries are sealed, each entry also has its length there;
//! where they are encrypted, so is the body of each chunk.

use snapless_types::{EpochId, Extent, GapReason, RecordKind, Seq};
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use snapless_wire::record::{
    Position, RECORD_GRANULE, RECORD_HEADER_LEN, RecordError, RecordHeader, Records,
};
use zerocopy::IntoBytes;

use super::FormatError;
use super::codec::{Input, Stored, put_difference, put_number};
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader};

mod chunk;

pub use chunk::{CHUNK_BYTES, CHUNK_HEADER_LEN, ChunkBuilder, ChunkHeader, Entries};

/// Bytes of the file's header.
pub const INDEX_HEADER_LEN: usize = SEGMENT_HEADER_LEN;
/// Bytes of a record's content that have a checksum of their own.
pub const TILE_BYTES: usize = 64 << 10;

const MAGIC: [u8; 8] = *b"SLINDEX\0";
const VERSION: u32 = 1;
/// Beside the reason of a gap: the volume's length follows. A release that does not know it does
/// not take the index.
const SAYS_LENGTH: u64 = 1 << 16;

/// What tells an index from others: the first bytes of its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexIdentity([u8; INDEX_HEADER_LEN]);

/// What an index has of an entry: where it is, and its records or its watermark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryIndex {
    /// Where in the segment it begins, in bytes from the file's start.
    pub offset: u64,
    /// Its header.
    pub frame: FrameHeader,
    /// Bytes that it takes in the segment.
    len: u64,
    headers: Vec<RecordHeader>,
    /// CRC-32C of each [`TILE_BYTES`] of each record's content; of the last of a record, what is
    /// left. Empty if they are not known.
    tiles: Vec<u32>,
    /// `None` for an entry of records.
    watermark: Option<Watermark>,
}

/// What an index has of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordIndex<'a> {
    /// Its header.
    pub header: &'a RecordHeader,
    /// Where in the entry's payload its content begins, in bytes.
    pub content: usize,
    /// The checksums of its tiles.
    pub tiles: &'a [u32],
}

/// The fields of the record before, to which the next one's are differences.
#[derive(Clone, Copy, Default, Debug)]
struct Last {
    seq: u64,
    time: u64,
    monotonic: u64,
    epoch: u64,
    /// Where its extent ends, in granules.
    end: u64,
}

/// How many tiles a content of this length has.
pub fn tiles_of(len: usize) -> usize {
    len.div_ceil(TILE_BYTES)
}

impl IndexIdentity {
    /// The identity of a segment's index.
    pub fn new(segment: SegmentHeader) -> Self {
        Self(segment.to_bytes_as(MAGIC, VERSION))
    }

    /// The file's first bytes.
    pub fn to_bytes(self) -> [u8; INDEX_HEADER_LEN] {
        self.0
    }

    /// Checks a file's first bytes.
    ///
    /// # Errors
    /// Any [`FormatError`]; one for the index of another segment.
    pub fn check(&self, found: &[u8; INDEX_HEADER_LEN]) -> Result<(), FormatError> {
        SegmentHeader::read_as(found, MAGIC, VERSION)?;
        if self.0 == *found { Ok(()) } else { Err(FormatError::Content("identity")) }
    }
}

impl EntryIndex {
    /// An entry without records yet.
    pub(crate) fn new(offset: u64, frame: FrameHeader) -> Self {
        let len = (FRAME_HEADER_LEN + frame.payload_len()) as u64;
        Self { offset, frame, len, headers: Vec::new(), tiles: Vec::new(), watermark: None }
    }

    /// The same for an entry that takes so many bytes in its segment.
    #[must_use]
    pub(crate) fn with_len(self, len: u64) -> Self {
        Self { len, ..self }
    }

    /// An entry that is a watermark.
    pub fn of_watermark(offset: u64, frame: FrameHeader, watermark: Watermark) -> Self {
        Self { watermark: Some(watermark), ..Self::new(offset, frame) }
    }

    /// What the index has of an entry of records whose checksum is right.
    ///
    /// # Errors
    /// The record that is none.
    pub fn of(offset: u64, frame: FrameHeader, payload: &[u8]) -> Result<Self, RecordError> {
        let mut entry = Self::new(offset, frame);
        for record in Records::new(payload) {
            let record = record?;
            entry.headers.push(record.header);
            entry.tiles.extend(record.payload.chunks(TILE_BYTES).map(crc32c::crc32c));
        }
        Ok(entry)
    }

    /// Where in the segment it ends.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Its watermark; `None` for an entry of records.
    pub fn watermark(&self) -> Option<&Watermark> {
        self.watermark.as_ref()
    }

    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = RecordIndex<'_>> {
        let (mut content, mut tile) = (0, 0);
        self.headers.iter().map(move |header| {
            let len = header.payload_len();
            let begins = content + RECORD_HEADER_LEN;
            let next = tile + tiles_of(len);
            let tiles = self.tiles.get(tile..next).unwrap_or_default();
            (content, tile) = (begins + len, next);
            RecordIndex { header, content: begins, tiles }
        })
    }

    fn put(&self, has_lens: bool, last: &mut Last, out: &mut Vec<u8>) {
        out.extend(self.frame.to_bytes());
        if has_lens {
            put_number(out, self.len);
        }
        if let Some(watermark) = &self.watermark {
            out.extend(watermark.as_bytes());
        }
        for record in self.records() {
            last.put(record.header, out);
            record.tiles.iter().for_each(|sum| sum.put(out));
        }
    }

    fn take(input: &mut Input<'_>, has_lens: bool, last: &mut Last, offset: u64) -> Option<Self> {
        let frame = FrameHeader::read(input.bytes(FRAME_HEADER_LEN)?.try_into().ok()?).ok()?;
        let mut entry = Self::new(offset, frame);
        if has_lens {
            entry.len = input.number()?;
        }
        match frame.kind() {
            FrameKind::Records => Self::take_records(input, last, entry),
            FrameKind::Watermark => {
                let payload = input.bytes(frame.payload_len())?;
                frame.verify(payload).ok()?;
                let watermark = Watermark::read(payload).ok()?;
                Some(Self { watermark: Some(watermark), ..entry })
            }
            _ => None,
        }
    }

    fn take_records(input: &mut Input<'_>, last: &mut Last, mut entry: Self) -> Option<Self> {
        let mut left = entry.frame.payload_len();
        while left > 0 {
            let header = last.take(input)?;
            left = left.checked_sub(RECORD_HEADER_LEN + header.payload_len())?;
            for _ in 0..tiles_of(header.payload_len()) {
                entry.tiles.push(u32::take(input)?);
            }
            entry.headers.push(header);
        }
        Some(entry)
    }
}

impl Last {
    fn of(header: &RecordHeader) -> Self {
        let end = header.extent_offset().saturating_add(header.extent_len());
        Self {
            seq: header.seq().get(),
            time: header.time().get(),
            monotonic: header.monotonic(),
            epoch: header.epoch().get(),
            end: end / RECORD_GRANULE,
        }
    }

    fn put(&mut self, header: &RecordHeader, out: &mut Vec<u8>) {
        let now = Self::of(header);
        let has_flag = header.is_zero() || header.is_hashed();
        put_number(out, u64::from(header.kind().to_wire()) << 1 | u64::from(has_flag));
        put_number(out, now.seq.wrapping_sub(self.seq));
        let passed = now.time.wrapping_sub(self.time);
        put_difference(out, passed);
        // Mostly both clocks go on alike.
        put_difference(out, now.monotonic.wrapping_sub(self.monotonic).wrapping_sub(passed));
        put_number(out, now.epoch.wrapping_sub(self.epoch));
        if header.kind().has_extent() {
            let start = header.extent_offset() / RECORD_GRANULE;
            put_difference(out, start.wrapping_sub(self.end));
            put_number(out, header.extent_len() / RECORD_GRANULE);
        } else {
            // A marker has no extent: the next one's is a difference to the one before.
            let reason = header.gap_reason().map_or(0, GapReason::to_wire);
            let length = header.volume_length();
            put_number(out, u64::from(reason) | length.map_or(0, |_| SAYS_LENGTH));
            if let Some(length) = length {
                put_number(out, length / RECORD_GRANULE);
            }
        }
        *self = if header.kind().has_extent() { now } else { Self { end: self.end, ..now } };
    }

    fn take(&mut self, input: &mut Input<'_>) -> Option<RecordHeader> {
        let kind = input.number()?;
        let has_flag = kind & 1 == 1;
        let kind = RecordKind::from_wire(u16::try_from(kind >> 1).ok()?)?;
        let seq = self.seq.wrapping_add(input.number()?);
        let passed = input.difference()?;
        let time = self.time.wrapping_add(passed);
        let monotonic = self.monotonic.wrapping_add(passed).wrapping_add(input.difference()?);
        let epoch = self.epoch.wrapping_add(input.number()?);
        let position = Position {
            seq: Seq::new(seq),
            time: FileTime::new(time),
            monotonic,
            epoch: EpochId::new(epoch),
        };
        let (mut extent, mut volume, mut reason) = (None, None, None);
        if kind.has_extent() {
            let start = self.end.wrapping_add(input.difference()?);
            let [offset, len] =
                [start, input.number()?].map(|granules| granules.checked_mul(RECORD_GRANULE));
            extent = Some(Extent::new(offset?, len?)?);
        } else {
            let number = input.number()?;
            if number & SAYS_LENGTH != 0 {
                let length = input.number()?.checked_mul(RECORD_GRANULE)?;
                volume = Some(Extent::new(0, length)?);
            }
            reason = match u16::try_from(number & !SAYS_LENGTH).ok()? {
                0 => None,
                reason => Some(GapReason::from_wire(reason)?),
            };
        }
        if reason.is_some() != (kind == RecordKind::GapBegin)
            || (volume.is_some() && reason.is_none())
        {
            return None;
        }
        let mut header = RecordHeader::new(kind, position, extent.or(volume), reason).ok()?;
        if has_flag {
            let is_check = kind == RecordKind::Check;
            header = if is_check { header.hashed() } else { header.zeroed() }.ok()?;
        }
        let end = extent.map_or(self.end, |extent| extent.end() / RECORD_GRANULE);
        *self = Self { seq, time, monotonic, epoch, end };
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use snapless_wire::id::{SessionId, VolumeGuid};

    use super::*;
    use crate::format::segment::SegmentNumber;

    fn identity(number: u64) -> IndexIdentity {
        IndexIdentity::new(SegmentHeader {
            volume: VolumeGuid([1; 16]),
            session: SessionId([2; 16]),
            number: SegmentNumber(number),
        })
    }

    /// Numbers that look random, the same for the same seed, of all magnitudes.
    struct Numbers(u64);

    impl Numbers {
        fn any(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 ^ self.0 >> 32) >> (self.0 >> 58)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.any() % limit
        }
    }

    fn any_record(numbers: &mut Numbers) -> Vec<u8> {
        let position = Position {
            seq: Seq::new(numbers.any()),
            time: FileTime::new(numbers.any()),
            monotonic: numbers.any(),
            epoch: EpochId::new(numbers.any()),
        };
        let kinds = RecordKind::ALL;
        let kind = kinds[usize::try_from(numbers.below(kinds.len() as u64)).unwrap()];
        if !kind.has_extent() {
            let reasons = GapReason::ALL;
            let reason = reasons[usize::try_from(numbers.below(reasons.len() as u64)).unwrap()];
            let reason = (kind == RecordKind::GapBegin).then_some(reason);
            let length = RECORD_GRANULE * (1 + numbers.any() / 2 / RECORD_GRANULE);
            let says_length = reason.is_some_and(GapReason::continues_session);
            let volume = Extent::new(0, length).filter(|_| says_length && numbers.below(2) == 0);
            return RecordHeader::new(kind, position, volume, reason).unwrap().to_bytes().to_vec();
        }
        let offset = numbers.any() / 2 / RECORD_GRANULE * RECORD_GRANULE;
        let len = (1 + numbers.below(300)) * RECORD_GRANULE;
        let header = RecordHeader::extent(kind, position, offset, len).unwrap();
        let is_zero = numbers.below(3) == 0;
        let with_flag = || header.zeroed().or_else(|_| header.hashed()).unwrap_or(header);
        let header = if is_zero { with_flag() } else { header };
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(bytes.len() + header.payload_len(), u8::try_from(numbers.below(256)).unwrap());
        bytes
    }

    fn any_watermark(numbers: &mut Numbers, offset: u64) -> EntryIndex {
        let [seq, time, monotonic] = [0; 3].map(|_| numbers.any());
        let watermark = Watermark::new(Seq::new(seq), FileTime::new(time), monotonic);
        let frame = FrameHeader::new(FrameKind::Watermark, watermark.as_bytes()).unwrap();
        EntryIndex::of_watermark(offset, frame, watermark)
    }

    fn any_entries(numbers: &mut Numbers) -> Vec<EntryIndex> {
        let mut offset = SEGMENT_HEADER_LEN as u64;
        let entries = (0..numbers.below(12)).map(|_| {
            if numbers.below(4) == 0 {
                let entry = any_watermark(numbers, offset);
                offset = entry.end();
                return entry;
            }
            let payload: Vec<_> = (0..numbers.below(9)).flat_map(|_| any_record(numbers)).collect();
            let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
            let entry = EntryIndex::of(offset, frame, &payload).unwrap();
            offset = entry.end();
            for (found, record) in entry.records().zip(Records::new(&payload)) {
                let Ok(record) = record else { panic!("it is a record") };
                assert_eq!(*found.header, record.header);
                assert_eq!(&payload[found.content..][..record.payload.len()], record.payload);
                let sums = record.payload.chunks(TILE_BYTES).map(crc32c::crc32c);
                assert!(sums.eq(found.tiles.iter().copied()));
            }
            entry
        });
        entries.collect()
    }

    fn read(chunk: &[u8], identity: &IndexIdentity) -> Result<Vec<EntryIndex>, FormatError> {
        let (head, body) = chunk.split_first_chunk().unwrap();
        let header = ChunkHeader::read(head)?;
        header.verify(identity, body)?;
        header.entries(body).collect()
    }

    #[test]
    fn entries_come_back_whatever_their_records_are() {
        for seed in 0..300 {
            let entries = any_entries(&mut Numbers(seed));
            let mut builder = ChunkBuilder::new(identity(1), SEGMENT_HEADER_LEN as u64);
            let mut found = Vec::new();
            for (index, entry) in entries.iter().enumerate() {
                let is_long = builder.add(entry);
                if is_long || index % 5 == 4 {
                    found.extend(read(&builder.take().unwrap().unwrap(), &identity(1)).unwrap());
                }
            }
            let rest = builder.take().unwrap();
            found.extend(rest.map_or_else(Vec::new, |chunk| read(&chunk, &identity(1)).unwrap()));
            assert_eq!(found, entries, "seed {seed}");
            assert_eq!(builder.take(), Ok(None));
        }
    }

    #[test]
    fn a_watermark_comes_back_and_one_that_is_not_what_its_frame_says_is_refused() {
        let entry = any_watermark(&mut Numbers(3), SEGMENT_HEADER_LEN as u64);
        assert_eq!(entry.records().count(), 0);
        let other = any_watermark(&mut Numbers(4), SEGMENT_HEADER_LEN as u64);
        assert_ne!(entry.watermark(), other.watermark());
        let mixed = EntryIndex { watermark: other.watermark().copied(), ..entry.clone() };
        let refused = Err(FormatError::Content("entry"));
        for (entry, want) in [(entry.clone(), Ok(vec![entry])), (mixed, refused)] {
            let mut builder = ChunkBuilder::new(identity(1), entry.offset);
            builder.add(&entry);
            assert_eq!(read(&builder.take().unwrap().unwrap(), &identity(1)), want);
        }
    }

    #[test]
    fn a_chunk_that_is_damaged_or_of_another_index_is_refused() {
        let mut builder = ChunkBuilder::new(identity(1), SEGMENT_HEADER_LEN as u64);
        let mut numbers = Numbers(7);
        while !any_entries(&mut numbers).iter().any(|entry| {
            let follows = EntryIndex { offset: builder.end(), ..entry.clone() };
            builder.add(&follows);
            follows.records().count() > 3
        }) {}
        let chunk = builder.take().unwrap().unwrap();
        assert!(read(&chunk, &identity(1)).is_ok());
        assert_eq!(read(&chunk, &identity(2)), Err(FormatError::Checksum));
        for bit in 0..chunk.len() * 8 {
            let mut damaged = chunk.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged, &identity(1)).is_err(), "bit {bit}");
        }
        for len in CHUNK_HEADER_LEN..chunk.len() {
            assert!(read(&chunk[..len], &identity(1)).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_write_at_a_random_place_takes_some_17_bytes() {
        let mut numbers = Numbers(1);
        let mut payload = Vec::new();
        for seq in 1..=1000 {
            let position = Position {
                seq: Seq::new(seq),
                time: FileTime::new(132_223_104_000_000_000 + seq * 10_000 + numbers.below(999)),
                monotonic: 77_000_000_000 + seq * 10_000,
                epoch: EpochId::new(9),
            };
            let offset = numbers.below(16 << 20) * 4096;
            let header = RecordHeader::extent(RecordKind::Write, position, offset, 4096).unwrap();
            payload.extend(header.to_bytes());
            payload.resize(payload.len() + 4096, 5);
        }
        let frame = FrameHeader::new(FrameKind::Records, &payload).unwrap();
        let entry = EntryIndex::of(SEGMENT_HEADER_LEN as u64, frame, &payload).unwrap();
        let mut builder = ChunkBuilder::new(identity(1), entry.offset);
        builder.add(&entry);
        let len = builder.take().unwrap().unwrap().len();
        assert!((12_000..20_000).contains(&len), "{len} bytes");
    }

    #[test]
    fn a_file_of_another_segment_is_refused() {
        assert_eq!(identity(1).check(&identity(1).to_bytes()), Ok(()));
        let other = identity(2).to_bytes();
        assert_eq!(identity(1).check(&other), Err(FormatError::Content("identity")));
        let mut damaged = identity(1).to_bytes();
        damaged[20] ^= 1;
        assert_eq!(identity(1).check(&damaged), Err(FormatError::Checksum));
    }
}

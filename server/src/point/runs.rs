//! Runs of a map: parts of the volume that come from one place.

use std::ops::Range;

use snapless_types::Extent;
use snapless_wire::record::{RECORD_GRANULE, RECORD_HEADER_LEN};

use crate::format::index::TILE_BYTES;
use crate::format::segment::SegmentNumber;

/// The runs of a part of the volume, and what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// In order, without a gap: each ends where the next begins.
    pub(crate) list: Vec<Run>,
    /// Where in the volume the last one ends.
    pub(crate) end: u64,
    pub(crate) entries: Vec<Entry>,
    /// CRC-32C of the tiles of the records, those of each run one behind the other.
    pub(crate) tiles: Vec<u32>,
}

impl Runs {
    /// The runs of a part of the volume, cut to it.
    pub(crate) fn parts(
        &self,
        of: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, Source)> + use<'_> {
        let end = of.end.min(self.end);
        // The first run begins before any place that is asked for.
        let first = self.list.partition_point(|run| run.start <= of.start).saturating_sub(1);
        let runs = self.list.get(first..).unwrap_or_default();
        runs.iter().zip(first + 1..).map_while(move |(run, next)| {
            let next = self.list.get(next).map_or(self.end, |next| next.start);
            let part = run.start.max(of.start)..next.min(end);
            (part.start < part.end).then_some((part, run.source))
        })
    }

    /// Adds a run behind the others, which may be more of the last one.
    pub(crate) fn append(&mut self, bytes: &Range<u64>, source: Source) {
        if self.list.last().is_none_or(|last| last.source != source) {
            self.list.push(Run { start: bytes.start, source });
        }
        self.end = bytes.end;
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        self.list.len() * size_of::<Run>()
            + self.entries.len() * size_of::<Entry>()
            + self.tiles.len() * size_of::<u32>()
    }
}

/// A part of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Its first byte.
    pub(crate) start: u64,
    pub(crate) source: Source,
}

const _: () = assert!(size_of::<Run>() == 32);

/// What gives a run its bytes. The same value for each part of the run: a run is cut without a
/// change, and equal neighbours are one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The map below says what.
    Below,
    /// Zeros: cleared, or without data at t0.
    Zero,
    /// Zeros: a paging, swap or hibernation file's at t0.
    Excluded,
    /// Unknown: the volume's disk could not read it.
    Unreadable,
    /// Records of an entry.
    Stored {
        /// The index of the entry.
        entry: u32,
        records: Records,
    },
}

const _: () = assert!(size_of::<Source>() == 24);

/// Records of one length, each right behind the one before, in the volume and in the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Records {
    /// Bytes of each, in granules.
    pub(crate) pitch: u16,
    /// Where they would begin in the first bytes of the volume, in granules.
    pub(crate) phase: u16,
    /// The index of the first tile, if records were there.
    pub(crate) tile: u32,
    /// Where in the entry's payload they would begin, if records were there.
    pub(crate) shift: u64,
}

/// An entry of a segment that the image needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) segment: SegmentNumber,
    /// Where in the segment it begins, in bytes.
    pub(crate) offset: u64,
}

impl Records {
    /// One record of this extent, whose content is at this place of its entry's payload, and its
    /// checksums at this index.
    pub(crate) fn one(extent: &Extent, content: u64, tile: usize) -> Self {
        let (offset, len) = (extent.offset(), extent.len());
        // A record with content is no longer than 16 MiB.
        let granules = |bytes: u64| u16::try_from(bytes / RECORD_GRANULE).unwrap_or(u16::MAX);
        let (pitch, phase) = (granules(len), granules(offset % len));
        let mut records = Self { pitch, phase, tile: 0, shift: 0 };
        records.shift = content.wrapping_sub(records.place(offset));
        records.tile = low(tile as u64).wrapping_sub(records.tile(offset));
        records
    }

    /// Bytes of each record.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.pitch) * RECORD_GRANULE
    }

    /// How many records would be before that of this byte of the volume.
    pub(crate) fn before(&self, byte: u64) -> u64 {
        byte.saturating_sub(u64::from(self.phase) * RECORD_GRANULE) / self.len()
    }

    /// Where in the volume the record of this byte begins.
    pub(crate) fn start(&self, byte: u64) -> u64 {
        u64::from(self.phase) * RECORD_GRANULE + self.before(byte) * self.len()
    }

    /// Where in the entry's payload this byte is.
    pub(crate) fn place(&self, byte: u64) -> u64 {
        let headers = self.before(byte).wrapping_mul(RECORD_HEADER_LEN as u64);
        self.shift.wrapping_add(byte).wrapping_add(headers)
    }

    /// The index of this byte's tile.
    pub(crate) fn tile(&self, byte: u64) -> u32 {
        let tile_bytes = TILE_BYTES as u64;
        let each = self.len().div_ceil(tile_bytes);
        let within = (byte - self.start(byte)) / tile_bytes;
        self.tile.wrapping_add(low(self.before(byte).wrapping_mul(each).wrapping_add(within)))
    }
}

/// The low half of a number.
pub(crate) fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

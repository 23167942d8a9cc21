//! Runs of a map: parts of the volume that come from one place.

use std::ops::Range;

use snapless_types::Extent;
use snapless_wire::record::{RECORD_GRANULE, RECORD_HEADER_LEN};

use crate::format::index::TILE_BYTES;
use crate::format::segment::SegmentNumber;

/// The runs of a part of the volume, and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// In order, without a gap: each ends where the next begins.
    pub(super) list: Vec<Run>,
    /// Where in the volume the last one ends.
    pub(super) end: u64,
    pub(super) entries: Vec<Entry>,
    /// CRC-32C of the tiles of the records, those of each run one behind the other.
    pub(super) tiles: Vec<u32>,
}

impl Runs {
    /// The runs of a part of the volume, cut to it.
    pub(super) fn parts(
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
    pub(super) fn append(&mut self, bytes: &Range<u64>, source: Source) {
        if self.list.last().is_none_or(|last| last.source != source) {
            self.list.push(Run { start: bytes.start, source });
        }
        self.end = bytes.end;
    }

    /// Bytes of memory, about.
    pub(super) fn memory(&self) -> usize {
        self.list.len() * size_of::<Run>()
            + self.entries.len() * size_of::<Entry>()
            + self.tiles.len() * size_of::<u32>()
    }
}

/// A part of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// Its first byte.
    pub(super) start: u64,
    pub(super) source: Source,
}

const _: () = assert!(size_of::<Run>() == 32);

/// What gives a run its bytes. The same value for each part of the run: a run is cut without a
/// change, and equal neighbours are one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
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
pub(super) struct Records {
    /// Bytes of each, in granules.
    pub(super) pitch: u16,
    /// Where they would begin in the first bytes of the volume, in granules.
    pub(super) phase: u16,
    /// The index of the first tile, if records were there.
    pub(super) tile: u32,
    /// Where in the entry's payload they would begin, if records were there.
    pub(super) shift: u64,
}

/// An entry of a segment that the image needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) segment: SegmentNumber,
    /// Where in the segment it begins, in bytes.
    pub(super) offset: u64,
}

impl Records {
    /// One record of this extent, whose content is at this place of its entry's payload, and its
    /// checksums at this index.
    pub(super) fn one(extent: &Extent, content: u64, tile: usize) -> Self {
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
    pub(super) fn len(&self) -> u64 {
        u64::from(self.pitch) * RECORD_GRANULE
    }

    /// How many records would be before that of this byte of the volume.
    pub(super) fn before(&self, byte: u64) -> u64 {
        byte.saturating_sub(u64::from(self.phase) * RECORD_GRANULE) / self.len()
    }

    /// Where in the volume the record of this byte begins.
    pub(super) fn start(&self, byte: u64) -> u64 {
        u64::from(self.phase) * RECORD_GRANULE + self.before(byte) * self.len()
    }

    /// Where in the entry's payload this byte is.
    pub(super) fn place(&self, byte: u64) -> u64 {
        let headers = self.before(byte).wrapping_mul(RECORD_HEADER_LEN as u64);
        self.shift.wrapping_add(byte).wrapping_add(headers)
    }

    /// The index of this byte's tile.
    pub(super) fn tile(&self, byte: u64) -> u32 {
        let tile_bytes = TILE_BYTES as u64;
        let each = self.len().div_ceil(tile_bytes);
        let within = (byte - self.start(byte)) / tile_bytes;
        self.tile.wrapping_add(low(self.before(byte).wrapping_mul(each).wrapping_add(within)))
    }
}

/// The low half of a number.
pub(super) fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

//! The map of a point: which piece of which record holds the bytes of each part of the volume.
//!
//! It is built from the headers of the records and reads no content ([`PointMap::build`]), so that
//! a restore reads each byte of the image once ([`PointReader`]), a mount reads what a client asks
//! for, and a comparison of two points reads nothing.
//!
//! Its memory follows the image, not the history: 32 bytes a run, 16 bytes an entry that the image
//! needs and 4 bytes for each 64 KiB or shorter record; while it is built, twice that at most, and
//! 40 bytes a run in a tree that is half empty at worst. A run is a stretch of the volume that lies
//! in one entry, in records of one length that follow each other in both. A volume of 1 TiB after
//! its first sync has a run for each entry of 4 MiB: 80 MiB, of which 64 MiB are checksums. Each
//! write that is still the newest of its place adds two runs at most.

use std::ops::Range;

use snapless_types::Extent;
use snapless_wire::record::{RECORD_GRANULE, RECORD_HEADER_LEN};

use crate::format::index::TILE_BYTES;
use crate::format::segment::SegmentNumber;

mod build;
mod read;

pub use read::PointReader;

/// Where the bytes of a point are.
#[derive(Debug)]
pub struct PointMap {
    length: u64,
    /// In order, without a gap: each ends where the next begins, the last at the volume's end.
    runs: Vec<Run>,
    entries: Vec<Entry>,
    /// CRC-32C of the tiles of the records, those of each run one behind the other.
    tiles: Vec<u32>,
    records: u64,
}

/// A part of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// Its first byte.
    start: u64,
    source: Source,
}

const _: () = assert!(size_of::<Run>() == 32);

/// What gives a run its bytes. The same value for each part of the run: a run is cut without a
/// change, and equal neighbours are one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
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
struct Records {
    /// Bytes of each, in granules.
    pitch: u16,
    /// Where they would begin in the first bytes of the volume, in granules.
    phase: u16,
    /// The index of the first tile, if records were there.
    tile: u32,
    /// Where in the entry's payload they would begin, if records were there.
    shift: u64,
}

/// An entry of a segment that the image needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    segment: SegmentNumber,
    /// Where in the segment it begins, in bytes.
    offset: u64,
}

/// What the bytes of a part of the image are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeros.
    Zero,
    /// Zeros in place of a paging, swap or hibernation file.
    Excluded,
    /// Zeros in place of what the volume's disk could not read.
    Unreadable,
    /// Bytes of this entry of the stream; of equal places the bytes are equal.
    Stored(Place),
}

/// Where stored bytes are: which record of which stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    segment: SegmentNumber,
    entry: u64,
    pitch: u16,
    phase: u16,
    shift: u64,
}

impl PointMap {
    /// Bytes of the image.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Records of which the image was made, those included that later ones covered.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Runs of the map.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The extents that the volume's disk could not read, in order.
    pub fn unreadable(&self) -> Vec<Extent> {
        let runs = self.parts(0..self.length);
        let unreadable = runs.filter(|(_, source)| *source == Source::Unreadable);
        unreadable.filter_map(|(part, _)| Extent::new(part.start, part.end - part.start)).collect()
    }

    /// Bytes that the volume's disk could not read.
    pub fn unreadable_bytes(&self) -> u64 {
        self.unreadable().iter().map(Extent::len).sum()
    }

    /// What a part of the image is made of, in order.
    pub fn content(&self, of: Range<u64>) -> impl Iterator<Item = (Range<u64>, Content)> + use<'_> {
        self.parts(of).map(|(part, source)| {
            let content = match source {
                Source::Zero => Content::Zero,
                Source::Excluded => Content::Excluded,
                Source::Unreadable => Content::Unreadable,
                Source::Stored { entry, records } => {
                    let Entry { segment, offset } = self.entries[entry as usize];
                    let Records { pitch, phase, shift, .. } = records;
                    Content::Stored(Place { segment, entry: offset, pitch, phase, shift })
                }
            };
            (part, content)
        })
    }

    /// The runs of a part of the volume, cut to it.
    fn parts(&self, of: Range<u64>) -> impl Iterator<Item = (Range<u64>, Source)> + use<'_> {
        let end = of.end.min(self.length);
        // The first run begins at 0, so there is one before any place.
        let first = self.runs.partition_point(|run| run.start <= of.start).saturating_sub(1);
        let runs = self.runs.get(first..).unwrap_or_default();
        runs.iter().zip(first + 1..).map_while(move |(run, next)| {
            let next = self.runs.get(next).map_or(self.length, |next| next.start);
            let part = run.start.max(of.start)..next.min(end);
            (part.start < part.end).then_some((part, run.source))
        })
    }
}

impl Records {
    /// One record of this extent, whose content is at this place of its entry's payload, and its
    /// checksums at this index.
    fn one(extent: &Extent, content: u64, tile: usize) -> Self {
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
    fn len(&self) -> u64 {
        u64::from(self.pitch) * RECORD_GRANULE
    }

    /// How many records would be before that of this byte of the volume.
    fn before(&self, byte: u64) -> u64 {
        byte.saturating_sub(u64::from(self.phase) * RECORD_GRANULE) / self.len()
    }

    /// Where in the volume the record of this byte begins.
    fn start(&self, byte: u64) -> u64 {
        u64::from(self.phase) * RECORD_GRANULE + self.before(byte) * self.len()
    }

    /// Where in the entry's payload this byte is.
    fn place(&self, byte: u64) -> u64 {
        let headers = self.before(byte).wrapping_mul(RECORD_HEADER_LEN as u64);
        self.shift.wrapping_add(byte).wrapping_add(headers)
    }

    /// The index of this byte's tile.
    fn tile(&self, byte: u64) -> u32 {
        let tile_bytes = TILE_BYTES as u64;
        let each = self.len().div_ceil(tile_bytes);
        let within = (byte - self.start(byte)) / tile_bytes;
        self.tile.wrapping_add(low(self.before(byte).wrapping_mul(each).wrapping_add(within)))
    }
}

/// The low half of a number.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

//! The map of a point: which piece of which record holds the bytes of each part of the volume.
//!
//! It is built from the headers of the records and reads no content ([`PointMap::build`]), so that
//! a restore reads each byte of the image once ([`PointReader`]), a mount reads what a client asks
//! for, and a comparison of two points reads nothing.
//!
//! Its memory follows the image, not the history: 24 bytes a run and 32 bytes an entry that the
//! image needs; while it is built, 32 bytes a run in a tree that is half empty at worst, and 32
//! bytes an entry that was ever needed. A run is a stretch of the volume that lies in one entry, in
//! records of one length that follow each other in both. A volume of 1 TiB after its first sync has
//! a run for each entry of 4 MiB: 15 MiB. Each write that is still the newest of its place adds two
//! runs at most.

use std::ops::Range;

use snapless_types::Extent;
use snapless_wire::frame::FrameHeader;
use snapless_wire::record::{RECORD_GRANULE, RECORD_HEADER_LEN};

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
    records: u64,
}

/// A part of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// Its first byte.
    start: u64,
    source: Source,
}

const _: () = assert!(size_of::<Run>() == 24);

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
        /// Bytes of each record, in granules; 0 for one record of any length.
        pitch: u16,
        /// The index of the entry.
        entry: u32,
        /// See [`Source::place`].
        shift: u64,
    },
}

const _: () = assert!(size_of::<Source>() == 16);

/// An entry of a segment that the image needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    segment: SegmentNumber,
    /// Where in the segment it begins, in bytes.
    offset: u64,
    frame: FrameHeader,
}

const _: () = assert!(size_of::<Entry>() == 32);

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
                Source::Stored { pitch, entry, shift } => {
                    let Entry { segment, offset, .. } = self.entries[entry as usize];
                    Content::Stored(Place { segment, entry: offset, pitch, shift })
                }
            };
            (part, content)
        })
    }

    /// The stored parts of the image, those of each entry together: entry by entry in the order of
    /// the stream, and of each in the order of the volume.
    pub(crate) fn by_entry(&self) -> impl Iterator<Item = Vec<Range<u64>>> + use<'_> {
        let entry_of = |index: &usize| match self.runs[*index].source {
            Source::Stored { entry, .. } => Some(entry),
            _ => None,
        };
        let mut order: Vec<_> = (0..self.runs.len()).filter(|it| entry_of(it).is_some()).collect();
        // Stable: the order of the volume stays.
        order.sort_by_key(entry_of);
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &order[at..];
            let first = entry_of(rest.first()?);
            let count = rest.iter().take_while(|it| entry_of(it) == first).count();
            at += count;
            let bytes = |&index: &usize| {
                let end = self.runs.get(index + 1).map_or(self.length, |next| next.start);
                self.runs[index].start..end
            };
            Some(rest[..count].iter().map(bytes).collect())
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

impl Source {
    /// The source of one record's bytes.
    ///
    /// Records of one length, each at a multiple of that length and right behind the one before, in
    /// the volume and in the entry, get equal sources.
    fn of_record(entry: u32, content: u64, extent: &Extent) -> Self {
        let granules = extent.len() / RECORD_GRANULE;
        let is_in_step = extent.offset().is_multiple_of(extent.len());
        let pitch = u16::try_from(granules).ok().filter(|_| is_in_step).unwrap_or(0);
        let place = extent.offset().wrapping_add(headers_before(pitch, extent.offset()));
        Self::Stored { pitch, entry, shift: content.wrapping_sub(place) }
    }
}

/// Where in an entry's payload a byte of the volume is.
fn place_of(pitch: u16, shift: u64, byte: u64) -> u64 {
    shift.wrapping_add(byte).wrapping_add(headers_before(pitch, byte))
}

/// Where the records of this pitch begin anew after a byte of the volume.
fn next_record(pitch: u16, byte: u64) -> u64 {
    let len = u64::from(pitch) * RECORD_GRANULE;
    match byte.checked_div(len) {
        Some(before) => before.saturating_add(1).saturating_mul(len),
        None => u64::MAX,
    }
}

/// Bytes of headers before a byte of the volume, if records of this pitch began at 0.
fn headers_before(pitch: u16, byte: u64) -> u64 {
    let records = byte.checked_div(u64::from(pitch) * RECORD_GRANULE).unwrap_or(0);
    records.wrapping_mul(RECORD_HEADER_LEN as u64)
}

//! The image that is made of what is there.

use std::ops::Range;

use rangemap::RangeSet;
use snapless_types::{EpochId, Extent, RecordKind};
use snapless_wire::id::FileTime;
use snapless_wire::record::Record;

use crate::bytes::Bytes;
use crate::clock::Instant;
use crate::error::Result;
use crate::target::Target;
use crate::timeline::{Cut, Place};

use super::report::range_of;

/// The image while it is written.
pub(super) struct Image<'a, T> {
    target: &'a mut T,
    cut: Cut,
    length: u64,
    /// Bytes of the volume as of the last record.
    volume: u64,
    /// Bytes that a record has given.
    given: RangeSet<u64>,
    doubtful: RangeSet<u64>,
    unreadable: RangeSet<u64>,
    /// The last base record's extent, whose unreadable sectors may follow.
    last_base: Option<Extent>,
    records: u64,
    last: Option<FileTime>,
    gap_since: Option<FileTime>,
}

/// What became of it.
pub(super) struct Salvaged {
    pub(super) records: u64,
    /// The time of the last record that belongs to the image.
    pub(super) last: Option<FileTime>,
    /// Begin of the gap in which the image lies.
    pub(super) gap_since: Option<FileTime>,
    pub(super) missing: Vec<Bytes>,
    pub(super) doubtful: Vec<Bytes>,
    pub(super) unreadable: Vec<Bytes>,
}

impl<'a, T: Target> Image<'a, T> {
    pub(super) fn new(target: &'a mut T, cut: Cut, length: u64, volume: u64) -> Self {
        Self {
            target,
            cut,
            length,
            volume,
            given: RangeSet::new(),
            doubtful: RangeSet::new(),
            unreadable: RangeSet::new(),
            last_base: None,
            records: 0,
            last: None,
            gap_since: None,
        }
    }

    /// The image of a fold is applied next, and what came after it.
    pub(super) fn begin(&mut self, time: FileTime, gap_since: Option<FileTime>, records: u64) {
        (self.last, self.gap_since, self.records) = (Some(time), gap_since, records);
    }

    /// Bytes of the image of a fold.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        self.given.insert(offset..offset + bytes.len() as u64);
        self.target.write(offset, bytes)
    }

    /// Zeros of the image of a fold, maybe in place of what the volume's disk could not read.
    pub(super) fn zero(&mut self, part: &Range<u64>, is_unreadable: bool) -> Result<()> {
        let part = &(part.start.min(self.length)..part.end.min(self.length));
        if part.is_empty() {
            return Ok(());
        }
        self.given.insert(part.clone());
        if is_unreadable {
            self.unreadable.insert(part.clone());
        }
        self.target.zero(part.start, part.end - part.start)
    }

    /// Applies a record if it belongs to the image.
    pub(super) fn apply(&mut self, record: &Record<'_>, at: Instant, is_sound: bool) -> Result<()> {
        let header = &record.header;
        let place = Place { seq: header.seq(), at, epoch: EpochId::new(0) };
        let included = self.cut.includes(place);
        if included || header.kind() == RecordKind::SessionStart {
            self.last = Some(header.time());
        }
        match header.kind() {
            RecordKind::GapBegin if included => {
                self.gap_since.get_or_insert(header.time());
            }
            RecordKind::Consistent if included => self.gap_since = None,
            _ => {}
        }
        if included && let Some(length) = header.volume_length() {
            self.resize(length)?;
        }
        // A volume that was longer has had more than the image.
        let left = self.length.saturating_sub(header.extent_offset());
        let len = header.extent_len().min(left);
        let Some(extent) = Extent::new(header.extent_offset(), len) else {
            return Ok(());
        };
        let is_base = match header.kind() {
            // It gives nothing: if the record before it is lost, so is this content.
            RecordKind::Unchanged | RecordKind::Check => return Ok(()),
            RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded => {
                self.last_base = Some(extent);
                true
            }
            RecordKind::Unreadable => {
                let base = self.last_base.map(|base| range_of(&base));
                let is_hole =
                    base.is_some_and(|it| it.start <= extent.offset() && extent.end() <= it.end);
                is_hole || !self.given.overlaps(&range_of(&extent))
            }
            _ => false,
        };
        // A record whose checksum does not match may name the wrong place: it must not cover what
        // is right.
        let is_given = self.given.overlaps(&range_of(&extent));
        if (!is_base && !included) || (!is_sound && (!is_base || is_given)) {
            return Ok(());
        }
        self.records += 1;
        self.note(&extent, header.kind() == RecordKind::Unreadable, is_sound);
        if record.payload.is_empty() {
            self.target.zero(extent.offset(), extent.len())
        } else {
            let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
            let payload = record.payload.get(..len).unwrap_or(record.payload);
            self.target.write(extent.offset(), payload)
        }
    }

    /// The volume has so many bytes from here on: what lay past the end of the shorter one is gone.
    fn resize(&mut self, length: u64) -> Result<()> {
        let gone = self.volume.min(length)..self.length;
        self.volume = length;
        if gone.is_empty() {
            return Ok(());
        }
        for set in [&mut self.given, &mut self.doubtful, &mut self.unreadable] {
            set.remove(gone.clone());
        }
        self.target.zero(gone.start, gone.end - gone.start)
    }

    fn note(&mut self, extent: &Extent, is_unreadable: bool, is_sound: bool) {
        let bytes = range_of(extent);
        self.given.insert(bytes.clone());
        for (set, has) in [(&mut self.unreadable, is_unreadable), (&mut self.doubtful, !is_sound)] {
            if has {
                set.insert(bytes.clone());
            } else {
                set.remove(bytes.clone());
            }
        }
    }

    pub(super) fn finish(self) -> Salvaged {
        let bytes = |runs: RangeSet<u64>| runs.into_iter().map(Bytes::from).collect();
        Salvaged {
            records: self.records,
            last: self.last,
            gap_since: self.gap_since,
            missing: self.given.gaps(&(0..self.length)).map(Bytes::from).collect(),
            doubtful: bytes(self.doubtful),
            unreadable: bytes(self.unreadable),
        }
    }
}

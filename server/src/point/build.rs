//! Builds the map of a point from the headers of a stream.
//!
//! By rule T0 (rules.md#t0), which is checked here again, a block's content at t0 precedes every
//! change of it. Stream order therefore gives the right image, even if a block was captured after
//! the point.
//!
//! A damaged header could give a part of the image an older content without a trace. So headers are
//! read from the segments' indices, whose checksums are checked, and where there is none from
//! entries that are read and checked as a whole.

use rangemap::RangeMap;
use snapless_types::{BlockRange, Extent, Geometry, RecordKind, Seq};

use super::{Entry, PointMap, Records, Run, Source};
use crate::bitmap::BlockSet;
use crate::error::{Error, Result};
use crate::reader::{Indices, Located, SessionReader, Wanted, with_indices};
use crate::stop::StopFlag;
use crate::stream::BaseBlocks;
use crate::timeline::Cut;

/// So many entries and checksums are gathered before those are left out that are not needed.
const GATHERED: usize = 1 << 20;

impl PointMap {
    /// Builds the map of the changes in `cut`; `last_base` is the last record that gives a block its
    /// content at t0.
    ///
    /// # Errors
    /// Damage of the stream's headers, [`Error::PointTooLarge`], or [`Error::Stopped`].
    ///
    /// Tells `progress` how many bytes of the stream are done.
    pub(crate) fn build(
        reader: &SessionReader,
        cut: Cut,
        last_base: Seq,
        stop: &StopFlag,
        mut progress: impl FnMut(u64),
    ) -> Result<Self> {
        with_indices(|indices| {
            Self::build_with(reader, indices, cut, last_base, stop, &mut progress)
        })
    }

    fn build_with(
        reader: &SessionReader,
        indices: Indices,
        cut: Cut,
        last_base: Seq,
        stop: &StopFlag,
        progress: &mut impl FnMut(u64),
    ) -> Result<Self> {
        let (mut now, mut done) = (None, 0);
        let mut builder = Builder {
            geometry: reader.header().geometry,
            cut,
            runs: RangeMap::new(),
            entries: Vec::new(),
            tiles: Vec::new(),
            limit: GATHERED,
            is_too_large: false,
            records: 0,
        };
        reader.headers(indices, stop, |found| {
            let entry = (found.segment, found.entry.offset);
            if now.replace(entry) != Some(entry) {
                progress(done);
                done += found.entry.end() - found.entry.offset;
            }
            let place = found.accepted.place;
            if builder.is_too_large || !cut.includes(place) && place.seq > last_base {
                return Wanted::Enough;
            }
            builder.apply(found);
            Wanted::More
        })?;
        builder.finish()
    }
}

struct Builder {
    geometry: Geometry,
    cut: Cut,
    runs: RangeMap<u64, Source>,
    entries: Vec<Entry>,
    tiles: Vec<u32>,
    /// With so many entries or checksums, those are left out that are not needed.
    limit: usize,
    /// More of them are needed than have a number.
    is_too_large: bool,
    records: u64,
}

impl Builder {
    /// Applies a record if it belongs to the image.
    fn apply(&mut self, found: &Located<'_>) {
        let header = found.record.header;
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else {
            // A marker changes no byte.
            return;
        };
        let included = self.cut.includes(found.accepted.place);
        match (header.kind(), &found.accepted.base) {
            (RecordKind::Block, _) => self.content(found, &extent),
            (RecordKind::Write | RecordKind::Resync, _) if included => {
                self.content(found, &extent);
            }
            (RecordKind::Unallocated, _) => self.give(&extent, Source::Zero),
            (RecordKind::Excluded, _) => self.give(&extent, Source::Excluded),
            (RecordKind::Trim | RecordKind::Zero, _) if included => {
                self.give(&extent, Source::Zero);
            }
            (RecordKind::Unreadable, BaseBlocks::Some(fresh)) => {
                self.unreadable(&extent, fresh, included);
            }
            (RecordKind::Unreadable, base) if included || *base == BaseBlocks::Holes => {
                self.give(&extent, Source::Unreadable);
            }
            _ => return,
        }
        self.records += 1;
    }

    fn content(&mut self, found: &Located<'_>, extent: &Extent) {
        if found.record.header.is_zero() {
            return self.give(extent, Source::Zero);
        }
        if self.entries.len().max(self.tiles.len()) >= self.limit {
            self.compact();
        }
        let entry = Entry { segment: found.segment, offset: found.entry.offset };
        if self.entries.last() != Some(&entry) {
            self.entries.push(entry);
        }
        let records = Records::one(extent, found.record.content as u64, self.tiles.len());
        self.tiles.extend(found.record.tiles);
        self.give(extent, Source::Stored { entry: number(self.entries.len() - 1), records });
    }

    /// Blocks that could not be read: the fresh ones at t0, the others later.
    fn unreadable(&mut self, extent: &Extent, fresh: &BlockSet, included: bool) {
        let geometry = self.geometry;
        let touched = geometry.blocks_of(extent).unwrap_or(BlockRange::EMPTY);
        for extent in fresh.runs().filter_map(|run| geometry.extent_of(&run)) {
            self.give(&extent, Source::Unreadable);
        }
        if included {
            let old = fresh.missing_in(&touched);
            for extent in old.filter_map(|run| geometry.extent_of(&run)) {
                self.give(&extent, Source::Unreadable);
            }
        }
    }

    fn give(&mut self, extent: &Extent, source: Source) {
        self.runs.insert(extent.offset()..extent.end(), source);
    }

    /// Leaves out the entries and checksums whose bytes later records have covered.
    fn compact(&mut self) {
        let mut numbers = vec![None; self.entries.len()];
        for (_, source) in self.runs.iter() {
            if let Source::Stored { entry, .. } = source {
                numbers[*entry as usize] = Some(0);
            }
        }
        let mut entries = Vec::new();
        for (entry, number_of) in self.entries.iter().zip(&mut numbers) {
            if number_of.is_some() {
                *number_of = Some(number(entries.len()));
                entries.push(*entry);
            }
        }
        let mut tiles = Vec::new();
        let runs = std::mem::take(&mut self.runs).into_iter().map(|(bytes, mut source)| {
            if let Source::Stored { entry, records } = &mut source {
                *entry = numbers[*entry as usize].unwrap_or(*entry);
                let [first, last] = [bytes.start, bytes.end - 1].map(|byte| records.tile(byte));
                records.tile = records.tile.wrapping_sub(first).wrapping_add(number(tiles.len()));
                tiles.extend_from_slice(&self.tiles[first as usize..=last as usize]);
            }
            (bytes, source)
        });
        self.runs = runs.collect();
        (self.entries, self.tiles) = (entries, tiles);
        let count = self.entries.len().max(self.tiles.len());
        self.is_too_large |= count >= u32::MAX as usize / 2;
        self.limit = count.saturating_mul(2).max(GATHERED);
    }

    /// What no record gives is zeros.
    fn finish(mut self) -> Result<PointMap> {
        self.compact();
        if self.is_too_large {
            return Err(Error::PointTooLarge);
        }
        let length = self.geometry.length();
        let mut runs = Vec::<Run>::new();
        let mut end = 0;
        for (bytes, source) in self.runs {
            if bytes.start > end {
                append(&mut runs, end, Source::Zero);
            }
            end = bytes.end;
            append(&mut runs, bytes.start, source);
        }
        if end < length {
            append(&mut runs, end, Source::Zero);
        }
        runs.shrink_to_fit();
        let Self { mut entries, mut tiles, records, .. } = self;
        entries.shrink_to_fit();
        tiles.shrink_to_fit();
        Ok(PointMap { length, runs, entries, tiles, records })
    }
}

fn append(runs: &mut Vec<Run>, start: u64, source: Source) {
    if runs.last().is_none_or(|last| last.source != source) {
        runs.push(Run { start, source });
    }
}

/// An index of an entry or a checksum: there are less than 2^32.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

//! Builds the map of a point from the headers of a stream.
//!
//! By rule T0 (rules.md#t0), which is checked here again, a block's content at t0 precedes every
//! change of it. Stream order therefore gives the right image, even if a block was captured after
//! the point.
//!
//! A damaged header could give a part of the image an older content without a trace. So headers are
//! read from the segments' indices, whose checksums are checked, and where there is none from
//! entries that are read and checked as a whole.

use std::sync::OnceLock;

use snapless_types::{BlockRange, Extent, Geometry, RecordKind, Seq};

use super::base::{self, Base};
use super::overlay::Overlay;
use super::runs::{Entry, Records, Runs, Source};
use super::{Origin, PointMap};
use crate::bitmap::BlockSet;
use crate::error::{Error, Result};
use crate::format::map::Root;
use crate::format::state::Checkpoint;
use crate::reader::{Indices, Located, SessionReader, Wanted, with_indices};
use crate::stop::StopFlag;
use crate::stream::{BaseBlocks, StreamState};
use crate::timeline::{Cut, Place};

/// So many entries and checksums are gathered before those are left out that are not needed.
const GATHERED: usize = 1 << 20;

impl PointMap {
    /// Builds the map of the changes in `cut`; `last_base` is the last record that gives a block
    /// its content at t0.
    ///
    /// # Errors
    /// Damage of the stream's headers, [`Error::PointTooLarge`], or [`Error::Stopped`].
    ///
    /// Tells `progress` how many bytes of the stream are done, and how many there are, about.
    pub(crate) fn build(
        reader: &SessionReader,
        cut: Cut,
        last_base: Seq,
        stop: &StopFlag,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let origin = Origin { reader: reader.clone(), cut, last_base };
        if let Some(base) = Self::retained(reader, cut)? {
            return Builder::new(Some(base), reader, cut).finish(origin);
        }
        with_indices(|indices| {
            let is_before = |root: &Root| root.state.last().is_some_and(|it| cut.includes(it));
            let base = base::newest(reader, is_before)?;
            Self::build_on(base, origin.clone(), indices, stop, &mut progress)
        })
    }

    /// The map of a point that a fold has retained.
    fn retained(reader: &SessionReader, cut: Cut) -> Result<Option<Base>> {
        let Some(history) = reader.history() else { return Ok(None) };
        let found = history.points.iter().position(|point| point.cut == cut);
        let Some(index) = found else { return Ok(None) };
        let image = reader.retained_root(index, &history.points[index])?;
        Ok(Some(Base::retained(reader.clone(), image)))
    }

    /// The map of a root, as it is.
    ///
    /// # Errors
    /// [`Error::PointTooLarge`].
    pub(crate) fn of_root(reader: &SessionReader, root: Root) -> Result<Self> {
        let cut = Cut::Through(root.checkpoint.seq);
        let origin = Origin { reader: reader.clone(), cut, last_base: Seq::new(0) };
        Builder::new(Some(Base::new(reader.clone(), root)), reader, cut).finish(origin)
    }

    /// [`Self::build`] on no kept map but that of the begin of the stream.
    pub(super) fn build_whole(origin: Origin, stop: &StopFlag) -> Result<Self> {
        with_indices(|indices| {
            let begin = origin.reader.boundary_root()?;
            let base = begin.map(|root| Base::new(origin.reader.clone(), root));
            Self::build_on(base, origin.clone(), indices, stop, &mut |_, _| {})
        })
    }

    fn build_on(
        base: Option<Base>,
        origin: Origin,
        indices: Indices,
        stop: &StopFlag,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<Self> {
        let Origin { reader, cut, last_base } = &origin;
        let mut builder = Builder::new(base, reader, *cut);
        let begin = builder.begin();
        let total =
            reader.bytes_since_about(begin.as_ref().map(|(checkpoint, _)| checkpoint.place()))?;
        let mut done = 0;
        let mut now = None;
        let record = |found: &Located<'_>| {
            let entry = (found.segment, found.entry.offset);
            if now.replace(entry) != Some(entry) {
                progress(done.min(total), total);
                done += found.entry.end() - found.entry.offset;
            }
            let place = found.accepted.place;
            if builder.is_too_large || !cut.includes(place) && place.seq > *last_base {
                return Wanted::Enough;
            }
            builder.apply(found);
            // What follows may be damaged.
            let is_last = place.seq >= *last_base && cut.ends_with(place);
            if is_last { Wanted::Enough } else { Wanted::More }
        };
        reader.headers(begin, indices, stop, record, |_, _, _| Wanted::More)?;
        builder.finish(origin)
    }
}

/// The changes since a kept map.
pub(super) struct Builder {
    base: Option<Base>,
    /// The volume's shape as of the last record that belongs to the image.
    geometry: Geometry,
    cut: Cut,
    runs: Overlay,
    entries: Vec<Entry>,
    tiles: Vec<u32>,
    /// With so many entries or checksums, those are left out that are not needed.
    limit: usize,
    /// More of them are needed than have a number.
    is_too_large: bool,
    /// The last record that belongs to the image.
    last: Option<Place>,
    records: u64,
}

impl Builder {
    pub(super) fn new(base: Option<Base>, reader: &SessionReader, cut: Cut) -> Self {
        let at_t0 = reader.header().geometry;
        let length = base.as_ref().map_or(at_t0.length(), |base| base.image().length);
        Self {
            geometry: with_length(&at_t0, length),
            cut,
            runs: Overlay::default(),
            entries: Vec::new(),
            tiles: Vec::new(),
            limit: GATHERED,
            is_too_large: false,
            last: base.as_ref().and_then(Base::state).and_then(StreamState::last),
            records: base.as_ref().map_or(0, |base| base.image().records),
            base,
        }
    }

    /// Where the records begin that are to be applied, and the state of the stream there.
    pub(super) fn begin(&self) -> Option<(Checkpoint, StreamState)> {
        let base = self.base.as_ref()?;
        base.checkpoint().copied().zip(base.state().cloned())
    }

    /// Applies a record if it belongs to the image.
    pub(super) fn apply(&mut self, found: &Located<'_>) {
        let header = found.record.header;
        let included = self.cut.includes(found.accepted.place);
        if included {
            self.last = Some(found.accepted.place);
        }
        if included && let Some(length) = header.volume_length() {
            self.resize(length);
        }
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else {
            // Any other marker changes no byte.
            return;
        };
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

    /// The volume has so many bytes from here on. What lies past the end of the shorter one is
    /// gone: it does not come back when the volume grows.
    fn resize(&mut self, length: u64) {
        let before = self.geometry.length();
        self.runs.insert(before.min(length)..before.max(length), Source::Zero);
        self.geometry = with_length(&self.geometry, length);
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
        for part in self.runs.parts() {
            if let Source::Stored { entry, .. } = part.source {
                numbers[entry as usize] = Some(0);
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
        for part in self.runs.parts() {
            let Source::Stored { entry, records } = &mut part.source else { continue };
            *entry = numbers[*entry as usize].unwrap_or(*entry);
            let [first, last] = [part.start, part.end - 1].map(|byte| records.tile(byte));
            records.tile = records.tile.wrapping_sub(first).wrapping_add(number(tiles.len()));
            tiles.extend_from_slice(&self.tiles[first as usize..=last as usize]);
        }
        (self.entries, self.tiles) = (entries, tiles);
        let count = self.entries.len().max(self.tiles.len());
        self.is_too_large |= count >= u32::MAX as usize / 2;
        self.limit = count.saturating_mul(2).max(GATHERED);
    }

    /// What no record gives is what the base has, or zeros.
    pub(super) fn finish(mut self, origin: Origin) -> Result<PointMap> {
        self.runs.truncate(self.geometry.length());
        self.compact();
        if self.is_too_large {
            return Err(Error::PointTooLarge);
        }
        let length = self.geometry.length();
        let below = self.base.as_ref().map_or(0, |base| base.image().length);
        let Self { entries, tiles, records, base, last, mut runs, .. } = self;
        let mut top = Runs { entries, tiles, ..Runs::default() };
        for part in runs.parts() {
            give_rest(&mut top, part.start, below);
            top.append(&(part.start..part.end), part.source);
        }
        give_rest(&mut top, length, below);
        top.list.shrink_to_fit();
        top.entries.shrink_to_fit();
        top.tiles.shrink_to_fit();
        Ok(PointMap { top, base, records, last, origin, whole: OnceLock::new() })
    }
}

/// What no record gives up to `end`: what is below as far as that goes, and then zeros.
fn give_rest(top: &mut Runs, end: u64, below: u64) {
    for (end, source) in [(end.min(below), Source::Below), (end, Source::Zero)] {
        if top.end < end {
            top.append(&(top.end..end), source);
        }
    }
}

/// The same volume with another length, which the stream's rules have accepted.
pub(super) fn with_length(geometry: &Geometry, length: u64) -> Geometry {
    let resized = Geometry::new(length, geometry.sector_size(), geometry.block_size());
    resized.unwrap_or(*geometry)
}

/// An index of an entry or a checksum: there are less than 2^32.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

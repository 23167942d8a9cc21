//! Builds the map of a point from the headers of a stream.
//!
//! By rule T0 (rules.md#t0), which is checked here again, a block's content at t0 precedes every
//! change of it. Stream order therefore gives the right image, even if a block was captured after
//! the point.
//!
//! A damaged header could give a part of the image an older content without a trace. The headers
//! are those that were received: the state that the writer has kept vouches for them, and the
//! content of the entries after it, or of all if there is no such state, is read and checked.

use rangemap::RangeMap;
use snapless_types::{BlockRange, Extent, Geometry, RecordKind, Seq};

use super::{Entry, PointMap, Run, Source};
use crate::bitmap::BlockSet;
use crate::error::{Error, Result};
use crate::reader::{EntryPlace, Located, SessionReader, Voucher, Wanted};
use crate::stop::StopFlag;
use crate::stream::BaseBlocks;
use crate::timeline::Cut;

impl PointMap {
    /// Builds the map of the changes in `cut`; `last_base` is the last record that gives a block
    /// its content at t0.
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
        if let Some((longer, voucher)) = reader.vouched()? {
            let voucher = Some(&voucher);
            match Self::build_from(&longer, voucher, cut, last_base, stop, &mut progress) {
                // The state may be of another history; the segments alone decide.
                Err(error) if error.is_damage() => log::warn!("every entry is read: {error}"),
                other => return other,
            }
        }
        Self::build_from(reader, None, cut, last_base, stop, &mut progress)
    }

    fn build_from(
        reader: &SessionReader,
        voucher: Option<&Voucher>,
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
            current: None,
            records: 0,
        };
        reader.headers(voucher, stop, |found| {
            if now.replace(found.entry) != Some(found.entry) {
                progress(done);
                done += found.entry.len();
            }
            let place = found.accepted.place;
            if !cut.includes(place) && place.seq > last_base {
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
    /// The entry that was needed last, and its index.
    current: Option<(EntryPlace, u32)>,
    records: u64,
}

impl Builder {
    /// Applies a record if it belongs to the image.
    fn apply(&mut self, found: &Located<'_>) {
        let header = found.record;
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
        if found.record.is_zero() {
            return self.give(extent, Source::Zero);
        }
        let entry = match self.current {
            Some((place, index)) if place == found.entry => index,
            _ => {
                // More of them than have a number are refused at the end.
                let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                let EntryPlace { segment, offset, frame } = found.entry;
                self.entries.push(Entry { segment, offset, frame });
                self.current = Some((found.entry, index));
                index
            }
        };
        self.give(extent, Source::of_record(entry, found.content as u64, extent));
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

    /// Leaves out the entries that later ones have covered. What no record gives is zeros.
    fn finish(self) -> Result<PointMap> {
        if self.entries.len() >= u32::MAX as usize {
            return Err(Error::PointTooLarge);
        }
        let length = self.geometry.length();
        let (mut needed, mut runs) = (vec![false; self.entries.len()], Vec::<Run>::new());
        let mut end = 0;
        for (bytes, source) in self.runs {
            if bytes.start > end {
                append(&mut runs, end, Source::Zero);
            }
            end = bytes.end;
            append(&mut runs, bytes.start, source);
            if let Source::Stored { entry, .. } = source {
                needed[entry as usize] = true;
            }
        }
        if end < length {
            append(&mut runs, end, Source::Zero);
        }
        let mut entries = Vec::new();
        let mut numbers = vec![0; self.entries.len()];
        for ((found, is_needed), number) in self.entries.iter().zip(needed).zip(&mut numbers) {
            if is_needed {
                *number = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                entries.push(*found);
            }
        }
        for run in &mut runs {
            if let Source::Stored { entry, .. } = &mut run.source {
                *entry = numbers[*entry as usize];
            }
        }
        runs.shrink_to_fit();
        entries.shrink_to_fit();
        Ok(PointMap { length, runs, entries, records: self.records })
    }
}

fn append(runs: &mut Vec<Run>, start: u64, source: Source) {
    if runs.last().is_none_or(|last| last.source != source) {
        runs.push(Run { start, source });
    }
}

//! Visits the entries and the records of a stream in order.
//!
//! Headers come from the segments' indices as far as those go; of the rest all is read, with its
//! checksums. [`SessionReader::replay`] reads everything and checks every checksum.

use snapless_wire::frame::{FrameKind, Watermark};
use snapless_wire::record::{Record, Records};

use super::SessionReader;
use super::index::IndexReader;
use super::indices::Indices;
use super::segment::SegmentReader;
use super::segments::{REPLAY_BUFFER_BYTES, SURVEY_BUFFER_BYTES};
use crate::error::{Damage, Error, Result};
use crate::format::index::{EntryIndex, RecordIndex};
use crate::format::segment::SegmentNumber;
use crate::format::state::Checkpoint;
use crate::stop::StopFlag;
use crate::stream::{Accepted, StreamState, Violation};

impl SessionReader {
    /// Reads the whole stream from its begin on, checks every checksum and rule, and calls `visit`
    /// with every record until that wants no more.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound, [`Error::Stopped`], or the error of `visit`.
    pub fn replay(
        &self,
        stop: &StopFlag,
        mut visit: impl FnMut(&Record<'_>, &Accepted) -> Result<Wanted>,
    ) -> Result<()> {
        let begin = self.begin()?.map(|(_, state)| state);
        let mut state = begin.unwrap_or_else(|| StreamState::new(self.header.geometry));
        let mut payload = Vec::new();
        for number in self.segments() {
            let mut segment = self.stream_segment(number, REPLAY_BUFFER_BYTES)?;
            while segment.next_entry()? {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                if segment.load(&mut payload)?.kind() == FrameKind::Watermark {
                    let watermark = Watermark::read(&payload).map_err(|why| segment.damage(why))?;
                    state.mark(&watermark).map_err(|why| segment.damage(why))?;
                    continue;
                }
                for record in Records::new(&payload) {
                    let record = record.map_err(|why| segment.damage(why))?;
                    let accepted = state.accept(&record.header);
                    let accepted = accepted.map_err(|why| segment.damage(why))?;
                    if visit(&record, &accepted)? == Wanted::Enough {
                        return Ok(());
                    }
                }
            }
            self.check_whole(&segment)?;
        }
        self.check_end(&state)
    }

    /// Visits all records from a place on, or from the begin, and after those of each entry the
    /// entry, until no more are wanted. Reads the indices of the segments; of a segment or a part
    /// of it without one, all is read and checked.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the stream is not sound; what was visited until then must be dropped.
    pub(crate) fn headers(
        &self,
        from: Option<(Checkpoint, StreamState)>,
        indices: Indices,
        stop: &StopFlag,
        mut record: impl FnMut(&Located<'_>) -> Wanted,
        mut entry: impl FnMut(&StreamState, SegmentNumber, &EntryIndex) -> Wanted,
    ) -> Result<()> {
        let (begin, mut state) = match from.map_or_else(|| self.begin(), |from| Ok(Some(from)))? {
            Some((at, state)) => ((at.segment, at.offset), state),
            None => ((SegmentNumber::FIRST, 0), StreamState::new(self.header.geometry)),
        };
        let mut wanted = Wanted::More;
        self.visit(begin, indices, stop, |segment, found| {
            if let Some(watermark) = found.watermark() {
                state.mark(watermark)?;
            }
            for it in found.records() {
                let accepted = state.accept(it.header)?;
                let located = Located { record: it, accepted: &accepted, segment, entry: found };
                wanted = record(&located);
                if wanted == Wanted::Enough {
                    return Ok(wanted);
                }
            }
            wanted = entry(&state, segment, found);
            Ok(wanted)
        })?;
        if wanted == Wanted::Enough { Ok(()) } else { self.check_end(&state) }
    }

    /// Visits the entries from a place on, in order, until no more are wanted.
    ///
    /// # Errors
    /// [`Error::Damaged`]; if [`Error::is_of_index`] says so, what was visited must be dropped.
    pub(crate) fn visit(
        &self,
        (first, offset): (SegmentNumber, u64),
        indices: Indices,
        stop: &StopFlag,
        mut visit: impl FnMut(SegmentNumber, &EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<()> {
        for number in self.segments().filter(|number| *number >= first) {
            let offset = if number == first { offset } else { 0 };
            let visit = |found: &EntryIndex| visit(number, found);
            let how = How { indices, stop };
            if self.entries_of(number, offset, how, visit)? == Wanted::Enough {
                break;
            }
        }
        Ok(())
    }

    /// Reads and checks the entries of a segment from `offset` on.
    ///
    /// # Errors
    /// Damage of the segment, or [`Error::Stopped`].
    pub(crate) fn tail(
        &self,
        number: SegmentNumber,
        offset: u64,
        stop: &StopFlag,
        mut visit: impl FnMut(&EntryIndex),
    ) -> Result<()> {
        let how = How { indices: Indices::Ignored, stop };
        let visit = |entry: &EntryIndex| {
            visit(entry);
            Ok(Wanted::More)
        };
        self.entries_of(number, offset, how, visit).map(|_| ())
    }

    /// Visits the entries of a segment from `offset` on, or all: as far as its index goes the index
    /// is read, and then the segment.
    pub(super) fn entries_of(
        &self,
        number: SegmentNumber,
        offset: u64,
        how: How<'_>,
        mut visit: impl FnMut(&EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<Wanted> {
        let index = match how.indices {
            Indices::Used => self.index(number),
            Indices::Ignored => None,
        };
        let is_indexed = index.is_some();
        let buffer = if is_indexed { SURVEY_BUFFER_BYTES } else { REPLAY_BUFFER_BYTES };
        let mut segment = self.segment(number, buffer)?;
        if offset > 0 {
            segment.go_to(offset)?;
        }
        let is_finished = number < self.acknowledged.segment;
        if let Some(index) = index
            && Self::indexed(index, (&mut segment, is_finished), how.stop, &mut visit)?
                == Wanted::Enough
        {
            return Ok(Wanted::Enough);
        }
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if how.stop.is_set() {
                return Err(Error::Stopped);
            }
            // Also where headers are all that is wanted: a damaged one that gives another time
            // would make other records part of an image.
            let found = segment.load_index(&mut payload)?;
            if visit(&found).map_err(|why| segment.damage(why))? == Wanted::Enough {
                return Ok(Wanted::Enough);
            }
        }
        // An index that is used was compared already, as far as it is sound.
        if !is_indexed {
            self.check_whole(&segment)?;
        }
        Ok(Wanted::More)
    }

    /// Visits the entries that the index has, from the next one of the segment on, and leaves the
    /// segment behind them.
    ///
    /// A finished segment that ends before an entry of the index is found here: see
    /// [`SessionReader::check_whole`].
    ///
    /// # Errors
    /// [`Damage::Index`] if the index is not that of the segment; what was visited until then must
    /// be dropped. Damage of a finished segment that ends too early.
    fn indexed(
        mut index: IndexReader,
        (segment, is_finished): (&mut SegmentReader, bool),
        stop: &StopFlag,
        mut visit: impl FnMut(&EntryIndex) -> Result<Wanted, Violation>,
    ) -> Result<Wanted> {
        let mut last = None;
        let mut wanted = Wanted::More;
        while wanted == Wanted::More {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            match index.next_chunk() {
                Ok(true) if index.segment_end() <= segment.entry_end() => continue,
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::warn!("the segment is read instead: {error}");
                    break;
                }
            }
            for found in index.entries() {
                let found = found.map_err(|_| index.damage(Damage::Index))?;
                if is_finished {
                    segment.check_end(found.end())?;
                }
                if found.offset < segment.entry_end() || found.end() > segment.end() {
                    continue;
                }
                if found.offset != segment.entry_end() {
                    return Err(index.damage(Damage::Index));
                }
                wanted = visit(&found).map_err(|_| index.damage(Damage::Index))?;
                segment.go_to(found.end())?;
                last = Some((found.offset, found.frame));
                if wanted == Wanted::Enough {
                    break;
                }
            }
        }
        // One entry stands for all before it: an index is never of another history up to there.
        match last {
            Some((offset, frame)) if !segment.has_entry(offset, &frame) => {
                Err(index.damage(Damage::Index))
            }
            _ => Ok(wanted),
        }
    }
}

/// A record, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) record: RecordIndex<'a>,
    pub(crate) accepted: &'a Accepted,
    pub(crate) segment: SegmentNumber,
    pub(crate) entry: &'a EntryIndex,
}

/// Whether a visitor wants more records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The next record.
    More,
    /// Nothing more: stop here.
    Enough,
}

/// How entries are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub(super) indices: Indices,
    pub(super) stop: &'a StopFlag,
}

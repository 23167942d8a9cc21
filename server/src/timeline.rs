//! The timeline of a session's stream: the instants that can be restored.
//!
//! A point is a place in the stream. Its image has every block's content at t0 and every change up
//! to that place. It can be restored if it lies outside every gap and if every block's content is
//! known: from a Block record anywhere in the stream (rule T0, rules.md#t0), or, for a block that
//! changed in a gap before it was captured, from a resync before the point.
//!
//! Instants are in stream order ([`Instant`]): a clock that is set forward or back moves no point.
//!
//! Up to a watermark nothing newer than the last record was captured, so every instant up to it is
//! a point too. The next record makes the watermark part of the clock's readings; until then a
//! later one replaces it, unless the wall clock was set between them.

use std::borrow::Cow;
use std::mem;

use snapless_types::{EpochId, GapReason, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::RecordHeader;

use crate::clock::{Clock, Instant, Reading, Readings};

mod at;
mod before;
mod not_restorable;
mod resize;
mod stored;

pub use at::{AT_FORMS, At};
pub use not_restorable::NotRestorable;
pub use resize::{RESIZES_MAX, Resize};

/// A record's place in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The record.
    pub seq: Seq,
    /// Its instant.
    pub at: Instant,
    /// Its epoch.
    pub epoch: EpochId,
}

impl Place {
    /// What the wall clock showed.
    pub fn time(&self) -> FileTime {
        self.at.time
    }
}

/// A stretch in which writes were not captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The last place before it, with the last known instant. `None` for a stream that
    /// begins in a gap.
    pub before: Option<Place>,
    /// The `GapBegin` record.
    pub begin: Place,
    /// The `Consistent` record, if there is one yet.
    pub end: Option<Place>,
    /// Why it began.
    pub reason: GapReason,
}

/// The most gaps that are told apart. Past that, those with the fewest records between them count
/// as one: no instant between them can be restored.
pub const GAPS_MAX: usize = 1 << 14;

/// A stretch of instants that can be restored, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointRange {
    /// The first.
    pub from: Place,
    /// The last.
    pub to: Place,
}

/// How much of the volume is in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Blocks of the volume.
    pub total: u64,
    /// Blocks of the volume at t0.
    pub at_t0: u64,
    /// Blocks whose content at t0 is in the stream.
    pub base: u64,
    /// Blocks whose content at some instant is in the stream: base blocks and resynced ones.
    pub known: u64,
}

/// The instants that can be restored, from the records so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    clock: Clock,
    t0: Option<Place>,
    last: Option<Place>,
    /// What the clocks showed when nothing newer than the last record had been captured.
    watermarks: Readings,
    gaps: Vec<Gap>,
    resizes: Vec<Resize>,
    coverage: Coverage,
    base_complete: Option<Place>,
    last_base: Option<Place>,
    last_t0_lost: Option<Place>,
    records: u64,
    epochs: u64,
    extent_bytes: u64,
    excluded_bytes: u64,
}

/// The effect of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Effect {
    /// Coverage after the record.
    pub(crate) coverage: Coverage,
    /// The record gave a block its content at t0.
    pub(crate) base: bool,
    /// The record gave a block whose content at t0 is lost its first known content.
    pub(crate) t0_lost: bool,
    /// Records before this one were lost: the instants since the record before are unknown.
    pub(crate) after_loss: bool,
    /// Bytes of the volume from the record on, if they are others than before.
    pub(crate) resized: Option<u64>,
}

/// The changes that belong to a point's image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Content at t0 and no change.
    Base,
    /// Content at t0 and every change up to this record.
    Through(Seq),
    /// Content at t0 and every change that is not later.
    Until(Instant),
}

impl Cut {
    /// True if a change at this place belongs to the image.
    pub fn includes(&self, place: Place) -> bool {
        match self {
            Self::Base => false,
            Self::Through(seq) => place.seq <= *seq,
            Self::Until(instant) => place.at <= *instant,
        }
    }

    /// True if no change behind this place belongs to the image.
    pub(crate) fn ends_with(&self, place: Place) -> bool {
        match self {
            Self::Base => true,
            Self::Through(seq) => place.seq >= *seq,
            // A later record may have the same instant.
            Self::Until(instant) => place.at > *instant,
        }
    }
}

/// A point that can be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Its instant.
    pub time: FileTime,
    /// The records that make up its image.
    pub cut: Cut,
    /// Begin of the gap that has not ended, if the point is the last one before it.
    pub gap_since: Option<FileTime>,
}

impl Timeline {
    /// The timeline of an empty stream, of a volume of `total` blocks.
    pub(crate) fn new(total: u64) -> Self {
        let coverage = Coverage { total, at_t0: total, ..Coverage::default() };
        Self { coverage, ..Self::default() }
    }

    /// Takes the next valid record.
    pub(crate) fn note(&mut self, record: &RecordHeader, effect: Effect) -> Place {
        let before = self.end();
        for watermark in mem::take(&mut self.watermarks).iter() {
            self.clock.note(watermark);
        }
        let reading = Reading { time: record.time(), monotonic: record.monotonic() };
        let begins_anew = record.gap_reason().is_some_and(GapReason::continues_session);
        let at =
            if begins_anew { self.clock.begin_anew(reading) } else { self.clock.note(reading) };
        let place = Place { seq: record.seq(), at, epoch: record.epoch() };
        self.coverage = effect.coverage;
        self.records += 1;
        // For progress only: records without payload may add up to more than there is.
        self.extent_bytes = self.extent_bytes.saturating_add(record.extent_len());
        if effect.base {
            self.last_base = Some(place);
        }
        if effect.t0_lost {
            self.last_t0_lost = Some(place);
        }
        if let Some(length) = effect.resized {
            self.resizes.push(Resize { place, length });
        }
        match record.kind() {
            RecordKind::SessionStart => self.t0 = Some(place),
            RecordKind::BaseComplete => _ = self.base_complete.get_or_insert(place),
            RecordKind::EpochEnd => self.epochs += 1,
            RecordKind::GapBegin => {
                // Without a loss, the instants up to the marker's own are known; with one, those up
                // to the last record that arrived, or to the watermark after it.
                let known = |last: Place| if effect.after_loss { last.at } else { place.at };
                let before = before.map(|last| Place { at: known(last), ..last });
                let reason = record.gap_reason().expect("a header of a gap's marker has a reason");
                self.open_gap(Gap { before, begin: place, end: None, reason });
            }
            RecordKind::Consistent => {
                if let Some(gap) = self.gaps.last_mut() {
                    gap.end = Some(place);
                }
            }
            RecordKind::Excluded => self.excluded_bytes += record.extent_len(),
            RecordKind::Block
            | RecordKind::Write
            | RecordKind::Resync
            | RecordKind::Unchanged
            | RecordKind::Check
            | RecordKind::Unreadable
            | RecordKind::Unallocated
            | RecordKind::Trim
            | RecordKind::Zero => {}
        }
        self.last = Some(place);
        place
    }

    /// Nothing newer than the last record had been captured when the clocks showed this.
    pub(crate) fn mark(&mut self, reading: Reading) {
        self.watermarks.push(reading);
    }

    /// The watermark after the last record.
    pub(crate) fn watermark(&self) -> Option<Reading> {
        self.watermarks.last()
    }

    /// What the clocks showed last, at a record or at a watermark.
    pub(crate) fn last_reading(&self) -> Option<Reading> {
        self.watermark().or_else(|| self.record_reading())
    }

    /// What the clocks showed at the last record.
    pub(crate) fn record_reading(&self) -> Option<Reading> {
        self.clock.last()
    }

    /// What the clocks showed at the last record, and at the watermark after it, if there is one.
    pub fn quiet(&self) -> Option<(Reading, Reading)> {
        self.clock.last().zip(self.watermark())
    }

    /// The last record, at the last instant up to which nothing newer was captured.
    pub fn end(&self) -> Option<Place> {
        let last = self.last?;
        let (_, at) = self.clock_to_end();
        Some(Place { at: at.unwrap_or(last.at), ..last })
    }

    /// The clock with the readings after the last record, and the instant of the last of these.
    fn clock_to_end(&self) -> (Cow<'_, Clock>, Option<Instant>) {
        let mut clock = Cow::Borrowed(&self.clock);
        let instants = self.watermarks.iter().map(|watermark| clock.to_mut().note(watermark));
        let end = instants.last();
        (clock, end)
    }

    /// The begin of the session, if its record was acknowledged.
    pub fn t0(&self) -> Option<Place> {
        self.t0
    }

    /// The last record.
    pub fn last(&self) -> Option<Place> {
        self.last
    }

    /// The `BaseComplete` record.
    pub fn base_complete(&self) -> Option<Place> {
        self.base_complete
    }

    /// The last record that gave a block its content at t0: a replay of the base image must reach
    /// it.
    pub fn last_base(&self) -> Option<Place> {
        self.last_base
    }

    /// Ticks from the first record to an instant, by the clock that is never set: see
    /// [`Clock::elapsed`].
    pub fn elapsed(&self, at: Instant) -> u64 {
        self.clock_to_end().0.elapsed(at)
    }

    /// Every gap, in order.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The gap that has not ended.
    pub fn open_gap_now(&self) -> Option<&Gap> {
        self.gaps.last().filter(|gap| gap.end.is_none())
    }

    /// How much of the volume is in the stream.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Epochs that ended.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Bytes of the extents of all records.
    pub fn extent_bytes(&self) -> u64 {
        self.extent_bytes
    }

    /// Bytes that no file had, or a paging, swap or hibernation file, and that the base image
    /// leaves out.
    pub fn excluded_bytes(&self) -> u64 {
        self.excluded_bytes
    }

    /// Every stretch of instants that can be restored, in order.
    pub fn ranges(&self) -> Vec<PointRange> {
        self.stretches().collect()
    }

    /// The last point that can be restored.
    pub fn latest(&self) -> Option<Place> {
        self.stretches().next_back().map(|range| range.to)
    }

    fn stretches(&self) -> impl DoubleEndedIterator<Item = PointRange> {
        let is_known = self.first_sync_is_done();
        let (gaps, end) = (if is_known { &self.gaps[..] } else { &[] }, self.end());
        let stretch = move |index: usize| {
            let from = if index == 0 { self.t0 } else { gaps[index - 1].end };
            let to = gaps.get(index).map_or(end, |gap| gap.before);
            from.zip(to).map(|(from, to)| PointRange { from, to })
        };
        // It lies in a gap (rule T0), so it divides no range.
        let is_whole = |range: &PointRange| {
            self.last_t0_lost.is_none_or(|t0_lost| range.from.seq > t0_lost.seq)
        };
        let count = if is_known { gaps.len() + 1 } else { 0 };
        (0..count).filter_map(stretch).filter(is_whole)
    }

    /// True if the t0 image can be made.
    pub fn t0_is_whole(&self) -> bool {
        self.coverage.at_t0 > 0 && self.coverage.base == self.coverage.at_t0
    }

    /// Finds the point that is asked for.
    ///
    /// # Errors
    /// [`NotRestorable`] says why there is none, and which there are.
    pub fn resolve(&self, at: At) -> Result<Point, NotRestorable> {
        let last = self.end().ok_or(NotRestorable::Nothing)?;
        match at {
            At::T0 => self.resolve_t0(last),
            At::Latest => self.resolve_latest(),
            At::Time(time) => self.resolve_time(time, last),
            At::Exact { time, cut } => self.resolve_exact(time, cut, last),
        }
    }

    fn resolve_t0(&self, last: Place) -> Result<Point, NotRestorable> {
        if self.t0_is_whole() {
            let time = self.t0.unwrap_or(last).time();
            return Ok(Point { time, cut: Cut::Base, gap_since: None });
        }
        if self.last_t0_lost.is_some() {
            let Coverage { at_t0, base, known, .. } = self.coverage;
            let blocks = if self.is_resized() { at_t0.saturating_sub(base) } else { known - base };
            let first = self.ranges().first().map(|range| range.from.time());
            return Err(NotRestorable::T0Lost { blocks, first });
        }
        Err(NotRestorable::BaseIncomplete(self.coverage))
    }

    fn resolve_latest(&self) -> Result<Point, NotRestorable> {
        let gap_since = self.open_gap_now().map(|gap| gap.begin.time());
        match (self.latest(), gap_since) {
            (Some(place), _) => {
                Ok(Point { time: place.time(), cut: Cut::Through(place.seq), gap_since })
            }
            (None, Some(since)) if self.first_sync_is_done() => {
                Err(NotRestorable::NoPoint { since })
            }
            (None, _) => Err(NotRestorable::BaseIncomplete(self.coverage)),
        }
    }

    fn resolve_time(&self, at: FileTime, last: Place) -> Result<Point, NotRestorable> {
        self.resolve_instant(at, self.instant_of(at), last)
    }

    /// What the clock showed up to the last record.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The instant that a time names.
    pub(crate) fn instant_of(&self, time: FileTime) -> Instant {
        self.clock_to_end().0.find(time)
    }

    /// Finds a point again. A gap may have cost it blocks since.
    fn resolve_exact(&self, time: FileTime, cut: Cut, last: Place) -> Result<Point, NotRestorable> {
        match cut {
            Cut::Base => self.resolve_t0(last),
            Cut::Until(instant) => self.resolve_instant(time, instant, last),
            Cut::Through(seq) => {
                let has = |range: &PointRange| range.from.seq <= seq && seq <= range.to.seq;
                if self.ranges().iter().any(has) {
                    return Ok(Point { time, cut, gap_since: None });
                }
                Err(self.why_not(time, self.clock_to_end().0.find(time), last))
            }
        }
    }

    fn resolve_instant(
        &self,
        time: FileTime,
        instant: Instant,
        last: Place,
    ) -> Result<Point, NotRestorable> {
        let has = |range: &PointRange| range.from.at <= instant && instant <= range.to.at;
        // If a gap was shorter than the clock's tick, two ranges match: the later one counts.
        let Some(range) = self.stretches().rev().find(has) else {
            return Err(self.why_not(time, instant, last));
        };
        let is_end = instant == range.to.at;
        let cut = if is_end { Cut::Through(range.to.seq) } else { Cut::Until(instant) };
        Ok(Point { time, cut, gap_since: None })
    }

    /// Why no point is at an instant.
    fn why_not(&self, at: FileTime, instant: Instant, last: Place) -> NotRestorable {
        if let Some(first) = self.t0.filter(|t0| instant < t0.at) {
            return NotRestorable::TooEarly { at, first: first.time() };
        }
        if !self.first_sync_is_done() {
            return NotRestorable::BaseIncomplete(self.coverage);
        }
        if instant > last.at && self.open_gap_now().is_none() {
            return NotRestorable::TooLate { at, last: last.time() };
        }
        let ranges = self.ranges();
        let before = ranges.iter().rev().map(|range| range.to).find(|to| to.at < instant);
        let after = ranges.iter().map(|range| range.from).find(|from| from.at > instant);
        let in_gap = self.gaps.iter().any(|gap| {
            gap.before.is_none_or(|before| before.at < instant)
                && gap.end.is_none_or(|end| instant < end.at)
        });
        let [before, after] = [before, after].map(|place| place.as_ref().map(Place::time));
        NotRestorable::Between { at, before, after, lost_base: !in_gap }
    }

    fn open_gap(&mut self, gap: Gap) {
        // A second GapBegin inside a gap (the link was lost again) opens no other.
        if self.open_gap_now().is_none() {
            if self.gaps.len() >= GAPS_MAX {
                self.join_gaps();
            }
            self.gaps.push(gap);
        }
    }

    /// Makes one gap of the two between which the fewest records are.
    fn join_gaps(&mut self) {
        let between = |index: usize| {
            let end = self.gaps[index].end.map_or(0, |end| end.seq.get());
            self.gaps[index + 1].begin.seq.get().saturating_sub(end)
        };
        let closest = (0..self.gaps.len() - 1).min_by_key(|&index| between(index));
        if let Some(first) = closest {
            let second = self.gaps.remove(first + 1);
            self.gaps[first].end = second.end;
        }
    }
}

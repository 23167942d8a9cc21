//! The records of a damaged stream, in order: which are there, and which are missing.

use snapless_types::{Extent, GapReason, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Record, Records};

use crate::clock::{Clock, Instant, Reading};
use crate::error::Result;
use crate::target::Target;
use crate::time;
use crate::timeline::{At, Cut, Place, Resize};

use super::begin::Begin;
use super::entries::Piece;
use super::image::Image;
use super::report::{self, Lost};

/// What a record must be within.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    /// Bytes of the volume, if they are known.
    pub(super) length: Option<u64>,
    /// The last acknowledged record, if it is known.
    pub(super) last_seq: Option<u64>,
}

/// One pass over a stream.
#[derive(Default)]
pub(super) struct Pass {
    limits: Limits,
    clock: Clock,
    /// The last record, and its time.
    last: Option<(Seq, FileTime)>,
    /// Something behind it cannot be read, or is missing.
    has_hole: bool,
    found: Found,
}

/// What a pass has found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) records: u64,
    /// Where the last of all extents ends.
    pub(super) extent_end: u64,
    /// The changes of the volume's length, in order.
    resizes: Vec<Resize>,
    pub(super) damage: Vec<report::Place>,
    pub(super) lost: Vec<Lost>,
    clock: Clock,
}

impl Pass {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Of a stream that begins after a fold.
    pub(super) fn after(mut self, begin: Option<&Begin>) -> Self {
        if let Some(begin) = begin {
            let place = begin.boundary.place;
            self.last = Some((place.seq, place.time()));
            self.clock = begin.clock.clone();
        }
        self
    }

    /// Takes the next piece.
    #[expect(clippy::unnecessary_wraps, reason = "a visitor as `apply` is, which may fail")]
    pub(super) fn take(&mut self, piece: Piece<'_>) -> Result<()> {
        let Some((records, is_sound)) = self.records(piece) else { return Ok(()) };
        for record in records {
            let is_change = matches!(
                record.header.kind(),
                RecordKind::Write | RecordKind::Resync | RecordKind::Trim | RecordKind::Zero
            );
            if is_change && !is_sound {
                let seq = record.header.seq().get();
                self.lose(seq, seq, Some(record.header.time()));
            }
            self.accept(&record);
        }
        Ok(())
    }

    /// Takes the next piece and applies its records.
    pub(super) fn apply(
        &mut self,
        piece: Piece<'_>,
        image: &mut Image<'_, impl Target>,
    ) -> Result<()> {
        let Some((records, is_sound)) = self.records(piece) else { return Ok(()) };
        for record in records {
            let at = self.accept(&record);
            image.apply(&record, at, is_sound)?;
        }
        Ok(())
    }

    /// What was found, once all is read.
    pub(super) fn finish(mut self) -> Found {
        let last = self.last.map_or(0, |last| last.0.get());
        if let Some(end) = self.limits.last_seq.filter(|end| *end > last) {
            self.lose(last + 1, end, None);
        }
        self.found.clock = self.clock;
        self.found
    }

    /// The records of a piece that belong to the stream, and whether they are sound.
    fn records<'a>(&mut self, piece: Piece<'a>) -> Option<(Vec<Record<'a>>, bool)> {
        let (payload, is_sound, place) = match piece {
            Piece::Sound(payload) => (payload, true, None),
            Piece::Repaired(payload, place) => (payload, true, Some(place)),
            Piece::Doubtful(payload, place) => (payload, false, Some(place)),
            Piece::Lost(place) => {
                self.found.damage.push(place);
                self.has_hole = true;
                return None;
            }
            Piece::Gone => {
                self.has_hole = true;
                return None;
            }
        };
        let records: Option<Vec<_>> = Records::new(payload).map(Result::ok).collect();
        let records = records.filter(|records| self.is_next(records, is_sound));
        self.found.damage.extend(place);
        self.has_hole |= records.is_none();
        Some((records?, is_sound))
    }

    /// True if these records may come next. Of doubtful ones the numbers must follow each other.
    fn is_next(&self, records: &[Record<'_>], is_sound: bool) -> bool {
        let (mut last, mut length) = (self.last.map_or(0, |last| last.0.get()), self.limits.length);
        records.iter().all(|record| {
            let (header, before) = (&record.header, last);
            last = header.seq().get();
            length = header.volume_length().or(length);
            let end = header.extent_offset() + header.extent_len();
            let follows = if is_sound || before == 0 { last > before } else { last == before + 1 };
            follows
                && length.is_none_or(|length| end <= length)
                && self.limits.last_seq.is_none_or(|limit| last <= limit)
        })
    }

    fn accept(&mut self, record: &Record<'_>) -> Instant {
        let header = &record.header;
        let (seq, due) = (header.seq().get(), self.last.map_or(0, |last| last.0.get()) + 1);
        // A gap's marker may follow records that the service lost, which the gap makes good. Of
        // those that were stored and are missing it makes nothing good.
        let is_jump = header.kind() == RecordKind::GapBegin && !self.has_hole;
        if seq > due && !is_jump {
            self.lose(due, seq - 1, Some(header.time()));
        }
        self.has_hole = false;
        self.last = Some((header.seq(), header.time()));
        self.found.records += 1;
        if let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) {
            self.found.extent_end = self.found.extent_end.max(extent.end());
        }
        let reading = Reading { time: header.time(), monotonic: header.monotonic() };
        let begins_anew = header.gap_reason().is_some_and(GapReason::continues_session);
        let at =
            if begins_anew { self.clock.begin_anew(reading) } else { self.clock.note(reading) };
        if let Some(length) = header.volume_length() {
            self.limits.length = Some(length);
            let place = Place { seq: header.seq(), at, epoch: header.epoch() };
            // One for each restart, as a rule of the same length.
            if self.found.resizes.last().map(|last| last.length) != Some(length) {
                self.found.resizes.push(Resize { place, length });
            }
        }
        at
    }

    fn lose(&mut self, from: u64, to: u64, before: Option<FileTime>) {
        let before = before.map(time::to_text);
        if let Some(last) = self.found.lost.last_mut().filter(|last| last.to + 1 == from) {
            (last.to, last.before) = (to, before);
            return;
        }
        let after = self.last.map(|last| time::to_text(last.1));
        self.found.lost.push(Lost { from, to, after, before });
    }
}

impl Found {
    /// Bytes of the volume at a point, as far as a record says it.
    pub(super) fn length_at(&self, cut: Cut) -> Option<u64> {
        let before = self.resizes.iter().rev().find(|it| cut.includes(it.place));
        before.map(|it| it.length)
    }

    /// The records that make up the image of an instant.
    pub(super) fn cut(&self, at: At) -> Cut {
        match at {
            At::T0 => Cut::Base,
            At::Latest => Cut::Through(Seq::new(u64::MAX)),
            At::Time(time) => Cut::Until(self.clock.find(time)),
            At::Exact { cut, .. } => cut,
        }
    }
}

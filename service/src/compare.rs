//! What the server has already is not sent: of the blocks that the driver read again after a gap,
//! those whose content is the one that the stream gives them become `Unchanged` records.
//!
//! ```text
//!   drain ─ frame ▶ Touched::note ─ Question ▶ resend window ─ Compare ▶ server
//!                                   resend window ◀─ elided frame ─ Question::settle ◀─ Hashes
//! ```
//!
//! The decision is here, and knows neither link nor clock.
//!
//! # Why an `Unchanged` record is right (rules T0 and LOSS, rules.md)
//!
//! Let `u` be the number of a `Resync` of block `b`, and `S` the server's stream. An `Unchanged` in
//! its place is right if the records of `S` before `u` give `b` the content that was read. The
//! server's answer says what the records up to a record `q` give it. So both must give the same:
//! no record of `S` behind `q` and before `u` is about `b`.
//!
//! 1. A question names a record `since`, and an answer counts only if `q ≥ since`. The server
//!    answers of what it has stored, and `u` is not sent before: `q < u`.
//! 2. `since` is no less than the last record that the server had when this claim began: behind it
//!    the server keeps nothing (its Welcome says so), and all that it stores after that was drained
//!    by this claim. So each record of `S` behind `since` went through [`Touched::note`].
//! 3. That notes the blocks of each record behind `since`, of whatever kind. A block that was noted
//!    is in no question.
//!
//! By 2 and 3 no record of `S` between `since` and `u` is about `b`, by 1 none between `q` and `u`.
//! It does not matter whether there was a gap at `q`: the server tells content only where a record
//! up to `q` gives it. The server drops nothing that is durable; what it drops of the rest when a
//! link breaks is sent again as it was. So this stays true over any number of links of a claim.

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;
use snapless_types::{BlockRange, Extent, Geometry, RecordKind, Seq};
use snapless_wire::compare::{COMPARE_BYTES_MAX, COMPARE_EXTENTS_MAX, Compare, Hashes};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader, Records};

/// The blocks that the stream was about since a record.
#[derive(Debug)]
pub struct Touched {
    geometry: Geometry,
    /// All records behind this one were drained by this claim, and are noted.
    since: Seq,
    /// The last record that was noted, or that the server had when the claim began.
    last: Seq,
    blocks: RoaringBitmap,
}

/// What the server is asked about a frame: whether it has the content of some of its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The answer must be of this record or a later one.
    since: Seq,
    /// Where in the frame's payload each record begins, and what it is about.
    records: Vec<(usize, Extent)>,
}

/// A frame's payload without the content that the server has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elided {
    /// The records.
    pub payload: Vec<u8>,
    /// Bytes of content that are left out.
    pub saved: usize,
}

impl Touched {
    /// Of a claim that begins while the server has everything up to record `durable`, and nothing
    /// behind it.
    pub fn new(geometry: Geometry, durable: Seq) -> Self {
        Self { geometry, since: durable, last: durable, blocks: RoaringBitmap::new() }
    }

    /// Notes the records of the next frame; returns what the server may be asked about them. Every
    /// frame of the claim must come here, in order.
    pub fn note(&mut self, payload: &[u8]) -> Option<Question> {
        // A batch has whole records only.
        let records = || Records::new(payload).map_while(Result::ok);
        if records().any(|record| record.header.kind() == RecordKind::GapBegin) {
            // A later record to begin with does as well, and leaves more blocks to ask about.
            self.since = self.last;
            self.blocks.clear();
        }
        let mut question = None;
        let mut at = 0;
        for record in records() {
            self.note_record(&record.header, at, &mut question);
            at += RECORD_HEADER_LEN + record.payload.len();
        }
        question
    }

    fn note_record(&mut self, header: &RecordHeader, at: usize, question: &mut Option<Question>) {
        assert!(header.seq() > self.last, "LOSS: records are drained in order");
        self.last = header.seq();
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else { return };
        // The server refuses what lies outside the volume.
        let Some(run) = self.geometry.blocks_of(&extent) else { return };
        if header.kind() == RecordKind::Resync && !header.is_zero() && !self.touches(&run) {
            question.get_or_insert(Question::new(self.since)).add(at, extent);
        }
        if let Some(numbers) = numbers(&run) {
            self.blocks.insert_range(numbers);
        }
    }

    fn touches(&self, run: &BlockRange) -> bool {
        // Past the most blocks that a server takes, nothing is asked.
        numbers(run).is_none_or(|numbers| self.blocks.range(numbers).next().is_some())
    }
}

fn numbers(run: &BlockRange) -> Option<RangeInclusive<u32>> {
    Some(u32::try_from(run.start.0).ok()?..=u32::try_from(run.end.0.checked_sub(1)?).ok()?)
}

impl Question {
    fn new(since: Seq) -> Self {
        Self { since, records: Vec::new() }
    }

    /// Adds a record, unless there are as many as a request can have.
    fn add(&mut self, at: usize, extent: Extent) {
        let bytes: u64 = self.records.iter().map(|(_, extent)| extent.len()).sum();
        let fits = self.records.len() < COMPARE_EXTENTS_MAX
            && bytes.saturating_add(extent.len()) <= COMPARE_BYTES_MAX;
        if fits {
            self.records.push((at, extent));
        }
    }

    /// The answer must be of this record or a later one.
    pub fn since(&self) -> Seq {
        self.since
    }

    /// The request; `None` if there is nothing to ask.
    pub fn request(&self, id: u64) -> Option<Compare> {
        let extents = self.records.iter().map(|&(_, extent)| extent).collect();
        Compare::new(id, self.since, extents).ok()
    }

    /// Leaves out of the frame what the server has by this answer; `None` if that is nothing, or if
    /// the answer does not fit the question.
    pub fn settle(&self, payload: &[u8], answer: &Hashes) -> Option<Elided> {
        if answer.seq() < self.since || answer.hashes().len() != self.records.len() {
            return None;
        }
        let mut elided = Vec::new();
        let (mut from, mut saved) = (0, 0);
        for (&(at, extent), hash) in self.records.iter().zip(answer.hashes()) {
            let Some(hash) = hash else { continue };
            let content = at.checked_add(RECORD_HEADER_LEN)?;
            let end = content.checked_add(usize::try_from(extent.len()).ok()?)?;
            if blake3::hash(payload.get(content..end)?).as_bytes() != hash {
                continue;
            }
            let unchanged = RecordHeader::read(payload.get(at..end)?).ok()?.unchanged().ok()?;
            elided.extend_from_slice(payload.get(from..at)?);
            elided.extend_from_slice(&unchanged.to_bytes());
            (from, saved) = (end, saved + end - content);
        }
        elided.extend_from_slice(payload.get(from..)?);
        (saved > 0).then_some(Elided { payload: elided, saved })
    }
}

//! What the server has already is not sent: of the blocks that the driver read again after a gap,
//! those whose content is the one that the stream gives them become `Unchanged` records.
//!
//! ```text
//!   drain ─ frame ▶ Touched::note ─ Question ▶ resend window ─ Compare ▶ server
//!                                   resend window ◀─ elided frame ─ Question::settle ◀─ Compared
//! ```
//!
//! Of what is captured for the first time, or again, the server may also have the content from
//! before the session: from an earlier one of the volume, or from an image that was imported. Such
//! a record goes out with the hash of its content in its place ([`RecordHeader::seeded`]). The
//! server puts the content there and compares its hash before it stores the record, so that its
//! answer need not be trusted, nor anything known of the stream. The window keeps the content: if
//! the server has lost it meanwhile, the link breaks, and the next one sends all of it.
//!
//! The decision is here, and knows neither link nor clock.
//!
//! # Why an `Unchanged` record is right (rules T0 and LOSS, rules.md)
//!
//! Let `u` be the number of a `Resync` of block `b`, and `S` the server's stream. An `Unchanged` in
//! its place is right if the records of `S` before `u` give `b` the content that was read. The
//! server's answer says that the records up to a record `q` do, by a hash. So both must give the
//! same: no record of `S` behind `q` and before `u` is about `b`.
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
use snapless_wire::compare::{
    COMPARE_BYTES_MAX, COMPARE_EXTENTS_MAX, Compare, Compared, ContentHash,
};
use snapless_wire::record::{RECORD_HEADER_LEN, Record, RecordHeader, Records};

/// The blocks that the stream was about since a record.
#[derive(Debug)]
pub struct Touched {
    geometry: Geometry,
    /// All records behind this one were drained by this claim, and are noted.
    since: Seq,
    /// The last record that was noted, or that the server had when the claim began.
    last: Seq,
    blocks: RoaringBitmap,
    /// The server has content from before the session.
    has_seed: bool,
}

/// What the server is asked about a frame: whether it has the content of some of its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The answer must be of this record or a later one.
    since: Seq,
    /// Where in the frame's payload each record begins.
    places: Vec<usize>,
    /// What each is about, and the hash of its content.
    extents: Vec<(Extent, ContentHash)>,
}

/// A frame's payload without the content that the server has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elided {
    /// The records.
    pub payload: Vec<u8>,
    /// Bytes of content that are left out.
    pub saved: usize,
    /// Hashes stand for what is left out: another link gets the frame as it was.
    pub is_seeded: bool,
}

impl Touched {
    /// Of a claim that begins while the server has everything up to record `durable`, and nothing
    /// behind it.
    pub fn new(geometry: Geometry, durable: Seq) -> Self {
        let blocks = RoaringBitmap::new();
        Self { geometry, since: durable, last: durable, blocks, has_seed: false }
    }

    /// The same; the server may have content from before the session.
    #[must_use]
    pub fn with_seed(self, has_seed: bool) -> Self {
        Self { has_seed, ..self }
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
            self.note_record(&record, at, &mut question);
            at += RECORD_HEADER_LEN + record.payload.len();
        }
        question
    }

    fn note_record(&mut self, record: &Record<'_>, at: usize, question: &mut Option<Question>) {
        let header = &record.header;
        assert!(header.seq() > self.last, "LOSS: records are drained in order");
        self.last = header.seq();
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else { return };
        // The server refuses what lies outside the volume.
        let Some(run) = self.geometry.blocks_of(&extent) else { return };
        let asks = match header.kind() {
            RecordKind::Resync => !self.touches(&run),
            RecordKind::Block => self.has_seed,
            _ => false,
        };
        if asks && !header.is_zero() {
            let question = question.get_or_insert(Question::new());
            if header.kind() == RecordKind::Resync {
                question.since = self.since;
            }
            question.add(at, extent, record.payload);
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
    /// Of the server's content from before the session, which does not change: whatever the stream
    /// ends with, it can be asked.
    fn new() -> Self {
        let since = Seq::new(0);
        Self { since, places: Vec::new(), extents: Vec::new() }
    }

    /// Adds a record, unless there are as many as a request can have.
    fn add(&mut self, at: usize, extent: Extent, content: &[u8]) {
        let bytes: u64 = self.extents.iter().map(|(extent, _)| extent.len()).sum();
        let fits = self.extents.len() < COMPARE_EXTENTS_MAX
            && bytes.saturating_add(extent.len()) <= COMPARE_BYTES_MAX;
        if fits {
            self.places.push(at);
            self.extents.push((extent, *blake3::hash(content).as_bytes()));
        }
    }

    /// The answer must be of this record or a later one.
    pub fn since(&self) -> Seq {
        self.since
    }

    /// The request; `None` if there is nothing to ask.
    pub fn request(&self, id: u64) -> Option<Compare> {
        Compare::new(id, self.since, self.extents.clone()).ok()
    }

    /// Leaves out of the frame what the server has by this answer; `None` if that is nothing, or if
    /// the answer does not fit the question. If the stream gives any of it already, nothing else is
    /// left out: a frame goes to any later link as it is then.
    pub fn settle(&self, payload: &[u8], answer: &Compared) -> Option<Elided> {
        if answer.seq() < self.since || answer.same().len() != self.extents.len() {
            return None;
        }
        self.elide(payload, answer.same(), |header, _| Some((header.unchanged().ok()?, &[][..])))
            .map(|(payload, saved)| Elided { payload, saved, is_seeded: false })
            .or_else(|| {
                self.elide(payload, answer.seeded(), |header, hash| {
                    Some((header.seeded().ok()?, hash))
                })
                .map(|(payload, saved)| Elided {
                    payload,
                    saved,
                    is_seeded: true,
                })
            })
    }

    /// Replaces the chosen records that can be; `None` if none can. Returns how many bytes shorter
    /// the frame is, too.
    fn elide<'a>(
        &'a self,
        payload: &[u8],
        chosen: &[bool],
        replace: impl Fn(RecordHeader, &'a ContentHash) -> Option<(RecordHeader, &'a [u8])>,
    ) -> Option<(Vec<u8>, usize)> {
        let mut elided = Vec::new();
        let mut from = 0;
        let records = self.places.iter().zip(&self.extents).zip(chosen);
        for ((&at, (extent, hash)), _) in records.filter(|(_, is_chosen)| **is_chosen) {
            let content = at.checked_add(RECORD_HEADER_LEN)?;
            let end = content.checked_add(usize::try_from(extent.len()).ok()?)?;
            let header = RecordHeader::read(payload.get(at..end)?).ok()?;
            let Some((header, content)) = replace(header, hash) else { continue };
            elided.extend_from_slice(payload.get(from..at)?);
            elided.extend_from_slice(&header.to_bytes());
            elided.extend_from_slice(content);
            from = end;
        }
        if from == 0 {
            return None;
        }
        elided.extend_from_slice(payload.get(from..)?);
        let saved = payload.len().checked_sub(elided.len())?;
        Some((elided, saved))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use snapless_types::{EpochId, GapReason};
    use snapless_wire::id::FileTime;
    use snapless_wire::record::Position;

    use super::*;

    const BLOCK: u64 = 16 << 10;
    const BLOCKS: u64 = 6;

    fn geometry() -> Geometry {
        // The last block is short.
        Geometry::new(BLOCKS * BLOCK - 512, 512, 16 << 10).unwrap()
    }

    fn position(seq: u64) -> Position {
        Position {
            seq: Seq::new(seq),
            time: FileTime::new(1),
            monotonic: 1,
            epoch: EpochId::new(1),
        }
    }

    fn extent(first: u64, count: u64) -> (u64, u64) {
        let end = ((first + count) * BLOCK).min(geometry().length());
        (first * BLOCK, end - first * BLOCK)
    }

    /// A record about whole blocks, filled with one byte.
    fn record(kind: RecordKind, seq: u64, (offset, len): (u64, u64), byte: u8) -> Vec<u8> {
        let header = match kind {
            RecordKind::GapBegin => RecordHeader::gap_begin(position(seq), GapReason::ServiceLost),
            kind if kind.has_extent() => {
                RecordHeader::extent(kind, position(seq), offset, len).unwrap()
            }
            kind => RecordHeader::marker(kind, position(seq)).unwrap(),
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(bytes.len() + header.payload_len(), byte);
        bytes
    }

    fn resync(seq: u64, first: u64, byte: u8) -> Vec<u8> {
        record(RecordKind::Resync, seq, extent(first, 1), byte)
    }

    fn gap(seq: u64) -> Vec<u8> {
        record(RecordKind::GapBegin, seq, (0, 0), 0)
    }

    /// The blocks that a frame asks about.
    fn asked(question: Option<&Question>) -> Vec<u64> {
        let extents = question.map_or(&[][..], |question| &question.extents);
        extents.iter().map(|(extent, _)| extent.offset() / BLOCK).collect()
    }

    #[test]
    fn only_blocks_that_nothing_was_about_since_the_begin_of_the_gap_are_asked_about() {
        let mut touched = Touched::new(geometry(), Seq::new(10));
        let write = record(RecordKind::Write, 21, (BLOCK + 512, 512), 7);
        let trim = record(RecordKind::Trim, 22, (2 * BLOCK - 512, 1024), 0);
        let frame = [gap(20), write, trim, resync(23, 0, 1), resync(24, 1, 1), resync(25, 2, 1)];
        let question = touched.note(&frame.concat()).unwrap();
        assert_eq!(asked(Some(&question)), [0]);
        assert_eq!(question.since(), Seq::new(10), "records 11 to 19 were lost");
        let again = [resync(26, 0, 1), resync(27, 3, 1)].concat();
        assert_eq!(asked(touched.note(&again).as_ref()), [3]);
        // What is all zeros has no content to leave out.
        let zeros = RecordHeader::extent(RecordKind::Resync, position(28), 4 * BLOCK, BLOCK);
        assert_eq!(touched.note(&zeros.unwrap().zeroed().unwrap().to_bytes()), None);
        assert_eq!(touched.note(&resync(29, 4, 1)), None);
    }

    #[test]
    fn a_later_gap_begins_anew_at_the_frame_that_it_begins_in() {
        let mut touched = Touched::new(geometry(), Seq::new(0));
        let all = record(RecordKind::Block, 1, extent(0, BLOCKS), 1);
        assert_eq!(touched.note(&all), None);
        assert_eq!(touched.note(&resync(2, 0, 1)), None, "it was noted");
        let write = record(RecordKind::Write, 3, extent(1, 1), 7);
        let question = touched.note(&[write, gap(4), resync(5, 0, 1), resync(6, 1, 7)].concat());
        assert_eq!(asked(question.as_ref()), [0]);
        assert_eq!(question.unwrap().since(), Seq::new(2));
    }

    #[test]
    fn only_what_is_the_same_is_left_out_and_only_by_an_answer_that_fits() {
        let mut touched = Touched::new(geometry(), Seq::new(10));
        let marker = record(RecordKind::EpochEnd, 14, (0, 0), 0);
        let frame = [resync(11, 0, 1), resync(12, 1, 2), resync(13, 5, 3), marker].concat();
        let question = touched.note(&frame).unwrap();
        let request = question.request(4).unwrap();
        let hash_of_last = *blake3::hash(&[3; (16 << 10) - 512]).as_bytes();
        assert_eq!(request.extents()[2].1, hash_of_last);
        let same = [true, false, true];
        let elided = question.settle(&frame, &request.answered(Seq::new(10), same.into()));
        let elided = elided.unwrap();
        let kinds: Vec<_> = Records::new(&elided.payload)
            .map(|record| record.unwrap().header)
            .map(|header| (header.kind(), header.seq().get(), header.extent_len()))
            .collect();
        let want = [
            (RecordKind::Unchanged, 11, BLOCK),
            (RecordKind::Resync, 12, BLOCK),
            (RecordKind::Unchanged, 13, BLOCK - 512),
            (RecordKind::EpochEnd, 14, 0),
        ];
        assert_eq!(kinds, want);
        assert_eq!(elided.saved as u64, 2 * BLOCK - 512);
        assert_eq!(elided.payload.len() + elided.saved, frame.len());

        let nothing = [
            request.answered(Seq::new(9), same.into()),
            request.answered(Seq::new(10), vec![false; 3]),
            request.unanswered(),
            Compare::new(4, Seq::new(10), request.extents()[..2].to_vec())
                .unwrap()
                .answered(Seq::new(10), same[..2].into()),
        ];
        for answer in nothing {
            assert_eq!(question.settle(&frame, &answer), None, "{answer:?}");
        }
    }

    #[test]
    fn what_the_server_has_from_before_is_sent_as_a_hash() {
        let block = |seq, first, byte| record(RecordKind::Block, seq, extent(first, 1), byte);
        let frame = [block(1, 0, 1), block(2, 1, 2), block(3, 5, 3), resync(4, 2, 4)].concat();
        assert_eq!(asked(Touched::new(geometry(), Seq::new(0)).note(&frame).as_ref()), [2]);
        let mut touched = Touched::new(geometry(), Seq::new(0)).with_seed(true);
        let question = touched.note(&frame).unwrap();
        let request = question.request(4).unwrap();
        let seeded = vec![true, false, true, true];
        let answer = request.answered(Seq::new(0), vec![false; 4]).with_seeded(seeded.clone());
        let elided = question.settle(&frame, &answer).unwrap();
        let sent: Vec<_> = Records::new(&elided.payload).map(Result::unwrap).collect();
        assert_eq!(sent.len(), 4);
        for ((record, is_seeded), byte) in sent.iter().zip(&seeded).zip(1..) {
            assert_eq!(record.header.is_seeded(), *is_seeded);
            let len = usize::try_from(record.header.extent_len()).unwrap();
            let content = vec![byte; len];
            let hash = blake3::hash(&content);
            assert_eq!(record.payload, if *is_seeded { hash.as_bytes() } else { &content[..] });
        }
        assert!(elided.is_seeded);
        assert_eq!(elided.payload.len() + elided.saved, frame.len());

        // The stream gives it: nothing else is left out. Of a block it gives nothing before.
        let all = [false, false, false, true];
        let answer = request.answered(Seq::new(0), all.into()).with_seeded(seeded);
        let elided = question.settle(&frame, &answer).unwrap();
        assert!(!elided.is_seeded);
        assert_eq!(elided.saved as u64, BLOCK);
        let answer = request.answered(Seq::new(0), vec![true, false, false, false]);
        assert_eq!(question.settle(&frame, &answer), None);
    }

    #[test]
    fn a_question_has_no_more_than_a_request_can_have() {
        let mut touched = Touched::new(Geometry::new(1 << 30, 512, 4 << 20).unwrap(), Seq::new(1));
        let long = 4 << 20;
        let frame: Vec<_> = (0..5)
            .flat_map(|at| record(RecordKind::Resync, 2 + at, (at * long, long), 1))
            .collect();
        let question = touched.note(&frame).unwrap();
        let bytes: u64 = question.request(1).unwrap().extents().iter().map(|it| it.0.len()).sum();
        assert!(bytes <= COMPARE_BYTES_MAX && bytes + long > COMPARE_BYTES_MAX, "{bytes}");
    }

    /// Content of each block that the stream knows.
    type Image = BTreeMap<u64, u8>;

    /// A server: the frames that it has stored.
    #[derive(Clone, Default)]
    struct Server {
        stored: Vec<Vec<u8>>,
    }

    impl Server {
        /// What its stream gives, and its last record.
        fn image(&self) -> (Image, Seq) {
            let (mut image, mut last) = (Image::new(), Seq::new(0));
            for frame in &self.stored {
                for record in Records::new(frame).map(Result::unwrap) {
                    assert!(record.header.seq() > last);
                    last = record.header.seq();
                    let (offset, len) = (record.header.extent_offset(), record.header.extent_len());
                    let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
                    match record.header.kind() {
                        RecordKind::Unchanged => {
                            assert!(blocks.clone().all(|it| image.contains_key(&it)), "unknown");
                        }
                        RecordKind::Trim => image.extend(blocks.map(|block| (block, 0))),
                        kind if kind.has_extent() => {
                            image.extend(blocks.map(|block| (block, record.payload[0])));
                        }
                        _ => {}
                    }
                }
            }
            (image, last)
        }

        fn answer(&self, request: &Compare, rng: &mut fastrand::Rng) -> Compared {
            let (image, last) = self.image();
            let is_same = |(extent, hash): &(Extent, ContentHash)| {
                let blocks = extent.offset() / BLOCK..extent.end().div_ceil(BLOCK);
                let content: Option<Vec<_>> = blocks.map(|it| image.get(&it).copied()).collect();
                let Some(content) = content else { return false };
                let mut bytes: Vec<u8> =
                    content.iter().map(|&byte| [byte; 16 << 10]).collect::<Vec<_>>().concat();
                bytes.truncate(usize::try_from(extent.len()).unwrap());
                blake3::hash(&bytes).as_bytes() == hash
            };
            let mut same: Vec<_> = request.extents().iter().map(is_same).collect();
            if rng.u8(..) < 32 {
                same[0] = false;
            }
            // It waits for its storage, or is another one, which was rolled back.
            let last = if rng.u8(..) < 16 { Seq::new(last.get() / 2) } else { last };
            request.answered(last, same)
        }
    }

    /// A service: what it drained and has not acknowledged, and the number of frames sent.
    struct Service {
        touched: Touched,
        window: Vec<(Vec<u8>, Option<Question>)>,
        sent: usize,
    }

    /// Claims, gaps, writes, cuts, and answers at any time: the server has at last what it would
    /// have if everything had been sent. Returns how many records were left out.
    fn play(seed: u64) -> usize {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut server = Server::default();
        let mut full = Server::default();
        let mut seq = 0;
        let mut saved = 0;
        let bytes = 2;
        for _claim in 0..4 {
            let durable = rng.usize(..=server.stored.len());
            server.stored.truncate(durable);
            full.stored.truncate(durable);
            let touched = Touched::new(geometry(), server.image().1);
            let mut service = Service { touched, window: Vec::new(), sent: 0 };
            for step in 0..40 {
                match rng.u8(..10) {
                    0..4 => {
                        let mut frame = Vec::new();
                        for _ in 0..rng.u8(1..4) {
                            seq += 1;
                            let first = rng.u64(..BLOCKS);
                            let extent = extent(first, rng.u64(1..=(BLOCKS - first).min(2)));
                            let kind = match rng.u8(..12) {
                                0 => RecordKind::GapBegin,
                                1 => RecordKind::Write,
                                2 => RecordKind::Trim,
                                3 => RecordKind::Block,
                                4 => RecordKind::EpochEnd,
                                _ => RecordKind::Resync,
                            };
                            let is_first = step == 0 && frame.is_empty();
                            let kind = if is_first { RecordKind::GapBegin } else { kind };
                            seq += u64::from(is_first) * rng.u64(..9);
                            frame.extend(record(kind, seq, extent, 1 + rng.u8(..bytes)));
                        }
                        let question = service.touched.note(&frame);
                        full.stored.push(frame.clone());
                        service.window.push((frame, question));
                    }
                    4..7 => {
                        let unsent = &mut service.window[service.sent..];
                        let Some((frame, question)) = rng.choice(unsent) else { continue };
                        let Some(asked) = question.take() else { continue };
                        let request = asked.request(seq).unwrap();
                        let answer = server.answer(&request, &mut rng);
                        if let Some(elided) = asked.settle(frame, &answer) {
                            saved += elided.saved / 512;
                            *frame = elided.payload;
                        }
                    }
                    7..9 => {
                        let next = service.window.get(service.sent);
                        server.stored.extend(next.map(|(frame, _)| frame.clone()));
                        service.sent = (service.sent + 1).min(service.window.len());
                        let same = Server { stored: full.stored[..server.stored.len()].to_vec() };
                        assert_eq!(server.image(), same.image(), "seed {seed}");
                    }
                    _ => {
                        // A cut: the server drops what is not durable, and gets it again.
                        let dropped = rng.usize(..=service.sent);
                        server.stored.truncate(server.stored.len() - dropped);
                        service.sent -= dropped;
                    }
                }
            }
        }
        saved
    }

    #[test]
    fn whatever_comes_when_the_server_has_what_it_would_have_without() {
        let saved: usize = (0..100).map(play).sum();
        assert!(saved > 500, "{saved} sectors were left out");
    }
}

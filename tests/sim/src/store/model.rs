//! The oracle of one session: what its driver has sent, what was acknowledged, and what the volume
//! held at the end of each epoch, in plain arrays. It shares no code with the server but the bytes
//! of a record.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use snapless_server::fold::Plan;
use snapless_server::format::session::SessionHeader;
use snapless_server::timeline::Cut;
use snapless_types::{EpochId, GapReason, Geometry, RecordKind, Seq};
use snapless_wire::frame::Watermark;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordHeader};

/// The volume of every session.
pub const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
const SECTOR: usize = 512;
const BLOCK: usize = 16 << 10;
/// Two whole blocks and a short one.
pub const LENGTH: usize = 2 * BLOCK + 3 * SECTOR;
/// 2020-01-01T00:00:00Z.
const BEGIN: u64 = 132_223_104_000_000_000;
/// Ticks from record to record: 1 ms.
const TICK: u64 = 10_000;
/// A step of the wall clock: 1 h.
const STEP: u64 = 36_000_000_000;

/// What an epoch is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A half of the first sync.
    Sync,
    /// Writes, two of which overlap.
    Writes,
    /// A gap begins, or ends with a resync.
    Gap,
}

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum Phase {
    Empty,
    HalfSynced,
    Whole,
    Gap,
}

/// The end of an epoch.
#[derive(Clone, Debug, Hash)]
struct Epoch {
    /// Records up to it.
    records: usize,
    seq: u64,
    phase: Phase,
    /// The volume.
    image: Arc<Vec<u8>>,
}

/// When something was, by the machine's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Stamp {
    time: u64,
    /// How often the clock had been set.
    run: u32,
}

/// A watermark.
#[derive(Clone, Copy, Debug, Hash)]
struct Mark {
    /// Epochs before it.
    after: usize,
    stamp: Stamp,
    monotonic: u64,
    /// It is in the stream, in front of an acknowledged record.
    is_firm: bool,
}

/// A session as its driver knows it.
#[derive(Clone, Debug)]
pub struct Model {
    header: SessionHeader,
    /// The bytes of each record that was sent, and when it was made.
    records: Vec<(Arc<Vec<u8>>, Stamp)>,
    epochs: Vec<Epoch>,
    acknowledged: usize,
    marks: Vec<Mark>,
    now: Stamp,
    monotonic: u64,
    /// The folds that were begun. Which of them has ended, a crash decides.
    folds: Vec<Fold>,
    /// Counts what was ever made, so that nothing is made twice with the same bytes.
    salt: u64,
    /// Connections so far: the driver hears the newest one only.
    connections: u64,
}

/// What was sent: the last record up to the end of so many epochs. Another one that was sent in its
/// place later is not the same.
#[derive(Clone, Debug)]
pub struct Sent {
    epochs: usize,
    last: Arc<Vec<u8>>,
}

/// A fold of the session's history.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Fold {
    /// From the end of so many epochs on, every instant stays.
    boundary: usize,
    /// The epochs before it whose ends are retained.
    points: Vec<usize>,
    /// The volume before the session is retained.
    t0: bool,
}

impl Fold {
    /// True if it keeps the instants after so many epochs; `is_end` of the last record's own.
    fn keeps(&self, epochs: usize, is_end: bool) -> bool {
        epochs >= self.boundary || is_end && self.points.contains(&epochs)
    }
}

/// An instant, and what the volume held then.
#[derive(Clone, Debug)]
pub struct Instant {
    /// What the wall clock showed.
    pub time: FileTime,
    /// The bytes of the volume.
    pub image: Arc<Vec<u8>>,
    /// `None` if the server must have it. If its watermark may be lost, it need not restore, and
    /// its time may name one of these instead.
    pub if_lost: Option<Vec<Arc<Vec<u8>>>>,
}

/// Without the header: the salt tells sessions apart.
impl Hash for Model {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { header: _, connections: _, records, epochs, acknowledged, marks, .. } = self;
        let Self { now, monotonic, salt, folds, .. } = self;
        (records, epochs, acknowledged, marks, now, monotonic, salt, folds).hash(state);
    }
}

impl Instant {
    /// True if the server must have it.
    pub fn is_firm(&self) -> bool {
        self.if_lost.is_none()
    }

    /// True if its time may restore to these bytes.
    pub fn may_be(&self, bytes: &[u8]) -> bool {
        let mut images = self.if_lost.iter().flatten().chain([&self.image]);
        images.any(|image| image[..] == *bytes)
    }
}

impl Model {
    /// A session that has sent nothing.
    pub fn new(number: u8) -> Self {
        let (length, sector, block) = (LENGTH as u64, SECTOR as u64, BLOCK as u64);
        let size = |bytes: u64| u32::try_from(bytes).expect("model sizes are small");
        let geometry = Geometry::new(length, size(sector), size(block));
        let header = SessionHeader {
            volume: VOLUME,
            session: SessionId([number; 16]),
            geometry: geometry.expect("the model's volume has a shape"),
            created: FileTime::new(BEGIN + u64::from(number)),
        };
        Self {
            header,
            records: Vec::new(),
            epochs: Vec::new(),
            acknowledged: 0,
            marks: Vec::new(),
            now: Stamp { time: BEGIN, run: 0 },
            monotonic: 0,
            folds: Vec::new(),
            salt: u64::from(number) << 32,
            connections: 0,
        }
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// Epochs that were acknowledged, and that were sent.
    pub fn counts(&self) -> (usize, usize) {
        (self.acknowledged, self.epochs.len())
    }

    /// The last record of the first epochs; 0 without one.
    pub fn seq_of(&self, epochs: usize) -> u64 {
        epochs.checked_sub(1).map_or(0, |last| self.epochs[last].seq)
    }

    /// The bytes of the records of the first epochs.
    pub fn records_of(&self, epochs: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        let count = epochs.checked_sub(1).map_or(0, |last| self.epochs[last].records);
        self.records[..count].iter().map(|(bytes, _)| &bytes[..])
    }

    /// The next fold: up to the last epoch or the one before, with every other end of an epoch
    /// that there is still; `None` before the volume is whole.
    pub fn fold(&mut self) -> Option<Plan> {
        let is_point = |epochs: &usize| self.phase_of(*epochs) == Phase::Whole;
        let ends: Vec<usize> = (1..=self.acknowledged).filter(is_point).collect();
        let last = self.folds.last().map_or(0, |fold| fold.boundary);
        let left: Vec<usize> = ends.iter().copied().filter(|it| *it >= last).collect();
        let boundary = *left.get(left.len() / 2)?;
        let is_kept = |epochs: usize| self.folds.iter().all(|fold| fold.keeps(epochs, true));
        let before = ends.into_iter().filter(|it| *it < boundary && is_kept(*it));
        let points: Vec<usize> = before.step_by(2).collect();
        let t0 = self.t0_is_kept() && self.folds.len().is_multiple_of(2);
        let seq = |epochs: usize| Seq::new(self.seq_of(epochs));
        let base = t0.then_some(Cut::Base).into_iter();
        let cuts = base.chain(points.iter().map(|it| Cut::Through(seq(*it)))).collect();
        let plan = Plan { boundary: seq(boundary), points: cuts };
        self.folds.push(Fold { boundary, points, t0 });
        Some(plan)
    }

    /// True if no fold was begun.
    pub fn is_unfolded(&self) -> bool {
        self.folds.is_empty()
    }

    /// True if every fold that was begun retains the volume before the session.
    pub fn t0_is_kept(&self) -> bool {
        self.folds.iter().all(|fold| fold.t0)
    }

    /// How many records come before the boundary of a fold that was begun; `None` if none has it.
    pub fn records_before(&self, boundary: u64) -> Option<usize> {
        let mut begun = self.folds.iter().map(|fold| fold.boundary);
        let epochs = begun.find(|epochs| self.seq_of(*epochs) == boundary)?;
        Some(self.epochs[epochs - 1].records)
    }

    /// The bytes of the volume that the records of these numbers are about.
    pub fn extents(&self, from: u64, to: u64) -> Vec<Range<usize>> {
        let headers = self.records.iter().filter_map(|(bytes, _)| RecordHeader::read(bytes).ok());
        let asked = headers.filter(|header| (from..=to).contains(&header.seq().get()));
        let index = |at: u64| usize::try_from(at).expect("model volumes are small");
        asked
            .map(|header| {
                let start = index(header.extent_offset());
                start..start + index(header.extent_len())
            })
            .collect()
    }

    /// True if the first epochs end in a gap.
    pub fn is_in_gap(&self, epochs: usize) -> bool {
        self.phase_of(epochs) == Phase::Gap
    }

    /// The volume before the session.
    pub fn t0(&self) -> Vec<u8> {
        let mut image = vec![0; LENGTH];
        fill(&mut image[..BLOCK], u64::from(self.header.session.0[0]));
        fill(&mut image[2 * BLOCK..], 77);
        image
    }

    /// True if the first epochs have the whole volume.
    pub fn is_whole(&self, epochs: usize) -> bool {
        matches!(self.phase_of(epochs), Phase::Whole | Phase::Gap)
    }

    /// The volume at the last point of the first epochs; `None` without one.
    pub fn latest(&self, epochs: usize) -> Option<&[u8]> {
        let last = self.epochs[..epochs].iter().rfind(|epoch| epoch.phase != Phase::Gap);
        last.filter(|_| self.is_whole(epochs)).map(|epoch| &epoch.image[..])
    }

    /// The instants at which the first epochs end, outside gaps, and those of watermarks after
    /// them, but for those that the clock has shown again later.
    pub fn instants(&self, epochs: usize) -> Vec<Instant> {
        if !self.is_whole(epochs) {
            return Vec::new();
        }
        let ends = self.epochs[..epochs].iter().enumerate();
        let ends = ends.map(|(index, epoch)| (index + 1, self.records[epoch.records - 1].1, true));
        let marks = self.marks.iter().filter(|mark| mark.after <= epochs);
        let marks = marks.map(|mark| (mark.after, mark.stamp, mark.is_firm && mark.after < epochs));
        let is_kept =
            |after: usize, is_end: bool| self.folds.iter().all(|fold| fold.keeps(after, is_end));
        let ends = ends.map(|(after, stamp, _)| (after, stamp, is_kept(after, true)));
        let marks =
            marks.map(|(after, stamp, is_firm)| (after, stamp, is_firm && is_kept(after, false)));
        ends.chain(marks)
            .filter(|&(after, ..)| self.epochs[after - 1].phase != Phase::Gap)
            .filter(|&(_, stamp, _)| !self.was_shown_again(stamp))
            .map(|(after, stamp, is_firm)| Instant {
                time: FileTime::new(stamp.time),
                image: Arc::clone(&self.epochs[after - 1].image),
                if_lost: (!is_firm).then(|| self.ends_before(stamp)),
            })
            .collect()
    }

    /// What the volume held before the clock was set past this time, in an earlier run: without the
    /// watermark that showed it, it is a time that the clock skipped. It names the end of the last
    /// run that the server knows: that of a record, or of another watermark, which may be lost too.
    fn ends_before(&self, stamp: Stamp) -> Vec<Arc<Vec<u8>>> {
        let run_until = |it: Stamp| (it.time <= stamp.time).then_some(it.run);
        let known = self.records.iter().filter_map(|&(_, it)| run_until(it)).max();
        if known.is_some_and(|run| run >= stamp.run) {
            // A record shows that the clock ran up to this time.
            return Vec::new();
        }
        let marked = self.marks.iter().filter_map(|mark| run_until(mark.stamp));
        let marked = marked.filter(|run| Some(*run) > known && *run < stamp.run);
        known.into_iter().chain(marked).filter_map(|run| self.end_of(run)).cloned().collect()
    }

    /// True if the volume held these bytes at the end of a run of the clock that had begun by this
    /// time: what the time names for a stream that ends before the clock showed it again.
    pub fn is_end_of_run(&self, time: FileTime, bytes: &[u8]) -> bool {
        let has_begun = |it: &&(Arc<Vec<u8>>, Stamp)| it.1.time <= time.get();
        let begun = self.records.iter().filter(has_begun).map(|(_, it)| it.run);
        begun.filter_map(|run| self.end_of(run)).any(|image| image[..] == *bytes)
    }

    /// True if the volume held these bytes when an epoch ended.
    pub fn was(&self, bytes: &[u8]) -> bool {
        self.epochs.iter().any(|epoch| epoch.image[..] == *bytes)
    }

    /// The volume at the last record up to the end of a run of the clock.
    fn end_of(&self, run: u32) -> Option<&Arc<Vec<u8>>> {
        let is_until = |epoch: &&Epoch| self.records[epoch.records - 1].1.run <= run;
        self.epochs.iter().rfind(is_until).map(|epoch| &epoch.image)
    }

    /// True if the clock was set back and may have shown this time once more.
    fn was_shown_again(&self, stamp: Stamp) -> bool {
        let records = self.records.iter().map(|(_, stamp)| *stamp);
        let later = || {
            let marks = self.marks.iter().map(|mark| mark.stamp);
            records.clone().chain(marks).filter(|it| it.run > stamp.run)
        };
        let first = later().map(|it| it.time).min();
        first.is_some_and(|first| first <= stamp.time)
    }

    /// True if the clock was set back and may have shown this time more than once.
    pub fn is_ambiguous(&self, time: FileTime) -> bool {
        let stamps = self.records.iter().map(|(_, stamp)| stamp);
        let stamps = stamps.chain(self.marks.iter().map(|mark| &mark.stamp));
        let mut runs: Vec<_> = stamps.filter(|it| it.time <= time.get()).map(|it| it.run).collect();
        runs.sort_unstable();
        runs.dedup();
        runs.len() > 1
    }

    /// The frames of the next epoch; `None` if there is nothing of the kind to send. The first
    /// record of a connection may come after records that were lost.
    pub fn send(&mut self, content: Content, is_first: bool) -> Option<Vec<Vec<u8>>> {
        let phase = self.phase_of(self.epochs.len());
        let mut image = self.epochs.last().map_or_else(|| self.t0(), |last| last.image.to_vec());
        let mut maker =
            Maker { seq: self.seq_of(self.epochs.len()), frames: vec![Vec::new()], model: self };
        let next = match (content, phase) {
            (Content::Sync, Phase::Empty) => {
                maker.marker(RecordKind::SessionStart);
                maker.data(RecordKind::Block, 0, &image[..BLOCK]);
                Phase::HalfSynced
            }
            (Content::Sync, Phase::HalfSynced) => {
                maker.zeros(RecordKind::Unallocated, BLOCK, BLOCK);
                maker.data(RecordKind::Block, 2 * BLOCK, &image[2 * BLOCK..]);
                maker.cut();
                maker.marker(RecordKind::BaseComplete);
                Phase::Whole
            }
            (Content::Writes, Phase::HalfSynced | Phase::Whole | Phase::Gap) => {
                let sector = usize::try_from(maker.seq % 13).expect("it is below 13");
                maker.write(&mut image, sector, 2);
                maker.write(&mut image, sector + 1, 1);
                maker.cut();
                if phase == Phase::HalfSynced {
                    maker.write(&mut image, 30, 1);
                } else {
                    maker.write(&mut image, 2 * BLOCK / SECTOR + 1, 1);
                    maker.zeros(RecordKind::Zero, (sector + 8) * SECTOR, SECTOR);
                    image[(sector + 8) * SECTOR..][..SECTOR].fill(0);
                }
                phase
            }
            (Content::Gap, Phase::Whole) => {
                maker.gap(is_first);
                // Nobody captures this.
                fill(&mut image[BLOCK..2 * BLOCK], maker.seq);
                Phase::Gap
            }
            (Content::Gap, Phase::Gap) => {
                maker.data(RecordKind::Resync, BLOCK, &image[BLOCK..2 * BLOCK]);
                maker.marker(RecordKind::Consistent);
                Phase::Whole
            }
            _ => return None,
        };
        maker.marker(RecordKind::EpochEnd);
        let Maker { seq, frames, .. } = maker;
        let (records, image) = (self.records.len(), Arc::new(image));
        self.epochs.push(Epoch { records, seq, phase: next, image });
        Some(frames)
    }

    /// What was sent last.
    pub fn sent(&self) -> Option<Sent> {
        let (last, _) = self.records.last()?;
        Some(Sent { epochs: self.epochs.len(), last: Arc::clone(last) })
    }

    /// This was acknowledged, and all before it; the watermark before it is in the stream, or may
    /// not be. False if something else was sent in its place meanwhile.
    #[must_use]
    pub fn acknowledge(&mut self, sent: &Sent, has_mark: bool) -> bool {
        let end = self.epochs.get(sent.epochs - 1).map(|epoch| epoch.records - 1);
        if !end.is_some_and(|end| Arc::ptr_eq(&self.records[end].0, &sent.last)) {
            return false;
        }
        // The server has had no other after the same record for certain.
        let before = self.acknowledged;
        if let Some(last) = self.marks.last_mut().filter(|last| last.after == before) {
            last.is_firm |= has_mark;
        }
        self.acknowledged = before.max(sent.epochs);
        true
    }

    /// Connects to a server; returns the connection's number.
    pub fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// True for the newest connection.
    pub fn hears(&self, connection: u64) -> bool {
        self.connections == connection
    }

    /// The server has all that was sent.
    pub fn is_there(&mut self) {
        self.acknowledged = self.epochs.len();
    }

    /// Only so many epochs were acknowledged yet.
    pub fn was_acknowledged(&mut self, epochs: usize) {
        self.acknowledged = epochs;
        self.marks.iter_mut().for_each(|mark| mark.is_firm &= mark.after < epochs);
    }

    /// The server has the first epochs and nothing more: that is where the driver goes on.
    pub fn go_back(&mut self, epochs: usize) {
        self.epochs.truncate(epochs);
        let count = self.epochs.last().map_or(0, |last| last.records);
        self.records.truncate(count);
        self.marks.retain(|mark| mark.after <= epochs);
        self.acknowledged = epochs;
        self.salt += 1 << 16;
    }

    /// A watermark after the last record; `None` before there is one, and in a gap.
    pub fn mark(&mut self) -> Option<Watermark> {
        let after = self.epochs.len();
        if after == 0 || self.phase_of(after) == Phase::Gap {
            return None;
        }
        self.tick();
        let mark = Mark { after, stamp: self.now, monotonic: self.monotonic, is_firm: false };
        self.marks.push(mark);
        Some(self.watermark(&mark))
    }

    /// The last watermark, if no record came after it.
    pub fn last_mark(&self) -> Option<Watermark> {
        let last = self.marks.last().filter(|mark| mark.after == self.epochs.len());
        last.map(|mark| self.watermark(mark))
    }

    /// The wall clock is set, forward or back.
    pub fn set_clock(&mut self, forward: bool) {
        let run = self.now.run + 1;
        let time = if forward { self.now.time + STEP } else { self.now.time - STEP };
        self.now = Stamp { time, run };
    }

    fn watermark(&self, mark: &Mark) -> Watermark {
        let seq = Seq::new(self.seq_of(mark.after));
        Watermark::new(seq, FileTime::new(mark.stamp.time), mark.monotonic)
    }

    fn phase_of(&self, epochs: usize) -> Phase {
        epochs.checked_sub(1).map_or(Phase::Empty, |last| self.epochs[last].phase)
    }

    fn tick(&mut self) {
        self.now.time += TICK;
        self.monotonic += TICK;
    }
}

/// Makes the records of an epoch, as a driver does.
struct Maker<'a> {
    model: &'a mut Model,
    seq: u64,
    frames: Vec<Vec<u8>>,
}

impl Maker<'_> {
    fn position(&mut self) -> Position {
        self.seq += 1;
        self.model.tick();
        Position {
            seq: Seq::new(self.seq),
            time: FileTime::new(self.model.now.time),
            monotonic: self.model.monotonic,
            epoch: EpochId::new(self.model.epochs.len() as u64 + 1),
        }
    }

    fn put(&mut self, header: RecordHeader, payload: &[u8]) {
        let record = [&header.to_bytes()[..], payload].concat();
        self.frames.last_mut().expect("there is a frame").extend(&record);
        self.model.records.push((Arc::new(record), self.model.now));
    }

    fn marker(&mut self, kind: RecordKind) {
        let position = self.position();
        self.put(RecordHeader::marker(kind, position).expect("it is a marker"), &[]);
    }

    fn gap(&mut self, may_lose: bool) {
        // Records that the service lost.
        self.seq += if may_lose { 3 } else { 0 };
        let position = self.position();
        self.put(RecordHeader::gap_begin(position, GapReason::ServiceLost), &[]);
    }

    fn header(&mut self, kind: RecordKind, offset: usize, len: usize) -> RecordHeader {
        let position = self.position();
        let header = RecordHeader::extent(kind, position, offset as u64, len as u64);
        header.expect("the model's extents are aligned")
    }

    fn data(&mut self, kind: RecordKind, offset: usize, bytes: &[u8]) {
        let header = self.header(kind, offset, bytes.len());
        self.put(header, bytes);
    }

    fn zeros(&mut self, kind: RecordKind, offset: usize, len: usize) {
        let header = self.header(kind, offset, len);
        self.put(header, &[]);
    }

    /// A write of new bytes.
    fn write(&mut self, image: &mut [u8], sector: usize, sectors: usize) {
        self.model.salt += 1;
        let bytes = &mut image[sector * SECTOR..][..sectors * SECTOR];
        fill(bytes, self.model.salt);
        self.data(RecordKind::Write, sector * SECTOR, bytes);
    }

    /// The next record begins another frame.
    fn cut(&mut self) {
        self.frames.push(Vec::new());
    }
}

/// Bytes of which each sector is like no other.
fn fill(bytes: &mut [u8], salt: u64) {
    for (word, index) in bytes.chunks_mut(8).zip(1_u64..) {
        let value = (salt << 16 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

//! The rules of a session's stream, asserted a second time after the driver: T0 (rules.md#t0) and
//! LOSS (rules.md#loss).
//!
//! [`StreamState`] takes the headers of all records in order, first from the repository, then from
//! the network, and refuses the first one that breaks a rule. It does no input or output. After a
//! refusal it must be dropped.

use snapless_types::{
    BlockIndex, BlockRange, EpochId, Extent, GapReason, Geometry, RecordKind, Seq,
};
use snapless_wire::frame::Watermark;
use snapless_wire::record::RecordHeader;

use crate::bitmap::BlockSet;
use crate::clock::Reading;
use crate::timeline::{Effect, Place, RESIZES_MAX, Timeline};

mod resize;
mod stored;

/// The state of a stream: all that decides whether the next record is valid.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// The volume's shape as of the last record.
    geometry: Geometry,
    /// Blocks whose content at t0 is in the stream. Of the volume as it was then: none is added
    /// once its length has changed.
    base: BlockSet,
    /// Blocks whose content at some instant is in the stream. Holds all of `base`.
    known: BlockSet,
    /// Blocks that a write in the open gap touched before they were captured, and that are not in
    /// `known`. Since the volume's length changed, all that are not in `known`.
    spoiled: BlockSet,
    /// Blocks with a hole in the base image: the volume's disk could not read some of their bytes.
    /// `base` holds all of them.
    holes_at_t0: BlockSet,
    /// Blocks with a hole as of the last record: none that was written as a whole since. `known`
    /// holds all of them.
    holes: BlockSet,
    /// The base blocks of the last record, whose unreadable sectors may follow.
    last_base: BlockRange,
    ended_epoch: EpochId,
    joint: Joint,
    /// Bytes of the volume that a connection speaks of.
    announced: Option<u64>,
    timeline: Timeline,
}

/// A valid record.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    /// Its place in the stream.
    pub place: Place,
    /// The blocks whose content at t0 it gives.
    pub base: BaseBlocks,
}

/// The blocks whose content at t0 a record gives.
#[derive(Clone, PartialEq, Debug)]
pub enum BaseBlocks {
    /// None: the record is a change, or a marker.
    None,
    /// All blocks of the record's extent.
    All,
    /// These; for the rest of its extent the record is a change.
    Some(BlockSet),
    /// No new ones: the record names sectors of the base block before it that could not be read.
    Holes,
}

/// A part of the volume: how many of its blocks the stream describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its blocks.
    pub blocks: u64,
    /// Those whose content is in the stream.
    pub known: u64,
    /// Those that changed in a gap before they were captured.
    pub spoiled: u64,
}

/// How the next record must follow the ones before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Joint {
    /// In the stored stream: where a connection broke, the numbers may jump to a `GapBegin`.
    Stored,
    /// The first record of a connection: the next number, or a jump to a `GapBegin`.
    Connected,
    /// Within a connection: the next number.
    Live,
}

impl StreamState {
    /// The state before the first record, ready for the stored stream.
    pub fn new(geometry: Geometry) -> Self {
        let blocks = geometry.block_count();
        Self {
            geometry,
            base: BlockSet::new(blocks),
            known: BlockSet::new(blocks),
            spoiled: BlockSet::new(blocks),
            holes_at_t0: BlockSet::new(blocks),
            holes: BlockSet::new(blocks),
            last_base: BlockRange::EMPTY,
            ended_epoch: EpochId::new(0),
            joint: Joint::Stored,
            announced: None,
            timeline: Timeline::new(blocks),
        }
    }

    /// The next records come over a connection. Its first one goes on where the stored stream ends,
    /// or opens a gap (rule LOSS): the records between are lost.
    pub fn begin_connection(&mut self) {
        self.joint = Joint::Connected;
    }

    /// The next records come from another repository, which has stored them: connections broke
    /// where the numbers jump to a `GapBegin`.
    pub fn begin_stored(&mut self) {
        (self.joint, self.announced) = (Joint::Stored, None);
    }

    /// The volume's shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The instants that can be restored so far.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Blocks of which the volume's disk could not read some bytes, as of the last record. A block
    /// counts until a record gives it content as a whole.
    pub fn blocks_with_holes(&self) -> u64 {
        self.holes.count()
    }

    /// Blocks of the base image of which the volume's disk could not read some bytes.
    pub fn blocks_with_holes_at_t0(&self) -> u64 {
        self.holes_at_t0.count()
    }

    /// The last record's place.
    pub fn last(&self) -> Option<Place> {
        self.timeline.last()
    }

    /// The last epoch that ended; 0 before the first.
    pub fn ended_epoch(&self) -> EpochId {
        self.ended_epoch
    }

    /// True if both states take and refuse the same records, and have the same instants.
    pub fn is_same(&self, other: &Self) -> bool {
        let sets = [
            (&self.base, &other.base),
            (&self.known, &other.known),
            (&self.spoiled, &other.spoiled),
            (&self.holes_at_t0, &other.holes_at_t0),
            (&self.holes, &other.holes),
        ];
        self.geometry == other.geometry
            && sets.iter().all(|(one, other)| one.count() == other.count() && one.is_subset(other))
            && self.last_base == other.last_base
            && self.ended_epoch == other.ended_epoch
            && self.timeline == other.timeline
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The rule that it breaks. The state must then be dropped.
    pub fn accept(&mut self, record: &RecordHeader) -> Result<Accepted, Violation> {
        if record.is_seeded() {
            return Err(Violation::Seeded(record.seq()));
        }
        let mut given = BaseBlocks::None;
        let jumps = self.check_seq(record)?;
        self.check_epoch(record)?;
        let continues = record.gap_reason().is_some_and(GapReason::continues_session);
        // What was captured before a restart and did not arrive is lost, too, whatever the number.
        let after_loss = jumps || record.gap_reason().is_some_and(GapReason::reaches_back);
        self.check_clock(record, continues)?;
        let resized = self.resize(record)?;
        let run = self.check_extent(record)?;
        self.check_announced(record.seq())?;
        let before = (self.base.count(), self.known.count());
        match record.kind() {
            RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded => {
                self.block(record, run)?;
                given = BaseBlocks::All;
            }
            RecordKind::Write | RecordKind::Trim | RecordKind::Zero => self.write(record, run)?,
            RecordKind::Resync => self.resync(record, run)?,
            RecordKind::Unchanged => self.unchanged(record, run)?,
            RecordKind::Check => self.check(record, run)?,
            RecordKind::Unreadable if !self.is_whole_blocks(record) => {
                given = self.holes(record, run)?;
            }
            RecordKind::Unreadable => given = BaseBlocks::Some(self.unreadable(record, run)?),
            RecordKind::SessionStart if self.last().is_some() => {
                return Err(Violation::SecondStart(record.seq()));
            }
            RecordKind::BaseComplete if !self.in_gap() && !self.known.is_full() => {
                let missing = self.known.first_missing(&self.geometry.all_blocks());
                let block = missing.unwrap_or(BlockIndex(0));
                return Err(Violation::BaseIncomplete { seq: record.seq(), block });
            }
            RecordKind::Consistent => self.consistent(record)?,
            RecordKind::EpochEnd => self.ended_epoch = record.epoch(),
            RecordKind::SessionStart | RecordKind::BaseComplete | RecordKind::GapBegin => {}
        }
        if given != BaseBlocks::Holes {
            let is_base = given == BaseBlocks::All;
            self.last_base = if is_base { run } else { BlockRange::EMPTY };
        }
        self.note_holes(record, run, &given);
        let coverage = self.coverage();
        let base = coverage.base > before.0 || given == BaseBlocks::Holes;
        let t0_lost = match resized {
            // What is not captured by now is of no point before.
            Some(was_known) => !was_known,
            None if self.timeline.is_resized() => false,
            None => coverage.known - before.1 > coverage.base - before.0,
        };
        let resized = resized.map(|_| self.geometry.length());
        let effect = Effect { coverage, base, t0_lost, after_loss, resized };
        let place = self.timeline.note(record, effect);
        Ok(Accepted { place, base: given })
    }

    /// Takes a watermark: up to its instant, nothing newer than the last record was captured. It
    /// replaces one that came after the same record, unless the wall clock was set between them.
    ///
    /// # Errors
    /// The rule that it breaks. Nothing changes.
    pub fn mark(&mut self, watermark: &Watermark) -> Result<(), Violation> {
        let found = watermark.seq();
        let last = self.last().filter(|last| last.epoch == self.ended_epoch);
        if last.is_none_or(|last| last.seq != found) {
            let last = self.last().map_or(Seq::new(0), |last| last.seq);
            return Err(Violation::WatermarkPlace { found, last });
        }
        if self.in_gap() {
            return Err(Violation::WatermarkInGap(found));
        }
        let reading = Reading::of(watermark);
        let before = self.timeline.last_reading().map_or(0, |before| before.monotonic);
        if reading.monotonic < before {
            return Err(Violation::WatermarkBack { seq: found, found: reading.monotonic, before });
        }
        self.timeline.mark(reading);
        Ok(())
    }

    /// The watermark after the last record.
    pub fn watermark(&self) -> Option<Watermark> {
        let (last, reading) = (self.last()?, self.timeline.watermark()?);
        Some(Watermark::new(last.seq, reading.time, reading.monotonic))
    }

    /// The volume in so many parts of about the same length, or one for each block if it has fewer.
    pub fn parts(&self, most: u64) -> impl Iterator<Item = Part> + use<'_> {
        let blocks = self.known.capacity();
        let count = most.min(blocks);
        let edge = move |part: u64| {
            let before = u128::from(blocks) * u128::from(part) / u128::from(count.max(1));
            BlockIndex(u64::try_from(before).unwrap_or(blocks))
        };
        (0..count).map(move |part| {
            let run = BlockRange::new(edge(part), edge(part + 1));
            let (known, spoiled) = (self.known.count_in(&run), self.spoiled.count_in(&run));
            Part { blocks: run.len(), known, spoiled }
        })
    }

    fn coverage(&self) -> crate::timeline::Coverage {
        crate::timeline::Coverage {
            total: self.geometry.block_count(),
            at_t0: self.base.capacity(),
            base: self.base.count(),
            known: self.known.count(),
        }
    }

    fn in_gap(&self) -> bool {
        self.timeline.open_gap_now().is_some()
    }

    /// Checks the record's number; true if records before it were lost with a connection.
    fn check_seq(&mut self, record: &RecordHeader) -> Result<bool, Violation> {
        let seq = record.seq();
        let last = self.last().map_or(Seq::new(0), |last| last.seq);
        let Some(next) = last.get().checked_add(1).map(Seq::new) else {
            // No number follows the last one.
            return Err(Violation::Seq { found: seq, expected: last });
        };
        let joint = self.joint;
        if joint == Joint::Connected {
            self.joint = Joint::Live;
        }
        let opens_gap = record.kind() == RecordKind::GapBegin;
        let starts = record.kind() == RecordKind::SessionStart;
        if self.last().is_none() && !starts && !opens_gap {
            return Err(Violation::NoStart { seq, kind: record.kind() });
        }
        let may_jump = opens_gap && joint != Joint::Live;
        if seq == next || (may_jump && seq > last) {
            return Ok(seq != next);
        }
        if joint == Joint::Connected && seq > next {
            return Err(Violation::Lost { found: seq, kind: record.kind(), expected: next });
        }
        Err(Violation::Seq { found: seq, expected: next })
    }

    fn check_epoch(&self, record: &RecordHeader) -> Result<(), Violation> {
        let current = self.last().map_or(EpochId::new(0), |last| last.epoch);
        let found = record.epoch();
        if found > self.ended_epoch && found >= current {
            return Ok(());
        }
        Err(Violation::Epoch { seq: record.seq(), found, current, ended: self.ended_epoch })
    }

    /// The clock that is never set begins anew only where the session continues after a restart. A
    /// stored stream was taken by the rules of its release.
    fn check_clock(&self, record: &RecordHeader, begins_anew: bool) -> Result<(), Violation> {
        let before = self.timeline.record_reading().map_or(0, |before| before.monotonic);
        let (seq, found) = (record.seq(), record.monotonic());
        if found < before && !begins_anew && self.joint != Joint::Stored {
            return Err(Violation::ClockBack { seq, found, before });
        }
        Ok(())
    }

    /// Checks the record's extent; returns the blocks that it touches, none for a marker.
    fn check_extent(&self, record: &RecordHeader) -> Result<BlockRange, Violation> {
        let Some(extent) = record_extent(record) else { return Ok(BlockRange::EMPTY) };
        let (seq, offset, len) = (record.seq(), extent.offset(), extent.len());
        let run = self.geometry.blocks_of(&extent);
        let length = self.geometry.length();
        let run = run.ok_or(Violation::Outside { seq, offset, len, length })?;
        let aligned = match record.kind() {
            RecordKind::Write | RecordKind::Trim | RecordKind::Zero | RecordKind::Unreadable => {
                self.geometry.is_sector_aligned(&extent)
            }
            _ => self.geometry.is_block_aligned(&extent),
        };
        if aligned { Ok(run) } else { Err(Violation::Unaligned { seq, offset, len }) }
    }

    fn block(&mut self, record: &RecordHeader, run: BlockRange) -> Result<(), Violation> {
        let seq = record.seq();
        if let Some(block) = self.base.first_in(&run) {
            return Err(Violation::BlockTwice { seq, block });
        }
        if let Some(block) = self.known.first_in(&run).or_else(|| self.spoiled.first_in(&run)) {
            return Err(Violation::BlockAfterChange { seq, block });
        }
        self.base.insert(&run);
        self.known.insert(&run);
        Ok(())
    }

    fn write(&mut self, record: &RecordHeader, run: BlockRange) -> Result<(), Violation> {
        let Some(block) = self.known.first_missing(&run) else {
            return Ok(());
        };
        if !self.in_gap() {
            return Err(Violation::WriteBeforeBlock { seq: record.seq(), block });
        }
        self.know(&self.whole_blocks_of(record));
        // At most the first and the last block are not covered.
        let last = BlockIndex(run.end.0.saturating_sub(1));
        for block in [run.start, last] {
            if !self.known.contains(block) {
                self.spoiled.insert(&BlockRange::one(block));
            }
        }
        Ok(())
    }

    fn resync(&mut self, record: &RecordHeader, run: BlockRange) -> Result<(), Violation> {
        match self.known.first_missing(&run) {
            Some(block) if !self.in_gap() => {
                Err(Violation::WriteBeforeBlock { seq: record.seq(), block })
            }
            _ => {
                self.know(&run);
                Ok(())
            }
        }
    }

    /// Only content that the stream has can be unchanged. Whether it is, only the service knows: a
    /// write may have come since it was told, and has been noted there.
    fn unchanged(&self, record: &RecordHeader, run: BlockRange) -> Result<(), Violation> {
        match self.first_not_given(&run) {
            Some(block) => Err(Violation::NothingUnchanged { seq: record.seq(), block }),
            None => Ok(()),
        }
    }

    /// A check says what the volume has where the stream describes it.
    fn check(&self, record: &RecordHeader, run: BlockRange) -> Result<(), Violation> {
        let seq = record.seq();
        if !record.is_hashed() {
            return Err(Violation::CheckWithoutHashes(seq));
        }
        match self.known.first_missing(&run) {
            _ if self.in_gap() => Err(Violation::CheckInGap(seq)),
            Some(block) => Err(Violation::CheckBeforeBlock { seq, block }),
            None => Ok(()),
        }
    }

    /// The first of these blocks whose content the stream does not give as a whole: unknown, or
    /// with a hole.
    fn first_not_given(&self, run: &BlockRange) -> Option<BlockIndex> {
        self.known.first_missing(run).or_else(|| self.holes.first_in(run))
    }

    /// True if the stream gives all content of these blocks.
    pub fn gives(&self, run: &BlockRange) -> bool {
        self.first_not_given(run).is_none()
    }

    fn is_whole_blocks(&self, record: &RecordHeader) -> bool {
        record_extent(record).is_some_and(|extent| self.geometry.is_block_aligned(&extent))
    }

    /// Unreadable sectors of a block follow the block's own record.
    fn holes(&self, record: &RecordHeader, run: BlockRange) -> Result<BaseBlocks, Violation> {
        if let Some(block) = self.known.first_missing(&run) {
            return Err(Violation::WriteBeforeBlock { seq: record.seq(), block });
        }
        let behind = self.last_base.intersection(&run) == run;
        Ok(if behind { BaseBlocks::Holes } else { BaseBlocks::None })
    }

    /// Unreadable blocks count as base blocks where they are not known yet, and as a resync
    /// elsewhere. Returns the base blocks.
    fn unreadable(
        &mut self,
        record: &RecordHeader,
        run: BlockRange,
    ) -> Result<BlockSet, Violation> {
        if self.known.first_missing(&run).is_none() {
            return Ok(BlockSet::new(self.geometry.block_count()));
        }
        if let Some(block) = self.spoiled.first_in(&run).filter(|_| !self.in_gap()) {
            return Err(Violation::BlockAfterChange { seq: record.seq(), block });
        }
        let given = BlockSet::missing_from_both(&run, &self.known, &self.spoiled);
        self.base.insert_all(&given);
        self.know(&run);
        Ok(given)
    }

    /// Notes what a record says about blocks that the disk could not read.
    fn note_holes(&mut self, record: &RecordHeader, run: BlockRange, given: &BaseBlocks) {
        let covered = match record.kind() {
            RecordKind::Unreadable => {
                match given {
                    BaseBlocks::Some(fresh) => self.holes_at_t0.insert_all(fresh),
                    BaseBlocks::Holes => _ = self.holes_at_t0.insert(&run),
                    BaseBlocks::All | BaseBlocks::None => {}
                }
                self.holes.insert(&run);
                return;
            }
            RecordKind::Resync => run,
            RecordKind::Write | RecordKind::Trim | RecordKind::Zero => self.whole_blocks_of(record),
            // Of a block that has no content yet, or a marker.
            _ => return,
        };
        self.holes.remove(&covered);
    }

    /// The blocks that the record covers as a whole.
    fn whole_blocks_of(&self, record: &RecordHeader) -> BlockRange {
        let covered = record_extent(record).map(|extent| self.geometry.whole_blocks_of(&extent));
        covered.unwrap_or(BlockRange::EMPTY)
    }

    fn consistent(&mut self, record: &RecordHeader) -> Result<(), Violation> {
        if !self.in_gap() {
            return Err(Violation::NoGap(record.seq()));
        }
        match self.spoiled.first() {
            Some(block) => Err(Violation::NotResynced { seq: record.seq(), block }),
            None => Ok(()),
        }
    }

    /// These blocks have content in the stream now.
    fn know(&mut self, run: &BlockRange) {
        self.known.insert(run);
        self.spoiled.remove(run);
    }
}

/// The bytes that a record describes; `None` for a marker.
fn record_extent(record: &RecordHeader) -> Option<Extent> {
    Extent::new(record.extent_offset(), record.extent_len())
}

/// The rule that a record breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// A number out of order.
    #[error("record {found} came where record {expected} must come")]
    Seq {
        /// The record's number.
        found: Seq,
        /// The number that was due.
        expected: Seq,
    },
    /// The stream does not begin at its beginning.
    #[error("record {seq} ({kind:?}) cannot begin a stream: SessionStart or GapBegin must")]
    NoStart {
        /// The record.
        seq: Seq,
        /// Its kind.
        kind: RecordKind,
    },
    /// A record without the content that its hash names: in place of that a server stores the
    /// content.
    #[error("record {0} has a hash in the place of its content")]
    Seeded(Seq),
    /// A second `SessionStart`.
    #[error("record {0} is a second SessionStart")]
    SecondStart(Seq),
    /// Rule LOSS: the first record of a connection leaves records out and opens no gap.
    #[error(
        "LOSS: record {found} ({kind:?}) came first where record {expected} must come: send what \
         was not acknowledged again, or GapBegin first if it is gone"
    )]
    Lost {
        /// The record's number.
        found: Seq,
        /// Its kind.
        kind: RecordKind,
        /// The number that was due.
        expected: Seq,
    },
    /// An epoch before the present one, or one that has ended.
    #[error(
        "record {seq} belongs to epoch {found}, but the stream is in epoch {current} and epoch \
         {ended} has ended"
    )]
    Epoch {
        /// The record.
        seq: Seq,
        /// Its epoch.
        found: EpochId,
        /// The epoch of the record before.
        current: EpochId,
        /// The last epoch that ended.
        ended: EpochId,
    },
    /// A length that no volume has, or one past the server's limit.
    #[error(
        "record {seq} says that the volume has {length} bytes now: that is not whole sectors, or \
         more than a server takes"
    )]
    Length {
        /// The record.
        seq: Seq,
        /// The length.
        length: u64,
    },
    /// A volume whose length has changed too often.
    #[error(
        "record {0} says that the volume's length changed once more, and a session takes \
         {RESIZES_MAX} changes: end it with `snapless stop`, a new one begins then"
    )]
    Resizes(Seq),
    /// The service speaks of a volume of another length than the stream.
    #[error(
        "record {seq} comes from a volume of {found} bytes, but the stream is of {length} bytes \
         and no record says that this has changed: stop the session with `snapless stop` and \
         restart the service"
    )]
    OtherLength {
        /// The record.
        seq: Seq,
        /// Bytes of the service's volume.
        found: u64,
        /// Bytes of the stream's.
        length: u64,
    },
    /// Past the volume's end.
    #[error("record {seq} has {len} bytes at {offset}: past the end of a volume of {length} bytes")]
    Outside {
        /// The record.
        seq: Seq,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes of the volume.
        length: u64,
    },
    /// Not whole blocks, or for a write not whole sectors.
    #[error("record {seq} has {len} bytes at {offset}: not whole blocks or sectors")]
    Unaligned {
        /// The record.
        seq: Seq,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Rule T0: exactly once.
    #[error("T0: record {seq} captures block {} a second time", .block.0)]
    BlockTwice {
        /// The record.
        seq: Seq,
        /// The block.
        block: BlockIndex,
    },
    /// Rule T0: ahead of every write.
    #[error("T0: record {seq} captures block {} after a change of it", .block.0)]
    BlockAfterChange {
        /// The record.
        seq: Seq,
        /// The block.
        block: BlockIndex,
    },
    /// Rule T0: no write before the block's content at t0, but in a gap.
    #[error("T0: record {seq} changes block {}, which has not been captured", .block.0)]
    WriteBeforeBlock {
        /// The record.
        seq: Seq,
        /// The block.
        block: BlockIndex,
    },
    /// Rule T0: `BaseComplete` without all blocks.
    #[error("T0: record {seq} completes the base, but block {} is missing", .block.0)]
    BaseIncomplete {
        /// The record.
        seq: Seq,
        /// The first missing block.
        block: BlockIndex,
    },
    /// A watermark after another record than the last one, or within an epoch.
    #[error(
        "a watermark says that record {found} is the last one and ends an epoch, but record {last} \
         is the last one here"
    )]
    WatermarkPlace {
        /// The record that the watermark names.
        found: Seq,
        /// The last record.
        last: Seq,
    },
    /// A watermark in a gap, where the volume changes without records.
    #[error("LOSS: a watermark after record {0} lies in a gap")]
    WatermarkInGap(Seq),
    /// A watermark that is earlier than what is known.
    #[error(
        "a watermark after record {seq} has the monotonic time {found}, but it was {before} before"
    )]
    WatermarkBack {
        /// The record that the watermark names.
        seq: Seq,
        /// The watermark's monotonic time.
        found: u64,
        /// The monotonic time of the record, or of the watermark before.
        before: u64,
    },
    /// A record that is earlier than the one before, by the clock that is never set.
    #[error(
        "record {seq} has the monotonic time {found}, but it was {before} before: was the machine \
         put back to an older state? Stop the session with `snapless stop` and restart the service"
    )]
    ClockBack {
        /// The record.
        seq: Seq,
        /// Its monotonic time.
        found: u64,
        /// That of the record before.
        before: u64,
    },
    /// The end of a gap without its begin.
    #[error("record {0} ends a gap, but there is none")]
    NoGap(Seq),
    /// Rule LOSS: content that the stream does not give cannot be the same.
    #[error(
        "LOSS: record {seq} says that block {} is unchanged, but its content is not known: \
         bring service and server to the same release", .block.0
    )]
    NothingUnchanged {
        /// The record.
        seq: Seq,
        /// The first such block.
        block: BlockIndex,
    },
    /// A check with the volume's bytes: the service replaces them.
    #[error(
        "record {0} verifies the copy and has no hashes: bring service and server to the same \
         release"
    )]
    CheckWithoutHashes(Seq),
    /// A check in a gap, where the stream does not describe the volume.
    #[error("LOSS: record {0} verifies the copy in a gap")]
    CheckInGap(Seq),
    /// A check of what the stream does not describe.
    #[error("LOSS: record {seq} verifies block {}, which has not been captured", .block.0)]
    CheckBeforeBlock {
        /// The record.
        seq: Seq,
        /// The first such block.
        block: BlockIndex,
    },
    /// Rule LOSS: the gap ends before its resync is complete.
    #[error(
        "LOSS: record {seq} ends a gap, but block {} changed in it and was not resynced", .block.0
    )]
    NotResynced {
        /// The record.
        seq: Seq,
        /// The first such block.
        block: BlockIndex,
    },
}

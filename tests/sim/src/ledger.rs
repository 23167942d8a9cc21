//! What the model knows: every write from its submission to its completion, every sector that the
//! disk changed and when, and the step at which each record was committed.
//!
//! Nothing here comes from the engine's stream: the checks compare the stream with it.

use std::collections::BTreeMap;

use snapless_engine::Urgency;
use snapless_types::{Clearing, GapReason};

use crate::failure::{Broken, Rule, ensure};
use crate::volume::{Content, Edition, Sectors, Volume, WriteId};

/// The number of a scheduler step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Step(pub u64);

/// Where a write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Held by the engine, since this tick of those in which no thread was preempted.
    Held(u64),
    /// With the host: it is being captured, or is about to be issued.
    Host,
    /// With the disk.
    Disk,
    /// The application knows the outcome.
    Done,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// What it writes.
    pub sectors: Sectors,
    /// Whether it may be held.
    pub urgency: Urgency,
    /// Set for a trim or a write of zeros: its record is known by its number only.
    pub clearing: Option<Clearing>,
    /// What its buffer holds now.
    pub edition: Edition,
    /// It goes to a paging file, past the session: what it leaves on the disk is a don't-care.
    pub paged: bool,
    /// The writer that submitted it.
    pub writer: usize,
    /// Where it is.
    pub place: Place,
    /// When the application submitted it.
    pub submitted: Step,
    /// The sector after the last one that was captured, if it is captured in parts.
    pub parts: Option<usize>,
    /// When the application learned the outcome.
    pub done: Option<Step>,
    /// Whether the disk completed it.
    pub succeeded: bool,
}

/// A sector that the disk changed.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// When.
    pub step: Step,
    /// Which.
    pub sector: usize,
    /// To what.
    pub content: Content,
}

/// The disk at t0.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// The content of each sector.
    pub sectors: Vec<Content>,
    /// The host's clock.
    pub clock: u64,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The volume.
    pub volume: Volume,
    /// All writes, by number.
    pub writes: Vec<Write>,
    /// Those that are not done.
    pub open: Vec<WriteId>,
    /// What the disk changed, in order.
    pub applied: Vec<Applied>,
    /// The step at which each record was committed; record 1 comes first.
    pub committed: Vec<Step>,
    /// The disk at t0, once the session has begun.
    pub base: Option<BaseImage>,
    /// The trims and writes of zeros that are in the stream, by the number of their record.
    pub clearings: BTreeMap<u64, WriteId>,
    /// When each gap began, and why.
    pub gaps: Vec<(Step, Option<GapReason>)>,
    /// The step at which the volume's length changed.
    pub resized: Option<Step>,
    /// Blocks that held no data at t0 and are skipped.
    pub empty: Vec<bool>,
    /// Sectors whose own read failed.
    pub unreadable: Vec<bool>,
    /// Blocks that a failed read covered.
    pub read_failed: Vec<bool>,
    /// When a read last failed for a reason that passes, in ticks in which no thread was preempted.
    pub away: Option<u64>,
}

impl Ledger {
    /// A ledger in which nothing has happened.
    pub fn new(volume: Volume) -> Self {
        let (empty, unreadable) = (vec![false; volume.blocks()], vec![false; volume.sectors]);
        let read_failed = empty.clone();
        Self { volume, empty, unreadable, read_failed, ..Self::default() }
    }

    /// Notes a write that the application submits.
    pub fn submit(&mut self, write: Write) -> WriteId {
        let id = WriteId(u32::try_from(self.writes.len()).expect("runs are short"));
        self.writes.push(write);
        self.open.push(id);
        id
    }

    /// A write.
    pub fn write(&self, id: WriteId) -> &Write {
        &self.writes[id.0 as usize]
    }

    /// What a write's buffer has for a sector now.
    pub fn content(&self, id: WriteId, sector: usize) -> Content {
        let write = self.write(id);
        if write.paged {
            return Content::PAGED;
        }
        Content::written(id, write.edition, sector, write.clearing.is_some())
    }

    /// The application changes a write's buffer. Not that of a write longer than a record: the disk
    /// transfers such a write from there.
    pub fn change_buffer(&mut self, id: WriteId) {
        let write = self.write_mut(id);
        if write.parts.is_none() && write.clearing.is_none() {
            write.edition = write.edition.next();
        }
    }

    /// Notes that the disk changes a sector.
    pub fn apply(&mut self, sector: usize, content: Content, step: Step) {
        self.applied.push(Applied { step, sector, content });
    }

    /// A write, to be changed.
    pub fn write_mut(&mut self, id: WriteId) -> &mut Write {
        &mut self.writes[id.0 as usize]
    }

    /// Moves a write to another place.
    pub fn place(&mut self, id: WriteId, to: Place) -> Result<(), Broken> {
        let from = self.write(id).place;
        let allowed = match (from, to) {
            (Place::Host, Place::Held(_)) => self.write(id).urgency == Urgency::MayWait,
            (Place::Held(_), Place::Host)
            | (Place::Host, Place::Disk)
            // Cancelled, or completed.
            | (Place::Held(_) | Place::Disk, Place::Done) => true,
            _ => false,
        };
        ensure!(allowed, Rule::Clear, "write {id} goes from {from:?} to {to:?}");
        self.write_mut(id).place = to;
        Ok(())
    }

    /// Notes that the application learned the outcome of a write.
    pub fn done(&mut self, id: WriteId, step: Step) -> Result<(), Broken> {
        self.place(id, Place::Done)?;
        self.write_mut(id).done = Some(step);
        self.open.retain(|&open| open != id);
        Ok(())
    }

    /// Notes that records were committed up to this number.
    pub fn records(&mut self, last_seq: u64, step: Step) {
        while (self.committed.len() as u64) < last_seq {
            self.committed.push(step);
        }
    }

    /// The step at which the record of this number was committed.
    pub fn committed_at(&self, seq: u64) -> Option<Step> {
        self.committed.get(usize::try_from(seq - 1).ok()?).copied()
    }

    /// Why the gap began that the record of this number opens: the last one until then.
    pub fn gap_reason(&self, seq: u64) -> Option<GapReason> {
        let committed = self.committed_at(seq)?;
        self.gaps.iter().rfind(|&&(step, _)| step <= committed)?.1
    }

    /// True if `earlier` was over for the application before `later` began.
    pub fn precedes(&self, earlier: WriteId, later: WriteId) -> bool {
        self.write(earlier).done.is_some_and(|done| done < self.write(later).submitted)
    }

    /// True if the write was outstanding for the application at `step`.
    pub fn under_way(&self, id: WriteId, step: Step) -> bool {
        let write = self.write(id);
        write.submitted <= step && write.done.is_none_or(|done| done >= step)
    }
}

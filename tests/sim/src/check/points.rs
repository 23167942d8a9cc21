//! Rule POINT: every restorable point is an instant of the disk, as a power cut would have left it.
//!
//! The image at a point has, in each sector, what the disk had at that step, or the data of a write
//! that was under way then: such a write is in the image as a whole or not at all. In particular
//! every write that the application knows to have succeeded is in it.

use std::collections::BTreeSet;

use snapless_types::RecordKind;

use super::image::{Cell, Image};
use crate::failure::{Broken, Rule, ensure};
use crate::far_end::Received;
use crate::ledger::{Ledger, Step};
use crate::link::Link;
use crate::volume::{Content, Sectors, Volume};

/// The points that the records offer.
#[derive(Clone, Debug, Default)]
pub struct Points {
    /// The content at t0 of every block is in the stream.
    pub base_is_whole: bool,
    /// The records that are points, by their place in what the server has.
    pub restorable: Vec<usize>,
}

/// Checks every point that the records offer.
pub fn check(ledger: &Ledger, link: &Link, base_is_whole: bool) -> Result<Points, Broken> {
    let mut replay = Replay::new(ledger, first_image(&ledger.volume, link, base_is_whole));
    let mut changes = ledger.applied.iter().peekable();
    let mut in_gap = true;
    let mut whole = base_is_whole;
    let mut points = Points { base_is_whole, restorable: Vec::new() };
    for (index, received) in link.kept.iter().enumerate() {
        let (kind, seq) = (received.record.kind, received.record.seq.get());
        in_gap |= kind == RecordKind::GapBegin || link.losses.contains(&index);
        in_gap &= !matches!(kind, RecordKind::SessionStart | RecordKind::Consistent);
        whole |= kind == RecordKind::Consistent;
        if is_change(received, base_is_whole) {
            replay.apply(received);
        }
        let never = || Broken::new(Rule::Point, format!("record {seq} was never committed"));
        let step = ledger.committed_at(seq).ok_or_else(never)?;
        while let Some(change) = changes.next_if(|change| change.step <= step) {
            replay.disk[change.sector] = change.content;
            replay.compare(change.sector..change.sector + 1);
        }
        if whole && !in_gap {
            ensure!(
                ledger.resized.is_none_or(|resized| step <= resized),
                Rule::Point,
                "record {seq} is a point of a volume whose length has changed"
            );
            replay.check(step, seq)?;
            points.restorable.push(index);
        }
        for mark in link.marks.after(index + 1) {
            ensure!(!in_gap, Rule::Point, "a watermark after record {seq} lies in a gap");
            while let Some(change) = changes.next_if(|change| change.step <= mark.step) {
                replay.disk[change.sector] = change.content;
                replay.compare(change.sector..change.sector + 1);
            }
            if whole && !in_gap {
                replay.check(mark.step, seq)?;
            }
        }
    }
    Ok(points)
}

/// The image of the point that is the record at this place.
pub fn image_at(volume: &Volume, link: &Link, points: &Points, index: usize) -> Image {
    let mut image = first_image(volume, link, points.base_is_whole);
    let kept = link.kept[..=index].iter();
    for received in kept.filter(|received| is_change(received, points.base_is_whole)) {
        image.apply(received);
    }
    image
}

/// True if a record changes the image that a replay begins with.
fn is_change(received: &Received, base_is_whole: bool) -> bool {
    let is_base = matches!(
        received.record.kind,
        RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded
    );
    !(is_base && base_is_whole)
}

fn first_image(volume: &Volume, link: &Link, base_is_whole: bool) -> Image {
    // Blocks are ahead of every write to them, so they can all be laid down first.
    if base_is_whole { base_image(volume, link) } else { Image::unknown(volume) }
}

/// The image at t0, as far as the records have it.
pub fn base_image(volume: &Volume, link: &Link) -> Image {
    let mut image = Image::unknown(volume);
    let mut described = vec![false; volume.blocks()];
    let mut last_block = None;
    for received in &link.kept {
        let blocks = volume.blocks_of(&received.sectors(volume));
        if blocks.is_empty() {
            continue;
        }
        let is_base = match received.record.kind {
            RecordKind::Block | RecordKind::Unallocated | RecordKind::Excluded => true,
            // Alone for a block that nothing has described, or right behind the block that it is
            // in.
            RecordKind::Unreadable => !described[blocks.start] || last_block == Some(blocks.start),
            _ => false,
        };
        last_block = (is_base && blocks.len() == 1).then_some(blocks.start);
        if is_base {
            image.apply(received);
            described[blocks].fill(true);
        }
    }
    image
}

/// The image and the disk, from record to record, and where they differ.
struct Replay<'a> {
    ledger: &'a Ledger,
    image: Image,
    disk: Vec<Content>,
    /// Sectors whose difference only a write under way can explain.
    differ: BTreeSet<usize>,
}

impl<'a> Replay<'a> {
    fn new(ledger: &'a Ledger, image: Image) -> Self {
        let volume = &ledger.volume;
        let sectors = 0..volume.sectors + volume.beyond;
        let disk = sectors.map(|sector| volume.initial(sector)).collect();
        let mut replay = Self { ledger, image, disk, differ: BTreeSet::new() };
        replay.compare(0..volume.sectors);
        replay
    }

    fn apply(&mut self, received: &Received) {
        let changed = self.image.apply(received);
        self.compare(changed);
    }

    fn compare(&mut self, sectors: Sectors) {
        for sector in sectors.filter(|&sector| sector < self.ledger.volume.sectors) {
            if self.image.shows(sector, self.disk[sector], self.ledger) {
                self.differ.remove(&sector);
            } else {
                self.differ.insert(sector);
            }
        }
    }

    fn check(&self, step: Step, seq: u64) -> Result<(), Broken> {
        for &sector in &self.differ {
            let cell = self.image.cells[sector];
            let writer = if let Cell::Is(content) = cell { content.writer() } else { None };
            ensure!(
                writer.is_some_and(|id| self.ledger.under_way(id, step)),
                Rule::Point,
                "the point of record {seq} (step {}) has {cell:?} in sector {sector}, the disk had \
                 {:?} by {:?}",
                step.0,
                self.disk[sector],
                self.disk[sector].writer()
            );
        }
        Ok(())
    }
}

//! An image of the volume, made from records the way a server restores one.

use snapless_types::RecordKind;

use crate::far_end::Received;
use crate::ledger::Ledger;
use crate::volume::{Content, Sectors, Volume};

/// An image's sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// No record has described it.
    Unknown,
    /// The disk could not read it.
    Hole,
    /// It held no data, or was a paging file's.
    Empty,
    /// It has this content.
    Is(Content),
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The volume that it is of.
    pub volume: Volume,
    /// Its sectors.
    pub cells: Vec<Cell>,
}

impl Image {
    /// An image before any record.
    pub fn unknown(volume: &Volume) -> Self {
        Self { volume: *volume, cells: vec![Cell::Unknown; volume.sectors] }
    }

    /// True if a sector, which is inside the volume, is as on the disk: a hole for a sector that
    /// cannot be read, empty for one without data.
    pub fn shows(&self, sector: usize, on_disk: Content, ledger: &Ledger) -> bool {
        match self.cells[sector] {
            Cell::Unknown => false,
            // The bytes of a paging file are a don't-care.
            _ if on_disk == Content::PAGED => true,
            Cell::Is(content) => content == on_disk,
            Cell::Hole => ledger.unreadable[sector],
            Cell::Empty => on_disk.writer().is_none(),
        }
    }

    /// Applies a record; returns the sectors that it is about.
    pub fn apply(&mut self, received: &Received) -> Sectors {
        let sectors = received.sectors(&self.volume);
        let cells = &mut self.cells[sectors.clone()];
        match received.record.kind {
            RecordKind::Unreadable => cells.fill(Cell::Hole),
            RecordKind::Unallocated | RecordKind::Excluded => cells.fill(Cell::Empty),
            // It changes nothing.
            RecordKind::Check => {}
            _ => {
                for (cell, &content) in cells.iter_mut().zip(&received.payload) {
                    *cell = Cell::Is(content);
                }
            }
        }
        sectors
    }
}

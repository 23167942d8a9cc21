//! An image of the volume, made from records the way a server restores one.

use snapless_types::RecordKind;

use crate::far_end::Received;
use crate::volume::{Content, Sectors, Volume};

/// An image's sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// No record has described it.
    Unknown,
    /// The disk could not read it.
    Hole,
    /// It held no data.
    Empty,
    /// It has this content.
    Is(Content),
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    volume: Volume,
    cells: Vec<Cell>,
}

impl Image {
    /// An image before any record.
    pub fn unknown(volume: &Volume) -> Self {
        Self { volume: *volume, cells: vec![Cell::Unknown; volume.sectors] }
    }

    /// A sector; `None` past its end.
    pub fn get(&self, sector: usize) -> Option<Cell> {
        self.cells.get(sector).copied()
    }

    /// All sectors.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Applies a record; returns the sectors that it is about.
    pub fn apply(&mut self, received: &Received) -> Sectors {
        let Some(extent) = received.record.extent else { return 0..0 };
        let sectors = self.volume.sectors_of(&extent);
        let cells = &mut self.cells[sectors.clone()];
        match received.record.kind {
            RecordKind::Unreadable => cells.fill(Cell::Hole),
            RecordKind::Unallocated => cells.fill(Cell::Empty),
            _ => {
                for (cell, &content) in cells.iter_mut().zip(&received.payload) {
                    *cell = Cell::Is(content);
                }
            }
        }
        sectors
    }
}

//! An image of the volume, made from records the way a server restores one.

use snapless_engine::RecordKind;

use crate::link::Received;
use crate::volume::{Content, Volume};

/// What an image says of a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Nothing yet.
    Unknown,
    /// The disk could not read it.
    Hole,
    /// It held no data.
    Empty,
    /// This.
    Is(Content),
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    volume: Volume,
    cells: Vec<Cell>,
}

impl Image {
    /// An image that says nothing.
    pub fn unknown(volume: &Volume) -> Self {
        Self { volume: *volume, cells: vec![Cell::Unknown; volume.sectors] }
    }

    /// What it says of a sector.
    pub fn get(&self, sector: usize) -> Cell {
        self.cells[sector]
    }

    /// What it says of all sectors.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Applies a record.
    pub fn apply(&mut self, received: &Received) {
        let Some(extent) = received.record.extent else { return };
        let sectors = self.volume.sectors_of(&extent);
        match received.record.kind {
            RecordKind::Unreadable => return self.cells[sectors].fill(Cell::Hole),
            RecordKind::Unallocated => return self.cells[sectors].fill(Cell::Empty),
            _ => {}
        }
        for (cell, &content) in self.cells[sectors].iter_mut().zip(&received.payload) {
            *cell = Cell::Is(content);
        }
    }
}

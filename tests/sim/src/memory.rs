//! The queue's memory on the host's side: one cell for each sector that fits, and the ranges that
//! the host holds (rule BOUND, rules.md#bound).

use std::ops::Range;

use snapless_engine::MemorySpan;

use crate::failure::{Broken, Rule, ensure};
use crate::volume::{Content, Volume, overlap};

/// The buffer that the engine hands out ranges of.
#[derive(Debug)]
pub struct QueueMemory {
    volume: Volume,
    /// The content of each cell.
    pub cells: Vec<Content>,
    /// Ranges that the host holds now: being filled, or being copied out.
    lent: Vec<Range<usize>>,
}

impl QueueMemory {
    /// Memory of so many bytes.
    pub fn new(volume: Volume, bytes: u64) -> Self {
        Self { volume, cells: vec![Content::NOTHING; volume.count(bytes)], lent: Vec::new() }
    }

    /// Notes that the engine lent the host some memory, and returns its cells.
    pub fn lend(&mut self, memory: MemorySpan) -> Result<Range<usize>, Broken> {
        let start = self.volume.count(memory.offset);
        let cells = start..start + self.volume.count(memory.len);
        ensure!(
            cells.end <= self.cells.len(),
            Rule::Bound,
            "memory {cells:?} is handed out, but the queue has {} cells",
            self.cells.len()
        );
        let taken = self.lent.iter().find(|lent| overlap(lent, &cells));
        ensure!(
            taken.is_none(),
            Rule::Bound,
            "memory {cells:?} is handed out while {taken:?} is in use"
        );
        self.lent.push(cells.clone());
        Ok(cells)
    }

    /// Notes that the host is done with a range.
    pub fn give_back(&mut self, cells: &Range<usize>) {
        let at = self.lent.iter().position(|lent| lent == cells);
        self.lent.swap_remove(at.expect("the host gives back what it was lent"));
    }
}

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
    /// Ranges that the host holds now.
    lent: Vec<(Range<usize>, Use)>,
}

/// What a range is lent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// To be filled: it has no other holder.
    Fill,
    /// To be copied out, or transferred to the disk: what it holds does not change.
    Take,
}

impl QueueMemory {
    /// Memory of so many bytes.
    pub fn new(volume: Volume, bytes: u64) -> Self {
        Self { volume, cells: vec![Content::NOTHING; volume.count(bytes)], lent: Vec::new() }
    }

    /// Notes that the engine lent the host some memory, and returns its cells.
    pub fn lend(&mut self, memory: MemorySpan, what_for: Use) -> Result<Range<usize>, Broken> {
        let start = self.volume.count(memory.offset);
        let cells = start..start + self.volume.count(memory.len);
        ensure!(
            cells.end <= self.cells.len(),
            Rule::Bound,
            "memory {cells:?} is handed out, but the queue has {} cells",
            self.cells.len()
        );
        let taken = self.lent.iter().find(|(lent, used)| {
            overlap(lent, &cells) && (what_for, *used) != (Use::Take, Use::Take)
        });
        ensure!(
            taken.is_none(),
            Rule::Bound,
            "memory {cells:?} is handed out while {taken:?} is in use"
        );
        self.lent.push((cells.clone(), what_for));
        Ok(cells)
    }

    /// Notes that the host is done with a range.
    pub fn give_back(&mut self, cells: &Range<usize>) {
        let at = self.lent.iter().position(|(lent, _)| lent == cells);
        self.lent.swap_remove(at.expect("the host gives back what it was lent"));
    }
}

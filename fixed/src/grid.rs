//! Index of tracked writes by place: finds the writes that overlap an extent.
//!
//! A hierarchical hash grid. Each level divides the volume into cells, and those of the next one
//! are sixteen times as long. A write is entered on the lowest level whose cells are at least as
//! long as the write: it lies in one cell or in two. A look-up visits the cells of its extent, on
//! each level that may have a write. What it costs depends on that extent and on the writes there,
//! not on how many are tracked. It allocates nothing (rule BOUND, rules.md#bound).

use alloc::boxed::Box;

use snapless_types::Extent;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::slots::SlotId;
use crate::steps::Steps;

/// Binary logarithm of the length of the lowest level's cells.
const LOWEST_SHIFT: u32 = 12;
/// Of the highest level's.
const HIGHEST_SHIFT: u32 = 63;
/// Of the ratio of two levels.
const STEP: u32 = 4;
/// Bits of a level's shift in a key.
const KEY_SHIFT: u32 = 6;
/// Numbers of levels, of which the first few are not used.
const LEVELS: usize = 16;
/// The index of no node.
const NONE: u32 = u32::MAX;
/// The key of a node that is in no bucket.
const NO_KEY: u64 = u64::MAX;
/// The longest extent, in bytes, that is looked up cell by cell without counting its cells first.
const SHORT: u64 = 256 << 10;

/// A write in a cell. A slot has two of them: node `2 * slot` for its write's first cell, the one
/// after it for the second.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Which cell.
    key: u64,
    /// Its neighbours in the bucket.
    previous: u32,
    next: u32,
}

/// The index.
#[derive(Debug)]
pub struct Grid {
    /// The first node of each bucket. A power of two of them, at least as many as nodes.
    buckets: Box<[u32]>,
    nodes: Box<[Node]>,
    /// Writes on each level but the lowest, whose writes are not counted: it mostly has some.
    counts: [u32; LEVELS],
    /// Bit `n`: the level with cells of `1 << n` bytes may have a write.
    levels: u64,
    steps: Steps,
}

impl Grid {
    /// An index for the writes of `slots` slots.
    pub fn new(slots: u32) -> Result<Self, OutOfMemory> {
        let node = Node { key: NO_KEY, previous: NONE, next: NONE };
        Ok(Self {
            buckets: boxed_slice(buckets_for(slots), || Ok(NONE))?,
            nodes: boxed_slice(2 * u64::from(slots), || Ok(node))?,
            counts: [0; LEVELS],
            levels: 1 << LOWEST_SHIFT,
            steps: Steps::default(),
        })
    }

    /// Bytes that an index for the writes of `slots` slots allocates.
    pub fn bytes(slots: u32) -> u64 {
        slice_bytes::<u32>(buckets_for(slots)) + slice_bytes::<Node>(2 * u64::from(slots))
    }

    /// Enters a slot's write.
    #[inline]
    pub fn enter(&mut self, slot: SlotId, extent: &Extent) {
        let shift = shift_of(extent);
        let (first, last) = cells_of(extent, shift);
        self.link(2 * slot.0, key(first, shift));
        if last > first {
            self.link(2 * slot.0 + 1, key(last, shift));
        }
        if shift > LOWEST_SHIFT {
            self.counts[level_of(shift)] += 1;
            self.levels |= 1 << shift;
        }
    }

    /// Takes a slot's write out, which was entered with this extent.
    #[inline]
    pub fn leave(&mut self, slot: SlotId, extent: &Extent) {
        let shift = shift_of(extent);
        let (first, last) = cells_of(extent, shift);
        self.unlink(2 * slot.0);
        if last > first {
            self.unlink(2 * slot.0 + 1);
        }
        if shift > LOWEST_SHIFT {
            let count = &mut self.counts[level_of(shift)];
            *count -= 1;
            if *count == 0 {
                self.levels &= !(1 << shift);
            }
        }
    }

    /// True if `is_it` accepts a write near the extent. Every write that overlaps the extent is
    /// near it, and each is shown once.
    #[inline]
    pub fn any(&self, extent: &Extent, mut is_it: impl FnMut(SlotId) -> bool) -> bool {
        if extent.len() > SHORT && self.cells(extent) > self.nodes.len() as u64 {
            return self.any_of_all(is_it);
        }
        let mut levels = self.levels;
        while levels != 0 {
            let shift = levels.trailing_zeros();
            levels &= levels - 1;
            let (first, last) = cells_of(extent, shift);
            let mut cell = first;
            while cell <= last {
                let key = key(cell, shift);
                let mut at = self.buckets.get(self.bucket(key)).copied().unwrap_or(NONE);
                self.steps.add(1);
                while let Some(node) = self.nodes.get(at as usize) {
                    self.steps.add(1);
                    // A write in two cells of the extent is shown in the first one.
                    let is_shown = node.key == key && (at % 2 == 0 || cell == first);
                    if is_shown && is_it(SlotId(at / 2)) {
                        return true;
                    }
                    at = node.next;
                }
                cell += 1;
            }
        }
        false
    }

    /// Calls `f` with each write near the extent, as in [`Grid::any`].
    #[inline]
    pub fn each(&self, extent: &Extent, mut f: impl FnMut(SlotId)) {
        self.any(extent, |slot| {
            f(slot);
            false
        });
    }

    /// Buckets and nodes that were looked at so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Cells that a look-up visits.
    fn cells(&self, extent: &Extent) -> u64 {
        let shifts = (LOWEST_SHIFT..=HIGHEST_SHIFT).filter(|shift| self.levels >> shift & 1 != 0);
        shifts.map(|shift| cells_of(extent, shift)).map(|(first, last)| last - first + 1).sum()
    }

    /// As [`Grid::any`], for an extent of more cells than there are nodes.
    #[inline(never)]
    fn any_of_all(&self, mut is_it: impl FnMut(SlotId) -> bool) -> bool {
        self.steps.add(self.nodes.len() as u64);
        let firsts = (0..).zip(self.nodes.iter().step_by(2));
        firsts.filter(|(_, node)| node.key != NO_KEY).any(|(slot, _)| is_it(SlotId(slot)))
    }

    #[inline]
    fn bucket(&self, key: u64) -> usize {
        // Fibonacci hashing: neighbouring cells go to buckets far apart.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).unwrap_or(0) & self.buckets.len().wrapping_sub(1)
    }

    #[inline]
    fn link(&mut self, at: u32, key: u64) {
        let bucket = self.bucket(key);
        let Some(head) = self.buckets.get_mut(bucket) else { return };
        let next = core::mem::replace(head, at);
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = at;
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            *node = Node { key, previous: NONE, next };
        }
    }

    #[inline]
    fn unlink(&mut self, at: u32) {
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        let Node { key, previous, next } = *node;
        node.key = NO_KEY;
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        let bucket = self.bucket(key);
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        } else if let Some(head) = self.buckets.get_mut(bucket) {
            *head = next;
        }
    }
}

fn buckets_for(slots: u32) -> u64 {
    (2 * u64::from(slots.max(1))).next_power_of_two()
}

/// Binary logarithm of the length of the shortest cells that are at least as long as the extent.
#[inline]
fn shift_of(extent: &Extent) -> u32 {
    if extent.len() <= 1 << LOWEST_SHIFT {
        return LOWEST_SHIFT;
    }
    let bits = u64::BITS - (extent.len() - 1).leading_zeros();
    let shift = bits.next_multiple_of(STEP);
    if shift + STEP > HIGHEST_SHIFT { HIGHEST_SHIFT } else { shift }
}

/// The first and the last cell of an extent on a level.
#[inline]
fn cells_of(extent: &Extent, shift: u32) -> (u64, u64) {
    (extent.offset() >> shift, (extent.end() - 1) >> shift)
}

/// A level's number. The mask shows the compiler that the index is in bounds.
#[inline]
fn level_of(shift: u32) -> usize {
    (shift / STEP) as usize & (LEVELS - 1)
}

#[inline]
fn key(cell: u64, shift: u32) -> u64 {
    cell << KEY_SHIFT | u64::from(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    fn found(grid: &Grid, offset: u64, len: u64) -> Vec<u32> {
        let mut found = Vec::new();
        grid.each(&extent(offset, len), |slot| found.push(slot.0));
        found.sort_unstable();
        found
    }

    #[test]
    fn writes_of_all_lengths_are_found_once_and_no_more_when_they_have_left() {
        let mut grid = Grid::new(8).unwrap();
        let writes = [
            extent(0, 512),
            extent(4000, 200),
            extent(60 << 10, 64 << 10),
            extent(1 << 20, 3 << 20),
            extent(0, u64::MAX >> 1),
        ];
        for (slot, extent) in (0..).zip(&writes) {
            grid.enter(SlotId(slot), extent);
        }
        assert_eq!(found(&grid, 0, 8192), [0, 1, 2, 3, 4], "longer writes have longer cells");
        assert_eq!(found(&grid, 4096, 1), [1, 2, 3, 4]);
        assert_eq!(found(&grid, 2 << 20, 1), [3, 4]);
        assert_eq!(found(&grid, 1 << 40, 4096), [4]);
        assert_eq!(found(&grid, 0, 1 << 22), [0, 1, 2, 3, 4]);
        for (slot, extent) in (0..).zip(&writes) {
            grid.leave(SlotId(slot), extent);
            assert!(!found(&grid, 0, 1 << 22).contains(&slot));
        }
        assert_eq!(grid.levels, 1 << LOWEST_SHIFT);
        assert!(grid.nodes.iter().all(|node| node.key == NO_KEY), "of both cells of each");
        assert!(grid.buckets.iter().all(|&head| head == NONE));
    }

    #[test]
    fn a_look_up_takes_as_long_among_ten_thousand_writes_as_among_ten() {
        let most = |count: u32| {
            let mut grid = Grid::new(count).unwrap();
            let place = |at: u32| extent(u64::from(at) * 12_288, 4096);
            for at in 0..count {
                grid.enter(SlotId(at), &place(at));
            }
            let looked_at = |at| {
                let before = grid.steps();
                grid.each(&place(at), |_| ());
                grid.steps() - before
            };
            (0..count).map(looked_at).max().unwrap()
        };
        assert!(most(10) <= 8 && most(10_000) <= 8, "{} {}", most(10), most(10_000));
    }
}

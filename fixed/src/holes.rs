//! Holes: the sectors of one block that the disk could not read, in runs.
//!
//! A fixed number of runs. In a block with more, the last run reaches to the last bad sector: every
//! bad sector has a record, at worst some good ones too (rule LOSS, rules.md#loss).

use snapless_types::Extent;

/// Most runs of one block.
const HOLES_MAX: usize = 16;

/// Runs of bad sectors, in order; sectors are numbered from the block's first, at most 8192 of
/// them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Holes {
    /// The first sector of each run, and the one after its last.
    runs: [(u16, u16); HOLES_MAX],
    count: usize,
}

impl Holes {
    /// Adds a sector that comes after all others.
    pub fn add(&mut self, sector: u64) {
        let sector = u16::try_from(sector).unwrap_or(u16::MAX - 1);
        let last = self.count.checked_sub(1).and_then(|last| self.runs.get_mut(last));
        match last {
            Some(run) if run.1 == sector || self.count == HOLES_MAX => run.1 = sector + 1,
            _ => {
                if let Some(run) = self.runs.get_mut(self.count) {
                    *run = (sector, sector + 1);
                    self.count += 1;
                }
            }
        }
    }

    /// Number of runs.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Each run's bytes, in a block that begins at `offset`.
    pub fn extents(&self, offset: u64, sector_size: u64) -> impl Iterator<Item = Extent> + '_ {
        self.runs.iter().take(self.count).filter_map(move |&(first, end)| {
            let (first, end) = (u64::from(first), u64::from(end));
            Extent::new(offset + first * sector_size, (end - first) * sector_size)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn runs(sectors: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let mut holes = Holes::default();
        sectors.into_iter().for_each(|sector| holes.add(sector));
        let extents: Vec<_> = holes.extents(1 << 20, 512).collect();
        assert_eq!(holes.count(), extents.len());
        let sectors = |bytes: u64| bytes / 512;
        extents.iter().map(|it| (sectors(it.offset() - (1 << 20)), sectors(it.len()))).collect()
    }

    #[test]
    fn neighbours_make_one_run() {
        assert_eq!(runs([]), []);
        assert_eq!(runs([0, 5, 6, 7, 31]), [(0, 1), (5, 3), (31, 1)]);
        assert_eq!(runs(0..8192), [(0, 8192)]);
        assert_eq!(runs([0, u64::MAX]), [(0, 1), (65_534, 1)], "no block has such a sector");
    }

    #[test]
    fn the_last_run_covers_all_further_bad_sectors() {
        let many = runs((0..40).map(|sector| sector * 2));
        assert_eq!(many.len(), HOLES_MAX);
        assert_eq!(many[14..], [(28, 1), (30, 49)]);
    }
}

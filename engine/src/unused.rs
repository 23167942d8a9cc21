//! Blocks that no file has at t0, whose content is a don't-care (rule T0, rules.md#t0).
//!
//! The service asks the file system before t0 which clusters are free, and says so after t0. By
//! then the file system may have given some of them to files. So the host notes which regions of
//! the volume are changed from before the file system is asked until t0 ([`Unused::expect`]): what
//! is in those counts as used. What a file has at t0 that it did not have when the file system was
//! asked was written meanwhile.
//!
//! Until the service has said it, or for a while after t0, the sweep waits: what it reads is not
//! left out any more.

use snapless_tracking::regions::RegionMap;
use snapless_types::{BlockIndex, BlockRange, Geometry, Regions, Tick};

/// How long the sweep waits after t0 to be told: 5 s. The service has it ready before t0.
const WAIT_TICKS: u64 = 5_000 * Tick::PER_MS;

/// What was noted before t0.
#[derive(Debug, Default)]
pub struct Unused {
    noted: Option<RegionMap>,
    /// The sweep waits until then.
    sweep_waits: Option<Tick>,
}

impl Unused {
    /// The service will say which blocks are unused. These regions were changed since the file
    /// system was asked; nothing happens if they are another volume's.
    pub fn expect(&mut self, noted: RegionMap, geometry: &Geometry) {
        if *noted.regions() == Regions::of(geometry) {
            self.noted = Some(noted);
        }
    }

    /// t0 is now.
    pub fn begin(&mut self, now: Tick) {
        self.sweep_waits = self.noted.as_ref().map(|_| now.after(WAIT_TICKS));
    }

    /// True if the service may say which blocks are unused.
    pub fn is_expected(&self) -> bool {
        self.noted.is_some()
    }

    /// The instant until which the sweep waits; `None` if it does not wait.
    pub fn sweep_waits(&self, now: Tick) -> Option<Tick> {
        self.sweep_waits.filter(|until| now < *until)
    }

    /// The sweep waits no longer.
    pub fn let_sweep_go(&mut self) {
        self.sweep_waits = None;
    }

    /// The service says no more.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// Cuts a run of blocks where changed regions begin or end. Returns its first part, and whether
    /// that was changed; an empty part if nothing is known.
    pub fn cut(&self, run: BlockRange, geometry: &Geometry) -> (BlockRange, bool) {
        let Some(noted) = self.noted.as_ref() else { return (BlockRange::EMPTY, false) };
        // A region has one block or more.
        let blocks = (noted.regions().size() / u64::from(geometry.block_size())).max(1);
        let is_noted = |region| noted.is_marked(region) && !sabotaged!(NotesForgotten);
        let mut region = run.start.0 / blocks;
        let is_changed = is_noted(region);
        let mut end = run.start.0;
        while end < run.end.0 && is_noted(region) == is_changed {
            region += 1;
            end = region.saturating_mul(blocks);
        }
        (BlockRange::new(run.start, BlockIndex(end.min(run.end.0))), is_changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{Extent, REGIONS_MAX};

    const BLOCK: u64 = 64 << 10;

    /// Regions of two blocks, the last one short; regions 1 and 2 were changed.
    fn unused() -> (Unused, Geometry) {
        let length = (2 * REGIONS_MAX - 1) * BLOCK + 512;
        let geometry = Geometry::new(length, 512, 64 << 10).unwrap();
        let mut noted = RegionMap::new(Regions::of(&geometry)).unwrap();
        assert_eq!(noted.regions().size(), 2 * BLOCK);
        noted.note(&Extent::new(3 * BLOCK, 2 * BLOCK).unwrap());
        let mut unused = Unused::default();
        unused.expect(noted, &geometry);
        (unused, geometry)
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn a_run_is_cut_where_changed_regions_begin_or_end() {
        let (unused, geometry) = unused();
        let cut = |start, end| unused.cut(blocks(start, end), &geometry);
        assert_eq!(cut(0, 9), (blocks(0, 2), false));
        assert_eq!(cut(1, 2), (blocks(1, 2), false));
        assert_eq!(cut(2, 9), (blocks(2, 6), true));
        assert_eq!(cut(5, 9), (blocks(5, 6), true));
        assert_eq!(cut(6, 9), (blocks(6, 9), false));
        let end = 2 * REGIONS_MAX;
        assert_eq!(cut(end - 3, end), (blocks(end - 3, end), false));
        assert_eq!(Unused::default().cut(blocks(0, 9), &geometry), (BlockRange::EMPTY, false));
    }

    #[test]
    fn what_was_noted_of_another_volume_is_no_use() {
        let (mut unused, _) = unused();
        let noted = unused.noted.take().unwrap();
        unused.expect(noted, &Geometry::new(9 * BLOCK, 512, 64 << 10).unwrap());
        unused.begin(Tick(3));
        assert!(!unused.is_expected() && unused.sweep_waits(Tick(3)).is_none());
    }

    #[test]
    fn the_sweep_waits_to_be_told_and_not_for_ever() {
        let (mut unused, _) = unused();
        assert_eq!(unused.sweep_waits(Tick(3)), None, "there is no t0 yet");
        unused.begin(Tick(3));
        let until = Tick(3).after(WAIT_TICKS);
        assert_eq!(unused.sweep_waits(Tick(4)), Some(until));
        assert_eq!(unused.sweep_waits(until), None);
        unused.let_sweep_go();
        assert!(unused.sweep_waits(Tick(4)).is_none() && unused.is_expected());
        unused.end();
        assert!(!unused.is_expected());
    }
}

//! Excluded extents: those of paging, swap and hibernation files, whose content is a don't-care
//! (rule T0, rules.md#t0).
//!
//! The service gives the extents that the files have before t0, and says after t0 whether they have
//! them still ([`Excluded::confirm`], [`Excluded::withdraw`]). Only what was theirs all the time is
//! left out of the base image, so until then the base image is not complete.

use alloc::vec::Vec;

use snapless_types::{BlockIndex, BlockRange, Extent, Geometry};

/// The extents, and what is known of them.
#[derive(Debug, Default)]
pub struct Excluded {
    /// Ascending, and apart from each other.
    extents: Vec<Extent>,
    stage: Stage,
    /// A write to the files was let through that may have overwritten content of t0.
    relied_on: bool,
}

/// What is known of the extents.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    /// There are none.
    #[default]
    None,
    /// They were the files' before t0.
    Given,
    /// They were the files' before and after t0.
    Confirmed,
    /// They no longer count.
    Withdrawn,
}

impl Excluded {
    /// Takes the extents, once; ascending and apart from each other.
    pub fn give(&mut self, extents: Vec<Extent>) {
        rule!(self.stage == Stage::None, "T0: the excluded extents are given once");
        if !extents.is_empty() {
            (self.extents, self.stage) = (extents, Stage::Given);
        }
    }

    /// True if the whole of this extent is in one of the excluded ones.
    pub fn has(&self, extent: &Extent) -> bool {
        matches!(self.stage, Stage::Given | Stage::Confirmed)
            && self.from(extent.offset()).next().is_some_and(|excluded| {
                excluded.offset() <= extent.offset() && extent.end() <= excluded.end()
            })
    }

    /// True if one of the extents that still may count shares a byte with this one.
    pub fn overlaps(&self, extent: &Extent) -> bool {
        matches!(self.stage, Stage::Given | Stage::Confirmed)
            && self.from(extent.offset()).next().is_some_and(|it| it.overlaps(extent))
    }

    /// Notes that a write to the files is let through.
    pub fn rely(&mut self) {
        self.relied_on = true;
    }

    /// The extents are the files' after t0 as before; false if that makes no difference.
    pub fn confirm(&mut self) -> bool {
        let is_new = self.stage == Stage::Given;
        if is_new {
            self.stage = Stage::Confirmed;
        }
        is_new
    }

    /// The extents do not count any more, unless they are confirmed. True if a write was let
    /// through meanwhile, so that content of t0 may be lost.
    pub fn withdraw(&mut self) -> bool {
        let is_new = self.stage == Stage::Given;
        if is_new {
            self.stage = Stage::Withdrawn;
        }
        is_new && self.relied_on
    }

    /// False while it is open whether the base image lacks anything.
    pub fn is_decided(&self) -> bool {
        self.stage != Stage::Given || sabotaged!(ExclusionUnconfirmed)
    }

    /// Cuts a run of blocks where exclusion begins or ends. Returns its first part, and whether
    /// those blocks are excluded as a whole.
    pub fn cut(&self, run: BlockRange, geometry: &Geometry) -> (BlockRange, bool) {
        let counts = self.stage == Stage::Confirmed
            || self.stage == Stage::Given && sabotaged!(ExclusionUnconfirmed);
        if !counts {
            return (run, false);
        }
        let until = |end: BlockIndex| BlockRange::new(run.start, end.min(run.end));
        let offset = geometry.extent_of(&BlockRange::one(run.start)).map_or(0, |it| it.offset());
        let mut whole = self.from(offset).map(|excluded| geometry.whole_blocks_of(excluded));
        match whole.find(|blocks| blocks.end > run.start && !blocks.is_empty()) {
            Some(blocks) if blocks.start <= run.start => (until(blocks.end), true),
            Some(blocks) => (until(blocks.start), false),
            None => (run, false),
        }
    }

    /// Cuts a run of blocks where those begin or end that have a byte of the files. Returns its
    /// first part, and whether those blocks do.
    pub fn cut_at_any_byte(&self, run: BlockRange, geometry: &Geometry) -> (BlockRange, bool) {
        if self.stage != Stage::Confirmed {
            return (run, false);
        }
        let until = |end: BlockIndex| BlockRange::new(run.start, end.min(run.end));
        let offset = geometry.extent_of(&BlockRange::one(run.start)).map_or(0, |it| it.offset());
        match self.from(offset).next().and_then(|excluded| geometry.blocks_of(excluded)) {
            Some(blocks) if blocks.start <= run.start => (until(blocks.end), true),
            Some(blocks) => (until(blocks.start), false),
            None => (run, false),
        }
    }

    /// The extents that end behind this offset.
    fn from(&self, offset: u64) -> impl Iterator<Item = &Extent> {
        let first = self.extents.partition_point(|extent| extent.end() <= offset);
        self.extents.iter().skip(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 64 << 10;

    fn geometry() -> Geometry {
        // The last block is short.
        Geometry::new(9 * BLOCK + 512, 512, 64 << 10).unwrap()
    }

    /// Blocks 2 and 3 as a whole, half of blocks 1 and 4; block 9 as a whole, half of block 8.
    fn excluded() -> Excluded {
        let mut excluded = Excluded::default();
        let extent = |offset, len| Extent::new(offset, len).unwrap();
        let first = extent(BLOCK + BLOCK / 2, 3 * BLOCK);
        let last = extent(8 * BLOCK + BLOCK / 2, BLOCK / 2 + 512);
        excluded.give(Vec::from([first, last]));
        excluded
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn an_extent_is_excluded_by_bytes_if_all_of_it_is() {
        let excluded = excluded();
        let has = |offset, len| excluded.has(&Extent::new(offset, len).unwrap());
        let start = BLOCK + BLOCK / 2;
        assert!(has(start, 512) && has(start, 3 * BLOCK) && has(start + 3 * BLOCK - 512, 512));
        assert!(!has(start - 512, 1024) && !has(start + 3 * BLOCK - 512, 1024));
        assert!(!has(0, 512) && !has(7 * BLOCK, 512) && has(9 * BLOCK, 512));
        assert!(!Excluded::default().has(&Extent::new(0, 512).unwrap()));
    }

    #[test]
    fn a_run_is_cut_where_blocks_are_excluded_as_a_whole_once_that_is_confirmed() {
        let (geometry, mut excluded) = (geometry(), excluded());
        assert_eq!(excluded.cut(blocks(0, 10), &geometry), (blocks(0, 10), false));
        assert!(excluded.confirm() && !excluded.confirm());
        let cut = |start, end| excluded.cut(blocks(start, end), &geometry);
        assert_eq!(cut(0, 10), (blocks(0, 2), false));
        assert_eq!(cut(2, 10), (blocks(2, 4), true));
        assert_eq!(cut(3, 4), (blocks(3, 4), true));
        assert_eq!(cut(4, 10), (blocks(4, 9), false));
        assert_eq!(cut(5, 7), (blocks(5, 7), false));
        assert_eq!(cut(9, 10), (blocks(9, 10), true));
    }

    #[test]
    fn a_block_with_any_byte_of_the_files_is_cut_out() {
        let (geometry, mut excluded) = (geometry(), excluded());
        assert_eq!(excluded.cut_at_any_byte(blocks(0, 10), &geometry), (blocks(0, 10), false));
        excluded.confirm();
        let cut = |start, end| excluded.cut_at_any_byte(blocks(start, end), &geometry);
        assert_eq!(cut(0, 10), (blocks(0, 1), false));
        assert_eq!(cut(1, 10), (blocks(1, 5), true));
        assert_eq!(cut(2, 3), (blocks(2, 3), true));
        assert_eq!(cut(5, 10), (blocks(5, 8), false));
        assert_eq!(cut(8, 10), (blocks(8, 10), true));
    }

    #[test]
    fn withdrawn_extents_count_no_more_and_tell_if_they_were_relied_on() {
        let write = Extent::new(2 * BLOCK, 512).unwrap();
        for relied_on in [false, true] {
            let mut excluded = excluded();
            assert!(!excluded.is_decided());
            if relied_on {
                excluded.rely();
            }
            assert_eq!(excluded.withdraw(), relied_on);
            assert!(excluded.is_decided() && !excluded.has(&write));
            assert!(!excluded.withdraw() && !excluded.confirm());
        }
        let mut confirmed = excluded();
        confirmed.rely();
        confirmed.confirm();
        assert!(!confirmed.withdraw() && confirmed.has(&write));
    }
}

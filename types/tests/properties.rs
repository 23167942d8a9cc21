//! Property tests of the arithmetic on extents, blocks and geometry against plain models.

use std::collections::BTreeSet;

use proptest::prelude::*;
use snapless_types::{BlockIndex, BlockRange, Extent, Geometry};

fn blocks(start: u64, end: u64) -> BlockRange {
    BlockRange::new(BlockIndex(start), BlockIndex(end))
}

/// A run of at most `len` blocks below `end`.
fn run_below(end: u64, len: u64) -> impl Strategy<Value = BlockRange> {
    (0..end, 0..=len).prop_map(move |(start, len)| blocks(start, (start + len).min(end)))
}

/// Offsets and lengths around every boundary of blocks of 16 KiB, and at the end of 64-bit space.
fn near_a_boundary() -> impl Strategy<Value = u64> {
    let near = |at: u64| (0_u64..4).prop_map(move |by| at.wrapping_add(by).wrapping_sub(2));
    prop_oneof![
        (0_u64..8).prop_flat_map(move |block| near(block << 14)),
        near(512),
        near(u64::MAX),
        0_u64..200_000
    ]
}

proptest! {
    #[test]
    fn the_blocks_of_an_extent_are_those_that_share_a_byte_with_it(
        sectors in 1_u64..300,
        offset in near_a_boundary(),
        len in near_a_boundary(),
    ) {
        let geometry = Geometry::new(sectors * 512, 512, 16 << 10).unwrap();
        let Some(extent) = Extent::new(offset, len) else {
            prop_assert!(len == 0 || offset.checked_add(len).is_none());
            return Ok(());
        };
        let Some(found) = geometry.blocks_of(&extent) else {
            prop_assert!(extent.end() > geometry.length());
            return Ok(());
        };
        prop_assert!(extent.end() <= geometry.length());
        for block in geometry.all_blocks().iter() {
            let bytes = geometry.extent_of(&blocks(block.0, block.0 + 1)).unwrap();
            let inside = found.start <= block && block < found.end;
            prop_assert_eq!(bytes.overlaps(&extent), inside, "block {}", block.0);
        }
        let whole = geometry.extent_of(&found).unwrap();
        prop_assert!(whole.offset() <= extent.offset() && extent.end() <= whole.end());
        prop_assert!(whole.end() <= geometry.length(), "the last block may be short");
    }

    #[test]
    fn runs_of_blocks_are_sets_of_blocks(a in run_below(40, 40), b in run_below(40, 40)) {
        let set = |run: BlockRange| run.iter().collect::<BTreeSet<_>>();
        let (in_a, in_b) = (set(a), set(b));
        prop_assert_eq!(a.len(), in_a.len() as u64);
        prop_assert_eq!(a.is_empty(), in_a.is_empty());
        prop_assert_eq!(set(a.intersection(&b)), in_a.intersection(&in_b).copied().collect());
        if !a.is_empty() && !b.is_empty() {
            prop_assert_eq!(a.intersects(&b), !in_a.is_disjoint(&in_b));
        }
        let hull = set(a.hull(&b));
        prop_assert!(in_a.union(&in_b).all(|block| hull.contains(block)));
        let ends = |set: &BTreeSet<BlockIndex>| (set.first().copied(), set.last().copied());
        prop_assert_eq!(ends(&hull), ends(&in_a.union(&in_b).copied().collect()));
    }
}

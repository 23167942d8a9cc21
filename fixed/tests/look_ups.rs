//! What a look-up in the index of extents costs, counted in buckets and nodes.

use snapless_fixed::grid::Grid;
use snapless_fixed::slots::SlotId;
use snapless_types::Extent;

#[test]
fn a_look_up_of_a_long_extent_looks_at_each_slot_and_not_at_each_of_its_cells() {
    let slots = 10;
    let mut grid = Grid::new(slots).expect("memory for ten slots");
    grid.enter(SlotId(3), &Extent::new(5 << 20, 4096).expect("an extent"));
    let mut found = Vec::new();
    grid.each(&Extent::new(0, 1 << 30).expect("an extent"), |slot| found.push(slot));
    assert_eq!(found, [SlotId(3)]);
    assert!(grid.steps() <= 2 * u64::from(slots), "{} steps", grid.steps());
}

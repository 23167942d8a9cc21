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

#[test]
fn a_write_far_from_an_extent_of_as_many_cells_as_nodes_is_not_shown() {
    let slots = 40;
    let mut grid = Grid::new(slots).expect("memory for forty slots");
    let extent = Extent::new(0, 2 * u64::from(slots) * 4096).expect("an extent");
    grid.enter(SlotId(3), &Extent::new(1 << 30, 4096).expect("an extent"));
    assert!(!grid.any(&extent, |_| true));
    grid.enter(SlotId(4), &Extent::new(extent.end() - 512, 512).expect("an extent"));
    assert!(grid.any(&extent, |slot| slot == SlotId(4)));
}

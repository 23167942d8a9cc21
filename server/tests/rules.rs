//! Every rule that a stream can break, broken once.

mod common;

use common::{BLOCK, Driver, LENGTH, SECTOR, geometry};
use snapless_server::stream::{StreamState, Violation};
use snapless_types::{BlockIndex, EpochId, Geometry, RecordKind, Seq};
use snapless_wire::record::Records;

/// Feeds records; panics if one is refused.
fn feed(state: &mut StreamState, records: &[u8]) {
    for record in Records::new(records) {
        state.accept(&record.unwrap().header).unwrap();
    }
}

/// Feeds one record that must be refused.
fn refused(state: &mut StreamState, record: &[u8]) -> Violation {
    let record = Records::new(record).next().unwrap().unwrap();
    state.accept(&record.header).unwrap_err()
}

/// A stream over a connection, and its driver.
fn live() -> (StreamState, Driver) {
    let mut state = StreamState::new(geometry(LENGTH));
    state.begin_connection();
    (state, Driver::default())
}

/// A stream whose first sync is done.
fn synced() -> (StreamState, Driver) {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.first_sync());
    (state, driver)
}

#[test]
fn a_write_needs_its_blocks_captured_all_of_them() {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.start());
    feed(&mut state, &driver.block(1, 1));
    feed(&mut state, &driver.write(BLOCK, BLOCK, 2));
    let mut torn = state.clone();
    let after = driver.clone().write(2 * BLOCK - SECTOR, 2 * SECTOR, 2);
    assert_eq!(
        refused(&mut torn, &after),
        Violation::WriteBeforeBlock { seq: Seq::new(4), block: BlockIndex(2) }
    );
    assert_eq!(
        refused(&mut state, &driver.resync(0, 1)),
        Violation::WriteBeforeBlock { seq: Seq::new(4), block: BlockIndex(0) }
    );
}

#[test]
fn nothing_follows_the_last_number_that_there_is() {
    let mut state = StreamState::new(geometry(LENGTH));
    let mut driver = Driver { seq: u64::MAX - 1, ..Driver::default() };
    feed(&mut state, &driver.gap());
    for seq in [0, u64::MAX - 1] {
        driver.seq = seq;
        let found = Seq::new(seq + 1);
        let expected = Seq::new(u64::MAX);
        let after = driver.resync(0, 1);
        assert_eq!(refused(&mut state.clone(), &after), Violation::Seq { found, expected });
    }
}

#[test]
fn a_block_is_captured_once_and_not_after_a_change() {
    let (mut state, mut driver) = synced();
    let mut twice = state.clone();
    assert_eq!(
        refused(&mut twice, &driver.clone().block(4, 1)),
        Violation::BlockTwice { seq: Seq::new(9), block: BlockIndex(4) }
    );
    let (mut early, mut other) = live();
    feed(&mut early, &other.start());
    feed(&mut early, &other.gap());
    // In a gap a write may touch a block that was not captured; its content at t0 is then lost.
    feed(&mut early, &other.write(0, SECTOR, 1));
    feed(&mut early, &other.resync(1, 1));
    for block in [0, 1] {
        assert_eq!(
            refused(&mut early.clone(), &other.clone().block(block, 1)),
            Violation::BlockAfterChange { seq: Seq::new(5), block: BlockIndex(block) }
        );
    }
    feed(&mut state, &driver.resync(4, 1));
}

#[test]
fn a_gap_ends_when_what_changed_in_it_was_resynced() {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.start());
    feed(&mut state, &driver.gap());
    feed(&mut state, &driver.write(0, SECTOR, 1));
    assert_eq!(
        refused(&mut state.clone(), &driver.clone().consistent()),
        Violation::NotResynced { seq: Seq::new(4), block: BlockIndex(0) }
    );
    feed(&mut state, &driver.resync(0, 1));
    feed(&mut state, &driver.consistent());
    assert_eq!(refused(&mut state, &driver.consistent()), Violation::NoGap(Seq::new(6)));
}

#[test]
fn a_write_that_covers_a_lost_block_makes_it_known_again() {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.start());
    feed(&mut state, &driver.gap());
    feed(&mut state, &driver.write(0, BLOCK, 1));
    feed(&mut state, &driver.consistent());
    feed(&mut state, &driver.write(SECTOR, SECTOR, 1));
    assert_eq!(state.timeline().coverage().known, 1);
    assert_eq!(state.timeline().coverage().base, 0);
}

#[test]
fn base_complete_must_be_true() {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.start());
    feed(&mut state, &driver.block(0, 1));
    assert_eq!(
        refused(&mut state, &driver.marker(RecordKind::BaseComplete)),
        Violation::BaseIncomplete { seq: Seq::new(3), block: BlockIndex(1) }
    );
}

#[test]
fn clearings_are_writes_and_empty_blocks_are_blocks() {
    let (mut state, mut driver) = live();
    feed(&mut state, &driver.start());
    feed(&mut state, &driver.plain(RecordKind::Unallocated, 0, 2 * BLOCK));
    assert_eq!(state.timeline().coverage().base, 2);
    let early = driver.clone().plain(RecordKind::Trim, BLOCK, 2 * BLOCK);
    assert_eq!(
        refused(&mut state.clone(), &early),
        Violation::WriteBeforeBlock { seq: Seq::new(3), block: BlockIndex(2) }
    );
    let twice = driver.clone().plain(RecordKind::Unallocated, BLOCK, BLOCK);
    assert_eq!(
        refused(&mut state.clone(), &twice),
        Violation::BlockTwice { seq: Seq::new(3), block: BlockIndex(1) }
    );
    let part = driver.clone().plain(RecordKind::Unallocated, 2 * BLOCK, SECTOR);
    assert!(matches!(refused(&mut state.clone(), &part), Violation::Unaligned { .. }));
    feed(&mut state, &driver.plain(RecordKind::Zero, SECTOR, SECTOR));
}

#[test]
fn numbers_follow_each_other() {
    let (state, driver) = synced();
    for wrong in [0, 7, 8, 10] {
        let mut other = Driver { seq: wrong - u64::from(wrong > 0), ..driver.clone() };
        let found = Seq::new(other.seq + 1);
        assert_eq!(
            refused(&mut state.clone(), &other.gap()),
            Violation::Seq { found, expected: Seq::new(9) },
        );
    }
}

#[test]
fn a_stream_begins_with_its_start_or_with_a_gap() {
    let (state, mut driver) = live();
    let block = driver.clone().block(0, 1);
    assert_eq!(
        refused(&mut state.clone(), &block),
        Violation::NoStart { seq: Seq::new(1), kind: RecordKind::Block }
    );
    feed(&mut state.clone(), &Driver { seq: 41, ..driver.clone() }.gap());
    assert!(matches!(
        refused(&mut state.clone(), &Driver { seq: 41, ..driver.clone() }.start()),
        Violation::Seq { .. }
    ));
    let mut started = state;
    feed(&mut started, &driver.start());
    assert_eq!(refused(&mut started, &driver.start()), Violation::SecondStart(Seq::new(2)));
}

#[test]
fn a_resumed_stream_opens_a_gap_first() {
    let (mut state, mut driver) = synced();
    state.begin_connection();
    assert_eq!(
        refused(&mut state.clone(), &driver.clone().write(0, SECTOR, 1)),
        Violation::NoGapAfterResume { seq: Seq::new(9), kind: RecordKind::Write }
    );
    driver.seq += 100;
    feed(&mut state, &driver.gap());
    driver.seq += 1;
    assert!(matches!(refused(&mut state, &driver.gap()), Violation::Seq { .. }));
}

#[test]
fn epochs_go_forward_only() {
    let (mut state, mut driver) = synced();
    let epoch = |epoch| Driver { epoch, ..driver.clone() }.write(0, SECTOR, 1);
    for old in [0, 1] {
        assert_eq!(
            refused(&mut state.clone(), &epoch(old)),
            Violation::Epoch {
                seq: Seq::new(9),
                found: EpochId::new(old),
                current: EpochId::new(1),
                ended: EpochId::new(1),
            }
        );
    }
    driver.epoch = 5;
    feed(&mut state, &driver.write(0, SECTOR, 1));
    driver.epoch = 4;
    assert!(matches!(refused(&mut state, &driver.write(0, SECTOR, 1)), Violation::Epoch { .. }));
}

#[test]
fn extents_lie_inside_the_volume_and_on_blocks() {
    let (state, driver) = synced();
    let record = |kind, offset, len| driver.clone().fill(kind, offset, len, 1);
    for (kind, offset, len) in
        [(RecordKind::Write, LENGTH, SECTOR), (RecordKind::Resync, 4 * BLOCK, BLOCK)]
    {
        let found = refused(&mut state.clone(), &record(kind, offset, len));
        assert!(matches!(found, Violation::Outside { .. }), "{found}");
    }
    for (kind, offset, len) in [(RecordKind::Resync, SECTOR, BLOCK), (RecordKind::Block, 0, SECTOR)]
    {
        let found = refused(&mut state.clone(), &record(kind, offset, len));
        assert!(matches!(found, Violation::Unaligned { .. }), "{found}");
    }
    let coarse = Geometry::new(8 * BLOCK, 4096, 16 << 10).unwrap();
    let mut state = StreamState::new(coarse);
    let mut driver = Driver::default();
    feed(&mut state, &driver.start());
    let found = refused(&mut state, &driver.write(0, SECTOR, 1));
    assert!(matches!(found, Violation::Unaligned { .. }), "{found}");
}

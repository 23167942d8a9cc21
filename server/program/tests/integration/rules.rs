//! Every rule that a stream can break, broken once.

use crate::common::{BLOCK, BLOCK_LEN, Driver, LENGTH, SECTOR, geometry};
use snapless_server::stream::{StreamState, Violation};
use snapless_types::{BlockIndex, EpochId, Geometry, RecordKind, Seq};
use snapless_wire::record::Records;

/// A stream over a connection, and the driver that makes its records.
#[derive(Clone)]
struct Stream {
    state: StreamState,
    driver: Driver,
}

impl Stream {
    fn new() -> Self {
        let mut state = StreamState::new(geometry(LENGTH));
        state.begin_connection();
        Self { state, driver: Driver::default() }
    }

    /// A stream with its first record.
    fn started() -> Self {
        Self::new().with(Driver::start)
    }

    /// A stream with a whole first sync.
    fn synced() -> Self {
        Self::new().with(Driver::first_sync)
    }

    /// Feeds records; panics if one is refused.
    fn with(mut self, records: impl FnOnce(&mut Driver) -> Vec<u8>) -> Self {
        for record in Records::new(&records(&mut self.driver)) {
            self.state.accept(&record.unwrap().header).unwrap();
        }
        self
    }

    /// Why a record is refused; panics if it is accepted. The stream stays as it is.
    fn refuses(&self, record: impl FnOnce(&mut Driver) -> Vec<u8>) -> Violation {
        let Self { mut state, mut driver } = self.clone();
        let record = record(&mut driver);
        let record = Records::new(&record).next().unwrap().unwrap();
        state.accept(&record.header).unwrap_err()
    }
}

fn at(seq: u64, block: u64) -> (Seq, BlockIndex) {
    (Seq::new(seq), BlockIndex(block))
}

#[test]
fn a_write_needs_all_its_blocks_captured() {
    let stream = Stream::started().with(|d| d.block(1, 1)).with(|d| d.write(BLOCK, BLOCK, 2));
    let (seq, block) = at(4, 2);
    let found = stream.refuses(|d| d.write(2 * BLOCK - SECTOR, 2 * SECTOR, 2));
    assert_eq!(found, Violation::WriteBeforeBlock { seq, block });
    let (seq, block) = at(4, 0);
    let found = stream.refuses(|d| d.resync(0, 1));
    assert_eq!(found, Violation::WriteBeforeBlock { seq, block });
}

#[test]
fn no_record_follows_the_last_number_that_there_is() {
    let mut stream = Stream::new();
    stream.driver.seq = u64::MAX - 1;
    let mut stream = stream.with(Driver::gap);
    for seq in [0, u64::MAX - 1] {
        stream.driver.seq = seq;
        let (found, expected) = (Seq::new(seq + 1), Seq::new(u64::MAX));
        assert_eq!(stream.refuses(|d| d.resync(0, 1)), Violation::Seq { found, expected });
    }
}

#[test]
fn a_block_is_captured_once_and_not_after_a_change() {
    let synced = Stream::synced();
    let (seq, block) = at(9, 4);
    assert_eq!(synced.refuses(|d| d.block(4, 1)), Violation::BlockTwice { seq, block });
    // In a gap a write may touch a block that was not captured; its content at t0 is then lost.
    let gap = Stream::started().with(Driver::gap);
    let changed = gap.with(|d| d.write(0, SECTOR, 1)).with(|d| d.resync(1, 1));
    for index in [0, 1] {
        let (seq, block) = at(5, index);
        let found = changed.refuses(|d| d.block(index, 1));
        assert_eq!(found, Violation::BlockAfterChange { seq, block });
    }
    synced.with(|d| d.resync(4, 1));
}

#[test]
fn a_gap_ends_when_its_changed_blocks_are_resynced() {
    let stream = Stream::started().with(Driver::gap).with(|d| d.write(0, SECTOR, 1));
    let (seq, block) = at(4, 0);
    assert_eq!(stream.refuses(Driver::consistent), Violation::NotResynced { seq, block });
    let stream = stream.with(|d| d.resync(0, 1)).with(Driver::consistent);
    assert_eq!(stream.refuses(Driver::consistent), Violation::NoGap(Seq::new(6)));
}

#[test]
fn a_write_that_covers_a_lost_block_makes_it_known_again() {
    let stream = Stream::started().with(Driver::gap).with(|d| d.write(0, BLOCK, 1));
    let stream = stream.with(Driver::consistent).with(|d| d.write(SECTOR, SECTOR, 1));
    let coverage = stream.state.timeline().coverage();
    assert_eq!((coverage.known, coverage.base), (1, 0));
}

#[test]
fn base_complete_must_be_true() {
    let stream = Stream::started().with(|d| d.block(0, 1));
    let (seq, block) = at(3, 1);
    let found = stream.refuses(|d| d.marker(RecordKind::BaseComplete));
    assert_eq!(found, Violation::BaseIncomplete { seq, block });
}

#[test]
fn clearings_are_writes_and_empty_and_excluded_blocks_are_blocks() {
    for kind in [RecordKind::Unallocated, RecordKind::Excluded] {
        let stream = Stream::started().with(|d| d.plain(kind, 0, 2 * BLOCK));
        let timeline = stream.state.timeline();
        assert_eq!(timeline.coverage().base, 2);
        let excluded = if kind == RecordKind::Excluded { 2 * BLOCK } else { 0 };
        assert_eq!(timeline.excluded_bytes(), excluded);
        let (seq, block) = at(3, 2);
        let found = stream.refuses(|d| d.plain(RecordKind::Trim, BLOCK, 2 * BLOCK));
        assert_eq!(found, Violation::WriteBeforeBlock { seq, block });
        let (seq, block) = at(3, 1);
        let found = stream.refuses(|d| d.plain(kind, BLOCK, BLOCK));
        assert_eq!(found, Violation::BlockTwice { seq, block });
        let found = stream.refuses(|d| d.plain(kind, 2 * BLOCK, SECTOR));
        assert!(matches!(found, Violation::Unaligned { .. }));
        stream.with(|d| d.plain(RecordKind::Zero, SECTOR, SECTOR));
    }
}

#[test]
fn numbers_follow_each_other() {
    let mut stream = Stream::synced();
    for seq in [0, 6, 7, 9] {
        stream.driver.seq = seq;
        let (found, expected) = (Seq::new(seq + 1), Seq::new(9));
        assert_eq!(stream.refuses(Driver::gap), Violation::Seq { found, expected });
    }
}

#[test]
fn a_stream_begins_with_its_start_or_with_a_gap() {
    let (seq, kind) = (Seq::new(1), RecordKind::Block);
    let mut stream = Stream::new();
    assert_eq!(stream.refuses(|d| d.block(0, 1)), Violation::NoStart { seq, kind });
    stream.driver.seq = 41;
    assert!(matches!(stream.refuses(Driver::start), Violation::Lost { .. }));
    stream.with(Driver::gap);
    let second = Stream::started().refuses(Driver::start);
    assert_eq!(second, Violation::SecondStart(Seq::new(2)));
}

#[test]
fn a_resumed_stream_goes_on_at_the_next_record_or_opens_a_gap() {
    let mut stream = Stream::synced();
    stream.state.begin_connection();
    for (kind, gap) in [(RecordKind::Write, false), (RecordKind::GapBegin, true)] {
        let first = |d: &mut Driver| if gap { d.gap() } else { d.write(0, SECTOR, 1) };
        let next = stream.clone().with(first);
        assert_eq!(next.state.timeline().gaps().len(), usize::from(gap), "{kind:?}");
    }
    stream.driver.seq += 100;
    let (found, expected, kind) = (Seq::new(109), Seq::new(9), RecordKind::Write);
    let refused = stream.refuses(|d| d.write(0, SECTOR, 1));
    assert_eq!(refused, Violation::Lost { found, kind, expected });
    for sent_again in [1, 8] {
        let again = |d: &mut Driver| {
            d.seq = sent_again - 1;
            d.gap()
        };
        assert!(matches!(stream.refuses(again), Violation::Seq { .. }), "{sent_again}");
    }
    let mut stream = stream.with(Driver::gap);
    stream.driver.seq += 1;
    assert!(matches!(stream.refuses(Driver::gap), Violation::Seq { .. }));
}

#[test]
fn epochs_go_forward_only() {
    let mut stream = Stream::synced();
    let (current, ended) = (EpochId::new(1), EpochId::new(1));
    for old in [0, 1] {
        stream.driver.epoch = old;
        let (seq, found) = (Seq::new(9), EpochId::new(old));
        let refused = stream.refuses(|d| d.write(0, SECTOR, 1));
        assert_eq!(refused, Violation::Epoch { seq, found, current, ended });
    }
    stream.driver.epoch = 5;
    let mut stream = stream.with(|d| d.write(0, SECTOR, 1));
    stream.driver.epoch = 4;
    assert!(matches!(stream.refuses(|d| d.write(0, SECTOR, 1)), Violation::Epoch { .. }));
}

#[test]
fn only_content_that_the_stream_gives_is_unchanged() {
    let unchanged =
        |d: &mut Driver, block: u64, len| d.plain(RecordKind::Unchanged, block * BLOCK, len);
    let refusal = |seq, block| {
        let (seq, block) = at(seq, block);
        Violation::NothingUnchanged { seq, block }
    };
    let synced = Stream::synced().with(Driver::gap).with(|d| unchanged(d, 0, LENGTH));
    synced.clone().with(Driver::consistent).with(|d| unchanged(d, 1, 2 * BLOCK));
    // Never captured, in a gap or not; and changed in a gap before that.
    let partly = Stream::started().with(|d| d.block(1, 1));
    assert_eq!(partly.refuses(|d| unchanged(d, 1, 2 * BLOCK)), refusal(3, 2));
    let partly = partly.with(Driver::gap).with(|d| unchanged(d, 1, BLOCK));
    assert_eq!(partly.refuses(|d| unchanged(d, 0, BLOCK)), refusal(5, 0));
    let partly = partly.with(|d| d.write(2 * BLOCK, SECTOR, 1));
    assert_eq!(partly.refuses(|d| unchanged(d, 2, BLOCK)), refusal(6, 2));
    assert!(matches!(partly.refuses(Driver::consistent), Violation::NotResynced { .. }));
    // With a hole, until it is written as a whole.
    let hole = synced.with(|d| d.unreadable(3 * BLOCK + SECTOR, SECTOR));
    assert_eq!(hole.refuses(|d| unchanged(d, 3, BLOCK)), refusal(12, 3));
    hole.with(|d| d.resync(3, 1)).with(|d| unchanged(d, 3, BLOCK));
    let found = Stream::synced().refuses(|d| unchanged(d, 0, SECTOR));
    assert!(matches!(found, Violation::Unaligned { .. }), "{found}");
}

#[test]
fn a_check_has_hashes_and_is_about_what_the_stream_describes() {
    let check = |d: &mut Driver, block: u64| d.check(block * BLOCK, &[1; BLOCK_LEN]);
    let synced = Stream::synced().with(|d| check(d, 0)).with(|d| d.write(0, SECTOR, 1));
    let refused = synced.refuses(|d| d.fill(RecordKind::Check, 0, BLOCK, 1));
    assert_eq!(refused, Violation::CheckWithoutHashes(Seq::new(11)));
    let gap = synced.clone().with(Driver::gap);
    assert_eq!(gap.refuses(|d| check(d, 0)), Violation::CheckInGap(Seq::new(12)));
    gap.with(Driver::consistent).with(|d| check(d, 0));
    let (seq, block) = at(3, 2);
    let partly = Stream::started().with(|d| d.block(1, 1));
    let refused = partly.refuses(|d| d.check(BLOCK, &vec![1; 2 * BLOCK_LEN]));
    assert_eq!(refused, Violation::CheckBeforeBlock { seq, block });
    let refused = synced.refuses(|d| d.check(0, &[1; 512]));
    assert!(matches!(refused, Violation::Unaligned { .. }), "{refused}");
}

#[test]
fn extents_lie_inside_the_volume_and_on_blocks() {
    let stream = Stream::synced();
    let refused = |kind, offset, len| stream.refuses(|d| d.fill(kind, offset, len, 1));
    for found in
        [refused(RecordKind::Write, LENGTH, SECTOR), refused(RecordKind::Resync, 4 * BLOCK, BLOCK)]
    {
        assert!(matches!(found, Violation::Outside { .. }), "{found}");
    }
    let mut coarse = Stream::new();
    coarse.state = StreamState::new(Geometry::new(8 * BLOCK, 4096, 16 << 10).unwrap());
    for found in [
        refused(RecordKind::Resync, SECTOR, BLOCK),
        refused(RecordKind::Block, 0, SECTOR),
        coarse.with(Driver::start).refuses(|d| d.write(0, SECTOR, 1)),
    ] {
        assert!(matches!(found, Violation::Unaligned { .. }), "{found}");
    }
}

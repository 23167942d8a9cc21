//! Reads of sweep and hold: their order, and sectors that cannot be read.

use super::*;

/// Reads the next block sector by sector; sectors that `is_bad` accepts cannot be read.
fn read_by_sector(session: &TestSession, is_bad: impl Fn(u64) -> bool) {
    let first = read(session.sweep());
    let (memory, start) = (first.memory(), first.extent().offset());
    let mut next = session.read_done(first, ReadOutcome::BadSector);
    let mut sector = 0;
    while let Some(read) = next {
        assert_eq!((read.extent().offset(), read.extent().len()), (start + sector * 512, 512));
        assert_eq!(read.memory().offset, memory.offset + sector * 512);
        assert_eq!(read.memory().len, 512);
        next = session.read_done(read, outcome(!is_bad(sector)));
        sector += 1;
    }
    assert_eq!(sector, BLOCK / 512);
}

fn drained_extents(session: &TestSession) -> Vec<(RecordKind, u64, u64)> {
    let mut extents = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let record = drained.record();
        if let Some(extent) = record.extent {
            extents.push((record.kind, extent.offset() / 512, extent.len() / 512));
        }
        session.drained(drained);
    }
    extents
}

#[test]
fn a_bad_sector_leaves_a_hole_of_its_own_size() {
    let session = session(|_| ());
    session.begin();
    read_by_sector(&session, |sector| [0, 5, 6, 31].contains(&sector));
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced);
    assert_eq!(session.status().blocks_unreadable, 1);
    assert_eq!(
        drained_extents(&session),
        [
            (RecordKind::Block, 0, 32),
            (RecordKind::Unreadable, 0, 1),
            (RecordKind::Unreadable, 5, 2),
            (RecordKind::Unreadable, 31, 1)
        ]
    );
    read_by_sector(&session, |sector| sector == 3);
    let second = [(RecordKind::Block, 32, 32), (RecordKind::Unreadable, 32 + 3, 1)];
    assert_eq!(drained_extents(&session), second);
}

#[test]
fn a_block_without_a_good_sector_is_one_hole_and_a_transient_error_is_none() {
    let session = session(|_| ());
    session.begin();
    read_by_sector(&session, |_| true);
    assert_eq!(drained_extents(&session), [(RecordKind::Unreadable, 0, 32)]);
    let second = read(session.sweep());
    let mut next = session.read_done(second, ReadOutcome::BadSector);
    while let Some(read) = next {
        next = session.read_done(read, ReadOutcome::Done);
    }
    assert_eq!(drained_extents(&session), [(RecordKind::Block, 32, 32)]);
    assert_eq!(session.status().blocks_unreadable, 1);
}

#[test]
fn each_block_of_a_run_with_a_bad_sector_is_read_alone_after_one_that_is_bad() {
    let session = session(|config| config.read_bytes = 4 * BLOCK);
    session.begin();
    let run = read(session.sweep());
    assert_eq!(run.extent().len(), 4 * BLOCK);
    done(&session, run, false);
    for block in 0..4 {
        let alone = read(session.sweep());
        assert_eq!((alone.extent().offset(), alone.extent().len()), (block * BLOCK, BLOCK));
        let mut next = session.read_done(alone, outcome(block > 1));
        while let Some(sector) = next {
            let is_bad = (sector.extent().offset() / 512).is_multiple_of(32);
            next = session.read_done(sector, outcome(!is_bad));
        }
        drain(&session);
    }
    assert_eq!(session.status().blocks_unreadable, 2);
}

#[test]
fn more_holes_than_a_block_may_have_end_in_one_that_covers_the_rest() {
    let mut config = Config::new(8 * 2 * BLOCK);
    config.read_bytes = BLOCK;
    let geometry = Geometry::new(2 * BLOCK, 512, 32 << 10).unwrap();
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    let mut next = session.read_done(read(session.sweep()), ReadOutcome::BadSector);
    while let Some(read) = next {
        let is_bad = (read.extent().offset() / 512).is_multiple_of(3);
        next = session.read_done(read, outcome(!is_bad));
    }
    let holes = drained_extents(&session);
    assert_eq!(holes.len(), 1 + 16);
    assert_eq!(holes[15], (RecordKind::Unreadable, 42, 1));
    assert_eq!(holes[16], (RecordKind::Unreadable, 45, 19));
}

#[test]
fn an_urgent_write_ends_the_reading_sector_by_sector() {
    let session = session(|_| ());
    session.begin();
    let next = session.read_done(read(session.sweep()), ReadOutcome::BadSector).unwrap();
    let extent = Extent::new(0, 512).unwrap();
    let issue = issued(session.submit("urgent", extent, Urgency::MustNotWait));
    done(&session, next, false);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    session.completed(issue.ticket, true);
}

#[test]
fn a_capped_sweep_waits_between_reads_and_held_writes_do_not() {
    let session = session(|config| config.sweep.bytes_per_second = BLOCK);
    let second = 1_000 * Tick::PER_MS;
    session.begin();
    done(&session, read(session.sweep()), true);
    let Step::Wait(Some(Tick(until))) = session.sweep() else { panic!("it does not wait") };
    assert_eq!(until, second);
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    done(&session, read(session.hold()), true);
    session.host().now.set(second);
    done(&session, read(session.sweep()), true);
    assert_eq!(session.status().blocks_synced, 3);
}

#[test]
fn a_sweep_that_waits_for_its_cap_goes_on_when_there_is_none_any_more() {
    let session = session(|config| config.sweep.bytes_per_second = BLOCK);
    session.begin();
    done(&session, read(session.sweep()), true);
    assert!(matches!(session.sweep(), Step::Wait(Some(_))));
    session.host().woken.take();
    session.set_sweep_limits(SweepLimits { bytes_per_second: 0, latency: 0 });
    assert!(session.host().woken.take().contains(&Worker::Sweep));
    sweep_all(&session);
    assert_eq!(session.status().blocks_synced, 4);
}

#[test]
fn an_urgent_write_under_a_read_leaves_only_its_own_blocks_dirty() {
    let session = session(|config| config.read_bytes = 4 * BLOCK);
    session.begin();
    let reading = read(session.sweep());
    assert_eq!(reading.extent().len(), 4 * BLOCK);
    let extent = Extent::new(BLOCK, 512).unwrap();
    let issue = issued(session.submit("urgent", extent, Urgency::MustNotWait));
    done(&session, reading, true);
    session.completed(issue.ticket, true);
    let states = [0, 1, 2, 3].map(|block| session.block_state(BlockIndex(block)));
    let unsynced = BlockState::Unsynced;
    assert_eq!(states, [unsynced, BlockState::Dirty, unsynced, unsynced]);
}

#[test]
fn only_the_blocks_of_a_read_that_failed_are_read_one_at_a_time() {
    let whole_volume = |config: &mut Config| config.read_bytes = 4 * BLOCK;
    let session = session(whole_volume);
    session.begin();
    assert_held(&submit(&session, "w", 2 * BLOCK, 2 * BLOCK));
    let failed = read(session.hold());
    assert_eq!(failed.extent().len(), 2 * BLOCK);
    done(&session, failed, false);
    // The sweep is gentle no more.
    session.host().now.set(1_000 * Tick::PER_MS);
    let before = read(session.sweep());
    assert_eq!((before.extent().offset(), before.extent().len()), (0, 2 * BLOCK));
    let alone = read(session.sweep());
    assert_eq!((alone.extent().offset(), alone.extent().len()), (2 * BLOCK, BLOCK));
    done(&session, before, true);
    done(&session, alone, true);

    let session = self::session(whole_volume);
    session.begin();
    assert_held(&submit(&session, "first", 0, BLOCK));
    done(&session, read(session.hold()), true);
    assert_held(&submit(&session, "w", 2 * BLOCK, 2 * BLOCK));
    done(&session, read(session.hold()), false);
    session.host().now.set(1_000 * Tick::PER_MS);
    let between = read(session.sweep());
    assert_eq!((between.extent().offset(), between.extent().len()), (BLOCK, BLOCK));
    done(&session, between, true);

    let session = self::session(whole_volume);
    session.begin();
    assert_held(&submit(&session, "w", 0, 2 * BLOCK));
    done(&session, read(session.hold()), false);
    done(&session, read(session.hold()), true);
    done(&session, read(session.hold()), true);
    let behind = read(session.sweep());
    assert_eq!((behind.extent().offset(), behind.extent().len()), (2 * BLOCK, 2 * BLOCK));
    done(&session, behind, true);
}

/// A session over 300 blocks with a queue that has room for all of them, begun.
fn long_session() -> TestSession {
    let mut config = Config::new(1_200 * BLOCK);
    config.read_bytes = BLOCK;
    let geometry = Geometry::new(300 * BLOCK, 512, 16 << 10).unwrap();
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    session
}

#[test]
fn a_held_write_that_waits_for_a_reader_does_not_wait_for_the_queue() {
    let session = long_session();
    for block in 0..257 {
        assert_held(&submit(&session, "w", block * BLOCK, 512));
    }
    let reads: Vec<_> = (0..256).map(|_| read(session.hold())).collect();
    assert_waits(&session.hold());
    // Far past the hold limit, which counts how long the queue has been full.
    session.host().now.set(10_000 * Tick::PER_MS);
    assert_waits(&session.dispatch());
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Capturing, 0));
    for read in reads {
        done(&session, read, true);
    }
    done(&session, read(session.hold()), true);
}

/// Reads that the sweep begins now.
fn sweeps_under_way(session: &TestSession) -> usize {
    let next = || match session.sweep() {
        Step::Do(read) => Some(read),
        _ => None,
    };
    let reads: Vec<_> = std::iter::from_fn(next).collect();
    let count = reads.len();
    for read in reads {
        done(session, read, true);
    }
    count
}

#[test]
fn the_sweep_tries_more_reads_at_a_time_after_a_round_of_its_own() {
    let session = long_session();
    assert_eq!(sweeps_under_way(&session), 4);
    for round in 1..=16 {
        session.host().now.set(round * 10 * Tick::PER_MS);
        done(&session, read(session.sweep()), true);
    }
    assert_eq!(sweeps_under_way(&session), 8);
}

#[test]
fn the_sweep_learns_nothing_from_reads_for_held_writes() {
    let session = long_session();
    let mut reads = Vec::new();
    for block in 0..16 {
        assert_held(&submit(&session, "w", block * BLOCK, 512));
        reads.push(read(session.hold()));
    }
    for reading in reads {
        done(&session, reading, true);
        session.host().now.set(100 * Tick::PER_MS);
    }
    assert_eq!(sweeps_under_way(&session), 4);
}

#[test]
fn a_slow_read_for_a_held_write_keeps_no_queue_memory_from_writes() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "held", 3 * BLOCK, 512));
    let slow = read(session.hold());
    sweep_all(&session);
    for round in 0..1_000 {
        let Submission::Capture(capture) = submit(&session, "w", 0, 4096) else {
            panic!("write {round} is held, and most of the queue is free");
        };
        let issue = session.captured(capture);
        drain(&session);
        session.completed(issue.ticket, true);
    }
    done(&session, slow, true);
    assert!(matches!(dispatched(&session), Submission::Capture(_)));
}

/// Submits a write to block 3 whose read fails for a reason that may pass, `times` times.
fn fail_for_now(session: &TestSession, times: u64) {
    for _ in 0..times {
        let next = session.read_done(read(session.hold()), ReadOutcome::NotNow);
        assert!(next.is_none(), "{next:?}");
        let Step::Wait(Some(Tick(again))) = session.hold() else { panic!("it does not wait") };
        session.host().now.set(again);
    }
}

#[test]
fn a_read_that_fails_for_a_reason_that_may_pass_is_repeated_and_leaves_no_hole() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    fail_for_now(&session, 3);
    done(&session, read(session.hold()), true);
    assert!(matches!(dispatched(&session), Submission::Capture(_)));
    let swept = session.read_done(read(session.sweep()), ReadOutcome::NotNow);
    assert!(swept.is_none());
    let Step::Wait(Some(Tick(again))) = session.sweep() else { panic!("it does not wait") };
    session.host().now.set(again);
    sweep_all(&session);
    let status = session.status();
    assert_eq!((status.blocks_synced, status.blocks_unreadable, status.gaps), (4, 0, 0));
    assert_eq!((status.reads_failed, status.reads_put_off), (4, 4));
}

#[test]
fn a_write_over_failing_reads_is_held_for_the_hold_limit_and_no_longer() {
    let limit = 200 * Tick::PER_MS;
    let session = session(|config| config.hold_limit = limit);
    session.begin();
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    fail_for_now(&session, 1);
    let Step::Wait(until) = session.dispatch() else { panic!("it goes too early") };
    assert_eq!(until, Some(Tick(limit)));
    session.host().now.set(limit - 1);
    assert_waits(&session.dispatch());
    session.host().now.set(limit);
    let issue = issued(dispatched(&session));
    assert_eq!(session.block_state(BlockIndex(3)), BlockState::Dirty);
    assert_eq!(session.status().gap_reason, Some(GapReason::ReadFailed));
    session.completed(issue.ticket, true);
}

#[test]
fn a_write_to_a_block_that_is_read_sector_by_sector_is_held_for_the_hold_limit_and_no_longer() {
    for is_late in [false, true] {
        let session = session(|_| ());
        session.begin();
        let whole = if is_late {
            read(session.sweep())
        } else {
            assert_held(&submit(&session, "w", 0, 512));
            read(session.hold())
        };
        let sector = session.read_done(whole, ReadOutcome::BadSector).unwrap();
        if is_late {
            assert_held(&submit(&session, "w", 0, 512));
        }
        // The disk does not answer.
        session.host().now.set(200 * Tick::PER_MS);
        let issue = issued(dispatched(&session));
        done(&session, sector, true);
        assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
        assert_eq!(session.status().gap_reason, Some(GapReason::ReadFailed));
        session.completed(issue.ticket, true);
    }
}

#[test]
fn a_write_that_meets_a_block_read_sector_by_sector_hurries_no_other() {
    let session = session(|_| ());
    session.begin();
    let bad = read(session.sweep());
    let sector = session.read_done(bad, ReadOutcome::BadSector).unwrap();
    assert_held(&submit(&session, "waits for a slow read", BLOCK, 512));
    let slow = read(session.hold());
    session.host().now.set(50 * Tick::PER_MS);
    assert_held(&submit(&session, "touches both blocks", 0, 2 * BLOCK));
    session.host().now.set(200 * Tick::PER_MS);
    assert_waits(&session.dispatch());
    assert_eq!(session.status().gaps, 0, "no read failed of what the first one waits for");
    // The disk has answered neither.
    drop((slow, sector));
}

#[test]
fn blocks_of_writes_that_are_held_side_by_side_are_read_together() {
    let session = session(|config| config.read_bytes = 8 * BLOCK);
    session.begin();
    for block in [1, 2, 0] {
        assert_held(&submit(&session, "w", block * BLOCK, 512));
    }
    let first = read(session.hold());
    assert_eq!((first.extent().offset(), first.extent().len()), (BLOCK, 2 * BLOCK));
    let second = read(session.hold());
    assert_eq!((second.extent().offset(), second.extent().len()), (0, BLOCK));
    assert_waits(&session.hold());
    done(&session, first, true);
    done(&session, second, true);
}

#[test]
fn held_writes_are_counted_where_their_blocks_are() {
    let session = session(|_| ());
    session.begin();
    let held = |parts| {
        let mut counts = vec![0; parts];
        session.count_held(&mut counts);
        counts
    };
    assert_eq!(held(4), [0; 4]);
    assert_held(&submit(&session, "w", BLOCK + 512, 512));
    assert_held(&submit(&session, "v", 2 * BLOCK, 2 * BLOCK));
    assert_eq!(
        (held(4), held(2), held(3), held(1)),
        (vec![0, 1, 1, 1], vec![1, 2], vec![0, 1, 2], vec![3])
    );
    // More parts than blocks: a block is in one of them.
    assert_eq!((held(8), held(0)), (vec![0, 0, 0, 1, 0, 1, 0, 1], vec![]));
    // What is counted stays at the most that a count can be.
    let mut counts = [255; 2];
    session.count_held(&mut counts);
    assert_eq!(counts, [255; 2]);
}

#[test]
fn a_map_tells_the_states_of_each_part_and_takes_no_lock() {
    let session = session(|_| ());
    session.begin();
    done(&session, read(session.sweep()), true);
    let reading = read(session.sweep());
    NO_LOCKS.set(true);
    let map = |cells, samples| session.map(cells, samples).collect::<Vec<_>>();
    let [unsynced, reading_one, synced] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]];
    assert_eq!(map(4, 64), [synced, reading_one, unsynced, unsynced]);
    assert_eq!(map(2, 64), [[0, 1, 1, 0], [2, 0, 0, 0]]);
    assert_eq!(map(1, 2), [[1, 0, 1, 0]], "the first and the third");
    // More parts than blocks: some have none.
    let fine = map(8, 64);
    let sum = fine.iter().fold([0; 4], |sum: [u8; 4], cell| [0, 1, 2, 3].map(|i| sum[i] + cell[i]));
    assert_eq!((fine.len(), sum), (8, [2, 1, 1, 0]));
    assert!(map(0, 64).is_empty() && map(2, 0) == [[0; 4]; 2]);
    NO_LOCKS.set(false);
    done(&session, reading, true);
}

//! Trims, writes of zeros, and blocks that hold no data.

use super::*;

#[test]
fn a_trim_waits_for_old_content_and_overlapping_writes_and_takes_no_memory() {
    let session = session(|_| ());
    session.begin();
    assert_held(&clear(&session, Clearing::Trim, 0, 2 * BLOCK));
    assert_held(&submit(&session, "elsewhere", 3 * BLOCK, 512));
    assert_held(&submit(&session, "over the trim", 0, 512));
    // The hold thread reads for writes first, and for the trim last.
    let blocks: Vec<_> = std::iter::from_fn(|| match session.hold() {
        Step::Do(read) => Some(read),
        _ => None,
    })
    .collect();
    let offsets: Vec<_> = blocks.iter().map(|read| read.extent().offset() / BLOCK).collect();
    assert_eq!(offsets, [3, 0, 1]);
    for read in blocks {
        done(&session, read, true);
    }
    drain(&session);
    let elsewhere = session.captured(captured(dispatched(&session)));
    let trim = issued(dispatched(&session));
    assert_eq!(trim.write, "clearing");
    assert_waits(&session.dispatch());
    session.completed(trim.ticket, true);
    session.completed(elsewhere.ticket, true);
    complete_captured(&session, dispatched(&session));
    assert_eq!(drain(&session), [RecordKind::Write, RecordKind::Trim, RecordKind::Write]);
}

#[test]
fn a_held_trim_has_no_time_before_it_arrived() {
    let session = session(|_| ());
    session.begin();
    session.host().now.set(100);
    assert_held(&clear(&session, Clearing::Trim, 0, BLOCK));
    // The threads that read its block and dispatch it waited for the lock meanwhile.
    session.host().now.set(60);
    let old = read(session.hold());
    done(&session, old, true);
    complete_issued(&session, dispatched(&session));
    let mut trims = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let record = drained.record();
        if record.kind == RecordKind::Trim {
            trims.push((record.monotonic, record.time));
        }
        session.drained(drained);
    }
    assert_eq!(trims, [(Tick(100), 1_100)]);
}

#[test]
fn a_failed_zero_write_leaves_its_blocks_dirty() {
    let session = synced(|_| ());
    let Submission::Issue(issue) = clear(&session, Clearing::Zero, 0, 3 * BLOCK) else {
        panic!("it has no payload")
    };
    assert_eq!(issue.record, Some(Seq::new(session.status().last_seq)));
    session.completed(issue.ticket, false);
    assert_eq!(session.status().blocks_dirty, 3);
}

#[test]
fn a_block_that_holds_no_data_is_recorded_and_never_read() {
    let session = session(|_| ());
    let all = BlockRange::new(BlockIndex(0), BlockIndex(9));
    assert_eq!(session.skip(all), BlockIndex(0), "there is no t0 yet");
    let past = BlockRange::new(BlockIndex(4), BlockIndex(9));
    assert_eq!(session.skip(past), BlockIndex(9), "there is nothing to skip");
    session.begin();
    assert_held(&submit(&session, "w", BLOCK, 512));
    let old = read(session.hold());
    // Block 1 is being read: it stays as it is. Block 9 is past the end.
    assert_eq!(session.skip(all), BlockIndex(9));
    assert_waits(&session.sweep());
    done(&session, old, true);
    complete_captured(&session, dispatched(&session));
    let write = captured(submit(&session, "to a skipped block", 2 * BLOCK, 512));
    let issue = session.captured(write);
    session.completed(issue.ticket, true);
    let kinds = drain(&session);
    assert_eq!(
        kinds,
        [
            RecordKind::SessionStart,
            RecordKind::Unallocated,
            RecordKind::Unallocated,
            RecordKind::Block,
            RecordKind::BaseComplete,
            RecordKind::Write,
            RecordKind::Write
        ]
    );
    assert_eq!(session.status().blocks_unallocated, 3);
}

#[test]
fn skipping_resumes_where_the_queue_had_no_room() {
    let session = session(|config| config.writes_max = 1);
    session.begin();
    // 33 descriptors: SessionStart has one, one is kept for a gap.
    let mut marks = 0;
    while let Submission::Issue(issue) = clear(&session, Clearing::Trim, 0, 512) {
        assert_eq!(issue.record, None);
        session.completed(issue.ticket, true);
        marks += 1;
    }
    assert_eq!(marks, 0, "the block is not synced: the trim is held");
    let block = |n| BlockRange::new(BlockIndex(n), BlockIndex(n + 1));
    assert_eq!(session.skip(block(0)), BlockIndex(1));
    let issue = issued(dispatched(&session));
    assert!(issue.record.is_some());
    session.completed(issue.ticket, true);
    while let Submission::Issue(issue) = clear(&session, Clearing::Zero, 0, 512) {
        session.completed(issue.ticket, true);
    }
    assert_eq!(session.skip(block(1)), BlockIndex(1), "no descriptor is left");
    drain(&session);
    assert_eq!(session.skip(block(1)), BlockIndex(2));
}

#[test]
fn a_trim_that_is_issued_uncaptured_is_counted_once() {
    let session = synced(|_| ());
    session.detach();
    let trim = issued(clear(&session, Clearing::Trim, 0, BLOCK));
    session.completed(trim.ticket, true);
    let status = session.status();
    assert_eq!((status.clearings, status.writes_uncaptured), (1, 1));
}

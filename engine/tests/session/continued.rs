//! A session that continues one of an earlier start: nothing is known of the blocks.

use super::*;

use snapless_engine::{ImpossibleSeq, Record};

/// A continued session over four blocks, begun, with nothing drained.
fn continued(change: impl FnOnce(&mut Config)) -> TestSession {
    let mut config = Config::new(8 * BLOCK);
    config.read_bytes = BLOCK;
    change(&mut config);
    let geometry = Geometry::new(4 * BLOCK, 512, 16 << 10).unwrap();
    let reason = GapReason::Restarted;
    let session = Session::continued(TestHost::default(), geometry, config, reason).unwrap();
    session.begin();
    session
}

fn place(session: &TestSession, seq: u64, epoch: u64) {
    session.place(Seq::new(seq), MADE, EpochId::new(epoch)).unwrap();
}

fn records(session: &TestSession) -> Vec<Record> {
    let mut records = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        records.push(drained.record());
        session.drained(drained);
    }
    records
}

#[test]
fn what_it_goes_on_behind_is_one_record_made_at_one_time() {
    let session = continued(|_| ());
    assert!(!session.has_made(Seq::new(40), MADE), "it is not placed");
    session.place(Seq::new(40), MADE, EpochId::new(1_000)).unwrap();
    assert!(session.has_made(Seq::new(40), MADE));
    assert!(!session.has_made(Seq::new(40), Made::default()));
    for number in [0, 39, 41, 1_000, 1_001] {
        assert!(!session.has_made(Seq::new(number), MADE), "{number}: of another copy");
    }
}

#[test]
fn it_goes_on_behind_what_the_server_has_with_a_gap_that_ends_when_every_block_was_read() {
    let session = continued(|config| config.epoch_bytes = BLOCK);
    let status = session.status();
    assert!(status.continues && !status.placed && !status.attached && !status.consistent);
    assert_eq!((status.gaps, status.gap_reason), (1, Some(GapReason::Restarted)));
    assert!(!session.has_records(), "its numbers are not known");
    assert_waits(&session.drain(u64::MAX));
    // It captures meanwhile.
    done(&session, read(session.sweep()), true);
    place(&session, 40, 7);
    assert_eq!(session.drain_from(Seq::new(40)), Ok(true));
    let mut all = records(&session);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        all.extend(records(&session));
    }
    assert!(all[0].gap_reason == Some(GapReason::Restarted) && all[0].kind == RecordKind::GapBegin);
    let seqs: Vec<_> = all.iter().map(|record| record.seq.get()).collect();
    assert_eq!(seqs, (41..41 + seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(all[0].epoch, EpochId::new(8));
    assert!(all.is_sorted_by_key(|record| record.epoch) && all.last().unwrap().epoch.get() > 8);
    let of = |kind| all.iter().filter(|record| record.kind == kind).count();
    assert_eq!((of(RecordKind::Resync), of(RecordKind::Consistent)), (4, 1));
    assert_eq!(of(RecordKind::Block) + of(RecordKind::BaseComplete), 0, "the base image is old");
    assert_eq!(of(RecordKind::SessionStart), 0);
    let status = session.status();
    assert!(status.consistent && status.placed && !status.base_complete);
    assert_eq!(status.last_seq, all.last().unwrap().seq.get());
    // Acknowledgements and services come with the stream's numbers.
    session.acknowledge(EpochId::new(7)).unwrap();
    assert_eq!(session.status().acknowledged_seq, 40);
    session.acknowledge(EpochId::new(8)).unwrap();
    let durable = session.status().acknowledged_seq;
    assert!(durable > 41 && all.iter().any(|it| it.seq.get() == durable && it.epoch.get() == 8));
    assert_eq!(session.acknowledge(EpochId::new(40)), Err(ImpossibleEpoch));
    session.leave();
    assert_eq!(session.drain_from(Seq::new(39)), Err(ImpossibleSeq));
    assert_eq!(session.drain_from(Seq::new(durable)), Ok(true));
    assert_eq!(records(&session)[0].seq.get(), durable + 1);
}

#[test]
fn writes_are_captured_once_their_blocks_were_read_and_keep_their_numbers_when_it_is_placed() {
    let session = continued(|_| ());
    complete_issued(&session, submit(&session, "before", 0, 512));
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
    }
    let issue = session.captured(captured(submit(&session, "after", 0, 512)));
    let inside = issue.record.unwrap().get();
    session.completed(issue.ticket, true);
    place(&session, 1_000, 1);
    assert_eq!(session.drain_from(Seq::new(1_000)), Ok(true));
    let write = records(&session).into_iter().find(|record| record.kind == RecordKind::Write);
    assert_eq!(write.unwrap().seq.get(), 1_000 + inside);
}

#[test]
fn without_a_service_it_captures_until_the_queue_is_full_and_no_write_waits() {
    let session = continued(|config| config.overflow = Overflow::Hold);
    let mut uncaptured = 0;
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
    }
    for _ in 0..100 {
        match submit(&session, "w", 0, 4096) {
            Submission::Capture(capture) => {
                let issue = session.captured(capture);
                session.completed(issue.ticket, true);
            }
            other => {
                complete_issued(&session, other);
                uncaptured += 1;
            }
        }
    }
    assert!(uncaptured > 0 && session.status().gaps == 2, "the first one had ended");
    place(&session, 5, 1);
    assert_eq!(session.drain_from(Seq::new(5)), Ok(true));
    records(&session);
    sweep_all(&session);
    assert!(session.status().consistent);
}

#[test]
fn its_numbers_begin_far_behind_and_until_one_is_acknowledged_any_record_before_is_the_servers() {
    let session = continued(|config| config.epoch_bytes = BLOCK);
    place(&session, 40, 1_000);
    assert_eq!(session.drain_from(Seq::new(40)), Ok(true));
    assert_eq!(session.status().acknowledged_seq, 40, "as the server has it");
    let first = records(&session)[0];
    assert_eq!((first.seq.get(), first.epoch.get()), (1_001, 1_001));
    // The server is another copy, that has a past of its own.
    session.leave();
    assert_eq!(session.drain_from(Seq::new(70)), Ok(true));
    assert_eq!(records(&session)[0].seq.get(), 1_001);
    sweep_all(&session);
    records(&session);
    session.acknowledge(EpochId::new(7)).unwrap();
    assert_eq!(session.status().acknowledged_seq, 40, "of another past");
    session.acknowledge(EpochId::new(1_001)).unwrap();
    let durable = session.status().acknowledged_seq;
    assert!(durable > 1_001);
    session.leave();
    for seq in [40, 70, 1_000, durable - 1] {
        assert_eq!(session.drain_from(Seq::new(seq)), Err(ImpossibleSeq), "{seq}");
    }
    assert_eq!(session.drain_from(Seq::new(durable)), Ok(true));
}

#[test]
fn where_it_stands_is_said_once_and_before_anything_else() {
    let session = continued(|_| ());
    assert_eq!(session.drain_from(Seq::new(5)), Err(ImpossibleSeq), "it is not placed");
    let last = Seq::new(u64::MAX - 1);
    assert_eq!(session.place(last, MADE, EpochId::new(1)), Err(ImpossibleSeq));
    assert!(!session.status().placed);
    place(&session, 5, 1);
    place(&session, 9, 1);
    assert_eq!(session.drain_from(Seq::new(9)), Err(ImpossibleSeq), "it stands at 5");
    assert_eq!(session.drain_from(Seq::new(4)), Err(ImpossibleSeq));
    assert_eq!(session.drain_from(Seq::new(5)), Ok(true));
}

#[test]
fn a_loss_before_the_server_has_its_begin_leaves_its_reason() {
    let session = continued(|config| config.epoch_bytes = BLOCK);
    session.detach();
    place(&session, 5, 1);
    assert_eq!(session.drain_from(Seq::new(5)), Ok(false));
    tidy(&session);
    let first = records(&session)[0];
    assert_eq!((first.seq.get(), first.gap_reason), (7, Some(GapReason::Restarted)));
    sweep_all(&session);
    session.acknowledge(EpochId::new(3)).unwrap();
    session.detach();
    assert_eq!(session.status().gap_reason, Some(GapReason::ServiceLost), "the server has it");
}

#[test]
fn what_holds_no_data_is_zeros_and_is_not_read() {
    let session = continued(|_| ());
    place(&session, 5, 1);
    assert_eq!(session.drain_from(Seq::new(5)), Ok(true));
    complete_issued(&session, submit(&session, "w", 2 * BLOCK, 512));
    let free = BlockRange::new(BlockIndex(1), BlockIndex(3));
    assert_eq!(session.skip(free), free.end);
    let all = records(&session);
    let trims: Vec<_> = all.iter().filter(|it| it.kind == RecordKind::Trim).collect();
    assert_eq!(trims.len(), 1, "a block that was written to may hold data: {all:?}");
    assert_eq!(trims[0].extent, Extent::new(BLOCK, BLOCK));
    sweep_all(&session);
    assert!(session.status().consistent);
}

/// A continued session whose first block is a paging file's.
fn excluding() -> TestSession {
    let mut config = Config::new(8 * BLOCK);
    config.read_bytes = BLOCK;
    let geometry = Geometry::new(4 * BLOCK, 512, 16 << 10).unwrap();
    let reason = GapReason::Restarted;
    let session = Session::continued(TestHost::default(), geometry, config, reason).unwrap();
    session.exclude(vec![Extent::new(0, BLOCK).unwrap()]);
    session.begin();
    session
}

#[test]
fn a_paging_file_is_zeros_once_it_was_looked_at_again_and_is_not_read() {
    let session = excluding();
    place(&session, 5, 1);
    assert_eq!(session.drain_from(Seq::new(5)), Ok(true));
    assert!(session.review_excluded(true));
    assert!(session.page_out(&Extent::new(0, 512).unwrap()));
    let mut all = records(&session);
    loop {
        match session.sweep() {
            Step::Do(read) => {
                assert!(read.extent().offset() >= BLOCK, "{read:?}");
                done(&session, read, true);
            }
            Step::Again => {}
            _ => break,
        }
        all.extend(records(&session));
    }
    all.extend(records(&session));
    let trim = all.iter().find(|record| record.kind == RecordKind::Trim).unwrap();
    assert_eq!(trim.extent, Extent::new(0, BLOCK));
    assert!(session.status().consistent && session.status().blocks_excluded == 1);
}

#[test]
fn exclusions_end_with_a_service_that_leaves_before_it_looked_twice() {
    let session = excluding();
    assert!(session.page_out(&Extent::new(0, 512).unwrap()));
    session.leave();
    assert!(!session.page_out(&Extent::new(0, 512).unwrap()));
}

//! The verification of the copy: blocks that the stream describes are read again.

use super::*;

const MIB: u64 = 1 << 20;

/// A session with every block synced and acknowledged, its verification begun.
fn verifying() -> TestSession {
    let session = synced(|_| ());
    acknowledge_all(&session);
    session.begin_verification(0);
    session
}

fn begun(session: &TestSession, offset: u64) -> Read {
    let read = read(session.sweep());
    assert_eq!((read.extent().offset(), read.extent().len()), (offset, BLOCK));
    read
}

fn pass_time(session: &TestSession, ticks: u64) {
    session.host().now.set(session.host().now.get() + ticks);
}

fn acknowledge_all(session: &TestSession) {
    pass_time(session, 10_000_000);
    drain(session);
    while let Step::Again | Step::Do(_) = session.dispatch() {}
    drain(session);
    let mut epoch = 1;
    while session.acknowledge(EpochId::new(epoch)).is_ok() {
        epoch += 1;
    }
    tidy(session);
}

/// Verifies to the end, while the service takes and acknowledges what there is; the kinds of the
/// records.
fn verify_all(session: &TestSession) -> Vec<RecordKind> {
    let mut kinds = Vec::new();
    while session.status().verifying {
        match session.sweep() {
            Step::Do(read) => done(session, read, true),
            Step::Again => {}
            Step::Wait(_) => {
                kinds.extend(drain(session));
                acknowledge_all(session);
            }
            Step::Ended => panic!("the session has ended"),
        }
    }
    kinds.extend(drain(session));
    kinds.retain(|kind| kind.has_extent());
    kinds
}

#[test]
fn what_is_synced_is_read_once_and_stays_synced() {
    let session = verifying();
    let first = begun(&session, 0);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced);
    assert_waits(&session.sweep());
    done(&session, first, true);
    assert_eq!(verify_all(&session), [RecordKind::Check; 4]);
    let status = session.status();
    assert_eq!((status.verify_passes, status.verify_position), (1, 4 * BLOCK));
    assert_eq!((status.verify_read, status.verify_passed_over), (4 * BLOCK, 0));
    assert_eq!((status.gaps, status.blocks_synced), (0, 4));
    assert_waits(&session.sweep());
    session.begin_verification(0);
    assert_eq!(session.status().verify_position, 0);
    let _second = begun(&session, 0);
}

#[test]
fn a_verification_that_is_ended_reads_nothing_more() {
    let session = verifying();
    let first = begun(&session, 0);
    session.end_verification();
    done(&session, first, true);
    assert_waits(&session.sweep());
    assert_eq!((session.status().verifying, session.status().verify_passes), (false, 0));
}

#[test]
fn no_write_waits_for_a_read_and_one_that_is_captured_meanwhile_spoils_it() {
    let session = verifying();
    let first = begun(&session, 0);
    let issue = session.captured(captured(submit(&session, "a", 512, 512)));
    done(&session, first, true);
    assert_eq!(drain(&session), [RecordKind::Write], "no check");
    // Not under the write either.
    pass_time(&session, 1_000_000);
    assert!(matches!(session.sweep(), Step::Again));
    assert_waits(&session.sweep());
    session.completed(issue.ticket, true);
    pass_time(&session, 1_000_000);
    let again = begun(&session, 0);
    done(&session, again, true);
    assert_eq!(drain(&session), [RecordKind::Check]);
}

#[test]
fn a_write_that_is_captured_after_the_read_does_not_spoil_it() {
    let session = verifying();
    let first = begun(&session, 0);
    let capture = captured(submit(&session, "a", 0, 512));
    done(&session, first, true);
    let issue = session.captured(capture);
    assert_eq!(drain(&session), [RecordKind::Check, RecordKind::Write]);
    session.completed(issue.ticket, true);
}

#[test]
fn a_write_elsewhere_does_not_spoil_it() {
    let session = verifying();
    let first = begun(&session, 0);
    complete_captured(&session, submit(&session, "a", BLOCK, 512));
    done(&session, first, true);
    assert_eq!(drain(&session), [RecordKind::Write, RecordKind::Check]);
}

#[test]
fn an_urgent_write_to_what_is_read_is_captured() {
    let session = verifying();
    let first = begun(&session, 0);
    let extent = Extent::new(0, 512).unwrap();
    let urgent = session.submit("a", extent, Urgency::MustNotWait);
    complete_captured(&session, urgent);
    done(&session, first, true);
    assert_eq!((session.status().gaps, session.status().writes_uncaptured), (0, 0));
    assert_eq!(drain(&session), [RecordKind::Write]);
}

#[test]
fn what_writes_keep_from_being_read_is_passed_over_and_counted() {
    let session = verifying();
    let issue = session.captured(captured(submit(&session, "a", BLOCK, 512)));
    drain(&session);
    verify_all(&session);
    let status = session.status();
    assert_eq!((status.verify_read, status.verify_passed_over), (3 * BLOCK, BLOCK));
    session.completed(issue.ticket, true);
}

#[test]
fn nothing_is_verified_in_a_gap_and_what_was_read_before_it_does_not_count() {
    let session = verifying();
    let first = begun(&session, 0);
    let extent = Extent::new(3 * BLOCK, 512).unwrap();
    let uncaptured = session.submit("a", extent, Urgency::PayloadUnavailable);
    let issue = issued(uncaptured);
    done(&session, first, true);
    assert_eq!(drain(&session), [RecordKind::GapBegin]);
    assert_waits(&session.sweep());
    session.completed(issue.ticket, true);
    let resync = begun(&session, 3 * BLOCK);
    assert_waits(&session.sweep());
    done(&session, resync, true);
    assert_eq!(drain(&session), [RecordKind::Resync, RecordKind::Consistent]);
    assert_eq!(verify_all(&session), [RecordKind::Check; 4]);
}

#[test]
fn a_gap_that_has_ended_when_a_read_ends_spoils_it_all_the_same() {
    let session = verifying();
    let first = begun(&session, 0);
    let extent = Extent::new(3 * BLOCK, 512).unwrap();
    let issue = issued(session.submit("a", extent, Urgency::PayloadUnavailable));
    session.completed(issue.ticket, true);
    let resync = begun(&session, 3 * BLOCK);
    done(&session, resync, true);
    assert!(session.status().consistent);
    drain(&session);
    done(&session, first, true);
    assert_eq!(drain(&session), []);
}

#[test]
fn it_goes_on_with_the_next_service_and_a_lost_check_makes_no_block_dirty() {
    let session = verifying();
    let first = begun(&session, 0);
    done(&session, first, true);
    drain(&session);
    session.leave();
    assert_waits(&session.sweep());
    let durable = Seq::new(session.status().acknowledged_seq);
    assert_eq!(session.drain_from(durable), Ok(true));
    assert_eq!(drain(&session), [RecordKind::Check], "as it was drained before");
    session.detach();
    attach(&session);
    tidy(&session);
    drain(&session);
    assert_eq!(session.status().blocks_dirty, 0);
    assert!(session.status().consistent);
    let _next = begun(&session, BLOCK);
}

#[test]
fn checks_take_no_room_from_what_is_kept_for_the_next_service() {
    let session = verifying();
    complete_captured(&session, submit(&session, "a", 0, 512));
    drain(&session);
    let given_up = session.status().records_given_up;
    let mut checks = 0;
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        drain(&session);
        checks += 1;
        assert!(checks < 4, "the sweep's share has four blocks");
    }
    assert!(checks > 0);
    assert_eq!(session.status().records_given_up, given_up);
    // It ends the epoch early, and goes on when that is acknowledged.
    assert_eq!(drain(&session), [RecordKind::EpochEnd]);
    assert_waits(&session.sweep());
    acknowledge_all(&session);
    assert!(matches!(session.sweep(), Step::Do(_)));
}

#[test]
fn a_rate_spaces_the_reads() {
    let session = synced(|_| ());
    acknowledge_all(&session);
    let now = session.host().now.get();
    session.begin_verification(MIB);
    let first = begun(&session, 0);
    done(&session, first, true);
    let due = now + BLOCK * 10_000_000 / MIB;
    assert!(matches!(session.sweep(), Step::Wait(Some(Tick(at))) if at == due));
    session.host().now.set(due);
    let _second = begun(&session, BLOCK);
}

#[test]
fn a_block_that_cannot_be_read_is_passed_over_and_one_that_can_later_is_not() {
    let session = verifying();
    let first = begun(&session, 0);
    done(&session, first, false);
    let second = begun(&session, BLOCK);
    let next = session.read_done(second, ReadOutcome::NotNow);
    assert!(next.is_none());
    let again = match session.sweep() {
        Step::Wait(Some(Tick(at))) => at,
        step => panic!("{step:?}"),
    };
    session.host().now.set(again);
    let second = begun(&session, BLOCK);
    done(&session, second, true);
    assert_eq!(verify_all(&session), [RecordKind::Check; 3]);
    let status = session.status();
    assert_eq!((status.verify_read, status.verify_passed_over), (3 * BLOCK, BLOCK));
    assert_eq!(status.blocks_dirty + status.gaps, 0);
}

#[test]
fn blocks_with_a_byte_of_a_paging_file_are_not_verified() {
    let session = session(|_| ());
    session.exclude(vec![Extent::new(BLOCK + 512, BLOCK).unwrap()]);
    session.begin();
    assert!(session.review_excluded(true));
    sweep_all(&session);
    drain(&session);
    session.begin_verification(0);
    assert_eq!(verify_all(&session), [RecordKind::Check; 2]);
    let status = session.status();
    assert_eq!((status.verify_read, status.verify_excluded), (2 * BLOCK, 2 * BLOCK));
}

#[test]
fn the_cap_of_the_sweep_counts_what_is_read_to_verify() {
    let session = session(|config| config.sweep.bytes_per_second = MIB);
    session.begin();
    while session.status().blocks_synced < 4 {
        pass_time(&session, 10_000_000);
        sweep_all(&session);
    }
    acknowledge_all(&session);
    pass_time(&session, 10_000_000);
    session.begin_verification(0);
    let first = begun(&session, 0);
    done(&session, first, true);
    assert!(matches!(session.sweep(), Step::Wait(Some(_))));
}

#[test]
fn what_differs_is_read_again_in_a_gap_that_ends_with_it() {
    let session = durable(|_| ());
    acknowledge_all(&session);
    drain(&session);
    assert!(session.repair(BlockRange::new(BlockIndex(1), BlockIndex(3))));
    assert_eq!(session.status().gap_reason, Some(GapReason::Repair));
    assert_eq!((session.status().gaps, session.status().blocks_dirty), (1, 2));
    // A write to a block that is left alone is captured as ever.
    complete_captured(&session, submit(&session, "beside it", 0, 512));
    while !session.status().consistent {
        done(&session, read(session.sweep()), true);
    }
    let kinds = drain(&session);
    assert_eq!(kinds[..2], [RecordKind::GapBegin, RecordKind::Write]);
    assert_eq!(kinds.last(), Some(&RecordKind::Consistent));
    let read = kinds.iter().filter(|kind| **kind == RecordKind::Resync).count();
    assert!((1..=2).contains(&read), "{kinds:?}");
    assert_eq!(session.status().blocks_synced, 4);
}

#[test]
fn a_repair_waits_for_the_base_image_and_for_a_capture() {
    let session = session(|_| ());
    assert!(!session.repair(BlockRange::one(BlockIndex(0))), "before t0");
    let session = synced(|_| ());
    session.detach();
    assert!(!session.repair(BlockRange::one(BlockIndex(0))), "no service is there");
}

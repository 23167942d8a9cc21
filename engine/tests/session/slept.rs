//! The machine sleeps: what has not left when it may have, and what is read again if the volume is
//! not what it was.

use super::*;

const DIRTY: [BlockState; 4] = [BlockState::Dirty; 4];

/// A session whose server has the whole base image, and says so.
fn complete() -> TestSession {
    let session = durable(|_| ());
    for block in 0..4 {
        complete_captured(&session, submit(&session, "until the epoch ends", block * BLOCK, BLOCK));
        drain(&session);
    }
    session.acknowledge(EpochId::new(2)).unwrap();
    tidy(&session);
    session
}

fn states(session: &TestSession) -> [BlockState; 4] {
    [0, 1, 2, 3].map(|block| session.block_state(BlockIndex(block)))
}

#[test]
fn what_was_captured_meanwhile_never_leaves_and_every_block_is_read_again() {
    let session = complete();
    complete_captured(&session, submit(&session, "before", 0, 512));
    assert_eq!(drain(&session), [RecordKind::Write]);
    complete_captured(&session, submit(&session, "meanwhile", BLOCK, 512));
    let last = session.status().last_seq;
    session.doubt();
    let status = session.status();
    assert_eq!((status.gap_reason, status.consistent), (Some(GapReason::Slept), false));
    tidy(&session);
    assert_eq!(status.phase, Phase::Uncaptured);
    assert_eq!(states(&session), DIRTY);
    assert!(session.lacks(BlockRange::new(BlockIndex(0), BlockIndex(4))));
    attach(&session);
    let Step::Do(first) = session.drain(u64::MAX) else { panic!("no record") };
    let record = first.record();
    assert_eq!((record.kind, record.gap_reason), (RecordKind::GapBegin, Some(GapReason::Slept)));
    assert!(record.seq.get() > last, "the one that was captured has no successor");
    session.drained(first);
    tidy(&session);
    let mut kinds = Vec::new();
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        kinds.extend(drain(&session));
    }
    assert_eq!(kinds.iter().filter(|&&kind| kind == RecordKind::Resync).count(), 4);
    assert_eq!(kinds.last(), Some(&RecordKind::Consistent));
    assert!(session.status().base_complete, "t0 is as it was");
}

#[test]
fn a_base_image_that_is_not_complete_is_lost_and_what_is_being_read_is_not_used() {
    let session = session(|_| ());
    session.begin();
    done(&session, read(session.sweep()), true);
    let reading = read(session.sweep());
    session.doubt();
    done(&session, reading, true);
    assert_eq!(states(&session), DIRTY);
    attach(&session);
    tidy(&session);
    sweep_all(&session);
    assert!(session.status().consistent && !session.status().base_complete);
}

#[test]
fn a_write_that_is_under_way_is_waited_for_before_its_block_is_read() {
    let session = durable(|_| ());
    let under_way = session.captured(captured(submit(&session, "over the sleep", 0, 512)));
    session.doubt();
    attach(&session);
    tidy(&session);
    drain(&session);
    let mut reads = Vec::new();
    while let Step::Do(read) = session.sweep() {
        assert!(read.extent().offset() >= BLOCK, "{read:?}");
        reads.push(read);
    }
    for read in reads {
        done(&session, read, true);
    }
    session.completed(under_way.ticket, true);
    sweep_all(&session);
    assert!(session.status().consistent);
}

#[test]
fn before_t0_and_after_the_end_there_is_nothing_to_doubt() {
    let session = session(|_| ());
    session.doubt();
    session.begin();
    sweep_all(&session);
    assert!(session.status().base_complete && session.status().gaps == 0);
    session.stop();
    session.doubt();
    assert_eq!(session.status().gaps, 0);
}

#[test]
fn it_makes_no_difference_that_no_service_is_there_or_that_it_was_lost() {
    let leave: [fn(&TestSession); 2] = [TestSession::leave, TestSession::detach];
    for leave in leave {
        let session = complete();
        leave(&session);
        session.doubt();
        tidy(&session);
        assert_eq!(states(&session), DIRTY);
        attach(&session);
        tidy(&session);
        sweep_all(&session);
        assert!(session.status().consistent && session.status().base_complete);
    }
}

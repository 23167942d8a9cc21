//! One service after another: the second one drains what the first one did not bring to the server.

use super::gaps::gap_reasons;
use super::*;

use snapless_engine::{ImpossibleSeq, Record};

/// Drains everything; returns the records' numbers.
fn seqs(session: &TestSession) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        seqs.push(drained.record().seq.get());
        session.drained(drained);
    }
    seqs
}

fn write(session: &TestSession, offset: u64) {
    complete_captured(session, submit(session, "w", offset, 512));
}

#[test]
fn the_next_service_drains_what_the_last_one_left() {
    let session = synced(|_| ());
    let last = session.status().last_seq;
    write(&session, 0);
    assert_eq!(seqs(&session), [last + 1]);
    session.leave();
    assert!(!session.status().attached);
    write(&session, 512);
    assert_waits(&session.drain(u64::MAX));
    assert!(!session.has_records(), "where the next one goes on is not known");
    assert_eq!(session.drain_from(Seq::new(last)), Ok(true));
    assert_eq!(seqs(&session), [last + 1, last + 2]);
    let status = session.status();
    assert_eq!((status.gaps, status.phase, status.attached), (0, Phase::Capturing, true));
    assert!(status.consistent && status.base_complete);
}

#[test]
fn what_the_server_has_is_acknowledged_and_not_kept() {
    let session = synced(|config| config.epoch_bytes = 512);
    write(&session, 0);
    let durable = *seqs(&session).last().unwrap();
    write(&session, 512);
    seqs(&session);
    session.leave();
    assert_eq!(session.drain_from(Seq::new(durable)), Ok(true));
    let acknowledged = session.status().acknowledged_seq;
    assert!(acknowledged > 0 && acknowledged <= durable, "the epochs that end there");
    tidy(&session);
    let before = Seq::new(acknowledged - 1);
    assert_eq!(session.drain_from(before), Err(ImpossibleSeq));
    let last = Seq::new(session.status().last_seq);
    seqs(&session);
    session.leave();
    assert_eq!(session.drain_from(Seq::new(last.get() + 1)), Err(ImpossibleSeq));
    assert!(!session.status().attached, "nothing changes");
    assert_eq!(session.drain_from(last), Ok(true));
}

/// The record that ended an epoch, and when that was.
fn epoch_end(session: &TestSession) -> (Seq, Made) {
    let mut end = None;
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let Record { kind, seq, time, monotonic, .. } = drained.record();
        if kind == RecordKind::EpochEnd {
            end = Some((seq, Made { time, monotonic }));
        }
        session.drained(drained);
    }
    end.expect("an epoch that has ended")
}

#[test]
fn only_the_record_that_ended_an_epoch_at_its_time_is_its_own() {
    let session = synced(|config| (config.epoch_bytes, config.epochs) = (512, 64));
    seqs(&session);
    write(&session, 0);
    let (first, at_first) = epoch_end(&session);
    session.host().now.set(70);
    write(&session, 512);
    let (second, at_second) = epoch_end(&session);
    session.leave();
    let has_both = || session.has_made(first, at_first) && session.has_made(second, at_second);
    assert!(has_both() && at_first != at_second);
    // Another past of the machine has the same number at another time.
    assert!(!session.has_made(second, at_first) && !session.has_made(first, at_second));
    let later = Made { time: at_second.time + 1, ..at_second };
    assert!(!session.has_made(second, later));
    let before = Seq::new(second.get() - 1);
    assert!(!session.has_made(before, at_second), "it ends no epoch");
    // Whatever becomes of the records, it is known that they were made.
    session.detach();
    assert!(has_both());
    assert_eq!(session.drain_from(second), Ok(false));
    assert!(session.has_made(second, at_second));
    assert_eq!(session.status().acknowledged_seq, second.get(), "it is durable");
}

#[test]
fn without_a_service_writes_are_captured_until_the_queue_is_full_and_then_none_waits() {
    for overflow in [Overflow::Gap, Overflow::Hold] {
        let session = synced(|config| config.overflow = overflow);
        let last = session.status().last_seq;
        session.leave();
        let mut captured = 0;
        let reason = loop {
            match submit(&session, "w", 0, 4096) {
                Submission::Capture(capture) => {
                    let issue = session.captured(capture);
                    session.completed(issue.ticket, true);
                    captured += 1;
                }
                other => {
                    complete_issued(&session, other);
                    break session.status().gap_reason;
                }
            }
        };
        assert_eq!(reason, Some(GapReason::ServiceLost));
        assert!(captured > 4, "{captured}");
        assert_eq!(session.status().phase, Phase::Uncaptured);
        // What was captured until then is not lost.
        assert_eq!(session.drain_from(Seq::new(last)), Ok(true));
        assert_eq!(seqs(&session).len(), captured + 1);
        assert_eq!(session.status().phase, Phase::Capturing);
        sweep_all(&session);
        assert!(session.status().consistent);
        assert_eq!(session.status().gaps, 1);
    }
}

#[test]
fn a_write_that_waits_for_room_goes_when_the_service_does() {
    let session = synced(|config| config.overflow = Overflow::Hold);
    while let Submission::Capture(capture) = submit(&session, "w", 0, 4096) {
        let issue = session.captured(capture);
        session.completed(issue.ticket, true);
    }
    assert_waits(&session.dispatch());
    session.leave();
    complete_issued(&session, dispatched(&session));
    assert_eq!(session.status().gap_reason, Some(GapReason::ServiceLost));
}

#[test]
fn records_that_were_given_up_are_a_gap_for_the_next_service() {
    let session = synced(|_| ());
    let last = session.status().last_seq;
    for _ in 0..100 {
        write(&session, 0);
        drain(&session);
    }
    let given_up = session.status().records_given_up;
    assert!(given_up > 0 && session.status().queue_kept > 0);
    session.leave();
    assert_eq!(session.drain_from(Seq::new(last)), Ok(false));
    tidy(&session);
    assert_eq!(gap_reasons(&session), [GapReason::ServiceLost]);
    assert!(!session.status().base_complete, "it is not acknowledged");
    sweep_all(&session);
    assert!(session.status().consistent);
}

/// Drains everything; returns the epochs that end there.
fn ended(session: &TestSession) -> Vec<EpochId> {
    let mut ended = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let record = drained.record();
        ended.extend((record.kind == RecordKind::EpochEnd).then_some(record.epoch));
        session.drained(drained);
    }
    ended
}

#[test]
fn a_first_sync_of_any_speed_waits_for_acknowledgements_and_a_service_that_ends_costs_no_t0() {
    // The sweep's memory is a quarter of the volume.
    let config = Config { read_bytes: BLOCK, ..Config::new(16 * BLOCK) };
    let geometry = Geometry::new(32 * BLOCK, 512, 16 << 10).unwrap();
    let session = TestSession::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    let mut waits = 0;
    while !session.status().base_complete {
        while let Step::Do(read) = session.sweep() {
            done(&session, read, true);
            drain(&session);
        }
        waits += u64::from(session.status().blocks_unsynced > 0);
        if waits == 1 {
            // A held write does not wait for the server.
            assert_held(&submit(&session, "w", 31 * BLOCK, 512));
            done(&session, read(session.hold()), true);
            complete_captured(&session, dispatched(&session));
        }
        // The service ends; the next one says what the server has.
        session.leave();
        let durable = Seq::new(session.status().acknowledged_seq);
        assert_eq!(session.drain_from(durable), Ok(true), "every record is there");
        let ended = ended(&session);
        assert_waits(&session.sweep());
        session.host().woken.borrow_mut().clear();
        session.acknowledge(*ended.first().expect("an epoch has ended")).unwrap();
        tidy(&session);
        assert!(session.host().woken.borrow().contains(&Worker::Sweep));
    }
    let status = session.status();
    assert_eq!((status.gaps, status.records_given_up), (0, 0));
    assert!(waits > 3, "{waits}");
}

#[test]
fn kept_records_cost_no_write_its_room() {
    let session = synced(|_| ());
    for round in 0..200 {
        let len = if round % 7 == 0 { BLOCK } else { 512 };
        complete_captured(&session, submit(&session, "w", 0, len));
        drain(&session);
    }
    let status = session.status();
    assert_eq!((status.gaps, status.writes_held), (0, 0));
}

#[test]
fn a_service_that_goes_before_t0_has_lost_nothing() {
    let session = session(|_| ());
    session.leave();
    session.begin();
    assert_eq!(session.status().phase, Phase::Capturing);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
    }
    assert_eq!(session.drain_from(Seq::new(0)), Ok(true));
    sweep_all(&session);
    let status = session.status();
    assert!(status.base_complete && status.gaps == 0, "{status:?}");
}

#[test]
fn a_loss_and_a_stop_count_whether_a_service_is_there_or_not() {
    let lost = synced(|_| ());
    lost.leave();
    lost.detach();
    tidy(&lost);
    assert_eq!(lost.status().phase, Phase::Uncaptured);
    attach(&lost);
    assert_eq!(gap_reasons(&lost), [GapReason::ServiceLost]);
    let stopped = synced(|_| ());
    stopped.stop();
    stopped.leave();
    assert_eq!(stopped.drain_from(Seq::new(0)), Ok(false));
    assert!(matches!(stopped.drain(u64::MAX), Step::Ended));
}

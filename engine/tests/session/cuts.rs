//! Cuts: writes that arrive in one go on when it has ended.

use snapless_engine::CutRefused;

use super::*;

/// A session with every block synced, and a cut from 10 up to 20.
fn cut() -> TestSession {
    let session = durable(|_| ());
    session.host().now.set(5);
    session.cut(Tick(10), Tick(20)).unwrap();
    session
}

#[test]
fn a_write_that_arrives_in_a_cut_is_captured_when_it_has_ended() {
    let session = cut();
    session.host().now.set(9);
    let early = session.captured(captured(submit(&session, "early", 0, 512)));
    session.host().now.set(10);
    assert_held(&submit(&session, "late", BLOCK, 512));
    assert_held(&clear(&session, Clearing::Trim, 2 * BLOCK, 4096));
    // What came before is not kept.
    session.completed(early.ticket, true);
    session.host().now.set(19);
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(20)))));
    session.host().now.set(20);
    let late = session.captured(captured(dispatched(&session)));
    assert_eq!(late.write, "late");
    assert!(matches!(dispatched(&session), Submission::Issue(_)), "the trim");
    assert!(matches!(submit(&session, "after", 0, 512), Submission::Capture(_)));
}

#[test]
fn a_write_that_was_held_before_a_cut_goes_on_in_it() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 0, 512));
    session.cut(Tick(10), Tick(20)).unwrap();
    session.host().now.set(11);
    assert_held(&submit(&session, "v", 4096, 512));
    done(&session, read(session.hold()), true);
    assert_eq!(session.captured(captured(dispatched(&session))).write, "w");
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(20)))));
    session.host().now.set(20);
    assert_eq!(session.captured(captured(dispatched(&session))).write, "v");
}

#[test]
fn a_write_that_must_not_wait_goes_on_in_a_cut_and_is_counted() {
    let session = cut();
    session.host().now.set(15);
    let urgent = session.submit("urgent", Extent::new(0, 512).unwrap(), Urgency::MustNotWait);
    assert_eq!(session.captured(captured(urgent)).write, "urgent");
    let status = session.status();
    assert_eq!((status.writes_past_cut, status.gaps), (1, 0));
}

#[test]
fn a_write_that_goes_uncaptured_in_a_cut_is_counted() {
    let session = cut();
    session.host().now.set(10);
    let (write, offset) = ("kept", BLOCK);
    assert_held(&submit(&session, write, offset, 512));
    // Its payload cannot be read: a gap opens, in which no write waits.
    let lost = session.submit("lost", Extent::new(0, 512).unwrap(), Urgency::PayloadUnavailable);
    assert!(matches!(lost, Submission::Issue(_)));
    assert_eq!((session.status().writes_past_cut, session.status().gaps), (1, 1));
}

#[test]
fn a_cut_that_has_begun_or_lasts_too_long_is_refused_and_no_write_waits() {
    let session = durable(|_| ());
    session.host().now.set(10);
    assert_eq!(session.cut(Tick(10), Tick(20)), Err(CutRefused::TooLate));
    assert_eq!(session.cut(Tick(11), Tick(u64::MAX)), Err(CutRefused::TooLong));
    session.host().now.set(12);
    assert!(matches!(submit(&session, "w", 0, 512), Submission::Capture(_)));
}

#[test]
fn a_cut_that_has_begun_when_it_has_the_lock_is_refused() {
    let session = durable(|_| ());
    session.host().now.set(9);
    // A write may have arrived while the lock was waited for.
    session.host().passes.set(1);
    assert_eq!(session.cut(Tick(10), Tick(20)), Err(CutRefused::TooLate));
    session.host().now.set(9);
    assert_eq!(session.cut(Tick(11), Tick(20)), Ok(()));
}

//! What becomes of a session when driver and server do not have the same of it any more: after a
//! restart, an older state of one of them, a volume that was away. It continues behind what the
//! server has (rule RESUME), and only a server that has nothing gets a new one.

mod support;

use snapless_service::report::Activity;
use snapless_types::{GapReason, ORIGIN_MAX, RecordKind};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::ORIGIN_SKIP;
use support::driver::{LENGTH, Seen};
use support::server::Arrived;
use support::{Harness, Running, wait_until};

#[track_caller]
fn wait_for(harness: &Harness, call: Seen) {
    wait_until(&format!("{call:?}"), || harness.driver.seen().contains(&call));
}

fn write_durably(harness: &Harness, content: u8) {
    let epoch = harness.driver.epoch();
    harness.driver.write(u64::from(content) * 4096, &[content]);
    harness.driver.end_epoch();
    wait_for(harness, Seen::Acknowledged(epoch));
}

/// A pipeline whose session has two durable epochs; the last record.
fn durable() -> (Harness, Running, SessionId, u64) {
    let harness = Harness::new();
    let running = harness.start();
    wait_until("a session began", || harness.driver.session().is_some());
    let session = harness.driver.session().unwrap();
    write_durably(&harness, 1);
    write_durably(&harness, 2);
    let last = harness.server.arrived(session).last().unwrap().header.seq().get();
    (harness, running, session, last)
}

/// The session goes on behind record `last` of `epoch`, with a gap for this reason, and no other
/// session began; returns its first epoch.
#[track_caller]
fn goes_on(
    harness: &Harness,
    session: SessionId,
    (last, epoch): (u64, u64),
    reason: GapReason,
) -> u64 {
    wait_for(harness, Seen::Continued(session, reason));
    wait_for(harness, Seen::DrainedFrom(last, true));
    harness.driver.end_gap();
    harness.driver.write(0, &[9]);
    harness.driver.end_epoch();
    let after = || {
        let mut arrived = harness.server.arrived(session);
        arrived.retain(|it| it.header.seq().get() > last);
        arrived
    };
    let is_end = |it: &Arrived| it.header.kind() == RecordKind::EpochEnd;
    wait_until("the epoch ended", || after().last().is_some_and(is_end));
    let after = after();
    // Its numbers are far behind those that another copy of the repository may have.
    let (origin, first_epoch) = (after[0].header.seq().get() - 1, after[0].header.epoch().get());
    assert!((last + ORIGIN_SKIP..last + 2 * ORIGIN_SKIP).contains(&origin), "{origin}");
    assert!(first_epoch >= epoch + ORIGIN_SKIP, "{first_epoch}");
    assert_eq!(after[0].header.gap_reason(), Some(reason));
    assert!(after.iter().all(|it| it.header.epoch().get() == first_epoch));
    let started = |seen: &Seen| matches!(seen, Seen::Started(_));
    assert_eq!(harness.driver.seen().iter().filter(|seen| started(seen)).count(), 1);
    first_epoch
}

/// How often a session was continued.
fn continued(harness: &Harness) -> usize {
    let is_it = |seen: &Seen| matches!(seen, Seen::Continued(..));
    harness.driver.seen().iter().filter(|seen| is_it(seen)).count()
}

#[test]
fn after_a_restart_of_the_machine_the_session_goes_on_behind_what_the_server_has() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart();
    let running = harness.start();
    goes_on(&harness, session, (last, 2), GapReason::Restarted);
    // From here on it is a session like any other.
    running.stop();
    let running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    write_durably(&harness, 4);
    assert_eq!((continued(&harness), running.counters.report().activity), (1, Activity::Streaming));
}

#[test]
fn a_volume_that_may_have_changed_while_the_machine_slept_is_verified_in_the_same_session() {
    support::log::record();
    let (harness, running, session, last) = durable();
    harness.driver.sleep_and_change();
    wait_for(&harness, Seen::DrainedFrom(last, false));
    harness.driver.end_gap();
    write_durably(&harness, 3);
    let arrived = harness.server.arrived(session);
    let after = arrived.iter().find(|it| it.header.seq().get() > last).unwrap();
    assert_eq!(after.header.gap_reason(), Some(GapReason::Slept));
    let seen = harness.driver.seen();
    let is_anew = |seen: &&Seen| matches!(seen, Seen::Stopped(_) | Seen::Continued(..));
    assert!(seen.contains(&Seen::Resumed(session)) && !seen.iter().any(|seen| is_anew(&seen)));
    assert_eq!(running.counters.report().last_error, None);
    let told = |event: &str| {
        let text = format!("(event {event})");
        support::log::lines().iter().any(|it| it.contains(&text) && it.contains("has slept"))
    };
    assert!(told("205") && told("220"), "{:?}", support::log::lines());
}

#[test]
fn a_service_that_dies_before_it_says_where_a_session_stands_leaves_that_to_the_next_one() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart();
    harness.server.behave(|manners| manners.refuse = Some("busy".into()));
    let running = harness.start();
    wait_for(&harness, Seen::Continued(session, GapReason::Restarted));
    wait_until("it was refused", || running.counters.report().last_error.is_some());
    harness.server.behave(|manners| manners.refuse = None);
    goes_on(&harness, session, (last, 2), GapReason::Restarted);
    assert!(harness.driver.seen().contains(&Seen::Resumed(session)));
    assert_eq!(continued(&harness), 1);
}

#[test]
fn a_server_that_was_put_back_under_a_running_service_gets_the_session_verified() {
    let (harness, running, session, _) = durable();
    let last = harness.server.roll_back(session, 1);
    harness.server.cut();
    let epoch = goes_on(&harness, session, (last, 1), GapReason::Diverged);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
    // It is verified once: what was acknowledged before counts no more, here and in the state.
    write_durably(&harness, 3);
    running.stop();
    let last = harness.server.roll_back(session, epoch);
    let running = harness.start();
    wait_for(&harness, Seen::DrainedFrom(last, true));
    running.stop();
    assert_eq!(continued(&harness), 2);
    let running = harness.start();
    wait_until("the session goes on", || running.counters.report().connections > 0);
    assert_eq!(continued(&harness), 2, "it was verified");
}

#[test]
fn a_server_that_was_put_back_while_no_service_ran_gets_the_session_verified() {
    let (harness, running, session, _) = durable();
    running.stop();
    let last = harness.server.roll_back(session, 1);
    let _running = harness.start();
    goes_on(&harness, session, (last, 1), GapReason::Diverged);
}

/// Records that an older copy of the repository lacks have numbers that no later record has: so it
/// is noticed when the newer copy comes back.
#[test]
fn a_repository_that_is_exchanged_for_an_older_copy_and_comes_back_gets_the_session_verified() {
    let (harness, running, session, _) = durable();
    (3..9).for_each(|content| write_durably(&harness, content));
    running.stop();
    let newer = harness.server.copy(session);
    let newer_last = harness.server.arrived(session).last().unwrap().header.seq().get();
    let last = harness.server.roll_back(session, 1);
    let running = harness.start();
    goes_on(&harness, session, (last, 1), GapReason::Diverged);
    running.stop();
    // As many records as the newer copy has wait, or more.
    for _ in 0..20 {
        harness.driver.write(0, &[8]);
        harness.driver.end_epoch();
    }
    let older = harness.server.exchange(session, newer);
    let running = harness.start();
    goes_on(&harness, session, (newer_last, 8), GapReason::Diverged);
    assert_eq!(continued(&harness), 2);
    // And back again.
    let older_last = older.last();
    running.stop();
    harness.server.exchange(session, older);
    let _running = harness.start();
    wait_for(&harness, Seen::DrainedFrom(older_last, true));
    assert_eq!(continued(&harness), 3);
}

/// A session that continues behind one copy of the repository knows nothing of another one.
#[test]
fn a_session_of_which_no_record_is_durable_yet_is_verified_anew_behind_another_copy() {
    let (harness, running, session, _) = durable();
    running.stop();
    let newer = harness.server.copy(session);
    let newer_last = harness.server.arrived(session).last().unwrap().header.seq().get();
    let last = harness.server.roll_back(session, 1);
    let running = harness.start();
    wait_for(&harness, Seen::DrainedFrom(last, true));
    running.stop();
    harness.server.exchange(session, newer);
    let _running = harness.start();
    goes_on(&harness, session, (newer_last, 2), GapReason::Diverged);
    assert_eq!(continued(&harness), 2);
}

#[test]
fn a_session_without_numbers_gives_way_to_a_new_one() {
    let (harness, running, session, _) = durable();
    running.stop();
    harness.driver.restart();
    harness.server.invent(session, 90, ORIGIN_MAX);
    let _running = harness.start();
    begins_anew(&harness, session);
}

#[test]
fn a_machine_that_was_put_back_has_its_session_verified() {
    let (harness, running, session, _) = durable();
    running.stop();
    harness.server.invent(session, 90, 900);
    let _running = harness.start();
    goes_on(&harness, session, (900, 90), GapReason::Diverged);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
}

#[test]
fn a_machine_that_was_put_back_with_its_memory_and_whose_records_end_elsewhere_is_verified() {
    let (harness, running, session, last) = durable();
    harness.cut_off(&running);
    // What the machine makes in this past has other ends than what the server has of the other one.
    for content in 0..4 {
        harness.driver.write(0, &[content]);
    }
    harness.driver.end_epoch();
    wait_until("they are in the window", || harness.driver.queued() == 0);
    harness.server.invent(session, 3, last + 2);
    harness.server.behave(|manners| manners.refuse = None);
    goes_on(&harness, session, (last + 2, 3), GapReason::Diverged);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
}

/// As many records as the past that was left has made, in as many epochs: only when the last of
/// them was made tells the pasts apart.
#[test]
fn a_machine_that_was_put_back_with_its_memory_under_another_service_is_verified() {
    let (harness, running, session, last) = durable();
    running.stop();
    let (memory, state) = (harness.driver.snapshot(), harness.store().load().unwrap());
    let running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    write_durably(&harness, 3);
    running.stop();
    harness.driver.put_back(&memory);
    harness.store().save(&state.expect("a session that is remembered")).unwrap();
    harness.driver.write(0, &[7]);
    assert_eq!(harness.driver.end_epoch(), last + 2, "the same number");
    let _running = harness.start();
    goes_on(&harness, session, (last + 2, 3), GapReason::Diverged);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
}

/// The service lives in the snapshot, too: its window has the records of the new past.
#[test]
fn a_link_to_a_server_with_a_record_of_another_past_is_not_joined() {
    let (harness, running, session, last) = durable();
    harness.cut_off(&running);
    harness.driver.write(0, &[7]);
    let end = harness.driver.end_epoch();
    wait_until("they are in the window", || harness.driver.queued() == 0);
    // The other past's epoch ends with the same number.
    harness.server.invent(session, 3, end);
    harness.server.behave(|manners| manners.refuse = None);
    goes_on(&harness, session, (last + 2, 3), GapReason::Diverged);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
}

#[test]
fn a_volume_that_goes_and_comes_back_goes_on_in_its_session() {
    let (harness, running, session, last) = durable();
    harness.driver.set_removed(true);
    wait_until("it is told", || {
        running.counters.report().last_error.is_some_and(|error| error.contains("removed"))
    });
    assert!(!running.is_over());
    harness.driver.set_removed(false);
    goes_on(&harness, session, (last, 2), GapReason::Restarted);
    // An administrator's end is one for good.
    harness.driver.stop_session();
    wait_until("the pipeline is over", || running.is_over());
    assert_eq!(harness.store().load().unwrap(), None);
}

/// Another session than this one has begun, and the server has its begin.
#[track_caller]
fn begins_anew(harness: &Harness, first: SessionId) {
    wait_until("a new session began", || {
        harness.driver.session().is_some_and(|session| session != first)
    });
    let second = harness.driver.session().unwrap();
    harness.driver.end_epoch();
    wait_until("it is durable", || harness.server.arrived(second).len() >= 2);
    assert_eq!(harness.server.arrived(second)[0].header.kind(), RecordKind::SessionStart);
}

#[test]
fn after_a_restart_a_server_that_has_nothing_of_the_session_gets_a_new_one() {
    let (harness, running, session, _) = durable();
    running.stop();
    harness.driver.restart();
    harness.server.forget();
    let _running = harness.start();
    begins_anew(&harness, session);
    assert!(harness.driver.seen().contains(&Seen::Stopped(session)));
}

#[test]
fn a_volume_of_another_length_continues_its_session() {
    for length in [LENGTH / 2, 2 * LENGTH] {
        let (harness, running, session, last) = durable();
        running.stop();
        harness.driver.restart();
        harness.driver.set_length(length);
        let _running = harness.start();
        goes_on(&harness, session, (last, 2), GapReason::Resized);
        says_length(&harness, session, length);
    }
}

#[test]
fn a_volume_whose_length_changes_is_followed_when_what_was_captured_is_durable() {
    for length in [LENGTH / 2, 2 * LENGTH] {
        let (harness, running, session, _) = durable();
        let epoch = harness.driver.epoch();
        let last = harness.driver.write(0, &[7]) + 1;
        harness.driver.set_length(length);
        harness.driver.end_epoch();
        goes_on(&harness, session, (last, epoch), GapReason::Resized);
        let seen = harness.driver.seen();
        let at = |call: Seen| seen.iter().position(|it| *it == call).unwrap();
        assert!(at(Seen::Acknowledged(epoch)) < at(Seen::Stopped(session)), "{seen:?}");
        says_length(&harness, session, length);
        assert_eq!(running.counters.report().activity, Activity::Streaming);
    }
}

#[test]
fn a_service_that_finds_a_session_of_another_length_lets_it_go_on_with_the_new_one() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.set_length(2 * LENGTH);
    let _running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    // Behind the same record as before.
    let drained = |seen: &Seen| *seen == Seen::DrainedFrom(last, true);
    let is_twice = || harness.driver.seen().iter().filter(|seen| drained(seen)).count() == 2;
    wait_until("it went on behind that record", is_twice);
    goes_on(&harness, session, (last, 2), GapReason::Resized);
    says_length(&harness, session, 2 * LENGTH);
}

/// The last Hello of the session, and the marker of its last gap, say this length.
#[track_caller]
fn says_length(harness: &Harness, session: SessionId, length: u64) {
    let arrived = harness.server.arrived(session);
    assert_eq!(arrived.iter().rev().find_map(|it| it.header.volume_length()), Some(length));
    assert_eq!(harness.server.hellos().last().unwrap().length.get(), length);
}

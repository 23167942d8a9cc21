//! What becomes of a session whose state the driver saved when the machine shut down: it goes on
//! and reads what the server may lack, unless the server is not as it was then.

mod support;

use snapless_driver_client::state_place::StatePlace;
use snapless_service::report::Activity;
use snapless_types::{Extent, GapReason};
use snapless_wire::id::{AreaId, SessionId};
use support::driver::Seen;
use support::{Harness, Running, wait_until};

const AREA: AreaId = AreaId([9; 16]);

fn place() -> StatePlace {
    let boot_sector = Extent::new(0, 512).unwrap();
    StatePlace { id: AREA, offset: 1 << 20, stamp: vec![boot_sector], always: Vec::new() }
}

/// A pipeline whose driver was told where to save the state, with an epoch that is durable; its
/// session and last record.
fn durable() -> (Harness, Running, SessionId, u64) {
    let harness = Harness::new();
    harness.driver.set_place(place(), false);
    let running = harness.start();
    wait_until("the driver knows the place", || harness.driver.kept_at() == Some(AREA));
    let session = harness.driver.session().unwrap();
    let epoch = harness.driver.epoch();
    harness.driver.write(4096, &[1]);
    let last = harness.driver.end_epoch();
    wait_for(&harness, Seen::Acknowledged(epoch));
    (harness, running, session, last)
}

#[track_caller]
fn wait_for(harness: &Harness, call: Seen) {
    wait_until(&format!("{call:?}"), || harness.driver.seen().contains(&call));
}

fn stopped(harness: &Harness, session: SessionId) -> bool {
    harness.driver.seen().contains(&Seen::Stopped(session))
}

#[test]
fn after_an_orderly_restart_the_session_goes_on_with_what_was_saved() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    let running = harness.start();
    wait_for(&harness, Seen::Continued(session, GapReason::Restarted));
    wait_for(&harness, Seen::DrainedFrom(last, true));
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    assert!(!stopped(&harness, session));
    // The next restart finds the state only if the driver was told of its place again, and begins
    // the session with what is configured then.
    wait_until("the driver knows the place", || harness.driver.kept_at() == Some(AREA));
}

#[test]
fn a_session_that_the_driver_has_begun_by_itself_is_resumed() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.begin_by_itself(session, false);
    let running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    wait_for(&harness, Seen::DrainedFrom(last, true));
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    assert!(!stopped(&harness, session));
    assert!(!harness.driver.seen().iter().any(|seen| matches!(seen, Seen::Continued(..))));
    wait_until("the driver knows the place", || harness.driver.kept_at() == Some(AREA));
}

#[test]
fn a_session_that_the_driver_has_begun_by_itself_gives_way_if_the_server_is_another_one() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.set_saved_elsewhere();
    harness.driver.begin_by_itself(session, false);
    let _running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    wait_for(&harness, Seen::Stopped(session));
    wait_for(&harness, Seen::Continued(session, GapReason::Diverged));
    wait_for(&harness, Seen::DrainedFrom(last, true));
}

#[test]
fn a_session_that_the_driver_has_begun_by_itself_excludes_what_the_start_before_did() {
    let extent = |offset| Extent::new(offset, 1 << 20).unwrap();
    for (later, are_still) in [(1 << 20, true), (5 << 20, false)] {
        let harness = Harness::new();
        harness.driver.set_place(place(), false);
        harness.driver.set_paging(&[extent(1 << 20)], &[extent(1 << 20)]);
        let running = harness.start();
        wait_for(&harness, Seen::Reviewed(true));
        let session = harness.driver.session().unwrap();
        let epoch = harness.driver.epoch();
        harness.driver.write(4096, &[1]);
        harness.driver.end_epoch();
        wait_for(&harness, Seen::Acknowledged(epoch));
        running.stop();
        harness.driver.restart_in_order();
        harness.driver.set_paging(&[extent(later)], &[extent(later)]);
        harness.driver.begin_by_itself(session, false);
        let _running = harness.start();
        wait_for(&harness, Seen::Resumed(session));
        let is_review = |seen: &Seen| matches!(seen, Seen::Reviewed(_));
        let reviews =
            || -> Vec<_> { harness.driver.seen().into_iter().filter(is_review).collect() };
        wait_until("it was looked again", || reviews().len() == 2);
        assert_eq!(reviews()[1], Seen::Reviewed(are_still));
    }
}

#[test]
fn a_session_that_the_driver_has_begun_by_itself_gives_way_to_one_with_other_blocks() {
    let (mut harness, running, session, _) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.begin_by_itself(session, false);
    harness.block_size = 128 << 10;
    let _running = harness.start();
    wait_for(&harness, Seen::Stopped(session));
    let is_new = |seen: &Seen| matches!(seen, Seen::Started(id) if *id != session);
    wait_until("a new session", || harness.driver.seen().iter().any(is_new));
}

#[test]
fn a_session_that_the_driver_has_begun_on_a_copy_of_the_volume_gives_way() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.begin_on_copy(session);
    let _running = harness.start();
    wait_for(&harness, Seen::Stopped(session));
    wait_for(&harness, Seen::Continued(session, GapReason::Restarted));
    wait_for(&harness, Seen::DrainedFrom(last, true));
}

#[test]
fn a_server_with_all_that_was_acknowledged_is_no_contradiction_whatever_was_captured() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    for captured in [last, last + 5] {
        harness.driver.set_saved(last, captured);
        let running = harness.start();
        wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
        running.stop();
        harness.driver.restart();
    }
    assert!(harness.driver.seen().contains(&Seen::DrainedFrom(last, true)));
    assert!(!stopped(&harness, session));
}

#[test]
fn a_server_with_records_that_were_not_acknowledged_is_no_contradiction() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.set_saved(last - 1, last + 5);
    let running = harness.start();
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    assert!(harness.driver.seen().contains(&Seen::DrainedFrom(last, true)));
    assert!(!stopped(&harness, session));
}

#[test]
fn a_server_with_a_record_that_another_past_has_made_gets_every_block_compared() {
    let (harness, running, session, last) = durable();
    running.stop();
    harness.driver.restart_in_order();
    harness.driver.set_saved_elsewhere();
    let _running = harness.start();
    wait_for(&harness, Seen::Stopped(session));
    wait_for(&harness, Seen::Continued(session, GapReason::Diverged));
    wait_for(&harness, Seen::DrainedFrom(last, true));
}

#[test]
fn a_server_that_lost_what_it_had_acknowledged_gets_every_block_compared() {
    let (harness, running, session, _) = durable();
    let epoch = harness.driver.epoch();
    harness.driver.write(8192, &[2]);
    harness.driver.end_epoch();
    wait_for(&harness, Seen::Acknowledged(epoch));
    running.stop();
    harness.driver.restart_in_order();
    let last = harness.server.roll_back(session, epoch - 1);
    let _running = harness.start();
    wait_for(&harness, Seen::Stopped(session));
    wait_for(&harness, Seen::Continued(session, GapReason::Diverged));
    wait_for(&harness, Seen::DrainedFrom(last, true));
}

#[test]
fn a_machine_that_was_put_back_gets_every_block_compared() {
    let (harness, running, session, last) = durable();
    running.stop();
    // An older state: the machine went on after it was saved.
    harness.driver.restart_in_order();
    harness.driver.set_saved(last - 2, last - 1);
    let _running = harness.start();
    wait_for(&harness, Seen::Stopped(session));
    wait_for(&harness, Seen::Continued(session, GapReason::Diverged));
    wait_for(&harness, Seen::DrainedFrom(last, true));
}

#[test]
fn a_place_that_is_gone_is_forgotten() {
    let (harness, running, ..) = durable();
    running.stop();
    harness.driver.lose_place();
    let _running = harness.start();
    wait_until("the driver was told", || harness.driver.kept_at().is_none());
}

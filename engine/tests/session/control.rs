//! Control of a session from outside: pause, growth, stop, status, wake-ups.

use super::*;

#[test]
fn a_paused_sweep_reads_nothing_and_held_writes_are_still_issued() {
    let session = session(|_| ());
    session.begin();
    session.host().woken.take();
    session.pause();
    assert_eq!(session.host().woken.take(), []);
    assert_waits(&session.sweep());
    assert!(session.status().paused);
    assert_held(&submit(&session, "w", BLOCK, 512));
    done(&session, read(session.hold()), true);
    complete_captured(&session, dispatched(&session));
    assert_waits(&session.sweep());
    session.host().woken.take();
    session.resume();
    assert_eq!(session.host().woken.take(), [Worker::Sweep]);
    assert!(!session.status().paused);
    done(&session, read(session.sweep()), true);
    assert_eq!(session.status().blocks_synced, 2);
}

#[test]
fn a_paused_session_can_be_stopped() {
    let session = session(|_| ());
    session.begin();
    let reading = read(session.sweep());
    session.pause();
    session.stop();
    assert!(matches!(session.sweep(), Step::Ended));
    done(&session, reading, true);
    assert!(session.is_settled());
}

#[test]
fn block_states_are_read_without_the_lock() {
    let session = session(|_| ());
    session.begin();
    let reading = read(session.sweep());
    NO_LOCKS.set(true);
    let state = session.block_state(BlockIndex(0));
    NO_LOCKS.set(false);
    assert_eq!(state, BlockState::Reading);
    done(&session, reading, true);
}

#[test]
fn the_status_has_the_instant_before_which_nothing_newer_was_captured() {
    let session = synced(|_| ());
    session.host().now.set(500);
    let status = session.status();
    assert_eq!((status.time, status.monotonic), (1_500, Tick(500)));
    // A thread that read the clocks before that takes the lock after it.
    session.host().now.set(400);
    complete_captured(&session, submit(&session, "w", 0, 512));
    let Step::Do(drained) = session.drain(u64::MAX) else { panic!("no record") };
    let record = drained.record();
    assert_eq!(record.seq.get(), status.last_seq + 1);
    assert_eq!((record.time, record.monotonic), (1_400, Tick(500)), "not earlier");
    session.drained(drained);
    assert_eq!(session.status().monotonic, Tick(500), "it never goes back");
}

#[test]
fn the_status_says_where_a_session_stands() {
    let session = session(|config| config.writes_max = 7);
    session.begin();
    assert_held(&submit(&session, "w", 0, 512));
    let old = read(session.hold());
    let status = session.status();
    assert_eq!((status.phase, status.t0), (Phase::Capturing, 1_000));
    assert_eq!((status.blocks_total, status.blocks_unsynced), (4, 4));
    assert_eq!((status.writes_holding, status.queue_used), (1, BLOCK));
    assert_eq!(status.queue_bytes, 8 * BLOCK);
    assert!(status.attached && status.consistent && !status.base_complete);
    done(&session, old, true);
    session.host().now.set(70);
    complete_captured(&session, dispatched(&session));
    let status = session.status();
    assert_eq!((status.holds.longest_us, status.holds.buckets[2]), (7, 1));
}

#[test]
fn a_volume_whose_length_changes_leaves_a_gap_that_does_not_end() {
    let session = session(|_| ());
    session.begin();
    session.resize(4 * BLOCK);
    assert!(!session.status().resized, "it has not changed");
    session.resize(4 * BLOCK + 512);
    let issue =
        issued(session.submit("w", Extent::new(0, 512).unwrap(), Urgency::PayloadUnavailable));
    session.completed(issue.ticket, true);
    sweep_all(&session);
    let status = session.status();
    assert_eq!((status.blocks_synced, status.resized, status.consistent), (4, true, false));
    // It does not end with a new service either.
    session.detach();
    attach(&session);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        assert!(!drain(&session).contains(&RecordKind::Consistent));
    }
    assert_eq!(session.status().blocks_synced, 4);
}

#[test]
fn a_session_whose_volume_is_resized_before_t0_is_stopped() {
    let session = session(|_| ());
    assert_held(&submit(&session, "w", 0, 512));
    session.resize(u64::MAX);
    session.begin();
    complete_issued(&session, dispatched(&session));
    assert!(session.is_settled() && session.status().resized);
}

#[test]
fn a_volume_that_is_resized_still_gets_its_base_image() {
    let session = session(|_| ());
    session.begin();
    done(&session, read(session.sweep()), true);
    session.resize(u64::MAX);
    sweep_all(&session);
    assert!(session.status().base_complete && !session.status().consistent);
}

#[test]
fn a_stop_releases_every_held_write() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 0, 512));
    session.stop();
    assert!(matches!(session.hold(), Step::Ended), "no block is read for it any more");
    let issue = issued(dispatched(&session));
    assert!(!session.is_settled());
    session.completed(issue.ticket, true);
    assert!(session.is_settled());
    assert!(matches!(session.dispatch(), Step::Ended));
    assert!(matches!(session.drain(u64::MAX), Step::Ended));
}

#[test]
fn the_drain_thread_can_ask_whether_there_is_a_record() {
    let session = session(|_| ());
    assert!(!session.has_records());
    session.begin();
    assert!(session.has_records());
    assert_eq!(drain(&session), [RecordKind::SessionStart]);
    assert!(!session.has_records());
    done(&session, read(session.sweep()), true);
    assert_eq!((session.status().bytes_captured, session.status().bytes_drained), (BLOCK, 0));
    drain(&session);
    assert_eq!((session.status().bytes_captured, session.status().bytes_drained), (BLOCK, BLOCK));
}

#[test]
fn a_session_is_settled_when_neither_a_read_nor_a_write_is_under_way() {
    let session = durable(|_| ());
    assert!(!session.is_settled(), "it is not stopped");
    let uncaptured = |offset| {
        let extent = Extent::new(offset, 512).unwrap();
        issued(session.submit("w", extent, Urgency::PayloadUnavailable))
    };
    let (first, second) = (uncaptured(0), uncaptured(BLOCK));
    session.completed(first.ticket, true);
    let reading = read(session.sweep());
    session.stop();
    session.completed(second.ticket, true);
    assert!(!session.is_settled(), "a block is still being read");
    done(&session, reading, true);
    assert!(session.is_settled());
}

#[test]
fn no_worker_is_woken_without_work() {
    let session = synced(|_| ());
    let issue = session.captured(captured(submit(&session, "w", 0, 512)));
    session.host().woken.take();
    session.completed(issue.ticket, true);
    drain(&session);
    assert_eq!(session.host().woken.take(), []);
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    assert_waits(&session.hold());
    assert_waits(&session.dispatch());
    session.host().woken.take();
    session.completed(first.ticket, true);
    assert_eq!(session.host().woken.take(), [Worker::Hold, Worker::Dispatch]);
}

#[test]
fn a_worker_that_does_not_wait_is_not_signalled() {
    let session = session(|_| ());
    session.begin();
    session.host().woken.take();
    assert_held(&submit(&session, "w", 0, 512));
    assert_eq!(session.host().woken.take(), [], "each calls its verb before it waits");
    let reading = read(session.hold());
    assert_waits(&session.dispatch());
    done(&session, reading, true);
    assert_eq!(session.host().woken.take(), [Worker::Dispatch]);
    complete_captured(&session, dispatched(&session));
    assert_eq!(session.host().woken.take(), []);
    drain(&session);
    assert_held(&submit(&session, "w", BLOCK, 512));
    done(&session, read(session.hold()), true);
    assert_eq!(session.host().woken.take(), [Worker::Drain], "it has found the queue empty");
}

#[test]
fn a_worker_that_has_work_is_woken() {
    let session = session(|_| ());
    let sweep_is_woken = || {
        assert_waits(&session.sweep());
        let issue = issued(submit(&session, "past the end", 4 * BLOCK, 512));
        session.host().woken.take();
        session.completed(issue.ticket, true);
        session.host().woken.take().contains(&Worker::Sweep)
    };
    session.begin();
    assert_eq!(session.host().woken.take(), WORKERS);
    session.pause();
    assert!(sweep_is_woken(), "blocks are unsynced");
    session.resume();
    sweep_all(&session);
    assert!(!sweep_is_woken());
    let in_flight = Extent::new(0, 512).unwrap();
    let in_flight = issued(session.submit("w", in_flight, Urgency::PayloadUnavailable));
    assert!(sweep_is_woken(), "a block is dirty");
    session.completed(in_flight.ticket, true);
    session.host().woken.take();
    session.stop();
    assert_eq!(session.host().woken.take(), WORKERS);
}

#[test]
fn an_epoch_ends_when_it_has_its_bytes() {
    let session = synced(|config| config.epoch_bytes = 5 * BLOCK);
    // The base image has four blocks.
    for (len, ends) in [(512, false), (BLOCK - 512, true)] {
        complete_captured(&session, submit(&session, "w", 0, len));
        assert_eq!(drain(&session).contains(&RecordKind::EpochEnd), ends);
    }
}

#[test]
fn the_dispatch_thread_closes_an_epoch_that_is_old_enough_once_there_is_room() {
    let session = synced(|config| {
        config.epoch_age = 5;
        config.writes_max = 1;
        config.overflow = Overflow::Hold;
    });
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(5)))));
    while let Submission::Issue(issue) = clear(&session, Clearing::Zero, 0, 512) {
        session.completed(issue.ticket, true);
    }
    assert!(cancel(&session, "clearing", 0, 512).is_some(), "no descriptor was left for it");
    session.host().now.set(5);
    assert!(matches!(session.dispatch(), Step::Wait(None)));
    assert_eq!(drain(&session).last(), Some(&RecordKind::EpochEnd));
}

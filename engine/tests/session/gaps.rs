//! When capturing ends and begins again, and what is read after it.

use super::*;

/// Begins a write that cannot be captured.
fn uncaptured(session: &TestSession, offset: u64, len: u64) -> Issue<&'static str> {
    let extent = Extent::new(offset, len).unwrap();
    passed(session.submit("lost", extent, Urgency::PayloadUnavailable))
}

/// The same, and it is done.
fn soil(session: &TestSession, offset: u64, len: u64) {
    let issue = uncaptured(session, offset, len);
    session.completed(issue.ticket, true);
}

#[test]
fn a_failed_write_leaves_its_blocks_dirty_until_they_are_read_again() {
    let session = synced(|_| ());
    let issue = session.captured(captured(submit(&session, "w", 0, 512)));
    session.completed(issue.ticket, false);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    done(&session, read(session.sweep()), true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced);
    assert_eq!(
        drain(&session),
        [RecordKind::Write, RecordKind::GapBegin, RecordKind::Resync, RecordKind::Consistent]
    );
}

#[test]
fn dirty_blocks_are_not_read_under_a_write_in_flight() {
    let session = synced(|_| ());
    let issue = uncaptured(&session, 0, 512);
    assert_waits(&session.sweep());
    session.completed(issue.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
}

#[test]
fn a_write_to_a_dirty_block_goes_at_once_and_the_block_is_read_later() {
    let session = synced(|_| ());
    soil(&session, 0, 2 * BLOCK);
    let (first, second) = (passed(submit(&session, "w", 0, 512)), BLOCK - 512);
    let second = passed(submit(&session, "over two dirty blocks", second, 1024));
    assert_eq!((first.record, second.record), (None, None));
    session.completed(first.ticket, true);
    session.completed(second.ticket, true);
    let reading = read(session.sweep());
    assert_held(&submit(&session, "while it is read", 0, 512));
    assert_held(&submit(&session, "behind it", 0, 512));
    done(&session, reading, true);
    let write = session.captured(captured(dispatched(&session)));
    session.completed(write.ticket, true);
    assert_eq!(session.status().blocks_dirty, 1);
    let before = session.status().writes_uncaptured;
    assert_held(&submit(&session, "over a dirty and a synced block", 2 * BLOCK - 512, 1024));
    assert_held(&submit(&session, "where somebody waits", BLOCK, 512));
    done(&session, read(session.hold()), true);
    assert_eq!((session.status().consistent, session.status().writes_uncaptured), (true, before));
}

#[test]
fn once_the_base_image_is_lost_nobody_waits_for_its_blocks() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    done(&session, read(session.hold()), true);
    soil(&session, 0, 512);
    let write = passed(submit(&session, "to an unsynced block", BLOCK, 512));
    assert_eq!(session.block_state(BlockIndex(1)), BlockState::Dirty);
    session.completed(write.ticket, true);
    let first = session.captured(captured(dispatched(&session)));
    session.completed(first.ticket, true);
    let kinds: Vec<_> = std::iter::from_fn(|| match session.sweep() {
        Step::Do(read) => {
            done(&session, read, true);
            Some(drain(&session))
        }
        _ => None,
    })
    .flatten()
    .collect();
    let read = |kind| kinds.iter().filter(|&&it| it == kind).count();
    assert_eq!((read(RecordKind::Block), read(RecordKind::Resync)), (2, 2));
    assert!(session.status().consistent && !session.status().base_complete);
}

#[test]
fn resync_converges_under_a_writer_that_rewrites_the_same_block_without_end() {
    let session = synced(|_| ());
    soil(&session, 0, 512);
    // One is in flight whenever the sweep looks.
    let mut flying = passed(submit(&session, "rewrite", 0, 512));
    for _ in 0..10 {
        let next = passed(submit(&session, "rewrite", 512, 512));
        session.completed(flying.ticket, true);
        flying = next;
    }
    assert_waits(&session.sweep());
    // From now on the block is read before it is written to.
    assert_held(&submit(&session, "rewrite", 0, 512));
    assert_waits(&session.hold());
    session.completed(flying.ticket, true);
    assert_held(&submit(&session, "rewrite", 512, 512));
    done(&session, read(session.hold()), true);
    assert!(session.status().consistent);
    for _ in 0..2 {
        let issue = session.captured(captured(dispatched(&session)));
        session.completed(issue.ticket, true);
    }
    let status = session.status();
    assert_eq!((status.gaps, status.writes_uncaptured), (1, 12));
    // The next gap begins as this one did.
    soil(&session, 0, 512);
    let issue = passed(submit(&session, "rewrite", 0, 512));
    session.completed(issue.ticket, true);
}

#[test]
fn a_write_to_a_block_that_cannot_be_read_for_urgent_writes_waits_no_longer_than_the_limit() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    let urgent = |sector: u64| uncaptured(&session, sector * 512, 512);
    // One is always in flight: nobody may read the block.
    let mut flying = urgent(0);
    assert_waits(&session.sweep());
    assert_held(&submit(&session, "waits", 4 * 512, 512));
    assert_waits(&session.hold());
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, limit);
    for round in 1..4 {
        let next = urgent(round % 2);
        session.completed(flying.ticket, true);
        flying = next;
        assert_waits(&session.hold());
    }
    session.host().now.set(limit);
    let waited = passed(dispatched(&session));
    assert_eq!((waited.write, waited.record), ("waits", None));
    session.completed(waited.ticket, true);
    session.completed(flying.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
    assert_eq!(session.status().gaps, 1);
}

/// Fills the writes' part of the queue: four blocks.
fn fill(session: &TestSession) {
    for offset in [0, BLOCK, 2 * BLOCK, 3 * BLOCK] {
        let issue = session.captured(captured(submit(session, "fill", offset, BLOCK)));
        session.completed(issue.ticket, true);
    }
}

/// The service takes one record.
fn drain_one(session: &TestSession) {
    let Step::Do(drained) = session.drain(u64::MAX) else { panic!("nothing to drain") };
    session.drained(drained);
}

#[test]
fn a_full_queue_holds_writes_up_to_the_limit_and_then_lets_all_of_them_through() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    assert_held(&submit(&session, "starves", 0, BLOCK));
    session.host().now.set(1);
    assert_held(&submit(&session, "behind", BLOCK, 512));
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, limit);
    session.host().now.set(limit);
    // HANG: both go, the first one's limit is not followed by a second one's.
    assert_eq!(passed(dispatched(&session)).write, "starves");
    assert_eq!(passed(dispatched(&session)).write, "behind");
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Uncaptured, 1));
    assert_eq!(session.status().blocks_dirty, 2);
    drain(&session);
    assert_eq!(session.status().phase, Phase::Capturing, "the queue has drained");
}

#[test]
fn a_queue_that_stays_full_begins_a_gap_though_each_write_waits_only_a_while() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    for round in 1..=5 {
        // The service takes a record in a fifth of the limit: each time there is room for one more write.
        assert_held(&submit(&session, "starves", 0, BLOCK));
        session.host().now.set(round * limit / 5);
        assert_waits(&session.hold());
        if round < 5 {
            drain_one(&session);
            let issue = session.captured(captured(dispatched(&session)));
            session.completed(issue.ticket, true);
        }
    }
    let issue = passed(dispatched(&session));
    session.completed(issue.ticket, true);
    assert_eq!(session.status().phase, Phase::Uncaptured);
}

#[test]
fn a_queue_that_had_room_again_is_full_anew() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    assert_held(&submit(&session, "starves", 0, 512));
    session.host().now.set(limit - 1);
    drain_one(&session);
    let issue = session.captured(captured(dispatched(&session)));
    session.completed(issue.ticket, true);
    // A write waits no more, and a quarter of the queue is free.
    drain_one(&session);
    let issue = session.captured(captured(submit(&session, "fits", 0, BLOCK)));
    session.completed(issue.ticket, true);
    assert_held(&submit(&session, "starves", BLOCK, BLOCK));
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, 2 * limit - 1);
}

#[test]
fn while_a_gap_is_open_nobody_waits_for_room_in_the_queue() {
    let session = synced(|_| ());
    fill(&session);
    soil(&session, 0, 512);
    let write = passed(submit(&session, "finds no room", BLOCK, 512));
    session.completed(write.ticket, true);
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Uncaptured, 1));
    drain(&session);
    assert_eq!(session.status().phase, Phase::Capturing);
    // Nor does one that was held for another reason.
    let short = session.captured(captured(submit(&session, "short", 2 * BLOCK, 512)));
    session.completed(short.ticket, true);
    let long = session.captured(captured(submit(&session, "long", 2 * BLOCK, 2 * BLOCK)));
    assert_held(&submit(&session, "over it", 2 * BLOCK, 2 * BLOCK));
    session.completed(long.ticket, true);
    assert_waits(&session.dispatch());
    let over_it = passed(dispatched(&session));
    session.completed(over_it.ticket, true);
    assert_eq!(session.status().gaps, 1, "the same gap");
}

#[test]
fn where_writes_are_to_wait_they_wait_in_an_open_gap_too() {
    let session = synced(|config| config.overflow = Overflow::Hold);
    fill(&session);
    soil(&session, 0, 512);
    assert_held(&submit(&session, "finds no room", BLOCK, 512));
    assert_waits(&session.dispatch());
    assert_eq!(session.status().phase, Phase::Capturing);
}

#[test]
fn losing_the_service_leaves_what_it_had_not_acknowledged_dirty() {
    let session = synced(|config| config.epoch_bytes = 4 * BLOCK);
    // The first epoch holds the base image; it is durable. The write after it is not.
    session.acknowledge(1);
    let issue = session.captured(captured(submit(&session, "w", 2 * BLOCK, 512)));
    session.completed(issue.ticket, true);
    session.detach();
    let dirty: Vec<_> =
        (0..4).filter(|&n| session.block_state(BlockIndex(n)) == BlockState::Dirty).collect();
    assert_eq!(dirty, [2]);
    let issue = passed(submit(&session, "unseen", 0, 512));
    session.completed(issue.ticket, true);
    assert!(session.attach());
    assert!(!session.attach(), "there is one already");
    done(&session, read(session.sweep()), true);
    done(&session, read(session.sweep()), true);
    assert_eq!(
        drain(&session),
        [RecordKind::GapBegin, RecordKind::Resync, RecordKind::Resync, RecordKind::Consistent]
    );
}

#[test]
fn a_base_image_that_a_write_spoilt_under_its_read_is_never_complete() {
    let session = session(|_| ());
    session.begin();
    let reading = read(session.sweep());
    soil(&session, 0, 512);
    done(&session, reading, true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
    }
    let kinds = drain(&session);
    assert!(!kinds.contains(&RecordKind::BaseComplete), "{kinds:?}");
    assert!(kinds.ends_with(&[RecordKind::Consistent]), "{kinds:?}");
    assert!(!session.status().base_complete);
}

#[test]
fn a_write_that_spoils_a_resync_takes_nothing_from_the_base_image() {
    let session = synced(|_| ());
    soil(&session, 0, 512);
    let reading = read(session.sweep());
    soil(&session, 0, 512);
    done(&session, reading, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().base_complete && session.status().consistent);
}

#[test]
fn a_gap_ends_when_the_last_memory_comes_back_from_a_read() {
    let session = session(|config| config.read_bytes = 4 * BLOCK);
    session.begin();
    assert_held(&submit(&session, "w", 0, 2 * BLOCK));
    let reading = read(session.hold());
    assert_eq!(reading.memory().len, 2 * BLOCK);
    // The service comes and goes meanwhile: the gap cannot end before the read does.
    session.detach();
    assert!(session.attach());
    let issue = passed(dispatched(&session));
    session.completed(issue.ticket, true);
    assert_eq!(session.status().phase, Phase::Uncaptured);
    done(&session, reading, true);
    assert_eq!(session.status().phase, Phase::Capturing);
}

#[test]
fn a_gap_ends_when_the_last_held_write_is_taken_back() {
    let session = synced(|_| ());
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    session.detach();
    assert!(session.attach());
    assert!(!session.attach(), "there is a service already");
    assert_eq!(session.status().phase, Phase::Uncaptured);
    assert_eq!(session.cancel_held(|_| true), Some("second"));
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(first.ticket, true);
}

#[test]
fn the_base_image_outlives_the_service_once_it_is_acknowledged_and_not_before() {
    let session = synced(|_| ());
    assert!(session.status().base_complete);
    session.detach();
    assert!(!session.status().base_complete, "LOSS: nobody knows what the server has of it");

    let session = synced(|config| config.epoch_age = 5);
    session.host().now.set(5);
    assert_waits(&session.dispatch());
    assert_eq!(drain(&session), [RecordKind::EpochEnd]);
    session.acknowledge(1);
    assert_eq!(session.status().acknowledged_seq, session.status().last_seq);
    session.detach();
    assert!(session.status().base_complete);
    let before_t0 = self::session(|_| ());
    before_t0.detach();
    before_t0.attach();
    before_t0.begin();
    while let Step::Do(read) = before_t0.sweep() {
        done(&before_t0, read, true);
        drain(&before_t0);
    }
    assert!(before_t0.status().base_complete, "there was nothing to lose before t0");
}

#[test]
fn a_gap_ends_when_the_last_held_write_has_gone() {
    let session = synced(|_| ());
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    session.detach();
    assert!(session.attach());
    let second = passed(dispatched(&session));
    assert_eq!(session.status().phase, Phase::Uncaptured);
    assert_waits(&session.dispatch());
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(first.ticket, true);
    session.completed(second.ticket, true);
}

#[test]
fn a_gap_ends_when_the_last_held_write_has_landed() {
    let session = synced(|_| ());
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    session.detach();
    assert!(session.attach());
    let second = passed(dispatched(&session));
    session.completed(first.ticket, true);
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(second.ticket, true);
}

#[test]
fn what_was_reserved_before_a_loss_or_a_stop_is_not_recorded_after_it() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 0, 512));
    session.detach();
    assert!(session.attach());
    let issue = session.captured(capture);
    assert_eq!(issue.record, None);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    session.completed(issue.ticket, true);
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", BLOCK, 512));
    session.stop();
    let issue = session.captured(capture);
    assert_eq!((issue.record, session.status().queue_used), (None, 0));
    session.completed(issue.ticket, true);
}

#[test]
fn what_changes_no_block_of_the_volume_begins_no_gap() {
    let session = synced(|_| ());
    let beyond = passed(submit(&session, "beyond the end", 4 * BLOCK, 512));
    session.completed(beyond.ticket, true);
    assert!(session.status().consistent);
    let across = passed(submit(&session, "across the end", 4 * BLOCK - 512, 1024));
    session.completed(across.ticket, true);
    assert!(!session.status().consistent);
    assert_eq!(session.block_state(BlockIndex(3)), BlockState::Dirty);
    session.stop();
    let after = passed(submit(&session, "after the stop", 0, 512));
    session.completed(after.ticket, true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced, "nobody asks any more");
}

#[test]
fn before_t0_no_held_write_is_late() {
    let session = session(|_| ());
    soil(&session, 0, 512);
    assert_held(&submit(&session, "w", 0, 512));
    assert!(matches!(session.dispatch(), Step::Wait(None)));
}

#[test]
fn a_gap_that_is_made_good_is_said_to_be_as_soon_as_there_is_room_to_say_it() {
    let session = synced(|config| {
        config.writes_max = 1;
        config.overflow = Overflow::Hold;
    });
    soil(&session, 0, 512);
    let reading = read(session.sweep());
    while let Submission::Issue(issue) = clear(&session, Clearing::Zero, BLOCK, 512) {
        assert!(issue.record.is_some());
        session.completed(issue.ticket, true);
    }
    assert!(session.cancel_held(|_| true).is_some(), "no descriptor was left for it");
    done(&session, reading, true);
    assert!(!session.status().consistent);
    drain_one(&session);
    assert!(session.status().consistent);
}

#[test]
fn the_sweep_goes_past_a_dirty_block_that_is_being_written_to() {
    let session = synced(|_| ());
    soil(&session, 2 * BLOCK, 512);
    let busy = passed(submit(&session, "busy", 2 * BLOCK, 512));
    soil(&session, 3 * BLOCK, 512);
    let reading = read(session.sweep());
    assert_eq!(reading.extent().offset(), 3 * BLOCK);
    done(&session, reading, true);
    assert_waits(&session.sweep());
    session.completed(busy.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
}

#[test]
fn a_late_write_that_waits_for_another_is_not_asked_for_by_the_clock() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    soil(&session, 0, 512);
    let flying = passed(submit(&session, "in the way of the sweep", 0, 512));
    assert_waits(&session.sweep());
    assert_held(&submit(&session, "waits for it", 0, 512));
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(until))) if until == limit));
    session.host().now.set(limit);
    let Step::Wait(until) = session.dispatch() else { panic!("it overtakes") };
    assert_ne!(until, Some(Tick(limit)), "what it waits for wakes it");
    session.completed(flying.ticket, true);
    let late = passed(dispatched(&session));
    session.completed(late.ticket, true);
}

#[test]
fn a_service_is_lost_once_and_not_after_the_end() {
    let session = synced(|_| ());
    session.detach();
    let lost = session.status();
    session.detach();
    assert_eq!(session.status(), lost);
    let stopped = synced(|_| ());
    stopped.stop();
    let before = stopped.status();
    stopped.detach();
    assert_eq!(stopped.status(), before);
}

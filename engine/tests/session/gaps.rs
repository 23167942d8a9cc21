//! Gaps: when capturing stops and resumes, what is read after it, and why a gap began.

use super::*;

/// Issues a write whose payload is unavailable.
fn uncaptured(session: &TestSession, offset: u64, len: u64) -> Issue<&'static str> {
    let extent = Extent::new(offset, len).unwrap();
    issued(session.submit("lost", extent, Urgency::PayloadUnavailable))
}

/// As [`uncaptured`]; the write completes.
fn mark_dirty(session: &TestSession, offset: u64, len: u64) {
    let issue = uncaptured(session, offset, len);
    session.completed(issue.ticket, true);
}

#[test]
fn a_failed_write_leaves_its_blocks_dirty_until_they_are_read_again() {
    let session = durable(|_| ());
    let issue = session.captured(captured(submit(&session, "w", 0, 512)));
    session.completed(issue.ticket, false);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    let swept = session.status().blocks_by_sweep;
    done(&session, read(session.sweep()), true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced);
    let status = session.status();
    assert_eq!((status.writes_failed, status.blocks_by_sweep), (1, swept + 1));
    assert!(session.has_records());
    assert_eq!(
        drain(&session),
        [RecordKind::Write, RecordKind::GapBegin, RecordKind::Resync, RecordKind::Consistent]
    );
    assert!(!session.has_records());
}

#[test]
fn dirty_blocks_are_not_read_under_a_write_in_flight() {
    let session = durable(|_| ());
    let issue = uncaptured(&session, 0, 512);
    assert_waits(&session.sweep());
    session.completed(issue.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
}

#[test]
fn a_write_to_a_dirty_block_is_issued_at_once_and_the_block_is_read_later() {
    let session = durable(|_| ());
    mark_dirty(&session, 0, 2 * BLOCK);
    let (first, second) = (issued(submit(&session, "w", 0, 512)), BLOCK - 512);
    let second = issued(submit(&session, "over two dirty blocks", second, 1024));
    assert_eq!((first.record, second.record), (None, None));
    session.completed(first.ticket, true);
    session.completed(second.ticket, true);
    let reading = read(session.sweep());
    assert_held(&submit(&session, "while it is read", 0, 512));
    assert_held(&submit(&session, "behind it", 0, 512));
    done(&session, reading, true);
    complete_captured(&session, dispatched(&session));
    assert_eq!(session.status().blocks_dirty, 1);
    let before = session.status().writes_uncaptured;
    assert_held(&submit(&session, "over a dirty and a synced block", 2 * BLOCK - 512, 1024));
    assert_held(&submit(&session, "where a write waits", BLOCK, 512));
    done(&session, read(session.hold()), true);
    assert_eq!((session.status().consistent, session.status().writes_uncaptured), (true, before));
}

#[test]
fn once_the_base_image_is_lost_no_write_waits_for_its_blocks() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    done(&session, read(session.hold()), true);
    mark_dirty(&session, 0, 512);
    let write = issued(submit(&session, "to an unsynced block", BLOCK, 512));
    assert_eq!(session.block_state(BlockIndex(1)), BlockState::Dirty);
    session.completed(write.ticket, true);
    complete_captured(&session, dispatched(&session));
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
fn resync_ends_under_a_writer_that_keeps_rewriting_the_same_block() {
    let session = synced(|_| ());
    mark_dirty(&session, 0, 512);
    // One is in flight whenever the sweep looks.
    let mut flying = issued(submit(&session, "rewrite", 0, 512));
    for _ in 0..10 {
        let next = issued(submit(&session, "rewrite", 512, 512));
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
        complete_captured(&session, dispatched(&session));
    }
    let status = session.status();
    assert_eq!((status.gaps, status.writes_uncaptured), (1, 12));
    // The next gap begins as this one did.
    mark_dirty(&session, 0, 512);
    complete_issued(&session, submit(&session, "rewrite", 0, 512));
}

#[test]
fn a_write_to_a_block_that_urgent_writes_keep_from_being_read_waits_up_to_the_limit() {
    let limit = 100 * Tick::PER_MS;
    let session = durable(|config| config.hold_limit = limit);
    let urgent = |sector: u64| uncaptured(&session, sector * 512, 512);
    // One is always in flight: the block may not be read.
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
    let waited = issued(dispatched(&session));
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
        complete_captured(session, submit(session, "fill", offset, BLOCK));
    }
}

/// Drains one record.
fn drain_one(session: &TestSession) {
    let Step::Do(drained) = session.drain(u64::MAX) else { panic!("nothing to drain") };
    session.drained(drained);
}

#[test]
fn a_full_queue_holds_writes_up_to_the_limit_and_then_all_are_issued_uncaptured() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    assert_held(&submit(&session, "waits for room", 0, BLOCK));
    session.host().now.set(1);
    assert_held(&submit(&session, "behind", BLOCK, 512));
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, limit);
    session.host().now.set(limit);
    // HANG: both are issued; the second one has no limit of its own.
    assert_eq!(issued(dispatched(&session)).write, "waits for room");
    assert_eq!(issued(dispatched(&session)).write, "behind");
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Uncaptured, 1));
    assert_eq!(session.status().blocks_dirty, 2);
    drain(&session);
    assert_eq!(session.status().phase, Phase::Capturing, "the queue has drained");
}

#[test]
fn a_queue_that_stays_full_begins_a_gap_even_if_each_write_waits_less_than_the_limit() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    for round in 1..=5 {
        // The service takes a record in a fifth of the limit: each time there is room for one more
        // write.
        assert_held(&submit(&session, "waits for room", 0, BLOCK));
        session.host().now.set(round * limit / 5);
        assert_waits(&session.hold());
        if round < 5 {
            drain_one(&session);
            complete_captured(&session, dispatched(&session));
        }
    }
    complete_issued(&session, dispatched(&session));
    assert_eq!(session.status().phase, Phase::Uncaptured);
}

#[test]
fn the_limit_begins_anew_for_a_queue_that_had_room_meanwhile() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    fill(&session);
    assert_held(&submit(&session, "waits for room", 0, 512));
    session.host().now.set(limit - 1);
    drain_one(&session);
    complete_captured(&session, dispatched(&session));
    // A write waits no more, and a quarter of the queue is free.
    drain_one(&session);
    complete_captured(&session, submit(&session, "fits", 0, BLOCK));
    assert_held(&submit(&session, "waits for room", BLOCK, BLOCK));
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, 2 * limit - 1);
}

#[test]
fn while_a_gap_is_open_no_write_waits_for_room_in_the_queue() {
    let session = synced(|_| ());
    fill(&session);
    mark_dirty(&session, 0, 512);
    complete_issued(&session, submit(&session, "finds no room", BLOCK, 512));
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Uncaptured, 1));
    drain(&session);
    assert_eq!(session.status().phase, Phase::Capturing);
    // Nor does a write that was held for another reason.
    complete_captured(&session, submit(&session, "short", 2 * BLOCK, 512));
    let long = session.captured(captured(submit(&session, "long", 2 * BLOCK, 2 * BLOCK)));
    assert_held(&submit(&session, "over it", 2 * BLOCK, 2 * BLOCK));
    session.completed(long.ticket, true);
    complete_issued(&session, dispatched(&session));
    assert_eq!(session.status().gaps, 1, "the same gap");
}

#[test]
fn with_overflow_hold_writes_wait_in_an_open_gap_too() {
    let session = synced(|config| config.overflow = Overflow::Hold);
    fill(&session);
    mark_dirty(&session, 0, 512);
    assert_held(&submit(&session, "finds no room", BLOCK, 512));
    assert_waits(&session.dispatch());
    assert_eq!(session.status().phase, Phase::Capturing);
}

#[test]
fn writes_wait_for_a_disk_that_has_the_whole_queue_and_make_no_gap() {
    let limit = 100 * Tick::PER_MS;
    for gap_is_open in [false, true] {
        let session = synced(|config| config.hold_limit = limit);
        let issues = [0, BLOCK].map(|offset| {
            let capture = captured(submit(&session, "w", offset, BLOCK));
            session.captured(capture)
        });
        let more = [0, BLOCK].map(|skip| {
            let capture = captured(submit(&session, "w", 2 * BLOCK + skip, BLOCK));
            session.captured(capture)
        });
        assert_eq!(session.status().queue_used, 4 * BLOCK);
        drain(&session);
        assert_eq!((session.status().queue_used, session.status().queue_with_disk), (0, 4 * BLOCK));
        if gap_is_open {
            session.resize(5 * BLOCK);
        }
        let gaps = u64::from(gap_is_open);
        // It overlaps none of them.
        let [first, second] = issues;
        session.completed(first.ticket, true);
        let capture = captured(submit(&session, "w", 0, BLOCK - 512));
        let again = session.captured(capture);
        drain(&session);
        assert_held(&submit(&session, "waits for the disk", BLOCK - 512, 512));
        session.host().now.set(10 * limit);
        assert!(matches!(session.dispatch(), Step::Wait(None)), "there is no limit");
        assert_eq!((session.status().phase, session.status().gaps), (Phase::Capturing, gaps));
        session.completed(second.ticket, true);
        complete_captured(&session, dispatched(&session));
        for issue in [again].into_iter().chain(more) {
            session.completed(issue.ticket, true);
        }
        drain(&session);
        assert_eq!((session.status().queue_used, session.status().queue_with_disk), (0, 0));
        assert_eq!((session.status().gaps, session.status().writes_uncaptured), (gaps, 0));
    }
}

#[test]
fn with_overflow_hold_writes_wait_50_s_and_no_longer() {
    let session = synced(|config| config.overflow = Overflow::Hold);
    fill(&session);
    assert_held(&submit(&session, "waits for room", 0, BLOCK));
    let limit = Config::OVERFLOW_HOLD_LIMIT;
    assert_eq!(limit, 50_000 * Tick::PER_MS);
    session.host().now.set(limit - 1);
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(at))) if at == limit));
    session.host().now.set(limit);
    complete_issued(&session, dispatched(&session));
    assert_eq!(gap_reasons(&session), [GapReason::QueueFull]);
}

#[test]
fn eight_thousand_outstanding_writes_make_no_gap() {
    let session = large(8192, Config::new(64 << 20));
    let mut tickets = Vec::new();
    for at in 0..8192 {
        let capture = captured(submit(&session, "w", at * BLOCK, 4096));
        tickets.push(session.captured(capture).ticket);
        drain(&session);
    }
    assert_eq!((session.status().writes_in_flight, session.status().gaps), (8192, 0));
    for ticket in tickets {
        session.completed(ticket, true);
    }
    assert_eq!(session.status().writes_in_flight, 0);
}

#[test]
fn a_lost_service_leaves_unacknowledged_blocks_dirty() {
    let session = synced(|config| config.epoch_bytes = 4 * BLOCK);
    // The first epoch holds the base image; it is durable. The write after it is not.
    session.acknowledge(EpochId::new(1)).unwrap();
    complete_captured(&session, submit(&session, "w", 2 * BLOCK, 512));
    session.detach();
    assert!(session.status().losing);
    tidy(&session);
    assert!(!session.status().losing);
    let dirty: Vec<_> =
        (0..4).filter(|&n| session.block_state(BlockIndex(n)) == BlockState::Dirty).collect();
    assert_eq!(dirty, [2]);
    complete_issued(&session, submit(&session, "unseen", 0, 512));
    attach(&session);
    done(&session, read(session.sweep()), true);
    done(&session, read(session.sweep()), true);
    assert_eq!(
        drain(&session),
        [RecordKind::GapBegin, RecordKind::Resync, RecordKind::Resync, RecordKind::Consistent]
    );
}

#[test]
fn a_base_image_with_a_spoiled_read_is_never_complete() {
    let session = session(|_| ());
    session.begin();
    let reading = read(session.sweep());
    mark_dirty(&session, 0, 512);
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
fn a_write_that_spoils_a_resync_leaves_the_base_image_complete() {
    let session = durable(|_| ());
    mark_dirty(&session, 0, 512);
    let reading = read(session.sweep());
    mark_dirty(&session, 0, 512);
    done(&session, reading, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().base_complete && session.status().consistent);
}

#[test]
fn capturing_resumes_when_a_read_gives_its_memory_back() {
    let session = session(|config| config.read_bytes = 4 * BLOCK);
    session.begin();
    assert_held(&submit(&session, "w", 0, 2 * BLOCK));
    let reading = read(session.hold());
    assert_eq!(reading.memory().len, 2 * BLOCK);
    // The service is lost and returns meanwhile: capturing cannot resume before the read ends.
    session.detach();
    attach(&session);
    complete_issued(&session, dispatched(&session));
    tidy(&session);
    assert_eq!(session.status().phase, Phase::Uncaptured);
    done(&session, reading, true);
    assert_eq!(session.status().phase, Phase::Capturing);
}

/// A session that lost its service and has another, with a write in flight and one held behind it.
fn reattached_with_a_held_write() -> (TestSession, Issue<&'static str>) {
    let session = synced(|config| config.epoch_bytes = 4 * BLOCK);
    // What the loss is about is gone through in one piece.
    session.acknowledge(EpochId::new(1)).unwrap();
    tidy(&session);
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    session.detach();
    attach(&session);
    assert_eq!(session.status().phase, Phase::Uncaptured);
    (session, first)
}

#[test]
fn capturing_resumes_when_the_last_held_write_is_cancelled_or_issued() {
    let (session, first) = reattached_with_a_held_write();
    assert_eq!(cancel(&session, "second", 0, 512), Some("second"));
    tidy(&session);
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(first.ticket, true);

    let (session, first) = reattached_with_a_held_write();
    let second = issued(dispatched(&session));
    assert_eq!(session.status().phase, Phase::Uncaptured);
    assert_waits(&session.dispatch());
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(first.ticket, true);
    session.completed(second.ticket, true);

    let (session, first) = reattached_with_a_held_write();
    let second = issued(dispatched(&session));
    session.completed(first.ticket, true);
    assert_eq!(session.status().phase, Phase::Capturing, "at the latest when one completes");
    session.completed(second.ticket, true);
}

#[test]
fn the_base_image_survives_a_lost_service_once_it_is_acknowledged() {
    let session = synced(|_| ());
    assert!(session.status().base_complete);
    session.detach();
    assert!(!session.status().base_complete, "LOSS: the server may lack a part of it");

    let session = synced(|config| config.epoch_age = 5);
    session.host().now.set(5);
    assert_waits(&session.dispatch());
    assert_eq!(drain(&session), [RecordKind::EpochEnd]);
    session.acknowledge(EpochId::new(1)).unwrap();
    assert_eq!(session.status().acknowledged_seq, session.status().last_seq);
    session.detach();
    assert!(session.status().base_complete);
    let before_t0 = self::session(|_| ());
    before_t0.detach();
    attach(&before_t0);
    before_t0.begin();
    sweep_all(&before_t0);
    assert!(before_t0.status().base_complete, "there was nothing to lose before t0");
}

#[test]
fn a_reservation_from_before_a_loss_or_a_stop_is_not_recorded() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 0, 512));
    session.detach();
    attach(&session);
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
fn a_write_outside_of_the_session_begins_no_gap() {
    let session = synced(|_| ());
    complete_issued(&session, submit(&session, "beyond the end", 4 * BLOCK, 512));
    assert!(session.status().consistent);
    complete_issued(&session, submit(&session, "across the end", 4 * BLOCK - 512, 1024));
    assert!(!session.status().consistent);
    assert_eq!(session.block_state(BlockIndex(3)), BlockState::Dirty);
    session.stop();
    complete_issued(&session, submit(&session, "after the stop", 0, 512));
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced, "the session is stopped");
}

#[test]
fn before_t0_no_held_write_is_late() {
    let session = session(|_| ());
    mark_dirty(&session, 0, 512);
    assert_held(&submit(&session, "w", 0, 512));
    assert!(matches!(session.dispatch(), Step::Wait(None)));
}

#[test]
fn a_gap_that_is_made_good_ends_as_soon_as_there_is_room_for_the_marker() {
    let session = durable(|config| {
        config.writes_max = 1;
        config.overflow = Overflow::Hold;
    });
    mark_dirty(&session, 0, 512);
    let reading = read(session.sweep());
    while let Submission::Issue(issue) = clear(&session, Clearing::Zero, BLOCK, 512) {
        assert!(issue.record.is_some());
        session.completed(issue.ticket, true);
    }
    assert!(cancel(&session, "clearing", BLOCK, 512).is_some(), "no descriptor was left for it");
    done(&session, reading, true);
    assert!(!session.status().consistent);
    drain_one(&session);
    assert!(session.status().consistent);
}

#[test]
fn the_sweep_skips_a_dirty_block_that_is_being_written_to() {
    let session = durable(|_| ());
    mark_dirty(&session, 2 * BLOCK, 512);
    let busy = issued(submit(&session, "busy", 2 * BLOCK, 512));
    mark_dirty(&session, 3 * BLOCK, 512);
    let reading = read(session.sweep());
    assert_eq!(reading.extent().offset(), 3 * BLOCK);
    done(&session, reading, true);
    assert_waits(&session.sweep());
    session.completed(busy.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
}

#[test]
fn a_late_write_that_waits_for_another_has_no_deadline() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    mark_dirty(&session, 0, 512);
    let flying = issued(submit(&session, "in the way of the sweep", 0, 512));
    assert_waits(&session.sweep());
    assert_held(&submit(&session, "waits for it", 0, 512));
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(until))) if until == limit));
    session.host().now.set(limit);
    let Step::Wait(until) = session.dispatch() else { panic!("it overtakes the other") };
    assert_ne!(until, Some(Tick(limit)), "the other wakes it when it completes");
    session.completed(flying.ticket, true);
    complete_issued(&session, dispatched(&session));
}

#[test]
fn a_service_is_lost_once_and_not_after_a_stop() {
    let session = synced(|_| ());
    session.detach();
    let lost = session.status();
    session.detach();
    assert_eq!((session.status(), lost.attached), (lost, false));
    let stopped = synced(|_| ());
    stopped.stop();
    let before = stopped.status();
    stopped.detach();
    assert_eq!(stopped.status(), before);
}

/// The reasons of the gaps that began, by the stream and by the status.
pub(super) fn gap_reasons(session: &TestSession) -> Vec<GapReason> {
    let mut reasons = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let record = drained.record();
        assert_eq!(record.gap_reason.is_some(), record.kind == RecordKind::GapBegin, "{record:?}");
        reasons.extend(record.gap_reason);
        session.drained(drained);
    }
    assert!(reasons.is_empty() || session.status().gap_reason == reasons.last().copied());
    reasons
}

/// Issues a write that must not wait, or whose payload is unavailable.
fn issue_urgent(session: &TestSession, urgency: Urgency, len: u64) {
    let extent = Extent::new(0, len).unwrap();
    complete_issued(session, session.submit("urgent", extent, urgency));
}

#[test]
fn a_queue_that_stays_full_is_the_reason_of_its_gap() {
    let session = synced(|config| config.hold_limit = 5);
    fill(&session);
    assert_held(&submit(&session, "waits for room", 0, BLOCK));
    session.host().now.set(5);
    complete_issued(&session, dispatched(&session));
    assert_eq!(gap_reasons(&session), [GapReason::QueueFull]);
}

#[test]
fn an_urgent_write_for_which_no_slot_is_left_is_the_reason_of_its_gap() {
    let session = synced(|config| config.writes_max = 1);
    let first = session.captured(captured(submit(&session, "first", BLOCK, 512)));
    let extent = Extent::new(0, 512).unwrap();
    complete_issued(&session, session.submit("second", extent, Urgency::MustNotWait));
    session.completed(first.ticket, true);
    assert_eq!(gap_reasons(&session), [GapReason::TooManyWrites]);
}

#[test]
fn a_lost_service_is_the_reason_of_its_gap_whatever_else_happens_meanwhile() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 0, 512));
    session.detach();
    let issue = session.captured(capture);
    session.completed(issue.ticket, false);
    attach(&session);
    assert_eq!(gap_reasons(&session), [GapReason::ServiceLost]);
    let before_t0 = self::session(|_| ());
    before_t0.detach();
    before_t0.begin();
    attach(&before_t0);
    assert_eq!(gap_reasons(&before_t0), [GapReason::ServiceLost]);
    // A gap that is open already begins anew for the next service.
    let open = synced(|_| ());
    issue_urgent(&open, Urgency::PayloadUnavailable, 512);
    open.detach();
    attach(&open);
    assert_eq!(gap_reasons(&open), [GapReason::ServiceLost]);
    assert_eq!(open.status().gaps, 2);
}

#[test]
fn an_unavailable_payload_is_the_reason_of_its_gap() {
    let session = synced(|_| ());
    issue_urgent(&session, Urgency::PayloadUnavailable, 512);
    assert_eq!(gap_reasons(&session), [GapReason::PayloadUnavailable]);
}

#[test]
fn a_write_that_must_not_wait_is_the_reason_if_it_finds_no_room_or_an_unsynced_block() {
    let full = synced(|_| ());
    fill(&full);
    issue_urgent(&full, Urgency::MustNotWait, 512);
    assert_eq!(gap_reasons(&full), [GapReason::UrgentWrite]);
    let unsynced = session(|_| ());
    unsynced.begin();
    issue_urgent(&unsynced, Urgency::MustNotWait, 512);
    assert_eq!(gap_reasons(&unsynced), [GapReason::UrgentWrite]);
}

#[test]
fn an_urgent_write_finds_room_among_kept_records_ahead_of_a_write_that_waits_for_it() {
    // The writes' memory has 64 granules; the longest record takes 32.
    let session = large(64, Config::new(32 * BLOCK));
    for n in 0..48 {
        complete_captured(&session, submit(&session, "kept", n * 512, 512));
    }
    drain(&session);
    for n in 0..16 {
        complete_captured(&session, submit(&session, "not drained", n * 512, 512));
    }
    assert_held(&submit(&session, "waits for kept records", 0, 8 * BLOCK));
    for (offset, len) in [(8 * BLOCK, 512), (9 * BLOCK, 8 * BLOCK)] {
        let extent = Extent::new(offset, len).unwrap();
        let urgent = captured(session.submit("urgent", extent, Urgency::MustNotWait));
        let urgent = session.captured(urgent);
        session.completed(urgent.ticket, true);
    }
    assert_eq!(gap_reasons(&session), []);
    drain(&session);
    let mut steps = (0..100).map(|_| session.dispatch());
    let waited = steps.find_map(|step| if let Step::Do(it) = step { Some(it) } else { None });
    complete_captured(&session, waited.expect("it finds room at a later try"));
}

#[test]
fn a_failed_write_is_the_reason_of_its_gap_and_not_of_the_next_one() {
    let session = durable(|_| ());
    let issue = session.captured(captured(submit(&session, "w", 0, 512)));
    session.completed(issue.ticket, false);
    issue_urgent(&session, Urgency::PayloadUnavailable, 512);
    assert_eq!(gap_reasons(&session), [GapReason::WriteFailed], "one gap has one reason");
    done(&session, read(session.sweep()), true);
    assert_eq!(gap_reasons(&session), [] as [GapReason; 0]);
    issue_urgent(&session, Urgency::PayloadUnavailable, 512);
    assert_eq!(gap_reasons(&session), [GapReason::PayloadUnavailable]);
}

#[test]
fn a_change_of_the_volumes_length_is_the_reason_of_its_gap() {
    let grown = synced(|_| ());
    grown.resize(u64::MAX);
    assert_eq!(gap_reasons(&grown), [GapReason::LengthChanged]);
    let shrunk = synced(|_| ());
    shrunk.resize(4 * BLOCK - 512);
    // It is not known what the tail is when it comes back.
    shrunk.resize(4 * BLOCK);
    sweep_all(&shrunk);
    assert_eq!(gap_reasons(&shrunk), [GapReason::LengthChanged]);
    assert!(!shrunk.status().consistent);
    let written = synced(|_| ());
    complete_issued(&written, submit(&written, "across the end", 4 * BLOCK - 512, 1024));
    assert_eq!(gap_reasons(&written), [GapReason::LengthChanged]);
}

/// A session over many blocks, all of them synced in one epoch that is not acknowledged.
fn large(blocks: u64, config: Config) -> TestSession {
    let geometry = Geometry::new(blocks * BLOCK, 512, 16 << 10).unwrap();
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    let all = BlockRange::new(BlockIndex(0), BlockIndex(blocks));
    let mut next = all.start;
    while next < all.end {
        next = session.skip(BlockRange::new(next, all.end));
    }
    drain(&session);
    assert_eq!(session.status().blocks_synced, blocks);
    session
}

#[test]
fn a_loss_is_gone_through_in_pieces_and_nothing_is_captured_meanwhile() {
    let session = large(4096, Config::new(64 * BLOCK));
    session.detach();
    let status = session.status();
    assert!(status.losing && status.blocks_dirty < 64, "{status:?}");
    // A service returns, goes and returns again before the dispatch thread has done more.
    attach(&session);
    session.detach();
    attach(&session);
    assert_eq!(drain(&session), [RecordKind::GapBegin], "the last loss is the one to tell");
    complete_issued(&session, submit(&session, "uncaptured", BLOCK, 512));
    assert_waits(&session.sweep());
    let mut pieces = 0;
    while let Step::Again = session.dispatch() {
        assert_eq!(session.status().phase, Phase::Uncaptured);
        pieces += 1;
    }
    let status = session.status();
    assert!(pieces > 64, "{pieces}");
    assert_eq!((status.losing, status.blocks_dirty), (false, 4096));
    assert_eq!(status.phase, Phase::Capturing, "the queue is empty");
}

#[test]
fn a_session_that_is_stopped_does_not_go_through_a_loss() {
    let session = large(4096, Config::new(64 * BLOCK));
    session.detach();
    session.stop();
    assert!(matches!(session.dispatch(), Step::Ended) && session.is_settled());
}

#[test]
fn an_acknowledgement_that_cannot_be_is_refused_and_changes_nothing() {
    let session = synced(|config| config.epoch_age = 5);
    session.host().now.set(5);
    assert_waits(&session.dispatch());
    let before = session.status();
    // It has ended; its end is still in the queue.
    assert_eq!(session.acknowledge(EpochId::new(1)), Err(ImpossibleEpoch));
    assert_eq!(drain(&session), [RecordKind::EpochEnd]);
    for epoch in [0, 2, 3, u64::MAX] {
        assert_eq!(session.acknowledge(EpochId::new(epoch)), Err(ImpossibleEpoch), "{epoch}");
    }
    assert_eq!(session.status().acknowledged_seq, before.acknowledged_seq);
    assert_eq!(session.acknowledge(EpochId::new(1)), Ok(()));
    assert_eq!(session.acknowledge(EpochId::new(1)), Ok(()), "it is known already");
    assert_eq!(session.status().acknowledged_seq, session.status().last_seq);
}

#[test]
fn the_sweep_gives_the_lock_back_while_it_passes_dirty_blocks_under_writes() {
    let session = large(4096, Config::new(64 * BLOCK));
    let busy: Vec<_> = (0..100).map(|block| uncaptured(&session, block * BLOCK, 512)).collect();
    let mut looks = 0;
    while let Step::Again = session.sweep() {
        looks += 1;
    }
    assert!(looks > 10, "{looks}");
    // It has seen them all: the resync goes first from now on.
    assert_held(&submit(&session, "w", 0, 512));
    for issue in busy {
        session.completed(issue.ticket, true);
    }
    done(&session, read(session.hold()), true);
}

#[test]
fn a_write_that_once_waited_for_room_too_makes_no_gap_when_the_queue_has_drained() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    let flying = session.captured(captured(submit(&session, "flying", 0, 512)));
    drain(&session);
    // The disk keeps a page.
    for (block, len) in [(1, BLOCK), (2, BLOCK), (3, BLOCK), (1, BLOCK - 4096)] {
        complete_captured(&session, submit(&session, "fill", block * BLOCK, len));
    }
    assert_held(&submit(&session, "behind it", 0, 512));
    assert_held(&submit(&session, "waits for room", BLOCK, 512));
    drain(&session);
    complete_captured(&session, dispatched(&session));
    drain(&session);
    // The first one only waits for the other now.
    assert_waits(&session.dispatch());
    session.host().now.set(limit);
    assert_waits(&session.dispatch());
    let urgent = Extent::new(2 * BLOCK, 512).unwrap();
    complete_captured(&session, session.submit("urgent", urgent, Urgency::MustNotWait));
    session.completed(flying.ticket, true);
    complete_captured(&session, dispatched(&session));
    assert_eq!(session.status().gaps, 0);
}

#[test]
fn a_write_over_a_block_that_is_kept_dirty_and_another_goes_at_the_limit() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    let flying = uncaptured(&session, 0, 512);
    assert_held(&submit(&session, "over a dirty and a synced block", BLOCK - 512, 1024));
    assert_waits(&session.hold());
    assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(until))) if until == limit));
    session.host().now.set(limit);
    complete_issued(&session, dispatched(&session));
    session.completed(flying.ticket, true);
}

#[test]
fn a_write_that_the_resync_has_kept_too_long_still_waits_for_what_the_base_image_needs() {
    let limit = 100 * Tick::PER_MS;
    let session = session(|config| (config.hold_limit, config.epoch_bytes) = (limit, BLOCK));
    session.begin();
    done(&session, read(session.sweep()), true);
    drain(&session);
    session.acknowledge(EpochId::new(1)).unwrap();
    let flying = uncaptured(&session, 0, 512);
    assert_held(&submit(&session, "over a dirty and an unsynced block", BLOCK - 512, 1024));
    session.host().now.set(limit);
    assert_waits(&session.dispatch());
    let reading = read(session.hold());
    assert_waits(&session.dispatch());
    done(&session, reading, true);
    complete_issued(&session, dispatched(&session));
    session.completed(flying.ticket, true);
    sweep_all(&session);
    assert!(session.status().base_complete && session.status().consistent);
}

#[test]
fn a_payload_that_could_not_be_copied_gives_its_place_back_and_leaves_its_blocks_dirty() {
    let session = synced(|_| ());
    let issue = session.not_captured(captured(submit(&session, "w", 0, 512)));
    let status = session.status();
    assert_eq!((issue.write, issue.record, status.queue_used), ("w", None, 0));
    assert_eq!(status.gap_reason, Some(GapReason::PayloadUnavailable));
    assert_eq!((status.blocks_dirty, status.writes_payload_unavailable), (1, 1));
    session.completed(issue.ticket, true);
}

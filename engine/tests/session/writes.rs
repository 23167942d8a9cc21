//! A write: captured, held, issued uncaptured, cancelled.

use std::collections::VecDeque;

use super::*;

#[test]
fn a_write_to_a_synced_block_is_captured_on_its_callers_thread() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 512, 1024));
    assert_eq!((capture.memory().len, capture.extent().offset()), (1024, 512));
    let issue = session.captured(capture);
    assert_eq!(drain(&session), [RecordKind::Write]);
    session.completed(issue.ticket, true);
    assert_eq!(session.status().writes_in_flight, 0);
}

#[test]
fn a_write_to_an_unsynced_block_waits_for_its_old_content() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", BLOCK, 512));
    assert_waits(&session.dispatch());
    let old = read(session.hold());
    assert_eq!((old.extent().offset(), old.extent().len()), (BLOCK, BLOCK));
    done(&session, old, true);
    let issue = session.captured(captured(dispatched(&session)));
    assert_eq!(issue.write, "w");
    assert_eq!(
        drain(&session),
        [RecordKind::SessionStart, RecordKind::Block, RecordKind::Write],
        "T0: the old content comes first"
    );
    session.completed(issue.ticket, true);
}

#[test]
fn until_a_session_begins_its_writes_are_held_and_nothing_is_read() {
    let session = session(|_| ());
    assert_eq!(session.status().phase, Phase::Starting);
    assert_held(&submit(&session, "w", 0, 512));
    assert_waits(&session.hold());
    assert_waits(&session.sweep());
    session.begin();
    done(&session, read(session.hold()), true);
    assert_eq!(session.captured(captured(dispatched(&session))).write, "w");
}

#[test]
fn a_captured_write_is_issued_from_its_records_memory_which_stays_until_both_are_done() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 0, 512));
    let memory = capture.memory();
    let issue = session.captured(capture);
    assert_eq!(issue.payload, Some(memory));
    drain(&session);
    assert_eq!(session.status().queue_used, 0);
    let other = session.captured(captured(submit(&session, "other", BLOCK, 512)));
    assert_ne!(other.payload, Some(memory), "the disk has it");
    session.completed(other.ticket, true);
    session.completed(issue.ticket, true);
    assert_eq!(session.status().queue_used, 4096, "the record of the other one has not left");
    drain(&session);
    assert_eq!((session.status().queue_used, session.status().queue_with_disk), (0, 0));
    let uncaptured = session.submit("u", Extent::new(0, 512).unwrap(), Urgency::PayloadUnavailable);
    let uncaptured = issued(uncaptured);
    assert_eq!(uncaptured.payload, None, "from the application's buffer");
    session.completed(uncaptured.ticket, true);
}

#[test]
fn an_overlapping_write_waits_for_the_first_and_an_adjacent_one_does_not() {
    let session = synced(|_| ());
    let first = session.captured(captured(submit(&session, "first", 0, 1024)));
    assert_held(&submit(&session, "second", 512, 1024));
    let beside = session.captured(captured(submit(&session, "beside", 1536, 512)));
    assert_waits(&session.dispatch());
    session.completed(first.ticket, true);
    let second = session.captured(captured(dispatched(&session)));
    assert_eq!(second.write, "second");
    session.completed(beside.ticket, true);
    session.completed(second.ticket, true);
}

#[test]
fn a_write_that_waits_for_room_is_not_overtaken() {
    let session = synced(|config| {
        config.overflow = Overflow::Hold;
        config.write_bytes = config.queue_bytes / 2;
    });
    for len in [2 * BLOCK, 512] {
        complete_captured(&session, submit(&session, "first", 0, len));
    }
    assert_held(&submit(&session, "long", 0, 3 * BLOCK));
    assert_waits(&session.dispatch());
    // The queue has room for this one, but then the long one might wait for ever.
    assert_held(&submit(&session, "small", 3 * BLOCK, 512));
    drain(&session);
    assert_eq!(session.captured(captured(dispatched(&session))).write, "long");
}

fn part(submission: Submission<&'static str>) -> Part<&'static str> {
    let Submission::Part(part) = submission else { panic!("no part: {submission:?}") };
    part
}

#[test]
fn a_write_longer_than_a_record_becomes_several_and_is_issued_after_the_last() {
    let session = session(|config| config.write_bytes = BLOCK);
    session.begin();
    assert_held(&submit(&session, "long", 512, 2 * BLOCK));
    (0..3).for_each(|_| done(&session, read(session.hold()), true));
    drain(&session);
    let first = part(dispatched(&session));
    assert_eq!((first.skip(), first.memory().len, *first.capture().write()), (0, BLOCK, "long"));
    assert_held(&submit(&session, "over its end", 2 * BLOCK, 1024));
    let second = part(session.part_captured(first));
    assert_eq!((second.skip(), second.capture().extent().offset()), (BLOCK, BLOCK + 512));
    assert_eq!(cancel(&session, "long", 512, 2 * BLOCK), None, "the stream has a part of it");
    let issue = issued(session.part_captured(second));
    assert_eq!(issue.payload, None, "its payload is in two places");
    assert_waits(&session.dispatch());
    session.completed(issue.ticket, true);
    complete_captured(&session, dispatched(&session));
    assert_eq!(drain(&session), [RecordKind::Write; 3]);
    assert_eq!((session.status().gaps, session.status().writes_held), (0, 2));
}

#[test]
fn a_part_that_finds_no_room_waits_for_it_and_past_the_limit_the_write_goes_uncaptured() {
    for is_drained in [true, false] {
        let session = synced(|config| (config.write_bytes, config.hold_limit) = (3 * BLOCK, 5));
        complete_captured(&session, submit(&session, "short", 0, 512));
        assert_held(&submit(&session, "long", 0, 4 * BLOCK));
        let first = part(dispatched(&session));
        assert_held(&session.part_captured(first));
        assert!(matches!(session.dispatch(), Step::Wait(Some(Tick(5)))));
        if is_drained {
            drain(&session);
            let last = part(dispatched(&session));
            let issue = issued(session.part_captured(last));
            session.completed(issue.ticket, true);
            assert_eq!((session.status().gaps, session.status().blocks_dirty), (0, 0));
        } else {
            session.host().now.set(5);
            complete_issued(&session, dispatched(&session));
            assert_eq!((session.status().gaps, session.status().blocks_dirty), (1, 4));
        }
    }
}

#[test]
fn a_write_in_parts_whose_service_is_lost_leaves_all_its_blocks_dirty() {
    let session = synced(|config| config.write_bytes = BLOCK);
    assert_held(&submit(&session, "long", 0, 3 * BLOCK));
    let second = part(session.part_captured(part(dispatched(&session))));
    session.detach();
    complete_issued(&session, session.part_captured(second));
    assert!((0..3).all(|n| session.block_state(BlockIndex(n)) == BlockState::Dirty));
    assert_eq!(session.status().writes_in_flight, 0);
}

#[test]
fn a_write_without_payload_is_issued_at_once_even_before_t0() {
    let session = session(|_| ());
    let extent = Extent::new(0, 512).unwrap();
    let issue = issued(session.submit("w", extent, Urgency::PayloadUnavailable));
    assert_eq!((issue.record, session.status().writes_holding), (None, 0));
    session.completed(issue.ticket, true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
    let status = session.status();
    assert_eq!((status.writes_urgent, status.writes_payload_unavailable), (0, 1));
}

#[test]
fn an_urgent_write_without_a_slot_is_issued_and_only_its_own_block_waits_for_it() {
    let session = durable(|config| config.writes_max = 1);
    let urgent = |name, block| {
        let extent = Extent::new(block * BLOCK, 512).unwrap();
        issued(session.submit(name, extent, Urgency::MustNotWait))
    };
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    let second = urgent("second", 1);
    assert_eq!((second.record, session.status().writes_in_flight), (None, 2));
    assert_eq!(session.status().gaps, 1);
    // Such writes may follow each other without end: a block apart from them is read all the same.
    let third = urgent("third", 2);
    drain(&session);
    session.completed(second.ticket, true);
    let resynced = read(session.sweep());
    assert_eq!(resynced.extent().offset(), BLOCK);
    done(&session, resynced, true);
    assert_waits(&session.sweep());
    session.completed(third.ticket, true);
    done(&session, read(session.sweep()), true);
    session.completed(first.ticket, true);
    session.stop();
    assert!(session.is_settled());
}

#[test]
fn writes_for_which_no_slot_is_free_wait_for_one_in_order_and_make_no_gap() {
    let session = synced(|config| config.writes_max = 2);
    let extent = |n: u64| Extent::new(n % 8 * 512, 512).unwrap();
    let mut in_flight = VecDeque::new();
    for n in 0..2 {
        let capture = captured(session.submit("w", extent(n), Urgency::MayWait));
        in_flight.push_back(session.captured(capture).ticket);
    }
    for n in 2..8192 {
        assert_held(&session.submit("w", extent(n), Urgency::MayWait));
    }
    assert_eq!(session.status().writes_holding, 8190);
    let mut next = 2;
    while let Some(ticket) = in_flight.pop_front() {
        session.completed(ticket, true);
        while let Step::Do(submission) = session.dispatch() {
            let capture = captured(submission);
            assert_eq!(capture.extent(), extent(next), "in order of arrival");
            next += 1;
            in_flight.push_back(session.captured(capture).ticket);
            drain(&session);
        }
    }
    let status = session.status();
    assert_eq!((next, status.writes_holding, status.writes_in_flight), (8192, 0, 0));
    assert_eq!((status.gaps, status.writes_uncaptured), (0, 0));
}

#[test]
fn a_write_that_waits_for_a_slot_is_cancelled_or_goes_uncaptured_when_capturing_ends() {
    for ends in [TestSession::detach, TestSession::stop] {
        let session = synced(|config| config.writes_max = 1);
        let first = session.captured(captured(submit(&session, "first", 0, 512)));
        for (n, name) in ["second", "third", "fourth"].into_iter().enumerate() {
            assert_held(&submit(&session, name, n as u64 * BLOCK, 512));
        }
        assert_eq!(cancel(&session, "third", BLOCK, 512), Some("third"));
        assert_eq!(session.status().writes_holding, 2);
        ends(&session);
        for name in ["second", "fourth"] {
            let issue = issued(dispatched(&session));
            assert_eq!((issue.write, issue.record), (name, None));
            session.completed(issue.ticket, true);
        }
        assert_eq!(session.status().writes_in_flight, 1);
        session.completed(first.ticket, true);
        session.stop();
        assert!(session.is_settled());
    }
}

#[test]
fn an_urgent_write_is_captured_though_others_wait_for_a_slot() {
    // The writes in flight keep half of its memory.
    let session = synced(|config| (config.writes_max, config.queue_bytes) = (16, 16 * BLOCK));
    let sector = |n: u64| Extent::new(n * 512, 512).unwrap();
    for n in 0..16 {
        let capture = captured(session.submit("w", sector(n), Urgency::MayWait));
        let _ = session.captured(capture);
    }
    drain(&session);
    assert_held(&session.submit("waits", sector(16), Urgency::MayWait));
    let urgent = captured(session.submit("urgent", sector(17), Urgency::MustNotWait));
    let urgent = session.captured(urgent);
    session.completed(urgent.ticket, true);
    assert!(!matches!(session.dispatch(), Step::Do(_)), "its slot is for urgent writes");
    let again = captured(session.submit("urgent", sector(17), Urgency::MustNotWait));
    let _ = session.captured(again);
    assert_eq!(session.status().gaps, 0);
}

#[test]
fn a_cancelled_write_leaves_nothing_in_the_stream() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "first", 0, 512));
    assert_held(&submit(&session, "second", 0, 512));
    assert_eq!(cancel(&session, "third", 0, 512), None);
    assert_eq!(cancel(&session, "first", 0, 512), Some("first"));
    assert_eq!(cancel(&session, "first", 0, 512), None, "once");
    done(&session, read(session.hold()), true);
    let second = session.captured(captured(dispatched(&session)));
    assert_eq!(second.write, "second", "the first blocks it no more");
    assert_eq!(cancel(&session, "second", 0, 512), None, "a write in flight is not cancelled");
    session.completed(second.ticket, true);
    let kinds = drain(&session);
    assert_eq!(kinds, [RecordKind::SessionStart, RecordKind::Block, RecordKind::Write]);
    let status = session.status();
    assert_eq!((status.writes_held, status.writes_holding, status.writes_in_flight), (1, 0, 0));
}

#[test]
fn every_write_is_counted_once_when_it_is_issued() {
    let session = synced(|_| ());
    let counts = || {
        let status = session.status();
        (status.writes_captured_inline, status.writes_held, status.writes_uncaptured)
    };
    let extent = Extent::new(0, 512).unwrap();
    let first = session.submit("first", extent, Urgency::MustNotWait);
    let first = session.captured(captured(first));
    assert_eq!(counts(), (1, 0, 0));
    let trim = issued(clear(&session, Clearing::Trim, BLOCK, 512));
    assert_eq!(counts(), (2, 0, 0));
    assert_held(&submit(&session, "second", 0, 512));
    assert_eq!(counts(), (2, 0, 0), "it has not gone yet");
    session.completed(first.ticket, true);
    let second = session.captured(captured(dispatched(&session)));
    assert_eq!(counts(), (2, 1, 0));
    assert_held(&submit(&session, "third", 0, 512));
    session.detach();
    let third = issued(dispatched(&session));
    assert_eq!(counts(), (2, 1, 1), "issued uncaptured, while it was held");
    let fourth = issued(submit(&session, "fourth", 3 * BLOCK, 512));
    assert_eq!(counts(), (2, 1, 2));
    let raw = fourth.ticket.into_raw();
    for ticket in [trim.ticket, second.ticket, third.ticket, Ticket::from_raw(raw)] {
        session.completed(ticket, true);
    }
    assert_eq!(session.status().writes_in_flight, 0);
    let status = session.status();
    assert_eq!((status.writes_urgent, status.writes_payload_unavailable), (1, 0));
}

/// Blocks of `count` writes in flight, then those of as many held ones; what verbs about other
/// writes look at among them.
fn looked_at_among(count: u64) -> Vec<u64> {
    let geometry = Geometry::new((2 * count + 2) * BLOCK, 512, 16 << 10).unwrap();
    let mut config = Config::new(64 << 20);
    config.writes_max = 1 << 15;
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    let mut unsynced = BlockRange::new(BlockIndex(0), BlockIndex(count + 1));
    while !unsynced.is_empty() {
        unsynced.start = session.skip(unsynced);
    }
    drain(&session);
    let mut tickets = VecDeque::new();
    for at in 0..count {
        let capture = captured(submit(&session, "in flight", at * BLOCK, 512));
        tickets.push_back(session.captured(capture).ticket);
        assert_held(&submit(&session, "held", (count + 1 + at) * BLOCK, 512));
        drain(&session);
    }
    assert_waits(&session.dispatch());
    let mut steps = Vec::new();
    let mut before = session.steps();
    let mut note = || {
        let now = session.steps();
        steps.push(now - std::mem::replace(&mut before, now));
    };
    let alone = captured(submit(&session, "alone", count * BLOCK, 512));
    note();
    let alone = session.captured(alone);
    note();
    assert_held(&submit(&session, "overlapping", count * BLOCK, 1024));
    note();
    assert_waits(&session.dispatch());
    note();
    session.completed(alone.ticket, true);
    note();
    let overlapping = captured(dispatched(&session));
    note();
    tickets.push_back(session.captured(overlapping).ticket);
    note();
    session.completed(tickets.pop_front().unwrap(), true);
    note();
    assert_eq!(cancel(&session, "held", 2 * count * BLOCK, 512), Some("held"));
    note();
    steps
}

#[test]
fn a_verb_looks_at_as_much_among_ten_thousand_writes_as_among_ten() {
    let (few, many) = (looked_at_among(10), looked_at_among(10_000));
    let differs = few.iter().zip(&many).any(|(few, many)| many > &(few + 8));
    assert!(!differs, "HANG: {few:?} among ten, {many:?} among ten thousand");
}

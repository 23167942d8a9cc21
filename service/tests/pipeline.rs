//! A pipeline between a fake driver and a fake server, over real TCP: what arrives, what is
//! acknowledged, and what happens when driver, link or server fails.

mod support;

use std::time::Duration;

use snapless_driver_client::file_system::{Answers, Status};
use snapless_service::report::Activity;
use snapless_types::{Extent, RecordKind};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::Protection;
use support::driver::Seen;
use support::server::Arrived;
use support::{Harness, Running, VOLUME, wait_until};

/// Waits until the driver has seen this call.
#[track_caller]
fn wait_for(harness: &Harness, call: Seen) {
    wait_until(&format!("{call:?}"), || harness.driver.seen().contains(&call));
}

/// Writes, ends the epoch, and waits until the driver has its acknowledgement.
fn write_durably(harness: &Harness, epoch: u64) {
    harness.driver.write(epoch * 4096, &[u8::try_from(epoch).unwrap()]);
    harness.driver.end_epoch();
    wait_for(harness, Seen::Acknowledged(epoch));
}

/// Waits until the pipeline has begun a session.
fn wait_for_session(harness: &Harness) -> SessionId {
    wait_until("a session began", || harness.driver.session().is_some());
    harness.driver.session().unwrap()
}

/// A pipeline that has begun a session.
fn begun() -> (Harness, Running, SessionId) {
    let harness = Harness::new();
    let running = harness.start();
    let session = wait_for_session(&harness);
    (harness, running, session)
}

/// A pipeline whose session has a durable epoch.
fn durable() -> (Harness, Running, SessionId) {
    let (harness, running, session) = begun();
    write_durably(&harness, 1);
    (harness, running, session)
}

#[test]
fn records_arrive_in_order_and_zeros_are_not_sent() {
    let (harness, running, session) = begun();
    for i in 0..500_u64 {
        let fill = if i % 3 == 0 { 0 } else { 9 };
        harness.driver.write(i * 4096, &[fill; 8]);
    }
    let last = harness.driver.end_epoch();
    wait_for(&harness, Seen::Acknowledged(1));

    let arrived = harness.server.arrived(session);
    assert_eq!(arrived.len() as u64, last);
    assert_eq!(arrived[0].header.kind(), RecordKind::SessionStart);
    for (i, record) in (0..500_u64).zip(&arrived[1..]) {
        assert_eq!(record.header.extent_offset(), i * 4096);
        assert_eq!(record.header.extent_len(), 4096);
        assert_eq!(record.header.is_zero(), i % 3 == 0);
        assert_eq!(record.payload.len(), if i % 3 == 0 { 0 } else { 4096 });
    }
    let hello = harness.server.hellos()[0];
    assert_eq!((hello.volume, hello.session), (VOLUME, session));
    // It is counted after the driver was told.
    wait_until("it is counted", || running.counters.report().acknowledged_epoch > 0);
    let report = running.counters.report();
    assert_eq!(report.activity, Activity::Streaming);
    assert_eq!((report.acknowledged_epoch, report.acknowledged_seq), (1, last));
    assert_eq!(report.bytes_elided, 167 * 4096);
    assert!(report.bytes_sent < report.bytes_drained);
}

#[test]
fn a_server_that_takes_reports_is_told_how_the_session_stands() {
    let harness = Harness::new();
    harness.server.behave(|manners| manners.takes_reports = true);
    let running = harness.start();
    wait_for_session(&harness);
    write_durably(&harness, 1);
    wait_until("it is told", || !harness.server.reports().is_empty());
    let report = &harness.server.reports()[0];
    assert_eq!((&*report.phase, report.is_paused), ("first_sync", false));
    assert!(!report.name.is_empty());
    assert!(report.counters.contains_key("blocks_total"), "{report:?}");
    // The last one says why nothing follows.
    running.counters.set_activity(Activity::Paused);
    running.stop();
    wait_until("it says so", || harness.server.reports().last().is_some_and(|it| it.is_paused));
}

#[test]
fn a_call_that_fails_for_want_of_memory_is_repeated_and_the_claim_kept() {
    let (harness, running, session) = durable();
    harness.driver.lack_memory(3);
    write_durably(&harness, 2);
    assert_eq!(harness.driver.scarce(), 0);
    let seen = harness.driver.seen();
    assert!(!seen.contains(&Seen::Resumed(session)), "the claim was never lost: {seen:?}");
    assert_eq!(running.counters.report().connections, 1);
    // It does not delay a stop either.
    harness.driver.lack_memory(usize::MAX);
    running.stop();
}

#[test]
fn a_drain_that_the_service_did_not_cancel_is_repeated_and_the_claim_kept() {
    let (harness, running, session) = durable();
    harness.driver.cancel_drains(3);
    write_durably(&harness, 2);
    assert_eq!(harness.driver.cancellations(), 0);
    let seen = harness.driver.seen();
    assert!(!seen.contains(&Seen::Resumed(session)), "the claim was never lost: {seen:?}");
    assert_eq!(running.counters.report().connections, 1);
    assert_eq!(running.counters.report().last_error, None);
    // It does not delay a stop either.
    harness.driver.cancel_drains(usize::MAX);
    running.stop();
}

#[test]
fn a_cut_link_loses_no_record_and_keeps_the_claim() {
    let (harness, running, session) = durable();
    for round in 0..200_u64 {
        for i in 0..round % 7 {
            harness.driver.write(i * 4096, &[3; 16]);
        }
        // Before the end of an epoch, or while it is being acknowledged.
        if round % 2 == 0 {
            harness.server.cut();
        }
        harness.driver.end_epoch();
        if round % 2 == 1 {
            harness.server.cut();
        }
        if round % 5 == 0 {
            wait_for(&harness, Seen::Acknowledged(round + 2));
        }
    }
    wait_for(&harness, Seen::Acknowledged(201));
    let seen = harness.driver.seen();
    assert!(!seen.contains(&Seen::Closed), "the port stays open: {seen:?}");
    let arrived = harness.server.arrived(session);
    let numbers = arrived.iter().map(|record| record.header.seq().get());
    assert!(numbers.eq(1..=arrived.len() as u64), "every record is there once");
    assert!(arrived.iter().all(|record| record.header.kind() != RecordKind::GapBegin));
    assert!(running.counters.report().connections > 20);
}

#[test]
fn frames_are_compressed_where_that_makes_them_shorter_and_the_server_takes_it() {
    for takes_packed in [false, true] {
        let harness = Harness::new();
        harness.server.behave(|manners| manners.takes_packed = takes_packed);
        let running = harness.start();
        let session = wait_for_session(&harness);
        let sectors: Vec<u8> = (0..=255).collect();
        harness.driver.write(0, &sectors);
        harness.driver.end_epoch();
        wait_for(&harness, Seen::Acknowledged(1));
        let report = running.counters.report();
        assert_eq!(report.bytes_compressed > 100_000, takes_packed, "{report:?}");
        assert_eq!(report.bytes_sent < 20_000, takes_packed, "{report:?}");
        let arrived = harness.server.arrived(session);
        let write = arrived.iter().find(|it| it.header.kind() == RecordKind::Write).unwrap();
        assert!(write.payload.chunks(512).zip(0..=255).all(|(sector, byte)| sector == [byte; 512]));
    }
}

#[test]
fn a_server_that_refuses_before_anything_is_durable_gets_the_same_session_again() {
    let (harness, _running, session) = begun();
    harness.server.behave(|manners| manners.refuse_records = 3);
    harness.driver.write(0, &[1]);
    harness.driver.end_epoch();
    wait_for(&harness, Seen::Acknowledged(1));
    assert_eq!(harness.driver.session(), Some(session));
}

#[test]
fn a_session_that_is_put_aside_while_it_streams_is_followed_by_a_new_one() {
    let (harness, _running, session) = begun();
    harness.server.behave(|manners| (manners.refuse_records, manners.puts_aside) = (1, true));
    harness.driver.write(0, &[1]);
    wait_for(&harness, Seen::Stopped(session));
}

#[test]
fn a_cut_that_outlasts_the_window_leaves_the_rest_to_the_driver() {
    let (harness, running, session) = durable();
    harness.server.behave(|manners| manners.refuse = Some("busy".into()));
    harness.server.cut();
    let record = 64 + 1_048_576;
    for i in 0..40 {
        harness.driver.write(i << 20, &[7; 2048]);
    }
    wait_until("the window is full", || harness.driver.queued() < 30 * record);
    std::thread::sleep(Duration::from_millis(300));
    assert!(harness.driver.queued() > 15 * record, "a window's and a batch's worth is taken");
    harness.driver.end_epoch();
    harness.server.behave(|manners| manners.refuse = None);
    wait_for(&harness, Seen::Acknowledged(2));
    assert_eq!(harness.server.arrived(session).len(), 1 + 2 + 41);
    assert!(!harness.driver.seen().contains(&Seen::Closed));
    drop(running);
}

#[test]
fn a_cut_in_an_epoch_longer_than_the_window_is_a_gap_only_if_the_driver_has_not_kept_it() {
    for forgets in [false, true] {
        let (harness, running, session) = durable();
        harness.driver.forget(forgets);
        for i in 0..40 {
            harness.driver.write(i << 20, &[7; 2048]);
        }
        wait_until("all is sent", || harness.server.arrived(session).len() == 1 + 2 + 40);
        harness.server.cut();
        wait_for(&harness, Seen::DrainedFrom(3, !forgets));
        write_durably(&harness, 2);
        drop(running);
        let arrived = harness.server.arrived(session);
        let is_gap = |record: &Arrived| record.header.kind() == RecordKind::GapBegin;
        assert_eq!(arrived.iter().any(is_gap), forgets);
        let writes = arrived.iter().filter(|it| it.header.kind() == RecordKind::Write).count();
        assert_eq!(writes, if forgets { 2 } else { 42 });
    }
}

#[test]
fn a_service_that_is_killed_in_the_first_epoch_is_followed_by_one_that_begins_the_stream_anew() {
    for forgets in [false, true] {
        let (harness, running, session) = begun();
        harness.driver.forget(forgets);
        harness.driver.write(0, &[1]);
        wait_until("it is sent", || harness.server.arrived(session).len() == 2);
        // Nothing is durable, and the service does not flush.
        harness.cut_off(&running);
        running.stop();
        harness.driver.write(4096, &[2]);
        harness.server.behave(|manners| manners.refuse = None);
        let _running = harness.start();
        if forgets {
            wait_for(&harness, Seen::Stopped(session));
        } else {
            wait_for(&harness, Seen::DrainedFrom(0, true));
            harness.driver.end_epoch();
            wait_for(&harness, Seen::Acknowledged(1));
            let kinds: Vec<_> =
                harness.server.arrived(session).iter().map(|it| it.header.kind()).collect();
            assert_eq!(kinds.len(), 4, "{kinds:?}");
        }
    }
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_is_away() {
    let (harness, running, _) = durable();
    harness.cut_off(&running);
    harness.driver.write(0, &[1]);
    let took = running.stop();
    assert!(took < Duration::from_millis(1500), "no wait up to the flush limit: {took:?}");
}

#[test]
fn a_volume_is_protected_only_if_its_file_system_says_that_it_can_be() {
    /// `STATUS_ACCESS_DENIED`
    const DENIED: Status = Status(0xC000_0022);
    let plain = Answers { attributes: Ok(0), owned_by_cluster: Ok(Some(0)) };
    for (answers, said) in [
        // `FILE_DAX_VOLUME`
        (Answers { attributes: Ok(0x2000_0000), ..plain }, "(DAX)"),
        (Answers { owned_by_cluster: Ok(Some(1)), ..plain }, "cluster shared volume"),
        (Answers { attributes: Err(DENIED), ..plain }, "0xC0000022"),
        (Answers { owned_by_cluster: Err(DENIED), ..plain }, "0xC0000022"),
        (Answers { owned_by_cluster: Ok(None), ..plain }, "not understood"),
    ] {
        let harness = Harness::new();
        harness.driver.set_file_system(answers);
        let running = harness.start();
        wait_until(&format!("a refusal: {said}"), || {
            running.counters.report().last_error.is_some_and(|error| error.contains(said))
        });
        assert_eq!(harness.driver.session(), None, "{answers:?}");
        harness.driver.set_file_system(plain);
        wait_for_session(&harness);
    }
}

#[test]
fn a_driver_that_protects_nothing_after_failed_starts_is_told_once_as_an_event_with_what_to_do() {
    support::log::record();
    let harness = Harness::new();
    harness.driver.set_protection(Protection::StartsFailed);
    let running = harness.start();
    let told = || support::log::lines().into_iter().filter(|line| line.contains("(event 305)"));
    wait_until("the event", || told().next().is_some());
    let tries = || harness.driver.seen().iter().filter(|seen| **seen == Seen::Opened).count();
    let before = tries();
    wait_until("further attempts", || tries() > before + 1);
    let told: Vec<_> = told().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("run `snapless-setup install` again, and restart"), "{told:?}");
    assert_eq!(harness.driver.session(), None);
    assert_eq!(
        running.counters.report().last_error.map(|error| told[0].contains(&error)),
        Some(true)
    );
    harness.driver.set_protection(Protection::Possible);
    wait_for_session(&harness);
}

#[test]
fn a_start_excludes_the_paging_file_and_a_look_after_t0_says_whether_it_is_still_there() {
    let extent = |offset: u64, len: u64| Extent::new(offset << 20, len << 20).unwrap();
    let file = [extent(8, 4), extent(100, 1)];
    let longer = [extent(4, 16), extent(100, 1)];
    for (later, are_still) in [(&file, true), (&longer, true), (&[extent(8, 3), file[1]], false)] {
        let harness = Harness::new();
        harness.driver.set_paging(&file, later);
        let running = harness.start();
        wait_for(&harness, Seen::Reviewed(are_still));
        assert_eq!(harness.driver.excluded(), file);
        let session = wait_for_session(&harness);
        write_durably(&harness, 1);
        running.stop();
        let _running = harness.start();
        wait_for(&harness, Seen::Resumed(session));
        write_durably(&harness, 2);
        let seen = harness.driver.seen();
        let reviews = seen.iter().filter(|seen| matches!(seen, Seen::Reviewed(_)));
        assert_eq!(reviews.count(), 1, "a session that goes on has been reviewed: {seen:?}");
    }
}

#[test]
fn a_session_goes_on_whatever_the_file_system_says() {
    let (harness, running, session) = durable();
    running.stop();
    harness.driver.set_file_system(Answers { attributes: Ok(0), owned_by_cluster: Ok(None) });
    let _running = harness.start();
    wait_for(&harness, Seen::Resumed(session));
}

#[test]
fn a_stop_flushes_captured_records_and_a_start_resumes() {
    let (harness, running, session) = begun();
    for i in 0..200 {
        harness.driver.write(i * 65_536, &[5; 128]);
    }
    let last = harness.driver.end_epoch();
    running.stop();
    let arrived = harness.server.arrived(session);
    assert_eq!(arrived.last().unwrap().header.seq().get(), last, "all was flushed");
    assert_eq!(harness.driver.session(), Some(session), "the driver keeps the session");
    assert_eq!(harness.store().load().unwrap().unwrap().acknowledged_epoch, 1);

    let _again = harness.start();
    wait_for(&harness, Seen::Resumed(session));
    write_durably(&harness, 2);
    assert_eq!(harness.server.hellos().len(), 2);
}

#[test]
fn a_stop_waits_for_a_silent_server_up_to_the_flush_limit() {
    let harness = Harness::new();
    harness.server.behave(|manners| manners.silent = true);
    let running = harness.start();
    let session = wait_for_session(&harness);
    harness.driver.write(0, &[1]);
    harness.driver.end_epoch();
    wait_until("it arrived", || harness.server.arrived(session).len() >= 3);
    let took = running.stop();
    assert!(took >= Duration::from_millis(1900), "the stop waits up to the flush limit: {took:?}");
    assert!(took < Duration::from_secs(5), "the stop ends at the flush limit: {took:?}");
    assert_eq!(harness.driver.seen().last(), Some(&Seen::Closed));
}

#[test]
fn a_stalled_server_stops_the_drain() {
    let harness = Harness::new();
    // It lives: the link is not given up, however long the writes take.
    harness.server.behave(|manners| (manners.stalled, manners.alive) = (true, true));
    let running = harness.start();
    let session = wait_for_session(&harness);
    let record = 64 + 1_048_576;
    for i in 0..120 {
        harness.driver.write(i << 20, &[7; 2048]);
    }
    wait_until("window and socket are full", || harness.driver.queued() < 120 * record);
    std::thread::sleep(Duration::from_millis(300));
    let left = harness.driver.queued();
    assert!(left > 60 * record, "no more than a window, a batch and a socket take: {left}");
    harness.server.behave(|manners| manners.stalled = false);
    harness.driver.end_epoch();
    wait_for(&harness, Seen::Acknowledged(1));
    assert_eq!(harness.server.arrived(session).len(), 122);
    assert_eq!(running.counters.report().connections, 1);
}

#[test]
fn a_stop_ends_at_the_flush_limit_while_a_server_that_lives_reads_nothing() {
    let harness = Harness::new();
    harness.server.behave(|manners| (manners.stalled, manners.alive) = (true, true));
    let running = harness.start();
    wait_for_session(&harness);
    let record = 64 + 1_048_576;
    for i in 0..120 {
        harness.driver.write(i << 20, &[7; 2048]);
    }
    wait_until("window and socket are full", || harness.driver.queued() < 120 * record);
    let took = running.stop();
    assert!(took < harness.limits.send / 2, "no sender is waited for: {took:?}");
    assert_eq!(harness.driver.seen().last(), Some(&Seen::Closed));
}

#[test]
fn a_server_that_is_slow_is_waited_for_and_a_dead_one_is_not() {
    let mut harness = Harness::new();
    harness.limits.send = Duration::from_secs(1);
    harness.server.behave(|manners| (manners.stalled, manners.alive) = (true, true));
    let running = harness.start();
    let session = wait_for_session(&harness);
    let record = 64 + 1_048_576;
    for i in 0..120 {
        harness.driver.write(i << 20, &[7; 2048]);
        harness.driver.end_epoch();
    }
    wait_until("window and socket are full", || harness.driver.queued() < 120 * record);
    std::thread::sleep(3 * harness.limits.send);
    let report = running.counters.report();
    assert_eq!((report.connections, report.last_error), (1, None), "no link was given up");
    // From now on it neither takes nor sends anything.
    harness.server.behave(|manners| manners.alive = false);
    wait_until("the link is given up", || {
        let error = running.counters.report().last_error;
        error.is_some_and(|error| error.contains("took nothing and sent nothing"))
    });
    // As a server does with the connections before the newest.
    harness.server.cut();
    harness.server.behave(|manners| manners.stalled = false);
    wait_for(&harness, Seen::Acknowledged(120));
    assert_eq!(harness.server.arrived(session).len(), 241, "each record is there once");
}

#[test]
fn a_session_that_an_administrator_ended_is_not_started_again() {
    let (harness, running, _) = durable();
    harness.driver.stop_session();
    wait_until("the pipeline is over", || running.is_over());
    assert_eq!(running.counters.report().activity, Activity::Ended);
    assert_eq!(harness.store().load().unwrap(), None);
    assert_eq!(harness.driver.session(), None);

    let _again = harness.start();
    wait_for_session(&harness);
    write_durably(&harness, 1);
}

#[test]
fn a_session_ended_without_a_link_is_not_started_again() {
    let (harness, running, _) = durable();
    harness.cut_off(&running);
    harness.driver.stop_session();
    wait_until("the pipeline is over", || running.is_over());
    assert_eq!(running.counters.report().activity, Activity::Ended);
    assert_eq!(harness.driver.session(), None);
}

#[test]
fn a_server_that_lost_the_session_gets_a_new_one() {
    let (harness, _running, first) = durable();
    harness.server.forget();
    harness.server.cut();
    wait_until("a new session began", || {
        harness.driver.session().is_some_and(|session| session != first)
    });
    let second = harness.driver.session().unwrap();
    let seen = harness.driver.seen();
    assert!(seen.contains(&Seen::Stopped(first)), "{seen:?}");
    harness.driver.write(0, &[1]);
    harness.driver.end_epoch();
    wait_until("the new one is durable", || harness.server.arrived(second).len() >= 3);
    assert_eq!(harness.server.arrived(second)[0].header.kind(), RecordKind::SessionStart);
}

#[test]
fn an_absent_driver_and_a_refusing_server_are_reported_and_retried() {
    let harness = Harness::new();
    harness.driver.set_present(false);
    harness.server.behave(|manners| manners.refuse = Some("the repository is full".into()));
    let running = harness.start();
    let error_contains =
        |text: &str| running.counters.report().last_error.is_some_and(|error| error.contains(text));
    wait_until("the driver is missed", || error_contains("driver is not running"));
    assert!(
        harness.server.hellos().is_empty(),
        "without a driver there is no connection to the server"
    );
    harness.driver.set_present(true);
    wait_until("the refusal is reported", || error_contains("the repository is full"));
    harness.server.behave(|manners| manners.refuse = None);
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    assert_eq!(running.counters.report().last_error, None);
}

#[test]
fn an_acknowledgement_that_cannot_be_closes_the_link_and_counts_for_nothing() {
    let (harness, running, session) = durable();
    harness.server.behave(|manners| manners.ahead = 7);
    harness.driver.write(0, &[1]);
    harness.driver.end_epoch();
    wait_until("it is reported", || {
        let error = running.counters.report().last_error;
        error.is_some_and(|error| error.contains("acknowledges epoch 9, which it cannot have"))
    });
    assert_eq!(running.counters.report().acknowledged_epoch, 1);
    harness.server.behave(|manners| manners.ahead = 0);
    wait_until("a later epoch is acknowledged", || {
        harness.driver.write(0, &[1]);
        harness.driver.end_epoch();
        harness.driver.seen().iter().any(|seen| matches!(seen, Seen::Acknowledged(2..)))
    });
    assert_eq!(harness.driver.session(), Some(session), "it is the same session");
}

#[test]
fn bytes_that_are_not_records_are_never_sent() {
    let (harness, running, session) = durable();
    let durable = harness.driver.corrupt();
    wait_for(&harness, Seen::Resumed(session));
    wait_for(&harness, Seen::DrainedFrom(durable, false));
    write_durably(&harness, 2);
    assert!(running.counters.report().connections >= 2);
}

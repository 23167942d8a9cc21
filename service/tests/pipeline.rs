//! A pipeline between a driver and a server, over real TCP: what arrives, what the driver is told, and
//! what happens when one of the three fails.

mod support;

use std::time::Duration;

use snapless_driver_client::report::Activity;
use snapless_wire::record::RecordKind;
use support::driver::Seen;
use support::{Bench, VOLUME, wait_until};

/// Writes, ends the epoch, and waits until the driver heard that it is durable.
fn write_durably(bench: &Bench, epoch: u64) {
    bench.driver.write(epoch * 4096, &[u8::try_from(epoch).unwrap()]);
    bench.driver.end_epoch();
    wait_until("the epoch is acknowledged", || {
        bench.driver.seen().contains(&Seen::Acknowledged(epoch))
    });
}

/// Waits until the pipeline has begun a session.
fn wait_for_session(bench: &Bench) -> snapless_wire::id::SessionId {
    wait_until("a session began", || bench.driver.session().is_some());
    bench.driver.session().unwrap()
}

#[test]
fn records_arrive_in_order_and_zeros_do_not_travel() {
    let bench = Bench::new();
    let running = bench.start();
    let session = wait_for_session(&bench);
    for i in 0..500_u64 {
        let fill = if i % 3 == 0 { 0 } else { 9 };
        bench.driver.write(i * 4096, &[fill; 8]);
    }
    let last = bench.driver.end_epoch();
    wait_until("everything is acknowledged", || {
        bench.driver.seen().contains(&Seen::Acknowledged(1))
    });

    let arrived = bench.server.arrived(session);
    assert_eq!(arrived.len() as u64, last);
    assert_eq!(arrived[0].header.kind(), RecordKind::SessionStart);
    for (i, record) in (0..500_u64).zip(&arrived[1..]) {
        assert_eq!(record.header.extent_offset(), i * 4096);
        assert_eq!(record.header.extent_len(), 4096);
        assert_eq!(record.header.is_zero(), i % 3 == 0);
        assert_eq!(record.payload.len(), if i % 3 == 0 { 0 } else { 4096 });
    }
    let hello = bench.server.hellos()[0];
    assert_eq!((hello.volume, hello.session), (VOLUME, session));
    let report = running.counters.report();
    assert_eq!(report.activity, Activity::Streaming);
    assert_eq!((report.acknowledged_epoch, report.acknowledged_seq), (1, last));
    assert_eq!(report.bytes_elided, 167 * 4096);
    assert!(report.bytes_sent < report.bytes_drained);
}

#[test]
fn a_cut_link_closes_the_port_and_the_session_is_resumed() {
    let bench = Bench::new();
    let running = bench.start();
    let session = wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.server.cut();
    wait_until("the session is resumed", || bench.driver.seen().contains(&Seen::Resumed(session)));
    write_durably(&bench, 2);

    let seen = bench.driver.seen();
    let closed = seen.iter().position(|seen| *seen == Seen::Closed).unwrap();
    let resumed = seen.iter().position(|seen| *seen == Seen::Resumed(session)).unwrap();
    assert!(closed < resumed, "the port is closed before the session is claimed again: {seen:?}");
    let kinds: Vec<_> =
        bench.server.arrived(session).iter().map(|record| record.header.kind()).collect();
    assert!(kinds.contains(&RecordKind::GapBegin));
    assert!(running.counters.report().connections >= 2);
}

#[test]
fn a_driver_without_memory_is_asked_again_and_keeps_its_claimant() {
    let bench = Bench::new();
    let running = bench.start();
    let session = wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.driver.lack_memory(3);
    write_durably(&bench, 2);
    assert_eq!(bench.driver.scarce(), 0);
    let seen = bench.driver.seen();
    assert!(!seen.contains(&Seen::Resumed(session)), "the claim was never lost: {seen:?}");
    assert_eq!(running.counters.report().connections, 1);
    // Nor does it keep the service from stopping.
    bench.driver.lack_memory(usize::MAX);
    running.stop();
}

#[test]
fn many_cuts_never_disturb_the_order() {
    let bench = Bench::new();
    let _running = bench.start();
    let session = wait_for_session(&bench);
    write_durably(&bench, 1);
    for epoch in 2..30 {
        for i in 0..20 {
            bench.driver.write(i * 4096, &[3; 16]);
        }
        if epoch % 4 == 0 {
            bench.server.cut();
        }
        // Epochs may be lost with a link; later ones are not.
        wait_until("an epoch of this round is acknowledged", || {
            bench.driver.write(0, &[1]);
            bench.driver.end_epoch();
            let reached = |seen: &Seen| matches!(seen, Seen::Acknowledged(got) if *got >= epoch);
            bench.driver.seen().iter().any(reached)
        });
    }
    // `arrived` fails if the server saw a record out of order.
    assert!(bench.server.arrived(session).len() > 100);
}

#[test]
fn a_stop_flushes_what_was_captured_and_a_start_resumes() {
    let bench = Bench::new();
    let running = bench.start();
    let session = wait_for_session(&bench);
    for i in 0..200 {
        bench.driver.write(i * 65_536, &[5; 128]);
    }
    let last = bench.driver.end_epoch();
    running.stop();
    let arrived = bench.server.arrived(session);
    assert_eq!(arrived.last().unwrap().header.seq().get(), last, "all was flushed");
    assert_eq!(bench.driver.session(), Some(session), "the driver keeps the session");
    assert_eq!(bench.store().load().unwrap().unwrap().acknowledged_epoch, 1);

    let _again = bench.start();
    wait_until("the session is resumed", || bench.driver.seen().contains(&Seen::Resumed(session)));
    write_durably(&bench, 2);
    assert_eq!(bench.server.hellos().len(), 2);
}

#[test]
fn a_stop_does_not_wait_for_a_silent_server_past_its_limit() {
    let bench = Bench::new();
    bench.server.behave(|manners| manners.silent = true);
    let running = bench.start();
    let session = wait_for_session(&bench);
    bench.driver.write(0, &[1]);
    bench.driver.end_epoch();
    wait_until("it arrived", || bench.server.arrived(session).len() >= 3);
    let took = running.stop();
    assert!(took >= Duration::from_millis(500), "it gave the server its time: {took:?}");
    assert!(took < Duration::from_secs(5), "it did not wait for ever: {took:?}");
    assert_eq!(bench.driver.seen().last(), Some(&Seen::Closed));
}

#[test]
fn a_stalled_server_stops_the_drain_and_not_the_other_way_round() {
    let bench = Bench::new();
    bench.server.behave(|manners| manners.stalled = true);
    let running = bench.start();
    let session = wait_for_session(&bench);
    let record = 64 + 1_048_576;
    for i in 0..120 {
        bench.driver.write(i << 20, &[7; 2048]);
    }
    wait_until("the batches and the socket are full", || bench.driver.queued() < 120 * record);
    std::thread::sleep(Duration::from_millis(300));
    let left = bench.driver.queued();
    assert!(left > 60 * record, "no more than two batches are taken: {left}");
    bench.server.behave(|manners| manners.stalled = false);
    bench.driver.end_epoch();
    wait_until("all arrived", || bench.driver.seen().contains(&Seen::Acknowledged(1)));
    assert_eq!(bench.server.arrived(session).len(), 122);
    assert_eq!(running.counters.report().connections, 1);
}

#[test]
fn a_session_that_an_administrator_ended_is_not_begun_again() {
    let bench = Bench::new();
    let running = bench.start();
    wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.driver.stop_session();
    wait_until("the pipeline is over", || running.is_over());
    assert_eq!(running.counters.report().activity, Activity::Ended);
    assert_eq!(bench.store().load().unwrap(), None);
    assert_eq!(bench.driver.session(), None);

    let _again = bench.start();
    wait_for_session(&bench);
    write_durably(&bench, 1);
}

#[test]
fn a_session_ended_while_there_was_no_link_is_not_begun_again() {
    let bench = Bench::new();
    let running = bench.start();
    wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.server.behave(|manners| manners.refuse = Some("busy".into()));
    bench.server.cut();
    wait_until("it was refused", || running.counters.report().last_error.is_some());
    bench.driver.stop_session();
    wait_until("the pipeline is over", || running.is_over());
    assert_eq!(running.counters.report().activity, Activity::Ended);
    assert_eq!(bench.driver.session(), None);
}

#[test]
fn a_server_that_lost_the_session_gets_a_new_one() {
    let bench = Bench::new();
    let _running = bench.start();
    let first = wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.server.forget();
    bench.server.cut();
    wait_until("a new session began", || {
        bench.driver.session().is_some_and(|session| session != first)
    });
    let second = bench.driver.session().unwrap();
    let seen = bench.driver.seen();
    assert!(seen.contains(&Seen::Stopped(first)), "{seen:?}");
    bench.driver.write(0, &[1]);
    bench.driver.end_epoch();
    wait_until("the new one is durable", || bench.server.arrived(second).len() >= 3);
    assert_eq!(bench.server.arrived(second)[0].header.kind(), RecordKind::SessionStart);
}

#[test]
fn an_absent_driver_and_a_refusing_server_are_reported_and_tried_again() {
    let bench = Bench::new();
    bench.driver.set_present(false);
    bench.server.behave(|manners| manners.refuse = Some("the repository is full".into()));
    let running = bench.start();
    let error_contains =
        |text: &str| running.counters.report().last_error.is_some_and(|error| error.contains(text));
    wait_until("the driver is missed", || error_contains("driver is not running"));
    assert!(bench.server.hellos().is_empty(), "no server is bothered without a driver");
    bench.driver.set_present(true);
    wait_until("the refusal is reported", || error_contains("the repository is full"));
    bench.server.behave(|manners| manners.refuse = None);
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    assert_eq!(running.counters.report().last_error, None);
}

#[test]
fn bytes_that_are_no_records_never_reach_the_server() {
    let bench = Bench::new();
    let running = bench.start();
    let session = wait_for_session(&bench);
    write_durably(&bench, 1);
    bench.driver.corrupt();
    wait_until("the session is resumed", || bench.driver.seen().contains(&Seen::Resumed(session)));
    write_durably(&bench, 2);
    assert!(running.counters.report().connections >= 2);
}

//! A volume to which nothing is written: the server is told so, and only if it is true.

mod support;

use snapless_types::Seq;
use snapless_wire::frame::Watermark;
use snapless_wire::id::{FileTime, SessionId};
use support::driver::Seen;
use support::{Harness, Running, wait_until};

/// Ticks in an hour.
const HOUR: u64 = 3_600 * FileTime::TICKS_PER_SECOND;

/// A pipeline whose session has an epoch that is durable; and the epoch's last record.
fn durable() -> (Harness, Running, SessionId, u64) {
    let harness = Harness::new();
    let running = harness.start();
    wait_until("a session began", || harness.driver.session().is_some());
    let session = harness.driver.session().unwrap();
    harness.driver.write(0, &[1]);
    let last = harness.driver.end_epoch();
    wait_until("an epoch is durable", || harness.driver.seen().contains(&Seen::Acknowledged(1)));
    (harness, running, session, last)
}

/// The latest watermark at the server.
fn watermark(harness: &Harness, session: SessionId) -> Option<Watermark> {
    harness.server.watermarks(session).last().copied()
}

#[track_caller]
fn wait_for_watermark(harness: &Harness, session: SessionId, last: u64, time: FileTime) {
    wait_until(&format!("a watermark after record {last}"), || {
        watermark(harness, session)
            .is_some_and(|it| (it.seq(), it.time()) == (Seq::new(last), time))
    });
}

/// Waits until the service has asked the driver twice more: what it made of the first answer was
/// sent, if anything.
#[track_caller]
fn wait_until_asked(harness: &Harness) {
    let asked = harness.driver.asked();
    wait_until("the service asks the driver", || harness.driver.asked() >= asked + 2);
}

#[test]
fn while_nothing_is_written_the_latest_point_goes_on() {
    let (harness, running, session, last) = durable();
    for _hour in 0..3 {
        let time = harness.driver.pass(HOUR);
        wait_for_watermark(&harness, session, last, time);
        let latest = u64::try_from(time.unix_nanos() / 1_000_000).ok();
        wait_until("the service knows it", || {
            running.counters.report().latest_point_unix_ms == latest
        });
    }
    let report = running.counters.report();
    assert_eq!((report.acknowledged_epoch, report.acknowledged_seq), (1, last));
    // Writes end it, and it begins again behind them.
    harness.driver.write(4096, &[2]);
    let last = harness.driver.end_epoch();
    let time = harness.driver.pass(HOUR);
    wait_for_watermark(&harness, session, last, time);
    let watermarks = harness.server.watermarks(session);
    assert!(watermarks.is_sorted_by_key(|it| (it.seq(), it.monotonic())), "{watermarks:?}");
    assert_eq!(running.counters.report().connections, 1);
}

#[test]
fn what_the_driver_has_and_the_server_has_not_acknowledged_stops_it() {
    let (harness, _running, session, last) = durable();
    let before = harness.driver.pass(HOUR);
    wait_for_watermark(&harness, session, last, before);
    // In the driver's queue.
    harness.driver.withhold(true);
    let newer = harness.driver.write(4096, &[2]);
    harness.driver.pass(HOUR);
    wait_until_asked(&harness);
    assert_eq!(watermark(&harness, session).unwrap().time(), before);
    // At the server, whose epoch has not ended.
    harness.driver.withhold(false);
    wait_until("it arrives", || {
        let arrived = harness.server.arrived(session);
        arrived.last().is_some_and(|last| last.header.seq().get() == newer)
    });
    harness.driver.pass(HOUR);
    assert_eq!(watermark(&harness, session).unwrap().time(), before);
    // The server takes none that is not about all that it has, and that durable.
    let last = harness.driver.end_epoch();
    let time = harness.driver.pass(HOUR);
    wait_for_watermark(&harness, session, last, time);
}

#[test]
fn in_a_gap_there_is_none() {
    let (harness, running, session, last) = durable();
    let before = harness.driver.pass(HOUR);
    wait_for_watermark(&harness, session, last, before);
    running.stop();
    harness.driver.write(0, &[1]);
    harness.driver.lose();
    let running = harness.start();
    let gap = Seen::DrainedFrom(last, false);
    wait_until("the session goes on", || harness.driver.seen().contains(&gap));
    assert!(harness.driver.seen().contains(&Seen::Resumed(session)));
    harness.driver.end_epoch();
    wait_until("the gap is durable", || harness.driver.seen().contains(&Seen::Acknowledged(2)));
    harness.driver.pass(HOUR);
    wait_until_asked(&harness);
    assert_eq!(watermark(&harness, session).unwrap().time(), before);
    harness.driver.end_gap();
    let last = harness.driver.end_epoch();
    let time = harness.driver.pass(HOUR);
    wait_for_watermark(&harness, session, last, time);
    running.stop();
}

#[test]
fn a_cut_link_delays_it_only() {
    let (harness, running, session, last) = durable();
    for _cut in 0..20 {
        harness.server.cut();
        let time = harness.driver.pass(HOUR);
        wait_for_watermark(&harness, session, last, time);
    }
    let seen = harness.driver.seen();
    assert!(!seen.contains(&Seen::Resumed(session)), "the claim was never lost: {seen:?}");
    assert!(running.counters.report().connections > 1);
}

//! What no file of a volume has: when the service asks for it, and when it tells the driver.

mod support;

use snapless_driver_client::unused_blocks::UnusedBlocks;
use snapless_service::report::Activity;
use snapless_types::{BlockIndex, BlockRange, GapReason};
use support::driver::Seen;
use support::{Harness, wait_until};

fn blocks(start: u64, end: u64) -> BlockRange {
    BlockRange::new(BlockIndex(start), BlockIndex(end))
}

/// What the driver and the file system were asked about it, until the driver knows all.
fn told(harness: &Harness) -> Vec<Seen> {
    let seen = || harness.driver.seen();
    wait_until("the driver knows all", || seen().contains(&Seen::AllUnused));
    seen()
}

fn place(seen: &[Seen], is_it: impl Fn(&Seen) -> bool) -> usize {
    seen.iter().rposition(is_it).unwrap_or_else(|| panic!("not among {seen:?}"))
}

#[test]
fn changes_are_noted_before_the_file_system_is_asked_and_the_driver_is_told_after_t0() {
    let harness = Harness::new();
    harness.driver.set_unused(UnusedBlocks::new([blocks(100, 200), blocks(300, 301)]), u64::MAX);
    let _running = harness.start();
    let seen = told(&harness);
    let started = place(&seen, |it| matches!(it, Seen::Started(_)));
    let noted = place(&seen, |it| *it == Seen::Noted);
    let asked = place(&seen, |it| *it == Seen::Asked);
    let all = place(&seen, |it| *it == Seen::AllUnused);
    assert!(noted < asked && asked < started && started < all, "{seen:?}");
}

#[test]
fn what_the_driver_has_no_room_for_it_is_told_while_the_stream_runs() {
    let harness = Harness::new();
    harness.driver.set_unused(UnusedBlocks::new([blocks(0, 100)]), 50);
    let _running = harness.start();
    let seen = told(&harness);
    let all = place(&seen, |it| *it == Seen::AllUnused);
    let said = seen[..all].iter().filter(|it| matches!(it, Seen::Unused(_)));
    // 128 blocks in words of 64, of which the last request does the rest.
    assert!(said.eq([Seen::Unused(50), Seen::Unused(50)].iter()), "{seen:?}");
}

#[test]
fn a_session_that_continues_is_told_what_is_unused_now() {
    let harness = Harness::new();
    harness.driver.set_unused(UnusedBlocks::new([blocks(0, 9)]), u64::MAX);
    let running = harness.start();
    told(&harness);
    let session = harness.driver.session().unwrap();
    let epoch = harness.driver.epoch();
    harness.driver.write(4096, &[1]);
    harness.driver.end_epoch();
    wait_until("it is durable", || harness.driver.seen().contains(&Seen::Acknowledged(epoch)));
    running.stop();
    harness.driver.restart();
    let _running = harness.start();
    let continued = Seen::Continued(session, GapReason::Restarted);
    wait_until("it continues", || harness.driver.seen().contains(&continued));
    let is_told_again = || {
        let seen = harness.driver.seen();
        place(&seen, |it| *it == continued) < place(&seen, |it| *it == Seen::AllUnused)
    };
    wait_until("the driver is told again", is_told_again);
}

#[test]
fn it_is_not_asked_for_if_the_configuration_says_so() {
    let mut harness = Harness::new();
    harness.used_blocks_only = false;
    harness.driver.set_unused(UnusedBlocks::new([blocks(0, 9)]), u64::MAX);
    let running = harness.start();
    wait_until("it streams", || running.counters.report().activity == Activity::Streaming);
    running.stop();
    assert!(!harness.driver.seen().contains(&Seen::Noted));
}

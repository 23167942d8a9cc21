//! After a gap the server is asked what it has already. Whatever it answers, it gets what it lacks.

mod support;

use std::time::Duration;

use snapless_types::RecordKind;
use support::server::Answers;
use support::{Harness, wait_until};

const BLOCK: u64 = 64 << 10;
const BLOCKS: u64 = 8;
const SECTORS: usize = 128;

/// What arrives of the resync of these blocks, all of sevens, after the service was restarted: its
/// kinds, and how many bytes were not sent.
fn resync(answers: Answers) -> (Vec<RecordKind>, u64) {
    let mut harness = Harness::new();
    if matches!(answers, Answers::Never) {
        harness.answer = Duration::from_millis(50);
    }
    harness.server.behave(|manners| manners.answers = answers);
    let running = harness.start();
    wait_until("a session began", || harness.driver.session().is_some());
    let session = harness.driver.session().unwrap();
    for block in 0..BLOCKS {
        harness.driver.capture(RecordKind::Block, block * BLOCK, &[7; SECTORS]);
    }
    let last = harness.driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    running.stop();

    let running = harness.start();
    wait_until("the session goes on", || running.counters.report().connections == 1);
    for block in 0..BLOCKS {
        harness.driver.capture(RecordKind::Resync, block * BLOCK, &[7; SECTORS]);
    }
    harness.driver.end_gap();
    let last = harness.driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    let report = running.counters.report();
    running.stop();
    let arrived = harness.server.arrived(session);
    let read_again = arrived
        .iter()
        .filter(|it| matches!(it.header.kind(), RecordKind::Resync | RecordKind::Unchanged));
    let kinds = read_again.map(|it| {
        assert_eq!(it.payload.len(), it.header.payload_len());
        assert!(it.payload.iter().all(|byte| *byte == 7));
        it.header.kind()
    });
    (kinds.collect(), report.bytes_unchanged)
}

#[test]
fn what_the_server_has_is_not_sent() {
    let (kinds, unchanged) = resync(Answers::Of(7));
    assert_eq!(kinds, vec![RecordKind::Unchanged; usize::try_from(BLOCKS).unwrap()]);
    assert_eq!(unchanged, BLOCKS * BLOCK);
}

#[test]
fn whatever_else_the_server_answers_it_gets_everything() {
    let late = [Answers::Never, Answers::Nothing];
    for answers in late.into_iter().chain([Answers::Of(8), Answers::Before(7), Answers::TooMany(7)])
    {
        let (kinds, unchanged) = resync(answers);
        assert_eq!(
            kinds,
            vec![RecordKind::Resync; usize::try_from(BLOCKS).unwrap()],
            "{answers:?}"
        );
        assert_eq!(unchanged, 0, "{answers:?}");
    }
}

/// What arrives of the first sync of blocks of which each second one is all of sevens: whether it
/// came as a hash, and how many bytes were not sent.
fn first_sync(answers: Answers) -> (Vec<bool>, u64) {
    let harness = Harness::new();
    harness.server.behave(|manners| manners.answers = answers);
    let running = harness.start();
    wait_until("a session began", || harness.driver.session().is_some());
    let session = harness.driver.session().unwrap();
    for block in 0..BLOCKS {
        let byte = if block.is_multiple_of(2) { 7 } else { 8 };
        harness.driver.capture(RecordKind::Block, block * BLOCK, &[byte; SECTORS]);
    }
    harness.driver.write(0, &[9; SECTORS]);
    let last = harness.driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    let report = running.counters.report();
    running.stop();
    let arrived = harness.server.arrived(session);
    assert!(arrived.iter().any(|it| it.header.kind() == RecordKind::Write));
    let blocks = arrived.iter().filter(|it| it.header.kind() == RecordKind::Block);
    let seeded = blocks.map(|it| {
        let index = it.header.extent_offset() / BLOCK;
        let content = vec![if index.is_multiple_of(2) { 7 } else { 8 }; 64 << 10];
        if it.header.is_seeded() {
            assert_eq!(it.payload, blake3::hash(&content).as_bytes());
        } else {
            assert!(it.payload == content);
        }
        it.header.is_seeded()
    });
    (seeded.collect(), report.bytes_unchanged)
}

#[test]
fn a_first_sync_names_what_the_server_has_from_before_and_sends_the_rest() {
    let (seeded, saved) = first_sync(Answers::Seeded(7));
    assert_eq!(seeded, [true, false].repeat(4));
    assert_eq!(saved, BLOCKS / 2 * (BLOCK - 32));
}

#[test]
fn what_a_server_cannot_find_again_is_sent_over_the_next_link() {
    let (seeded, _) = first_sync(Answers::SeedLost(7));
    assert_eq!(seeded, [false; 8]);
}

#[test]
fn a_server_without_a_seed_is_asked_nothing_about_a_first_sync() {
    for answers in [Answers::Of(7), Answers::Nothing, Answers::Never] {
        assert_eq!(first_sync(answers), (vec![false; 8], 0), "{answers:?}");
    }
}

//! The method as stories: one write at a time through a session, each rule where it bites. What happens under
//! every interleaving is the simulator's business; here a reader sees what each verb answers.

use std::cell::{Cell, RefCell};

use snapless_engine::{
    BlockIndex, BlockRange, BlockState, Capture, Clearing, Config, Extent, Geometry, Host, Issue,
    Mutex, Overflow, Phase, Read, RecordKind, Session, Step, Submission, Tick, Ticket, Urgency,
    Worker,
};

const BLOCK: u64 = 16 << 10;

#[derive(Default)]
struct TestHost {
    now: Cell<u64>,
}

thread_local! {
    /// Nobody may take a lock now.
    static NO_LOCKS: Cell<bool> = const { Cell::new(false) };
}

struct TestMutex<T>(RefCell<T>);

impl<T> Mutex<T> for TestMutex<T> {
    fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        assert!(!NO_LOCKS.get(), "the lock is taken");
        f(&mut self.0.borrow_mut())
    }
}

impl Host for TestHost {
    type Write = &'static str;
    type Mutex<T> = TestMutex<T>;

    fn now(&self) -> Tick {
        Tick(self.now.get())
    }

    fn clock(&self) -> u64 {
        1_000 + self.now.get()
    }

    fn wake(&self, _: Worker) {}
}

type TestSession = Session<TestHost>;

/// A session over four blocks with a queue of eight, not begun.
fn session(change: impl FnOnce(&mut Config)) -> TestSession {
    let mut config = Config::new(8 * BLOCK);
    config.read_bytes = BLOCK;
    change(&mut config);
    Session::new(TestHost::default(), Geometry::new(4 * BLOCK, 512, 14).unwrap(), config).unwrap()
}

/// A session with every block synced and everything drained.
fn synced(change: impl FnOnce(&mut Config)) -> TestSession {
    let session = session(change);
    session.begin();
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        drain(&session);
    }
    drain(&session);
    assert_eq!(session.status().blocks_synced, 4);
    session
}

fn submit(
    session: &TestSession,
    name: &'static str,
    offset: u64,
    len: u64,
) -> Submission<&'static str> {
    session.submit(name, Extent::new(offset, len).unwrap(), Urgency::MayWait)
}

fn clear(
    session: &TestSession,
    clearing: Clearing,
    offset: u64,
    len: u64,
) -> Submission<&'static str> {
    let extent = Extent::new(offset, len).unwrap();
    session.submit_clearing("clearing", clearing, extent, Urgency::MayWait)
}

fn done(session: &TestSession, read: Read, succeeded: bool) {
    let next = session.read_done(read, succeeded);
    assert!(next.is_none(), "{next:?}");
}

fn drain(session: &TestSession) -> Vec<RecordKind> {
    let mut kinds = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        kinds.push(drained.record().kind);
        session.drained(drained);
    }
    kinds
}

fn captured(submission: Submission<&'static str>) -> Capture<&'static str> {
    let Submission::Capture(capture) = submission else { panic!("not captured: {submission:?}") };
    capture
}

fn passed(submission: Submission<&'static str>) -> Issue<&'static str> {
    let Submission::Issue(issue) = submission else { panic!("not let through: {submission:?}") };
    issue
}

fn dispatched(session: &TestSession) -> Submission<&'static str> {
    let Step::Do(submission) = session.dispatch() else { panic!("nothing to dispatch") };
    submission
}

fn read(step: Step<Read>) -> Read {
    let Step::Do(read) = step else { panic!("nothing to read: {step:?}") };
    read
}

fn assert_held(submission: &Submission<&'static str>) {
    assert!(matches!(submission, Submission::Held), "{submission:?}");
}

fn assert_waits<T: std::fmt::Debug>(step: &Step<T>) {
    assert!(matches!(step, Step::Wait(_)), "{step:?}");
}

#[test]
fn a_write_to_a_synced_block_is_captured_on_its_callers_thread() {
    let session = synced(|_| ());
    let capture = captured(submit(&session, "w", 512, 1024));
    assert_eq!((capture.memory().len(), capture.extent().offset()), (1024, 512));
    let issue = session.captured(capture);
    assert_eq!(drain(&session), [RecordKind::Write]);
    session.completed(issue.ticket, true);
    assert_eq!(session.status().writes_flying, 0);
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

/// Reads the first block sector by sector; sectors for which `is_bad` says so cannot be read.
fn read_by_sector(session: &TestSession, is_bad: impl Fn(u64) -> bool) {
    let first = read(session.sweep());
    let memory = first.memory();
    let mut next = session.read_done(first, false);
    let mut sector = 0;
    while let Some(read) = next {
        assert_eq!((read.extent().offset(), read.extent().len()), (sector * 512, 512));
        assert_eq!(read.memory().offset(), memory.offset() + sector * 512);
        assert_eq!(read.memory().len(), 512);
        next = session.read_done(read, !is_bad(sector));
        sector += 1;
    }
    assert_eq!(sector, BLOCK / 512);
}

fn drained_extents(session: &TestSession) -> Vec<(RecordKind, u64, u64)> {
    let mut extents = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let record = drained.record();
        if let Some(extent) = record.extent {
            extents.push((record.kind, extent.offset() / 512, extent.len() / 512));
        }
        session.drained(drained);
    }
    extents
}

#[test]
fn a_bad_sector_leaves_a_hole_of_its_own_size() {
    let session = session(|_| ());
    session.begin();
    read_by_sector(&session, |sector| [0, 5, 6, 31].contains(&sector));
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Synced);
    assert_eq!(session.status().blocks_unreadable, 1);
    assert_eq!(
        drained_extents(&session),
        [
            (RecordKind::Block, 0, 32),
            (RecordKind::Unreadable, 0, 1),
            (RecordKind::Unreadable, 5, 2),
            (RecordKind::Unreadable, 31, 1)
        ]
    );
}

#[test]
fn a_block_without_a_good_sector_is_one_hole_and_a_passing_error_is_none() {
    let session = session(|_| ());
    session.begin();
    read_by_sector(&session, |_| true);
    assert_eq!(drained_extents(&session), [(RecordKind::Unreadable, 0, 32)]);
    let second = read(session.sweep());
    let mut next = session.read_done(second, false);
    while let Some(read) = next {
        next = session.read_done(read, true);
    }
    assert_eq!(drained_extents(&session), [(RecordKind::Block, 32, 32)]);
    assert_eq!(session.status().blocks_unreadable, 1);
}

#[test]
fn more_holes_than_a_block_may_have_end_in_one_that_covers_the_rest() {
    let mut config = Config::new(8 * 2 * BLOCK);
    config.read_bytes = BLOCK;
    let geometry = Geometry::new(2 * BLOCK, 512, 15).unwrap();
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.begin();
    let mut next = session.read_done(read(session.sweep()), false);
    while let Some(read) = next {
        let is_bad = (read.extent().offset() / 512).is_multiple_of(3);
        next = session.read_done(read, !is_bad);
    }
    let holes = drained_extents(&session);
    assert_eq!(holes.len(), 1 + 16);
    assert_eq!(holes[15], (RecordKind::Unreadable, 42, 1));
    assert_eq!(holes[16], (RecordKind::Unreadable, 45, 19));
}

#[test]
fn a_write_that_goes_through_ends_the_reading_sector_by_sector() {
    let session = session(|_| ());
    session.begin();
    let next = session.read_done(read(session.sweep()), false).unwrap();
    let extent = Extent::new(0, 512).unwrap();
    let issue = passed(session.submit("urgent", extent, Urgency::MustNotWait));
    done(&session, next, false);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
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
    let extent = Extent::new(0, 512).unwrap();
    let issue = passed(session.submit("urgent", extent, Urgency::Uncapturable));
    assert_waits(&session.sweep());
    session.completed(issue.ticket, true);
    done(&session, read(session.sweep()), true);
    assert!(session.status().consistent);
}

#[test]
fn resync_converges_under_a_writer_that_rewrites_the_same_block_without_end() {
    let session = synced(|_| ());
    let extent = Extent::new(0, 512).unwrap();
    let issue = passed(session.submit("lost", extent, Urgency::Uncapturable));
    session.completed(issue.ticket, true);
    drain(&session);
    // Two at a time, so that one is always there; the sweep never gets a turn.
    assert_held(&submit(&session, "rewrite", 0, 512));
    let mut rounds_until_consistent = None;
    for round in 0..100 {
        match submit(&session, "rewrite", 0, 512) {
            Submission::Held => {}
            other => panic!("it overtakes the one before: {other:?}"),
        }
        if let Step::Do(read) = session.hold() {
            done(&session, read, true);
        }
        let issue = session.captured(captured(dispatched(&session)));
        session.completed(issue.ticket, true);
        drain(&session);
        if session.status().consistent {
            rounds_until_consistent.get_or_insert(round);
        }
    }
    assert_eq!(rounds_until_consistent, Some(0));
    assert_eq!((session.status().gaps, session.status().writes_uncaptured), (1, 1));
}

#[test]
fn a_write_to_a_block_that_cannot_be_read_for_urgent_writes_waits_no_longer_than_the_limit() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    let urgent = |sector: u64| {
        let extent = Extent::new(sector * 512, 512).unwrap();
        passed(session.submit("urgent", extent, Urgency::Uncapturable))
    };
    // One is always in flight: nobody may read the block.
    let mut flying = urgent(0);
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

#[test]
fn a_full_queue_holds_writes_up_to_the_limit_and_then_lets_all_of_them_through() {
    let limit = 100 * Tick::PER_MS;
    let session = synced(|config| config.hold_limit = limit);
    for offset in [0, BLOCK, 2 * BLOCK, 3 * BLOCK] {
        for _ in 0..2 {
            let issue = session.captured(captured(submit(&session, "fill", offset, BLOCK)));
            session.completed(issue.ticket, true);
        }
    }
    assert_held(&submit(&session, "starves", 0, BLOCK));
    assert_held(&submit(&session, "behind", BLOCK, 512));
    let Step::Wait(Some(Tick(until))) = session.dispatch() else { panic!("no deadline") };
    assert_eq!(until, limit);
    session.host().now.set(limit);
    // HANG: both go, the first one's limit is not followed by a second one's.
    assert_eq!(passed(dispatched(&session)).write, "starves");
    assert_eq!(passed(dispatched(&session)).write, "behind");
    assert_eq!((session.status().phase, session.status().gaps), (Phase::Passing, 1));
    assert_eq!(session.status().blocks_dirty, 2);
    drain(&session);
    assert_eq!(session.status().phase, Phase::Capturing, "the queue has drained");
}

#[test]
fn a_write_that_starves_is_not_overtaken() {
    let session = synced(|config| {
        config.overflow = Overflow::Hold;
        config.write_bytes = config.queue_bytes;
    });
    for len in [4 * BLOCK, BLOCK, 512] {
        let issue = session.captured(captured(submit(&session, "first", 0, len)));
        session.completed(issue.ticket, true);
    }
    assert_held(&submit(&session, "long", 0, 3 * BLOCK));
    assert_waits(&session.dispatch());
    // The queue has room for this one, but then the long one might wait for ever.
    assert_held(&submit(&session, "small", 3 * BLOCK, 512));
    drain(&session);
    assert_eq!(session.captured(captured(dispatched(&session))).write, "long");
}

#[test]
fn a_write_too_long_for_the_queue_goes_once_its_old_content_is_safe() {
    let session = session(|config| {
        config.overflow = Overflow::Hold;
        config.write_bytes = BLOCK;
    });
    session.begin();
    assert_held(&submit(&session, "long", 0, 2 * BLOCK));
    done(&session, read(session.hold()), true);
    done(&session, read(session.hold()), true);
    let issue = passed(dispatched(&session));
    assert_eq!(session.status().blocks_dirty, 2);
    session.completed(issue.ticket, true);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        drain(&session);
    }
    assert!(session.status().base_complete, "T0: the base image has survived it");
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
fn a_gap_ends_when_the_last_memory_comes_back_from_a_read() {
    let session = session(|config| config.read_bytes = 4 * BLOCK);
    session.begin();
    let reading = read(session.sweep());
    assert_eq!(reading.memory().len(), 4 * BLOCK);
    // The service comes and goes while the sweep reads: the gap cannot end before the read does.
    session.detach();
    assert!(session.attach());
    assert_eq!(session.status().phase, Phase::Passing);
    done(&session, reading, true);
    assert_eq!(session.status().phase, Phase::Capturing);
}

#[test]
fn a_block_that_holds_no_data_is_recorded_and_never_read() {
    let session = session(|_| ());
    let all = BlockRange::new(BlockIndex(0), BlockIndex(9));
    assert_eq!(session.skip(all), BlockIndex(0), "there is no t0 yet");
    session.begin();
    assert_held(&submit(&session, "w", BLOCK, 512));
    let old = read(session.hold());
    // Block 1 is being read: it stays as it is. Block 9 is past the end.
    assert_eq!(session.skip(all), BlockIndex(9));
    assert_waits(&session.sweep());
    done(&session, old, true);
    let issue = session.captured(captured(dispatched(&session)));
    session.completed(issue.ticket, true);
    let write = captured(submit(&session, "to a skipped block", 2 * BLOCK, 512));
    let issue = session.captured(write);
    session.completed(issue.ticket, true);
    let kinds = drain(&session);
    assert_eq!(
        kinds,
        [
            RecordKind::SessionStart,
            RecordKind::Unallocated,
            RecordKind::Unallocated,
            RecordKind::Block,
            RecordKind::BaseComplete,
            RecordKind::Write,
            RecordKind::Write
        ]
    );
    assert_eq!(session.status().blocks_unallocated, 3);
}

#[test]
fn skipping_goes_on_where_the_queue_had_no_room() {
    let session = session(|config| config.writes_max = 1);
    session.begin();
    // 33 descriptors: SessionStart has one, one is kept for a gap.
    let mut marks = 0;
    while let Submission::Issue(issue) = clear(&session, Clearing::Trim, 0, 512) {
        assert_eq!(issue.record, None);
        session.completed(issue.ticket, true);
        marks += 1;
    }
    assert_eq!(marks, 0, "the block is not synced: the trim is held");
    let block = |n| BlockRange::new(BlockIndex(n), BlockIndex(n + 1));
    assert_eq!(session.skip(block(0)), BlockIndex(1));
    let issue = passed(dispatched(&session));
    assert!(issue.record.is_some());
    session.completed(issue.ticket, true);
    while let Submission::Issue(issue) = clear(&session, Clearing::Zero, 0, 512) {
        session.completed(issue.ticket, true);
    }
    assert_eq!(session.skip(block(1)), BlockIndex(1), "no descriptor is left");
    drain(&session);
    assert_eq!(session.skip(block(1)), BlockIndex(2));
}

#[test]
fn a_trim_waits_for_old_content_and_for_writes_it_overlaps_and_needs_no_memory() {
    let session = session(|_| ());
    session.begin();
    assert_held(&clear(&session, Clearing::Trim, 0, 2 * BLOCK));
    assert_held(&submit(&session, "elsewhere", 3 * BLOCK, 512));
    assert_held(&submit(&session, "over the trim", 0, 512));
    // The hold thread reads for writes first, and for the trim last.
    let blocks: Vec<_> = std::iter::from_fn(|| match session.hold() {
        Step::Do(read) => Some(read),
        _ => None,
    })
    .collect();
    let offsets: Vec<_> = blocks.iter().map(|read| read.extent().offset() / BLOCK).collect();
    assert_eq!(offsets, [3, 0, 1]);
    for read in blocks {
        done(&session, read, true);
    }
    drain(&session);
    let trim = passed(dispatched(&session));
    assert_eq!(trim.write, "clearing");
    let elsewhere = session.captured(captured(dispatched(&session)));
    assert_waits(&session.dispatch());
    session.completed(trim.ticket, true);
    session.completed(elsewhere.ticket, true);
    let over = session.captured(captured(dispatched(&session)));
    session.completed(over.ticket, true);
    assert_eq!(drain(&session), [RecordKind::Trim, RecordKind::Write, RecordKind::Write]);
}

#[test]
fn a_failed_zero_write_leaves_its_blocks_dirty() {
    let session = synced(|_| ());
    let Submission::Issue(issue) = clear(&session, Clearing::Zero, 0, 3 * BLOCK) else {
        panic!("it has no payload")
    };
    assert_eq!(issue.record, Some(session.status().last_seq));
    session.completed(issue.ticket, false);
    assert_eq!(session.status().blocks_dirty, 3);
}

#[test]
fn a_paused_sweep_reads_nothing_and_held_writes_still_go() {
    let session = session(|_| ());
    session.begin();
    session.pause();
    assert_waits(&session.sweep());
    assert!(session.status().paused);
    assert_held(&submit(&session, "w", BLOCK, 512));
    done(&session, read(session.hold()), true);
    let issue = session.captured(captured(dispatched(&session)));
    session.completed(issue.ticket, true);
    assert_waits(&session.sweep());
    session.resume();
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
fn a_capped_sweep_waits_between_reads_and_held_writes_do_not() {
    let session = session(|config| config.sweep_bytes_per_second = BLOCK);
    let second = 1_000 * Tick::PER_MS;
    session.begin();
    done(&session, read(session.sweep()), true);
    let Step::Wait(Some(Tick(until))) = session.sweep() else { panic!("it does not wait") };
    assert_eq!(until, second);
    assert_held(&submit(&session, "w", 3 * BLOCK, 512));
    done(&session, read(session.hold()), true);
    session.host().now.set(second);
    done(&session, read(session.sweep()), true);
    assert_eq!(session.status().blocks_synced, 3);
}

#[test]
fn status_and_block_states_are_read_without_the_lock() {
    let session = session(|config| config.writes_max = 7);
    session.begin();
    assert_held(&submit(&session, "w", 0, 512));
    let old = read(session.hold());
    NO_LOCKS.set(true);
    let status = session.status();
    let state = session.block_state(BlockIndex(0));
    NO_LOCKS.set(false);
    assert_eq!(state, BlockState::Reading);
    assert_eq!((status.phase, status.t0), (Phase::Capturing, 1_000));
    assert_eq!((status.blocks_total, status.blocks_unsynced), (4, 4));
    assert_eq!((status.writes_holding, status.queue_used), (1, BLOCK));
    assert!(status.attached && status.consistent && !status.base_complete);
    done(&session, old, true);
    session.host().now.set(70);
    let issue = session.captured(captured(dispatched(&session)));
    session.completed(issue.ticket, true);
    let status = session.status();
    assert_eq!((status.holds.longest_us, status.holds.buckets[2]), (7, 1));
}

#[test]
fn a_volume_that_outgrows_its_session_leaves_a_gap_that_does_not_end() {
    let session = session(|_| ());
    session.begin();
    session.grow(4 * BLOCK);
    assert!(!session.status().outgrown, "it has not grown");
    session.grow(4 * BLOCK + 512);
    let issue = passed(session.submit("w", Extent::new(0, 512).unwrap(), Urgency::Uncapturable));
    session.completed(issue.ticket, true);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        drain(&session);
    }
    let status = session.status();
    assert_eq!((status.blocks_synced, status.outgrown, status.consistent), (4, true, false));
    // Nor does a new service make it good.
    session.detach();
    assert!(session.attach());
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        assert!(!drain(&session).contains(&RecordKind::Consistent));
    }
    assert_eq!(session.status().blocks_synced, 4);
}

#[test]
fn a_volume_that_grows_before_t0_has_no_session() {
    let session = session(|_| ());
    assert_held(&submit(&session, "w", 0, 512));
    session.grow(u64::MAX);
    session.begin();
    let issue = passed(dispatched(&session));
    session.completed(issue.ticket, true);
    assert!(session.is_settled() && session.status().outgrown);
}

#[test]
fn a_volume_that_outgrows_its_session_still_has_its_base_image() {
    let session = session(|_| ());
    session.begin();
    done(&session, read(session.sweep()), true);
    session.grow(u64::MAX);
    while let Step::Do(read) = session.sweep() {
        done(&session, read, true);
        drain(&session);
    }
    assert!(session.status().base_complete && !session.status().consistent);
}

#[test]
fn a_stop_releases_every_held_write() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "w", 0, 512));
    session.stop();
    let issue = passed(dispatched(&session));
    assert!(!session.is_settled());
    session.completed(issue.ticket, true);
    assert!(session.is_settled());
    assert!(matches!(session.dispatch(), Step::Ended));
    assert!(matches!(session.drain(u64::MAX), Step::Ended));
}

#[test]
fn a_drain_thread_can_ask_whether_there_is_a_record() {
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
fn a_held_write_that_is_taken_back_is_never_heard_of_again() {
    let session = session(|_| ());
    session.begin();
    assert_held(&submit(&session, "first", 0, 512));
    assert_held(&submit(&session, "second", 0, 512));
    assert_eq!(session.take_back(|&name| name == "third"), None);
    assert_eq!(session.take_back(|&name| name == "first"), Some("first"));
    assert_eq!(session.take_back(|&name| name == "first"), None, "once");
    done(&session, read(session.hold()), true);
    let second = session.captured(captured(dispatched(&session)));
    assert_eq!(second.write, "second", "nobody waits for the first any more");
    assert_eq!(session.take_back(|_| true), None, "a write in flight is the disk's");
    session.completed(second.ticket, true);
    let kinds = drain(&session);
    assert_eq!(kinds, [RecordKind::SessionStart, RecordKind::Block, RecordKind::Write]);
    let status = session.status();
    assert_eq!((status.writes_held, status.writes_holding, status.writes_flying), (1, 0, 0));
}

#[test]
fn a_gap_ends_when_the_last_held_write_is_taken_back() {
    let session = synced(|_| ());
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_held(&submit(&session, "second", 0, 512));
    session.detach();
    assert!(session.attach());
    assert!(!session.attach(), "there is a service already");
    assert_eq!(session.status().phase, Phase::Passing);
    assert_eq!(session.take_back(|_| true), Some("second"));
    assert_eq!(session.status().phase, Phase::Capturing);
    session.completed(first.ticket, true);
}

#[test]
fn a_session_is_settled_when_neither_a_read_nor_a_write_is_under_way() {
    let session = synced(|_| ());
    assert!(!session.is_settled(), "it is not stopped");
    let uncaptured = |offset| {
        let extent = Extent::new(offset, 512).unwrap();
        passed(session.submit("w", extent, Urgency::Uncapturable))
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
fn a_write_that_finds_no_slot_goes_through_and_is_waited_for() {
    let session = synced(|config| config.writes_max = 1);
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    let second = passed(submit(&session, "second", BLOCK, 512));
    assert_eq!((second.record, session.status().writes_flying), (None, 2));
    assert_eq!(session.status().gaps, 1);
    drain(&session);
    assert_waits(&session.sweep());
    session.completed(second.ticket, true);
    done(&session, read(session.sweep()), true);
    session.completed(first.ticket, true);
    session.stop();
    assert!(session.is_settled());
}

#[test]
fn every_write_is_counted_once_by_what_became_of_it() {
    let session = synced(|_| ());
    let counts = || {
        let status = session.status();
        (status.writes_passed, status.writes_held, status.writes_uncaptured)
    };
    let first = session.captured(captured(submit(&session, "first", 0, 512)));
    assert_eq!(counts(), (1, 0, 0));
    let trim = passed(clear(&session, Clearing::Trim, BLOCK, 512));
    assert_eq!(counts(), (2, 0, 0));
    assert_held(&submit(&session, "second", 0, 512));
    assert_eq!(counts(), (2, 0, 0), "it has not gone yet");
    session.completed(first.ticket, true);
    let second = session.captured(captured(dispatched(&session)));
    assert_eq!(counts(), (2, 1, 0));
    assert_held(&submit(&session, "third", 0, 512));
    session.detach();
    let third = passed(dispatched(&session));
    assert_eq!(counts(), (2, 1, 1), "let through as it was held");
    let fourth = passed(submit(&session, "fourth", 3 * BLOCK, 512));
    assert_eq!(counts(), (2, 1, 2));
    let raw = fourth.ticket.into_raw();
    for ticket in [trim.ticket, second.ticket, third.ticket, Ticket::from_raw(raw)] {
        session.completed(ticket, true);
    }
    assert_eq!(session.status().writes_flying, 0);
}

#[test]
fn a_write_as_long_as_may_be_is_captured_and_a_longer_one_is_not() {
    let session = synced(|config| config.write_bytes = BLOCK);
    let longest = captured(submit(&session, "longest", 0, BLOCK));
    assert_eq!(longest.memory().len(), BLOCK);
    let longest = session.captured(longest);
    let longer = passed(submit(&session, "longer", 2 * BLOCK, BLOCK + 512));
    assert_eq!(longer.record, None);
    session.completed(longest.ticket, true);
    session.completed(longer.ticket, true);
}

#[test]
fn a_write_that_cannot_be_captured_goes_at_once_even_before_t0() {
    let session = session(|_| ());
    let extent = Extent::new(0, 512).unwrap();
    let issue = passed(session.submit("w", extent, Urgency::Uncapturable));
    assert_eq!((issue.record, session.status().writes_holding), (None, 0));
    session.completed(issue.ticket, true);
    assert_eq!(session.block_state(BlockIndex(0)), BlockState::Dirty);
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

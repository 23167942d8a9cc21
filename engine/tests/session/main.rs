//! The method as stories: one write at a time through a session, and what each verb returns. The
//! simulator (`tests/sim`) tries the interleavings.

use std::cell::{Cell, RefCell};

use snapless_engine::{
    BlockState, Capture, Config, Host, ImpossibleEpoch, Issue, Mutex, Part, Phase, Read,
    ReadOutcome, Session, Step, Submission, SweepLimits, Tick, Ticket, Urgency, WORKERS, Worker,
};
use snapless_types::{
    BlockIndex, BlockRange, Clearing, EpochId, Extent, GapReason, Geometry, Made, Overflow,
    RecordKind, Seq,
};

mod clearings;
mod continued;
mod control;
mod cuts;
mod gaps;
mod paging;
mod reads;
mod saved;
mod slept;
mod succession;
mod unused;
mod verify;
mod writes;

const BLOCK: u64 = 16 << 10;
/// When the record was made that a session continues behind.
const MADE: Made = Made { time: 7, monotonic: Tick(8) };

#[derive(Default)]
struct TestHost {
    now: Cell<u64>,
    /// How far the clock goes on whenever it is read.
    passes: Cell<u64>,
    woken: RefCell<Vec<Worker>>,
}

thread_local! {
    /// No lock may be taken now.
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
    type Waiting = std::collections::VecDeque<snapless_engine::Waiter<&'static str>>;
    type Mutex<T> = TestMutex<T>;

    fn now(&self) -> Tick {
        Tick(self.now.replace(self.now.get() + self.passes.get()))
    }

    fn clock(&self) -> u64 {
        1_000 + self.now.get()
    }

    fn wake(&self, worker: Worker) {
        self.woken.borrow_mut().push(worker);
    }
}

type TestSession = Session<TestHost>;

/// A session over four blocks with a queue of eight, half of it the sweep's, not begun. What the
/// sweep reads closes no epoch.
fn session(change: impl FnOnce(&mut Config)) -> TestSession {
    let mut config = Config::new(8 * BLOCK);
    (config.read_bytes, config.epoch_swept_bytes) = (BLOCK, u64::MAX);
    change(&mut config);
    Session::new(TestHost::default(), Geometry::new(4 * BLOCK, 512, 16 << 10).unwrap(), config)
        .unwrap()
}

/// A session with every block synced and everything drained.
fn synced(change: impl FnOnce(&mut Config)) -> TestSession {
    let session = session(change);
    session.begin();
    sweep_all(&session);
    drain(&session);
    assert_eq!(session.status().blocks_synced, 4);
    session
}

/// As [`synced`], and the server has acknowledged it: the sweep has all of its memory.
fn durable(change: impl FnOnce(&mut Config)) -> TestSession {
    let session = synced(|config| {
        config.epoch_bytes = 4 * BLOCK;
        change(config);
    });
    session.acknowledge(EpochId::new(1)).unwrap();
    tidy(&session);
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

fn outcome(succeeded: bool) -> ReadOutcome {
    if succeeded { ReadOutcome::Done } else { ReadOutcome::BadSector }
}

fn done(session: &TestSession, read: Read, succeeded: bool) {
    let next = session.read_done(read, outcome(succeeded));
    assert!(next.is_none(), "{next:?}");
}

fn drain(session: &TestSession) -> Vec<RecordKind> {
    let mut kinds = Vec::new();
    while let Step::Do(drained) = session.drain(u64::MAX) {
        let kind = drained.record().kind;
        assert_eq!(drained.memory().is_some(), kind.has_payload(), "{kind:?}");
        kinds.push(kind);
        session.drained(drained);
    }
    kinds
}

/// A service comes after one whose records are lost.
fn attach(session: &TestSession) {
    let durable = Seq::new(session.status().acknowledged_seq);
    assert_eq!(session.drain_from(durable), Ok(false), "the records are lost");
}

fn captured(submission: Submission<&'static str>) -> Capture<&'static str> {
    let Submission::Capture(capture) = submission else { panic!("not captured: {submission:?}") };
    capture
}

fn issued(submission: Submission<&'static str>) -> Issue<&'static str> {
    let Submission::Issue(issue) = submission else { panic!("not issued: {submission:?}") };
    issue
}

/// Captures, issues and completes a write.
fn complete_captured(session: &TestSession, submission: Submission<&'static str>) {
    let issue = session.captured(captured(submission));
    session.completed(issue.ticket, true);
}

/// Issues and completes a write that is not to be captured.
fn complete_issued(session: &TestSession, submission: Submission<&'static str>) {
    session.completed(issued(submission).ticket, true);
}

/// Reads all that the sweep finds to read, and drains it.
fn sweep_all(session: &TestSession) {
    while let Step::Do(read) = session.sweep() {
        done(session, read, true);
        drain(session);
    }
}

/// Sweeps as long as there is anything to do; returns the kinds of what was drained.
fn sweep_to_the_end(session: &TestSession) -> Vec<RecordKind> {
    let mut kinds = drain(session);
    loop {
        match session.sweep() {
            Step::Do(read) => done(session, read, true),
            Step::Again => {}
            Step::Wait(_) | Step::Ended => return kinds,
        }
        kinds.extend(drain(session));
    }
}

/// Cancels a held write of these bytes.
fn cancel(
    session: &TestSession,
    name: &'static str,
    offset: u64,
    len: u64,
) -> Option<&'static str> {
    session.cancel_held(&(name, Extent::new(offset, len).unwrap()))
}

fn dispatched(session: &TestSession) -> Submission<&'static str> {
    let Step::Do(submission) = session.dispatch() else { panic!("nothing to dispatch") };
    submission
}

/// Lets the dispatch thread do what other verbs left, while no write is held.
fn tidy(session: &TestSession) {
    while let Step::Again = session.dispatch() {}
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

//! A session: writes, hold, sweep, dispatch, drain, loss and return of the service, stop.
//!
//! Each case ends when every write has completed (or, with a drain thread, when it has every
//! write's record): then the session is stopped, which ends the workers. A write that is never
//! released is a deadlock.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use loom::thread;

use snapless_fixed::rundown::Event;
use snapless_tracking::capture_queue::Record;
use snapless_tracking::config::Config;
use snapless_tracking::table::BlockState;
use snapless_types::{BlockIndex, Extent, Geometry, Overflow, RecordKind, Seq, Tick};

use super::{ModelEvent, model};
use crate::host::{Host, Mutex, Step, Worker};
use crate::session::Session;
use crate::session::core::ReadOutcome;
use crate::submission::{Issue, Submission, Urgency};

const BLOCK: u64 = 16 << 10;
const BLOCK_SHIFT: u8 = 14;

struct ModelMutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> for ModelMutex<T> {
    fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

struct ModelHost {
    /// Set when the session is dropped, in a case that drops it.
    dropped: AtomicBool,
    sweep: ModelEvent,
    hold: ModelEvent,
    dispatch: ModelEvent,
    drain: ModelEvent,
}

impl ModelHost {
    fn new() -> Self {
        let event = ModelEvent::new;
        let dropped = AtomicBool::new(false);
        Self { dropped, sweep: event(), hold: event(), dispatch: event(), drain: event() }
    }

    fn event(&self, worker: Worker) -> &ModelEvent {
        match worker {
            Worker::Sweep => &self.sweep,
            Worker::Hold => &self.hold,
            Worker::Dispatch => &self.dispatch,
            Worker::Drain => &self.drain,
        }
    }
}

impl Host for ModelHost {
    type Write = Extent;
    type Waiting = alloc::collections::VecDeque<snapless_tracking::waiting::Waiter<Extent>>;
    type Mutex<T> = ModelMutex<T>;

    fn now(&self) -> Tick {
        Tick(0)
    }

    fn clock(&self) -> u64 {
        0
    }

    fn wake(&self, worker: Worker) {
        self.event(worker).set();
        assert!(!self.dropped.load(Relaxed), "CLEAR: a session that is dropped is not touched");
    }
}

/// A case: the session, and what the model counts outside of it.
///
/// The counters are not loom's, so they add no interleavings; a loom model runs one thread at a
/// time.
struct Case {
    session: Session<ModelHost>,
    /// Writes of this case.
    writes: usize,
    /// A drain thread takes the records; otherwise the thread that completes the last write does.
    has_drainer: bool,
    completed: AtomicUsize,
    /// Extents of the writes in flight.
    in_flight: StdMutex<Vec<Extent>>,
    stream: StdMutex<Vec<Record>>,
}

impl Case {
    /// One block, not begun, a queue of four blocks, `writes` writes to come.
    fn new(writes: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(4 * BLOCK);
        config.writes_max = 4;
        config.epochs = 2;
        change(&mut config);
        let geometry = Geometry::new(BLOCK, 512, 1 << BLOCK_SHIFT).unwrap();
        Self {
            session: Session::new(ModelHost::new(), geometry, config).unwrap(),
            writes,
            has_drainer: false,
            completed: AtomicUsize::new(0),
            in_flight: StdMutex::default(),
            stream: StdMutex::default(),
        }
    }

    fn begun(writes: usize) -> Self {
        let case = Self::new(writes, |_| ());
        case.session.begin();
        case
    }

    /// With its block synced and the stream empty.
    fn synced(writes: usize, change: impl FnOnce(&mut Config)) -> Self {
        let case = Self::new(writes, change);
        case.session.begin();
        let Step::Do(read) = case.session.sweep() else { panic!("nothing to sweep") };
        let more = case.session.read_done(read, ReadOutcome::Done);
        assert!(more.is_none(), "a read that succeeds is done");
        case.take_records();
        case
    }

    fn submit(&self, offset: u64, len: u64) {
        let extent = Extent::new(offset, len).unwrap();
        self.carry_out(self.session.submit(extent, extent, Urgency::MayWait));
    }

    fn carry_out(&self, submission: Submission<Extent>) {
        match submission {
            Submission::Capture(capture) => self.issue(self.session.captured(capture)),
            Submission::Part(part) => self.carry_out(self.session.part_captured(part)),
            Submission::Issue(issue) => self.issue(issue),
            Submission::Held => {}
            Submission::Cancelled(_) => panic!("no write is cancelled"),
        }
    }

    /// The disk does a write; another thread may run before it is done.
    fn issue(&self, issue: Issue<Extent>) {
        let Issue { write, ticket, .. } = issue;
        let overlaps = |other: &Extent| {
            write.offset() < other.offset() + other.len()
                && other.offset() < write.offset() + write.len()
        };
        {
            let mut in_flight = self.in_flight.lock().unwrap();
            let captured = self.session.block_state(BlockIndex(0)) == BlockState::Synced;
            assert!(
                !captured || !in_flight.iter().any(overlaps),
                "ORDER: captured writes that overlap are in flight one at a time"
            );
            in_flight.push(write);
        }
        thread::yield_now();
        self.in_flight.lock().unwrap().retain(|other| *other != write);
        self.session.completed(ticket, true);
        if self.completed.fetch_add(1, Relaxed) + 1 == self.writes && !self.has_drainer {
            // No write is held any more, so that is all that dispatch does.
            while let Step::Again = self.session.dispatch() {}
            self.take_records();
            self.session.stop();
        }
    }

    fn take_records(&self) {
        while let Step::Do(drained) = self.session.drain(u64::MAX) {
            self.stream.lock().unwrap().push(drained.record());
            self.session.drained(drained);
        }
    }

    /// The sweep thread or the hold thread.
    fn read(&self, worker: Worker) {
        loop {
            let step = match worker {
                Worker::Hold => self.session.hold(),
                _ => self.session.sweep(),
            };
            match step {
                Step::Do(read) => {
                    let more = self.session.read_done(read, ReadOutcome::Done);
                    assert!(more.is_none(), "a read that succeeds is done");
                }
                Step::Wait(_) => self.session.host().event(worker).wait(),
                Step::Again => {}
                Step::Ended => return,
            }
        }
    }

    fn dispatch(&self) {
        loop {
            match self.session.dispatch() {
                Step::Do(submission) => self.carry_out(submission),
                Step::Wait(_) => self.session.host().event(Worker::Dispatch).wait(),
                Step::Again => {}
                Step::Ended => return,
            }
        }
    }

    /// The drain thread.
    fn drain(&self) {
        while self.records(RecordKind::Write) < self.writes {
            match self.session.drain(u64::MAX) {
                Step::Do(drained) => {
                    self.stream.lock().unwrap().push(drained.record());
                    self.session.drained(drained);
                }
                Step::Wait(_) => self.session.host().event(Worker::Drain).wait(),
                Step::Again => {}
                Step::Ended => panic!("the drain thread stops the session"),
            }
        }
        self.session.stop();
    }

    /// Asserts what holds once every thread has ended.
    fn check(&self) {
        assert_eq!(self.completed.load(Relaxed), self.writes, "HANG: every write completes");
        assert!(self.session.is_settled(), "nothing is left under way");
        let stream = self.stream.lock().unwrap();
        assert!(
            stream.is_sorted_by(|before, after| before.seq < after.seq),
            "ORDER: records leave in the order of their numbers"
        );
        let base = stream.iter().filter(|record| record.kind == RecordKind::Block).count();
        assert!(base <= 1, "T0: a block's old content is in the stream once");
    }

    fn records(&self, kind: RecordKind) -> usize {
        self.stream.lock().unwrap().iter().filter(|record| record.kind == kind).count()
    }

    fn is_dirty(&self) -> bool {
        self.session.block_state(BlockIndex(0)) == BlockState::Dirty
    }

    /// Asserts LOSS for a case of one write that may have met a gap.
    fn check_loss(&self) {
        assert!(
            // A loss that meets the stop is not gone through to its end.
            self.records(RecordKind::Write) == 1 || self.is_dirty() || self.session.status().losing,
            "LOSS: a write is in the stream or its block is dirty"
        );
    }

    /// Asserts T0 and LOSS for a case without a gap.
    fn check_whole(&self) {
        assert_eq!(self.records(RecordKind::Write), self.writes, "LOSS: every write is recorded");
        assert!(!self.is_dirty(), "nothing was lost");
        let stream = self.stream.lock().unwrap();
        let first = |kind| stream.iter().position(|record| record.kind == kind);
        let (block, write) = (first(RecordKind::Block), first(RecordKind::Write));
        assert!(block.is_some() && block < write, "T0: the old content comes first");
    }
}

/// Plays a case: each of `threads` in its own thread, the last one in the model's main thread.
fn play<const N: usize>(case: Case, threads: [fn(&Case); N]) -> Arc<Case> {
    let case = Arc::new(case);
    let [others @ .., last] = &threads[..] else { panic!("a case has threads") };
    let others: Vec<_> = others
        .iter()
        .map(|&run| {
            let case = case.clone();
            thread::spawn(move || run(&case))
        })
        .collect();
    last(&case);
    for other in others {
        other.join().unwrap();
    }
    case.check();
    case
}

fn hold(case: &Case) {
    case.read(Worker::Hold);
}

fn sweep(case: &Case) {
    case.read(Worker::Sweep);
}

fn lose_and_return(case: &Case) {
    case.session.detach();
    let durable = Seq::new(case.session.status().acknowledged_seq);
    assert_eq!(case.session.drain_from(durable), Ok(false), "the service was lost");
}

/// One service drains what there is and goes, the next one drains the rest. Of a driver, one lock
/// orders drains, the end of a claim and the next one: here, one thread does.
fn one_service_after_another(case: &Case) {
    case.take_records();
    case.session.leave();
    let durable = Seq::new(case.session.status().acknowledged_seq);
    // What is not durable goes with the first service.
    case.stream.lock().unwrap().retain(|record| record.seq <= durable);
    assert_eq!(case.session.drain_from(durable), Ok(true), "all is kept");
    case.drain();
}

#[test]
fn a_held_write_leaves_when_the_hold_thread_has_read_its_block() {
    model(3, || {
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [hold, Case::dispatch, write]).check_whole();
    });
}

#[test]
fn a_write_to_a_block_that_the_sweep_reads_leaves_when_it_is_read() {
    model(3, || {
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [sweep, Case::dispatch, write]).check_whole();
    });
}

#[test]
fn sweep_and_hold_do_not_read_a_block_twice() {
    model(2, || {
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [sweep, hold, Case::dispatch, write]).check_whole();
    });
}

#[test]
fn a_write_that_comes_before_t0_leaves_after_it() {
    model(2, || {
        let write = |case: &Case| case.submit(0, 512);
        let begin = |case: &Case| case.session.begin();
        let case = Case::new(1, |_| ());
        play(case, [hold, Case::dispatch, begin, write]).check_whole();
    });
}

#[test]
fn overlapping_writes_are_issued_one_after_the_other() {
    model(2, || {
        let first = |case: &Case| case.submit(0, 1024);
        let second = |case: &Case| case.submit(512, 1024);
        let case = play(Case::synced(2, |_| ()), [first, Case::dispatch, second]);
        assert_eq!(case.records(RecordKind::Write), 2, "LOSS: both are recorded");
        assert!(!case.is_dirty(), "nothing was lost");
    });
}

#[test]
fn adjacent_writes_do_not_wait_for_each_other() {
    model(3, || {
        let first = |case: &Case| case.submit(0, 512);
        let second = |case: &Case| case.submit(512, 512);
        // There is no dispatch thread: a held write would never leave.
        let case = play(Case::synced(2, |_| ()), [first, second]);
        assert_eq!(case.session.status().writes_captured_inline, 2);
    });
}

#[test]
fn a_write_that_waits_for_queue_space_leaves_when_the_queue_is_drained() {
    model(2, || {
        let write = |case: &Case| case.submit(0, BLOCK);
        let mut case = Case::synced(4, |config| {
            config.queue_bytes = 4 * BLOCK;
            config.write_bytes = BLOCK;
            config.overflow = Overflow::Hold;
        });
        case.has_drainer = true;
        // These fill the queue; those of the threads have to wait for the drain.
        for _ in 0..2 {
            write(&case);
        }
        let two = |case: &Case| {
            case.submit(0, BLOCK);
            case.submit(0, BLOCK);
        };
        let case = play(case, [Case::drain, Case::dispatch, two]);
        let status = case.session.status();
        assert_eq!((status.writes_uncaptured, status.gaps), (0, 0), "LOSS: hold means no gap");
    });
}

#[test]
fn the_drain_thread_gets_every_record() {
    model(3, || {
        let first = |case: &Case| case.submit(0, 512);
        let second = |case: &Case| case.submit(512, 512);
        let mut case = Case::synced(2, |_| ());
        case.has_drainer = true;
        let case = play(case, [Case::drain, first, second]);
        assert_eq!(case.records(RecordKind::Write), 2);
    });
}

#[test]
fn a_write_captured_while_the_service_is_lost_is_recorded_or_dirty() {
    model(3, || {
        let lose = |case: &Case| case.session.detach();
        let write = |case: &Case| case.submit(0, 512);
        play(Case::synced(1, |_| ()), [lose, write]).check_loss();
    });
}

#[test]
fn a_write_that_meets_the_loss_and_the_return_of_the_service_is_recorded_or_dirty() {
    model(1, || {
        let write = |case: &Case| case.submit(0, 512);
        let case = Case::synced(1, |_| ());
        play(case, [hold, Case::dispatch, lose_and_return, write]).check_loss();
    });
}

#[test]
fn a_held_write_leaves_when_the_service_is_lost() {
    model(2, || {
        let lose = |case: &Case| case.session.detach();
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [hold, Case::dispatch, lose, write]).check_loss();
    });
}

#[test]
fn a_write_that_meets_one_service_after_another_is_recorded() {
    model(3, || {
        let write = |case: &Case| case.submit(0, 512);
        let mut case = Case::synced(1, |_| ());
        case.has_drainer = true;
        play(case, [Case::dispatch, one_service_after_another, write]).check_whole();
    });
}

#[test]
fn a_held_write_that_meets_one_service_after_another_is_recorded() {
    model(1, || {
        let write = |case: &Case| case.submit(0, 512);
        let mut case = Case::begun(1);
        case.has_drainer = true;
        play(case, [hold, Case::dispatch, one_service_after_another, write]).check_whole();
    });
}

#[test]
fn a_held_write_leaves_when_the_service_comes_back() {
    model(1, || {
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [hold, Case::dispatch, lose_and_return, write]).check_loss();
    });
}

#[test]
fn a_stop_releases_a_write_that_it_meets() {
    model(3, || {
        let stop = |case: &Case| case.session.stop();
        let write = |case: &Case| case.submit(0, 512);
        play(Case::begun(1), [Case::dispatch, stop, write]);
    });
}

#[test]
fn a_session_is_dropped_when_it_is_settled_whatever_its_callers_still_do() {
    model(2, || {
        let write = |case: &Case| case.submit(0, 512);
        // As a driver does: the session goes once no write has protection on it and its threads
        // have ended.
        let dispatch_and_drop = |case: &Case| {
            case.dispatch();
            assert!(case.session.is_settled(), "the thread that ends was the last one");
            case.session.host().dropped.store(true, Relaxed);
        };
        play(Case::begun(1), [hold, dispatch_and_drop, write]);
    });
}

//! `snapless-bench-operations`: calls the engine's functions, for `cargo xtask instructions`.
//!
//! The task runs this program under callgrind, which counts inside one `measured_` function at a
//! time, and divides by the numbers that this program prints. There is no disk and no payload; the
//! lock is a `RefCell` and the clock a counter, so that only the engine is counted.
//!
//! The load is one writer at queue depth 16: writes of 4 KiB all over a synced volume, without
//! overlap. The deep load is the same among 1,000 writes in flight and 1,000 held ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hint::black_box;

use snapless_engine::{
    Capture, Config, Drained, Event, Host, Issue, Protection, Read, ReadOutcome, Rundown, Session,
    Step, Submission, Tick, Ticket, Urgency, Worker,
};
use snapless_types::{BlockIndex, BlockRange, EpochId, Extent, Geometry, RecordKind};

/// Writes, and acquisitions of protection.
const WRITES: u64 = 10_000;
/// Writes in flight.
const DEPTH: usize = 16;
/// Writes in flight, and as many held ones, under the deep load.
const DEEP: u64 = 1_000;
/// Scans of the whole table.
const SCANS: u64 = 20;
const LENGTH: u64 = 1 << 30;
const WRITE_LEN: u64 = 4096;

struct NoWaiter;

impl Event for NoWaiter {
    fn set(&self) {}

    fn wait_for(&self, _: u64) -> bool {
        false
    }
}

struct Borrow<T>(RefCell<T>);

impl<T> snapless_engine::Mutex<T> for Borrow<T> {
    fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

#[derive(Default)]
struct Counter {
    ticks: Cell<u64>,
    /// The last epoch whose end was drained.
    ended: Cell<u64>,
}

impl Host for Counter {
    type Write = u64;
    type Waiting = VecDeque<snapless_engine::Waiter<u64>>;
    type Mutex<T> = Borrow<T>;

    fn now(&self) -> Tick {
        self.ticks.set(self.ticks.get() + 10);
        Tick(self.ticks.get())
    }

    fn clock(&self) -> u64 {
        self.ticks.get()
    }

    fn wake(&self, _: Worker) {}
}

type Bench = Session<Counter>;

fn main() {
    let (rundown, _owner) = Rundown::new((), (), NoWaiter, 4).expect("a little memory");
    for _ in 0..WRITES {
        let protection = measured_acquire(&rundown);
        measured_release(&rundown, protection);
    }
    let geometry = Geometry::new(LENGTH, 512, 64 << 10).expect("a whole number of blocks");
    let session = Session::new(Counter::default(), geometry, Config::new(64 << 20));
    let session = session.expect("the default limits are valid");
    session.begin();
    let blocks = sync(&session);
    let drained = write(&session);
    let all = BlockRange::new(BlockIndex(0), BlockIndex(8192));
    for _ in 0..SCANS {
        black_box(measured_scan(&session, all));
    }
    deep();
    for (name, count) in [
        ("deep_submit", DEEP),
        ("deep_captured", DEEP),
        ("deep_completed", DEEP),
        ("deep_hold", DEEP),
        ("deep_dispatch", DEEP),
        ("acquire", WRITES),
        ("release", WRITES),
        ("sweep", blocks),
        ("read_done", blocks),
        ("submit", WRITES),
        ("captured", WRITES),
        ("completed", WRITES),
        ("drain", drained),
        ("drained", drained),
        ("scan", SCANS * 8192),
    ] {
        println!("{name} {count}");
    }
}

/// The first sync; returns the number of blocks.
fn sync(session: &Bench) -> u64 {
    let mut reads = VecDeque::new();
    loop {
        while let Step::Do(read) = measured_sweep(session) {
            reads.push_back(read);
        }
        let Some(read) = reads.pop_front() else { break };
        assert!(measured_read_done(session, read).is_none(), "nothing fails here");
        empty(session);
    }
    empty(session);
    let status = session.status();
    assert!(status.base_complete, "{status:?}");
    status.blocks_by_sweep
}

/// The writes; returns the number of records that were drained.
fn write(session: &Bench) -> u64 {
    let (mut in_flight, mut drained) = (VecDeque::new(), 0);
    for index in 0..WRITES {
        let extent = extent(index);
        let Submission::Capture(capture) = measured_submit(session, index, extent) else {
            panic!("ORDER: nothing delays the write to {extent:?}")
        };
        in_flight.push_back(measured_captured(session, capture).ticket);
        if in_flight.len() == DEPTH {
            complete(session, &mut in_flight);
        }
        while let Step::Do(record) = measured_drain(session) {
            note_end(session, &record);
            measured_drained(session, record);
            drained += 1;
        }
        tidy(session);
    }
    while !in_flight.is_empty() {
        complete(session, &mut in_flight);
    }
    assert_eq!(session.status().writes_captured_inline, WRITES);
    drained
}

/// Writes among many in flight, each of which holds another one up.
fn deep() {
    let geometry = Geometry::new(LENGTH, 512, 64 << 10).expect("a whole number of blocks");
    let mut config = Config::new(64 << 20);
    config.writes_max = 1 << 14;
    let session = Session::new(Counter::default(), geometry, config);
    let session = session.expect("the limits are valid");
    session.begin();
    let mut unsynced = BlockRange::new(BlockIndex(0), BlockIndex(geometry.block_count()));
    while !unsynced.is_empty() {
        unsynced.start = session.skip(unsynced);
        empty(&session);
    }
    let mut in_flight = VecDeque::new();
    for index in 0..DEEP {
        in_flight.push_back(captured(session.submit(index, extent(index), Urgency::MayWait)));
        let held = session.submit(index, extent(index), Urgency::MayWait);
        assert!(matches!(held, Submission::Held), "ORDER: it overlaps the one before");
    }
    let mut tickets: VecDeque<_> =
        in_flight.into_iter().map(|capture| session.captured(capture).ticket).collect();
    empty(&session);
    for index in DEEP..2 * DEEP {
        let capture = measured_deep_submit(&session, index, extent(index));
        tickets.push_back(measured_deep_captured(&session, capture));
        assert!(measured_deep_hold(&session, index, extent(index)), "ORDER: it overlaps another");
        measured_deep_completed(&session, tickets.pop_front());
        let issue = session.captured(measured_deep_dispatch(&session));
        session.completed(issue.ticket, true);
        empty(&session);
    }
}

fn captured(submission: Submission<u64>) -> Capture<u64> {
    let Submission::Capture(capture) = submission else {
        panic!("LOSS: the queue has room for every write: {submission:?}")
    };
    capture
}

/// Places all over the volume, each one once.
fn extent(index: u64) -> Extent {
    let places = LENGTH / WRITE_LEN;
    // An odd factor reaches every place before it repeats one.
    let place = index.wrapping_mul(0x9e37_79b1) % places;
    Extent::new(place * WRITE_LEN, WRITE_LEN).expect("inside the volume")
}

fn complete(session: &Bench, in_flight: &mut VecDeque<Ticket>) {
    if let Some(ticket) = in_flight.pop_front() {
        measured_completed(session, ticket);
    }
}

/// Drains outside the count.
fn empty(session: &Bench) {
    while let Step::Do(record) = session.drain(u64::MAX) {
        note_end(session, &record);
        session.drained(record);
    }
    tidy(session);
}

fn note_end(session: &Bench, drained: &Drained) {
    if drained.record().kind == RecordKind::EpochEnd {
        session.host().ended.set(drained.record().epoch.get());
    }
}

/// Acknowledges all that was drained, and clears its bitmap.
fn tidy(session: &Bench) {
    let epoch = EpochId::new(session.host().ended.get());
    if epoch.get() > 0 {
        assert_eq!(session.acknowledge(epoch), Ok(()), "its end was drained");
    }
    while let Step::Again = session.dispatch() {}
}

#[inline(never)]
fn measured_acquire(rundown: &Rundown<(), NoWaiter>) -> Protection {
    rundown.acquire(1).expect("the rundown is not closed")
}

#[inline(never)]
fn measured_release(rundown: &Rundown<(), NoWaiter>, protection: Protection) {
    rundown.release(protection, 2);
}

#[inline(never)]
fn measured_sweep(session: &Bench) -> Step<Read> {
    session.sweep()
}

#[inline(never)]
fn measured_read_done(session: &Bench, read: Read) -> Option<Read> {
    session.read_done(read, ReadOutcome::Done)
}

#[inline(never)]
fn measured_submit(session: &Bench, write: u64, extent: Extent) -> Submission<u64> {
    session.submit(write, extent, Urgency::MayWait)
}

#[inline(never)]
fn measured_captured(session: &Bench, capture: Capture<u64>) -> Issue<u64> {
    session.captured(capture)
}

#[inline(never)]
fn measured_completed(session: &Bench, ticket: Ticket) {
    session.completed(ticket, true);
}

// These differ from those above, so that the compiler does not make one function of two.

#[inline(never)]
fn measured_deep_submit(session: &Bench, write: u64, extent: Extent) -> Capture<u64> {
    captured(session.submit(write, extent, Urgency::MayWait))
}

#[inline(never)]
fn measured_deep_captured(session: &Bench, capture: Capture<u64>) -> Ticket {
    session.captured(capture).ticket
}

#[inline(never)]
fn measured_deep_completed(session: &Bench, ticket: Option<Ticket>) {
    if let Some(ticket) = ticket {
        session.completed(ticket, true);
    }
}

#[inline(never)]
fn measured_deep_hold(session: &Bench, write: u64, extent: Extent) -> bool {
    matches!(session.submit(write, extent, Urgency::MayWait), Submission::Held)
}

#[inline(never)]
fn measured_deep_dispatch(session: &Bench) -> Capture<u64> {
    let Step::Do(ready) = session.dispatch() else {
        panic!("ORDER: nothing delays a write whose predecessor has completed")
    };
    captured(ready)
}

#[inline(never)]
fn measured_drain(session: &Bench) -> Step<Drained> {
    session.drain(u64::MAX)
}

#[inline(never)]
fn measured_drained(session: &Bench, record: Drained) {
    session.drained(record);
}

/// All of these blocks are synced: only the scan is counted.
#[inline(never)]
fn measured_scan(session: &Bench, blocks: BlockRange) -> BlockIndex {
    session.skip(blocks)
}

//! `snapless-bench-operations`: calls the engine's functions, for `cargo xtask instructions`.
//!
//! The task runs this program under callgrind, which counts inside one `measured_` function at a
//! time, and divides by the numbers that this program prints. There is no disk and no payload; the
//! lock is a `RefCell` and the clock a counter, so that only the engine is counted.
//!
//! The load is one writer at queue depth 16: writes of 4 KiB all over a synced volume, without
//! overlap.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hint::black_box;

use snapless_engine::{
    Capture, Config, Drained, Event, Host, Issue, Protection, Read, Rundown, Session, Step,
    Submission, Tick, Ticket, Urgency, Worker,
};
use snapless_types::{BlockIndex, BlockRange, EpochId, Extent, Geometry};

/// Writes, and acquisitions of protection.
const WRITES: u64 = 10_000;
/// Writes in flight.
const DEPTH: usize = 16;
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
struct Counter(Cell<u64>);

impl Host for Counter {
    type Write = u64;
    type Mutex<T> = Borrow<T>;

    fn now(&self) -> Tick {
        self.0.set(self.0.get() + 10);
        Tick(self.0.get())
    }

    fn clock(&self) -> u64 {
        self.0.get()
    }

    fn wake(&self, _: Worker) {}
}

type Bench = Session<Counter>;

fn main() {
    let (rundown, _owner) = Rundown::new((), (), NoWaiter);
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
    for (name, count) in [
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
            measured_drained(session, record);
            drained += 1;
        }
        session.acknowledge(EpochId::new(u64::MAX));
    }
    while !in_flight.is_empty() {
        complete(session, &mut in_flight);
    }
    assert_eq!(session.status().writes_captured_inline, WRITES);
    drained
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
        session.drained(record);
    }
    session.acknowledge(EpochId::new(u64::MAX));
}

#[inline(never)]
fn measured_acquire(rundown: &Rundown<(), NoWaiter>) -> Protection {
    rundown.acquire()
}

#[inline(never)]
fn measured_release(rundown: &Rundown<(), NoWaiter>, protection: Protection) {
    rundown.release(protection);
}

#[inline(never)]
fn measured_sweep(session: &Bench) -> Step<Read> {
    session.sweep()
}

#[inline(never)]
fn measured_read_done(session: &Bench, read: Read) -> Option<Read> {
    session.read_done(read, true)
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

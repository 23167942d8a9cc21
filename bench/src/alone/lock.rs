//! How long the engine's verbs hold the session's lock, on a volume of 64 TiB: what takes longer
//! the larger the volume is would show here.
//!
//! One thread calls the verbs, so that nothing waits for the lock. The longest holds are those in
//! which the system gave the processor to another thread, which a kernel's spin lock does not
//! allow: 99.9 % of the holds tell how long the engine takes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use snapless_engine::{
    Config, Drained, Host, Issue, ReadOutcome, Session, Step, Submission, Tick, Ticket, Urgency,
    Waiter, Worker,
};
use snapless_types::{BlockIndex, BlockRange, EpochId, Extent, Geometry, RecordKind, Seq};

use super::percentile;
use crate::error::{Error, Result};

const LENGTH: u64 = 64 << 40;
const BLOCK: u64 = 64 << 10;
/// Writes beside a slow one.
const WRITES: u64 = 20_000;
const WRITE_LEN: u64 = 4096;
/// Longer than an epoch is open, in ticks.
const EPOCH_AGE: u64 = 2_000 * Tick::PER_MS;

/// The holds of the lock during a part of the run, in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Holds {
    /// What the verbs did.
    pub part: String,
    /// How often the lock was held.
    pub count: usize,
    /// Half of the holds were shorter.
    pub median: u64,
    /// 99.9 % of the holds were shorter.
    pub most: u64,
    /// The longest one.
    pub longest: u64,
}

/// Goes through a session's life on a volume of 64 TiB.
pub fn measure() -> Result<Vec<Holds>> {
    measure_at(LENGTH, WRITES)
}

fn measure_at(length: u64, writes: u64) -> Result<Vec<Holds>> {
    HOLDS.take();
    one_dirty_block(&Life::new(length)?, writes);
    lose_everything(&Life::new(length)?);
    Ok(HOLDS.take().into_iter().map(|(part, holds)| Holds::of(part, holds)).collect())
}

impl Holds {
    fn of(part: &str, mut holds: Vec<u64>) -> Self {
        holds.sort_unstable();
        let [median, most, longest] = [0.5, 0.999, 1.0].map(|share| percentile(&holds, share));
        Self { part: part.to_owned(), count: holds.len(), median, most, longest }
    }
}

/// Everything is captured and acknowledged; then one block turns dirty, under a slow write.
fn one_dirty_block(life: &Life, writes: u64) {
    let session = &life.session;
    life.skip_all();
    life.end_epoch();
    PART.set("acknowledge an epoch with every block");
    life.acknowledge();
    PART.set("");
    session.detach();
    let slow = life.issue(0);
    life.complete(life.issue(1));
    let durable = Seq::new(session.status().acknowledged_seq);
    assert_eq!(session.drain_from(durable), Ok(false), "the service was lost");
    life.settle();
    PART.set("sweep and writes, one block dirty under a slow write");
    for place in 2..2 + writes {
        life.complete(life.issue(place));
        life.sweep();
        life.settle();
    }
    PART.set("");
    let left = session.status().blocks_dirty;
    assert_eq!(left, 1, "the block under the slow write cannot be read");
    life.complete(slow);
}

/// Everything is captured and nothing acknowledged when the service is lost.
fn lose_everything(life: &Life) {
    let session = &life.session;
    life.skip_all();
    PART.set("detach with nothing acknowledged");
    session.detach();
    PART.set("loss of every block");
    while session.status().losing {
        // A chunk at a time.
        let _ = session.dispatch();
    }
    PART.set("");
    let dirty = session.status().blocks_dirty;
    assert_eq!(dirty, session.geometry().block_count(), "LOSS: nothing was acknowledged");
}

/// A session, its clock, and the last epoch whose end was drained.
struct Life {
    session: Session<Alone>,
}

impl Life {
    fn new(length: u64) -> Result<Self> {
        let block = u32::try_from(BLOCK).unwrap_or(0);
        let geometry = Geometry::new(length, 512, block).map_err(Error::Geometry)?;
        let session = Session::new(Alone::default(), geometry, Config::new(64 << 20))?;
        session.begin();
        Ok(Self { session })
    }

    /// A first sync of a volume whose file system uses nothing.
    fn skip_all(&self) {
        let mut left =
            BlockRange::new(BlockIndex(0), BlockIndex(self.session.geometry().block_count()));
        while !left.is_empty() {
            left.start = self.session.skip(left);
            self.drain();
        }
    }

    /// A write of a block of its own; the disk has it now.
    fn issue(&self, place: u64) -> Ticket {
        let blocks = self.session.geometry().block_count();
        // An odd factor reaches every block before it repeats one.
        let block = place.wrapping_mul(0x9e37_79b1) % blocks;
        let extent = Extent::new(block * BLOCK, WRITE_LEN).expect("inside the volume");
        match self.session.submit(place, extent, Urgency::MayWait) {
            Submission::Capture(capture) => self.session.captured(capture).ticket,
            Submission::Issue(Issue { ticket, .. }) => ticket,
            other => panic!("HANG: nothing delays the write to {extent:?}: {other:?}"),
        }
    }

    fn complete(&self, ticket: Ticket) {
        self.session.completed(ticket, true);
    }

    /// Reads what the sweep wants to read.
    fn sweep(&self) {
        loop {
            match self.session.sweep() {
                Step::Do(read) => {
                    let next = self.session.read_done(read, ReadOutcome::Done);
                    assert!(next.is_none(), "nothing fails here");
                }
                Step::Again => {}
                Step::Wait(_) | Step::Ended => break,
            }
        }
    }

    /// Drains everything, acknowledges it and does what the dispatch thread has to do.
    fn settle(&self) {
        self.drain();
        self.acknowledge();
        self.sweep();
    }

    fn drain(&self) {
        while let Step::Do(drained) = self.session.drain(u64::MAX) {
            self.note(&drained);
            self.session.drained(drained);
        }
    }

    fn note(&self, drained: &Drained) {
        if drained.record().kind == RecordKind::EpochEnd {
            self.session.host().ended.set(drained.record().epoch.get());
        }
    }

    /// Closes the open epoch and drains it.
    fn end_epoch(&self) {
        let clock = &self.session.host().ticks;
        clock.set(clock.get() + EPOCH_AGE);
        self.dispatch();
        self.drain();
    }

    fn acknowledge(&self) {
        let epoch = EpochId::new(self.session.host().ended.get());
        if epoch.get() > 0 {
            assert_eq!(self.session.acknowledge(epoch), Ok(()), "its end was drained");
        }
        self.dispatch();
    }

    fn dispatch(&self) {
        while let Step::Again = self.session.dispatch() {}
    }
}

/// The engine's host: a clock that counts, and no threads.
#[derive(Debug, Default)]
struct Alone {
    ticks: Cell<u64>,
    ended: Cell<u64>,
}

impl Host for Alone {
    type Write = u64;
    type Waiting = VecDeque<Waiter<u64>>;
    type Mutex<T> = TimedMutex<T>;

    fn now(&self) -> Tick {
        self.ticks.set(self.ticks.get() + 10);
        Tick(self.ticks.get())
    }

    fn clock(&self) -> u64 {
        self.ticks.get()
    }

    fn wake(&self, _: Worker) {}
}

thread_local! {
    /// What the verbs do now; empty for nothing that is measured.
    static PART: Cell<&'static str> = const { Cell::new("") };
    static HOLDS: RefCell<BTreeMap<&'static str, Vec<u64>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A lock that notes how long it is held.
#[derive(Debug)]
struct TimedMutex<T>(Mutex<T>);

impl<T> snapless_engine::Mutex<T> for TimedMutex<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let began = Instant::now();
        let result = f(&mut value);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let part = PART.get();
        if !part.is_empty() {
            HOLDS.with_borrow_mut(|holds| holds.entry(part).or_default().push(took));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_sessions_life_is_measured() {
        let holds = measure_at(1 << 30, 100).unwrap();
        assert_eq!(holds.len(), 4, "{holds:?}");
        assert!(holds.iter().all(|part| part.count > 0 && part.median <= part.longest));
    }
}

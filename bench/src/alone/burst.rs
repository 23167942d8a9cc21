//! How long writes are held that arrive all at once, compared with reads of as many blocks from the
//! same disk, made at once without the engine. What is above that is the engine and its hand-offs
//! from thread to thread.
//!
//! The disk is a model: it serves some reads at the same time, each of which takes 100 µs, in the
//! order of their arrival. Its completions, the hold thread and the dispatch thread run as in the
//! driver.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use snapless_engine::{
    Config, Host, Read, ReadOutcome, Session, Step, Submission, Tick, Urgency, Waiter, Worker,
};
use snapless_types::{Extent, Geometry, RecordKind};

use super::percentile;
use crate::error::{Error, Result};
use crate::host::{Signal, StdMutex};

/// Writes that arrive at once.
pub const WRITES: usize = 256;
/// How long the disk takes for a read.
pub const SERVICE: Duration = Duration::from_micros(100);

const LENGTH: u64 = 1 << 40;
const BLOCK: u64 = 64 << 10;
/// Blocks from one write to the next: none is read together with its neighbour.
const STRIDE: u64 = 3;
const WRITE_LEN: usize = 4096;
const LIMIT: Duration = Duration::from_secs(10);

/// Medians of a round, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// Of the bare reads, from their arrival at the disk to their end.
    pub read: u64,
    /// Of the writes, from their arrival at the engine to their issue.
    pub hold: u64,
}

/// Measures `rounds` bursts on a disk that serves `depth` reads at a time.
pub fn measure(depth: usize, rounds: u64) -> Result<Vec<Burst>> {
    let block = u32::try_from(BLOCK).unwrap_or(0);
    let geometry = Geometry::new(LENGTH, 512, block).map_err(Error::Geometry)?;
    let session = Session::new(Threads::new(), geometry, Config::new(64 << 20))?;
    session.begin();
    let bench = Bench { session, disk: SlowDisk::new(depth), done: Durations::default() };
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| bench.run_disk()),
            scope.spawn(|| bench.run_hold()),
            scope.spawn(|| bench.run_dispatch()),
        ];
        let bursts = (0..rounds).map(|round| {
            let (mut read, mut hold) = (0, 0);
            // They take turns.
            for is_bare in [round % 2 == 0, round % 2 != 0] {
                if is_bare {
                    read = bench.read_all()?;
                } else {
                    hold = bench.write_all(round)?;
                }
            }
            Ok(Burst { read, hold })
        });
        let bursts = bursts.collect();
        bench.session.stop();
        bench.session.host().wake_both();
        bench.disk.stop();
        for thread in threads {
            thread.join().map_err(|_| Error::Session)?;
        }
        bursts
    })
}

struct Bench {
    session: Session<Threads>,
    disk: SlowDisk<Job>,
    done: Durations,
}

/// A read that the disk makes.
enum Job {
    /// Since when.
    Bare(Instant),
    Engine(Read),
}

impl Bench {
    fn read_all(&self) -> Result<u64> {
        for _ in 0..WRITES {
            self.disk.submit(Job::Bare(Instant::now()));
        }
        self.done.median()
    }

    fn write_all(&self, round: u64) -> Result<u64> {
        for index in 0..WRITES as u64 {
            let block = (round * WRITES as u64 + index) * STRIDE;
            let extent = Extent::new(block * BLOCK, WRITE_LEN as u64).expect("inside the volume");
            let held = self.session.submit(Instant::now(), extent, Urgency::MayWait);
            assert!(matches!(held, Submission::Held), "T0: the block is not synced: {held:?}");
        }
        let median = self.done.median()?;
        self.empty();
        Ok(median)
    }

    fn run_disk(&self) {
        // Else the kernel wakes a sleeper up to 50 µs late.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        while let Some(job) = self.disk.next() {
            match job {
                Job::Bare(since) => self.done.push(since),
                Job::Engine(read) => {
                    let next = self.session.read_done(read, ReadOutcome::Done);
                    assert!(next.is_none(), "nothing fails here");
                }
            }
        }
    }

    fn run_hold(&self) {
        loop {
            match self.session.hold() {
                Step::Do(read) => self.disk.submit(Job::Engine(read)),
                Step::Again => {}
                Step::Wait(until) => self.session.host().wait(Worker::Hold, until),
                Step::Ended => return,
            }
        }
    }

    fn run_dispatch(&self) {
        let payload = [7; WRITE_LEN];
        let mut queue = [0; WRITE_LEN];
        loop {
            match self.session.dispatch() {
                Step::Do(Submission::Capture(capture)) => {
                    std::hint::black_box(&mut queue).copy_from_slice(&payload);
                    let issue = self.session.captured(capture);
                    self.done.push(issue.write);
                    self.session.completed(issue.ticket, true);
                }
                Step::Do(other) => panic!("LOSS: there is room for every write: {other:?}"),
                Step::Again => {}
                Step::Wait(until) => self.session.host().wait(Worker::Dispatch, until),
                Step::Ended => return,
            }
        }
    }

    /// Drains and acknowledges everything.
    fn empty(&self) {
        let mut ended = None;
        while let Step::Do(drained) = self.session.drain(u64::MAX) {
            if drained.record().kind == RecordKind::EpochEnd {
                ended = Some(drained.record().epoch);
            }
            self.session.drained(drained);
        }
        if let Some(epoch) = ended {
            assert_eq!(self.session.acknowledge(epoch), Ok(()), "its end was drained");
        }
    }
}

/// How long each read or write of a burst took, in nanoseconds.
#[derive(Default)]
struct Durations {
    taken: Mutex<Vec<u64>>,
    complete: Signal,
}

impl Durations {
    fn push(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut taken = lock(&self.taken);
        taken.push(took);
        if taken.len() == WRITES {
            snapless_engine::Event::set(&self.complete);
        }
    }

    /// Waits for all of them.
    fn median(&self) -> Result<u64> {
        if !self.complete.wait(LIMIT) {
            return Err(Error::Session);
        }
        let mut taken = std::mem::take(&mut *lock(&self.taken));
        taken.sort_unstable();
        Ok(percentile(&taken, 0.5))
    }
}

/// A disk that serves `depth` requests at a time, each in [`SERVICE`].
struct SlowDisk<T> {
    depth: usize,
    requests: Mutex<Requests<T>>,
    arrived: Condvar,
}

struct Requests<T> {
    waiting: VecDeque<T>,
    /// With the instants of their ends, the first one first.
    under_way: VecDeque<(Instant, T)>,
    stopping: bool,
}

impl<T> SlowDisk<T> {
    fn new(depth: usize) -> Self {
        let (waiting, under_way) = (VecDeque::new(), VecDeque::new());
        let requests = Mutex::new(Requests { waiting, under_way, stopping: false });
        Self { depth, requests, arrived: Condvar::new() }
    }

    fn submit(&self, request: T) {
        let mut requests = lock(&self.requests);
        if requests.under_way.len() < self.depth {
            requests.begin(Instant::now(), request);
            self.arrived.notify_one();
        } else {
            requests.waiting.push_back(request);
        }
    }

    /// Ends the disk once it has nothing to do.
    fn stop(&self) {
        lock(&self.requests).stopping = true;
        self.arrived.notify_one();
    }

    /// The next request that is over; waits until it is.
    fn next(&self) -> Option<T> {
        let mut requests = lock(&self.requests);
        loop {
            let now = Instant::now();
            match requests.under_way.front() {
                None if requests.stopping => return None,
                None => {
                    requests = self.arrived.wait(requests).unwrap_or_else(PoisonError::into_inner);
                }
                Some(&(end, _)) if end > now => {
                    drop(requests);
                    thread::sleep(end - now);
                    requests = lock(&self.requests);
                }
                Some(_) => break,
            }
        }
        let (end, request) = requests.under_way.pop_front()?;
        if let Some(next) = requests.waiting.pop_front() {
            // The disk went on at once, whenever this thread noticed it.
            requests.begin(end, next);
        }
        Some(request)
    }
}

impl<T> Requests<T> {
    fn begin(&mut self, at: Instant, request: T) {
        let end = at + SERVICE;
        let place = self.under_way.partition_point(|(other, _)| *other <= end);
        self.under_way.insert(place, (end, request));
    }
}

/// The engine's host: a thread for each worker.
#[derive(Debug)]
struct Threads {
    began: Instant,
    hold: Signal,
    dispatch: Signal,
}

impl Threads {
    fn new() -> Self {
        Self { began: Instant::now(), hold: Signal::default(), dispatch: Signal::default() }
    }

    fn signal(&self, worker: Worker) -> Option<&Signal> {
        match worker {
            Worker::Hold => Some(&self.hold),
            Worker::Dispatch => Some(&self.dispatch),
            // Nothing is swept; the thread of the bursts drains.
            Worker::Sweep | Worker::Drain => None,
        }
    }

    fn wait(&self, worker: Worker, until: Option<Tick>) {
        let limit =
            until.map_or(LIMIT, |due| Duration::from_nanos((due.since(self.now()) + 1) * 100));
        if let Some(signal) = self.signal(worker) {
            // Woken or due: either way the engine is asked again.
            signal.wait(limit);
        }
    }

    fn wake_both(&self) {
        for worker in [Worker::Hold, Worker::Dispatch] {
            self.wake(worker);
        }
    }
}

impl Host for Threads {
    /// When it arrived.
    type Write = Instant;
    type Waiting = VecDeque<Waiter<Instant>>;
    type Mutex<T> = StdMutex<T>;

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.began.elapsed().as_nanos() / 100).unwrap_or(u64::MAX))
    }

    fn clock(&self) -> u64 {
        self.now().0
    }

    fn wake(&self, worker: Worker) {
        if let Some(signal) = self.signal(worker) {
            snapless_engine::Event::set(signal);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_holds_of_a_burst_take_at_least_the_disks_time() {
        for Burst { read, hold } in measure(32, 2).unwrap() {
            // How many of the others come before it is the scheduler's choice.
            let least = u64::try_from(SERVICE.as_nanos()).unwrap();
            assert!(read >= least && hold >= least, "{read} {hold}");
        }
    }
}

//! What the engine needs from a system, by the standard library: lock, clock, events, and chance.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use snapless_engine::{Event, Host, Tick, Worker};

use crate::round::Write;

/// An event that lets one waiter through per signal, and remembers one signal.
#[derive(Default)]
pub struct StdEvent {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl StdEvent {
    pub fn arc() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// True if the signal came in time.
    pub fn wait_at_most(&self, limit: Duration) -> bool {
        let signalled = self.signalled.lock().unwrap();
        let waited = self.changed.wait_timeout_while(signalled, limit, |signalled| !*signalled);
        let (mut signalled, _) = waited.unwrap();
        core::mem::take(&mut signalled)
    }
}

impl Event for StdEvent {
    fn set(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait_for(&self, ticks: u64) -> bool {
        self.wait_at_most(Duration::from_nanos(ticks * 100))
    }
}

pub struct StdMutex<T>(Mutex<T>);

impl<T> snapless_engine::Mutex<T> for StdMutex<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

pub struct StdHost {
    began: Instant,
    sweep: StdEvent,
    hold: StdEvent,
    dispatch: StdEvent,
    drain: StdEvent,
}

impl StdHost {
    pub fn new() -> Self {
        let event = StdEvent::default;
        let began = Instant::now();
        Self { began, sweep: event(), hold: event(), dispatch: event(), drain: event() }
    }

    pub fn event(&self, worker: Worker) -> &StdEvent {
        match worker {
            Worker::Sweep => &self.sweep,
            Worker::Hold => &self.hold,
            Worker::Dispatch => &self.dispatch,
            Worker::Drain => &self.drain,
        }
    }
}

impl Host for StdHost {
    type Write = Write;
    type Waiting = std::collections::VecDeque<snapless_engine::Waiter<Write>>;
    type Mutex<T> = StdMutex<T>;

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.began.elapsed().as_nanos() / 100).unwrap())
    }

    fn clock(&self) -> u64 {
        self.now().0
    }

    fn wake(&self, worker: Worker) {
        self.event(worker).set();
    }
}

/// Xorshift: numbers that look random.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

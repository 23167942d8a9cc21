//! The engine's host: a lock that finds re-entry, clocks that the scheduler moves, and the wake-ups
//! that it collects, none of them after the lock is released.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use snapless_engine::{Fifo, Host, Mutex, Tick, WORKERS, Waiter, Worker};
use snapless_types::Extent;

use crate::volume::WriteId;

/// Ticks of 100 ns in a microsecond.
pub const US: u64 = 10;
/// Ticks in a millisecond.
pub const MS: u64 = Tick::PER_MS;
/// Where the wall clock starts: not at 0, so that it can be set back.
const WALL_START: u64 = 1_000_000_000;
/// More writes than are outstanding in any run.
const OUTSTANDING_MAX: usize = 256;
/// By how much the wall clock is set to a wrong time, and back: longer than most runs take.
const STEP: u64 = 1_000_000 * MS;

/// By how many [`STEP`]s the wall clock was set forward when it and the other clock showed this.
pub fn steps_of((time, monotonic): (u64, u64)) -> u64 {
    (time - monotonic) / STEP
}

/// The clocks, and the workers that were woken.
#[derive(Debug, Default)]
pub struct Shared {
    now: Cell<u64>,
    /// How long ago the running thread read the clock: it was preempted after that.
    pub lag: Cell<u64>,
    /// How far the wall clock is behind simulated time, by less than the server takes for a
    /// step.
    pub behind: Cell<u64>,
    /// By how many [`STEP`]s it was set forward.
    pub steps: Cell<u64>,
    /// The write that is submitted now is cancelled by the time that it would be held.
    pub cancels: Cell<bool>,
    /// The writes that wait for a slot.
    waiting: RefCell<VecDeque<Waiter<WriteId>>>,
    woken: Cell<u8>,
}

/// The host. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct SimHost(pub Rc<Shared>);

impl SimHost {
    /// Simulated time in ticks.
    pub fn ticks(&self) -> u64 {
        self.0.now.get()
    }

    /// Lets time pass.
    pub fn advance(&self, ticks: u64) {
        self.0.now.set(self.0.now.get() + ticks);
    }

    /// True if the write waits for a slot.
    pub fn waits(&self, id: WriteId) -> bool {
        self.0.waiting.borrow().iter().any(|waiter| waiter.write == id)
    }

    /// The workers that were woken since the last call.
    pub fn take_woken(&self) -> impl Iterator<Item = Worker> + use<> {
        let woken = self.0.woken.take();
        WORKERS.into_iter().filter(move |&worker| woken & worker as u8 != 0)
    }
}

impl Host for SimHost {
    type Write = WriteId;
    type Waiting = WaitingWrites;
    type Mutex<T> = SimMutex<T>;

    fn waiting(&self) -> WaitingWrites {
        self.0.waiting.borrow_mut().reserve(OUTSTANDING_MAX);
        WaitingWrites(self.clone())
    }

    fn now(&self) -> Tick {
        Tick(self.ticks().saturating_sub(self.0.lag.get()))
    }

    fn clock(&self) -> u64 {
        WALL_START + self.ticks() + self.0.steps.get() * STEP - self.0.behind.get()
    }

    fn wake(&self, worker: Worker) {
        // A thread may be preempted after it has released the lock, and the session be gone when it
        // runs again.
        assert!(engine_is_deciding(), "CLEAR: a session is not touched after its lock is released");
        self.0.woken.set(self.0.woken.get() | worker as u8);
    }
}

/// The writes that wait for a slot, with room for all that a run has: a driver allocates nothing
/// here either.
#[derive(Debug, Default)]
pub struct WaitingWrites(SimHost);

impl Fifo<WriteId> for WaitingWrites {
    type Key = (WriteId, Extent);

    fn prepare(&self, _write: &mut WriteId, _extent: &Extent) -> bool {
        !self.0.0.cancels.get()
    }

    fn extent(&self, (_, extent): &Self::Key) -> Extent {
        *extent
    }

    fn is(&self, write: &WriteId, (key, _): &Self::Key) -> bool {
        write == key
    }

    fn push(&mut self, waiter: Waiter<WriteId>) {
        self.0.0.waiting.borrow_mut().push_back(waiter);
    }

    fn pop(&mut self) -> Option<Waiter<WriteId>> {
        self.0.0.waiting.borrow_mut().pop_front()
    }

    fn take(&mut self, key: &Self::Key) -> Option<WriteId> {
        Fifo::take(&mut *self.0.0.waiting.borrow_mut(), key)
    }
}

thread_local! {
    static LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// True while the engine holds its lock on this thread.
pub fn engine_is_deciding() -> bool {
    LOCKED.get()
}

/// Lasts as long as the engine holds its lock, also when an assertion ends that.
struct Deciding;

impl Drop for Deciding {
    fn drop(&mut self) {
        LOCKED.set(false);
    }
}

/// A lock that panics when it is taken twice: on one thread, taking it twice would hang.
#[derive(Debug)]
pub struct SimMutex<T>(RefCell<T>);

impl<T> Mutex<T> for SimMutex<T> {
    fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.0.try_borrow_mut().expect("HANG: the lock is taken twice");
        LOCKED.set(true);
        let _deciding = Deciding;
        f(&mut value)
    }
}

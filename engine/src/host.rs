//! What the engine needs from the system it runs on: a lock, two clocks, and a way to wake its
//! threads.
//!
//! The verbs' return values ask for everything else: reading blocks, copying payloads, issuing and
//! completing writes.

use snapless_tracking::waiting::Fifo;
use snapless_types::Tick;

/// A thread of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Worker {
    /// Runs [`Session::sweep`](crate::Session::sweep).
    Sweep = 1,
    /// Runs [`Session::hold`](crate::Session::hold).
    Hold = 2,
    /// Runs [`Session::dispatch`](crate::Session::dispatch).
    Dispatch = 4,
    /// Runs [`Session::drain`](crate::Session::drain).
    Drain = 8,
}

/// Every worker.
pub const WORKERS: [Worker; 4] = [Worker::Sweep, Worker::Hold, Worker::Dispatch, Worker::Drain];

/// What a worker does next.
#[derive(Debug)]
pub enum Step<T> {
    /// This, now.
    Do(T),
    /// Wait to be woken, or until this instant, and call the verb again.
    Wait(Option<Tick>),
    /// Call the verb again at once: there is more to do than the lock is held for.
    Again,
    /// The session is stopped and nothing is left for this worker.
    Ended,
}

/// Mutual exclusion at the level at which writes arrive (in a Windows kernel: a spin lock).
pub trait Mutex<T> {
    /// Protects `value`.
    fn new(value: T) -> Self;

    /// Calls `f` while no other thread is in `with`.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// The system that the engine runs on.
pub trait Host {
    /// A write that an application waits for: on Windows, the IRP.
    type Write;
    /// Writes that wait for a slot, which the host chains: there may be any number of them.
    type Waiting: Fifo<Self::Write>;
    /// The session's lock.
    type Mutex<T>: Mutex<T>;

    /// An empty chain of waiting writes, for a session.
    fn waiting(&self) -> Self::Waiting {
        Self::Waiting::default()
    }

    /// Monotonic time.
    fn now(&self) -> Tick;

    /// The time that records carry: a clock in ticks that may be set.
    fn clock(&self) -> u64;

    /// Makes the worker call its verb again, now or when it next would wait. Called under the
    /// session's lock; must neither block nor call a verb. Only for a worker whose verb had nothing
    /// to do when it was last called: one that has stopped for another reason goes on by itself.
    fn wake(&self, worker: Worker);
}

/// One call of a verb: its instant, and the workers that it wakes before the lock is released.
#[derive(Debug)]
pub(crate) struct Call {
    /// Monotonic time.
    pub now: Tick,
    /// The time that records carry.
    pub clock: u64,
    woken: u8,
    /// Of these, those that are signalled whether or not they are known to wait.
    all: u8,
}

/// The workers whose last call of their verb had nothing to do: only they are signalled, which
/// costs much under a spin lock. A worker of several threads waits if one of them does; that one
/// wakes the next if it finds something to do.
#[derive(Debug, Default)]
pub(crate) struct Waiting(u8);

impl Waiting {
    /// Notes that a worker has nothing to do.
    pub fn add(&mut self, worker: Worker) {
        self.0 |= worker as u8;
    }
}

impl Call {
    /// A call that wakes no worker yet.
    pub fn new(now: Tick, clock: u64) -> Self {
        Self { now, clock, woken: 0, all: 0 }
    }

    /// The call is about a write that arrived at `since`. Its thread may have read the clocks
    /// before that, and waited for the lock.
    pub fn not_before(&mut self, since: Tick) {
        let late = since.since(self.now);
        self.now = self.now.after(late);
        self.clock = self.clock.saturating_add(late);
    }

    /// Wakes a worker.
    pub fn wake(&mut self, worker: Worker) {
        self.woken |= worker as u8;
    }

    /// Does not wake a worker after all.
    pub fn leave(&mut self, worker: Worker) {
        self.woken &= !(worker as u8);
    }

    /// Wakes every worker, also one that waits for something else than its verb's work.
    pub fn wake_all(&mut self) {
        for worker in WORKERS {
            self.all |= worker as u8;
        }
    }

    /// The workers that are to be signalled; they do not count as waiting any more.
    pub fn signalled(&self, waiting: &mut Waiting) -> impl Iterator<Item = Worker> + use<> {
        let signalled = self.woken & waiting.0 | self.all;
        waiting.0 &= !signalled;
        WORKERS.into_iter().filter(move |&worker| signalled & worker as u8 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_worker_that_waits_is_signalled_once() {
        let mut waiting = Waiting::default();
        let mut call = Call::new(Tick(0), 0);
        for worker in [Worker::Hold, Worker::Drain, Worker::Hold] {
            call.wake(worker);
        }
        assert_eq!(call.signalled(&mut waiting).count(), 0, "none waits");
        for worker in [Worker::Hold, Worker::Drain, Worker::Sweep] {
            waiting.add(worker);
        }
        let signalled: Vec<_> = call.signalled(&mut waiting).collect();
        assert_eq!(signalled, [Worker::Hold, Worker::Drain]);
        assert_eq!(call.signalled(&mut waiting).count(), 0, "they were signalled");
        call.wake(Worker::Sweep);
        call.leave(Worker::Sweep);
        assert_eq!(call.signalled(&mut waiting).count(), 0, "not after all");
        call.wake_all();
        assert_eq!(call.signalled(&mut waiting).collect::<Vec<_>>(), WORKERS);
        call = Call::new(Tick(0), 0);
        call.wake(Worker::Sweep);
        assert_eq!(call.signalled(&mut waiting).count(), 0, "they were all signalled");
    }
}

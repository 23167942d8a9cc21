//! What the engine needs from the system it runs on: a lock, two clocks, and a way to wake its threads.
//!
//! Everything else — reading blocks, copying payloads, issuing and completing writes — the engine asks for
//! by what its verbs return.

/// Monotonic time in 100 ns ticks, from any origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tick(pub u64);

impl Tick {
    /// Ticks in a millisecond.
    pub const PER_MS: u64 = 10_000;

    /// The instant `ticks` later.
    #[must_use]
    pub fn after(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Ticks since `earlier`; 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

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

/// Mutual exclusion at the level the host's writes arrive at (in a Windows kernel: a spin lock).
pub trait Mutex<T> {
    /// Protects `value`.
    fn new(value: T) -> Self;

    /// Calls `f` while nobody else is inside.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// The system that the engine runs on.
pub trait Host {
    /// A write that the application waits for: for Windows, the IRP.
    type Write;
    /// The session's lock.
    type Mutex<T>: Mutex<T>;

    /// Monotonic time.
    fn now(&self) -> Tick;

    /// The time that records carry; in any unit, but the same for all.
    fn clock(&self) -> u64;

    /// Makes the worker call its verb again, now or when it next would wait. Called at the level of the
    /// verb that causes it; must not block.
    fn wake(&self, worker: Worker);
}

/// Workers to wake once the lock is released.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wakes(u8);

impl Wakes {
    pub(crate) fn add(&mut self, worker: Worker) {
        self.0 |= worker as u8;
    }

    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Worker> {
        WORKERS.into_iter().filter(move |&worker| self.0 & worker as u8 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn those_are_woken_that_were_named() {
        let mut wakes = Wakes::default();
        assert!(!wakes.any());
        wakes.add(Worker::Hold);
        wakes.add(Worker::Drain);
        wakes.add(Worker::Hold);
        assert!(wakes.any());
        assert_eq!(wakes.iter().collect::<Vec<_>>(), [Worker::Hold, Worker::Drain]);
    }
}

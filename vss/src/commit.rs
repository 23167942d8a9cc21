//! What the provider does in `CommitSnapshots`: it takes the instant, once.
//!
//! Rule: nothing is taken before the freeze is awaited or after its end was given up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the provider calls.
pub trait OnCommit: Send + Sync {
    /// Takes the instant; false if there is none to be taken.
    fn commit(&self) -> bool;
}

/// An instant that is to be taken.
pub struct Commit<T, E> {
    take: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    state: Mutex<State<T, E>>,
}

enum State<T, E> {
    Closed,
    Open,
    Taken(Result<T, E>),
}

impl<T, E> Commit<T, E> {
    /// Taken by `take`.
    pub fn new(take: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { take: Box::new(take), state: Mutex::new(State::Closed) })
    }

    /// From now on it may be taken.
    pub(crate) fn open(&self) {
        *self.state() = State::Open;
    }

    /// From now on it may not; what was taken.
    pub(crate) fn close(&self) -> Option<Result<T, E>> {
        match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Taken(taken) => Some(taken),
            State::Closed | State::Open => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        // A panic in `take` has left no instant.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send, E: Send> OnCommit for Commit<T, E> {
    fn commit(&self) -> bool {
        let mut state = self.state();
        if !matches!(*state, State::Open) {
            return false;
        }
        let taken = (self.take)();
        let is_taken = taken.is_ok();
        *state = State::Taken(taken);
        is_taken
    }
}

//! The loom models: small concurrent cases in every interleaving, with weak memory.
//!
//! `cargo xtask loom` runs them (`RUSTFLAGS="--cfg loom" cargo test --package snapless-engine --lib
//! models::`). They run the engine itself, on loom's atomics, mutex and condition variable. The
//! rule: a model waits for events only, never for time, and time stands still. So a lost wake-up,
//! also one that a time-out would make good, ends in a deadlock, which loom reports.
//!
//! | module | concurrency |
//! | --- | --- |
//! | `rundown` | writes with protection against replacements of the session: the t0 drain |
//! | `table` | reads without the lock against changes under it |
//! | `session` | writes, hold, sweep, dispatch, drain, loss and return of the service, stop |

mod rundown;
mod session;
mod table;

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};

use snapless_fixed::rundown::Event;

/// Runs a model in every interleaving with at most `preemptions` preemptions of a thread that could
/// continue; `None`: in every interleaving.
fn model(preemptions: impl Into<Option<usize>>, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.max_branches = 20_000;
    builder.check(run);
}

/// An event that lets one waiter through per signal and remembers one signal. It never times out.
#[derive(Debug)]
struct ModelEvent {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl ModelEvent {
    fn new() -> Self {
        Self { signalled: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.changed.wait(signalled).unwrap();
        }
        *signalled = false;
    }
}

impl Event for ModelEvent {
    fn set(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait_for(&self, _: u64) -> bool {
        self.wait();
        true
    }
}

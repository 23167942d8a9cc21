//! The gate: writes entering and leaving against changes of the session.
//!
//! A session is a number. Everything that a write does to it is a relaxed access, so that it is seen only
//! where the gate orders it: a write inside must find its session alive, and a change that has returned
//! must have seen all that the old session's writes did.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{ModelEvent, model};
use crate::gate::{Gate, Turn};

/// Sessions, the first included.
const SESSIONS: usize = 3;
/// What an empty slot says.
const NONE: usize = usize::MAX;

struct Volume {
    gate: Gate<AtomicUsize, ModelEvent>,
    alive: [AtomicBool; SESSIONS],
    writes: [AtomicUsize; SESSIONS],
}

impl Volume {
    fn new() -> (Arc<Self>, Turn) {
        let slots = (AtomicUsize::new(0), AtomicUsize::new(NONE));
        let (gate, turn) = Gate::new(slots.0, slots.1, ModelEvent::new());
        let alive = core::array::from_fn(|session| AtomicBool::new(session == 0));
        let writes = core::array::from_fn(|_| AtomicUsize::new(0));
        (Arc::new(Self { gate, alive, writes }), turn)
    }

    /// A write from beginning to end; returns the session that it belonged to.
    fn write(&self) -> usize {
        let side = self.gate.enter();
        let session = self.gate.slot(side).load(Relaxed);
        assert_ne!(session, NONE, "a write sees what the change put there");
        assert!(self.alive[session].load(Relaxed), "T0: the session lives while a write is inside");
        self.writes[session].fetch_add(1, Relaxed);
        assert!(self.alive[session].load(Relaxed), "T0: the session lives while a write is inside");
        self.gate.leave(side);
        session
    }

    /// Changes from `session - 1` to `session`; returns how many writes the old one had.
    fn change_to(&self, turn: &mut Turn, session: usize) -> usize {
        self.alive[session].store(true, Relaxed);
        let fill = |slot: &AtomicUsize| slot.store(session, Relaxed);
        let clear = |slot: &AtomicUsize| slot.store(NONE, Relaxed);
        self.gate.change(turn, fill, clear, || ());
        let old = session - 1;
        self.alive[old].store(false, Relaxed);
        self.writes[old].load(Relaxed)
    }
}

/// `writers` threads of `each` writes, against `changes` changes.
fn run(writers: usize, each: usize, changes: usize) {
    let (volume, mut turn) = Volume::new();
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let volume = volume.clone();
            thread::spawn(move || {
                let mut newest = 0;
                for _ in 0..each {
                    let session = volume.write();
                    assert!(newest <= session, "a later write does not see an older session");
                    newest = session;
                }
            })
        })
        .collect();
    let seen: Vec<_> = (1..=changes).map(|session| volume.change_to(&mut turn, session)).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for (session, seen) in seen.into_iter().enumerate() {
        let all = volume.writes[session].load(Relaxed);
        assert_eq!(seen, all, "T0: after a change no write of the old session is left");
    }
}

#[test]
fn a_change_waits_for_every_write_that_saw_the_old_session() {
    model(None, || run(1, 1, 1));
    model(3, || run(2, 1, 1));
}

#[test]
fn a_side_that_opens_again_is_not_taken_for_what_it_was() {
    model(3, || run(1, 2, 2));
    model(2, || run(2, 1, 2));
}

//! The rundown: writes that acquire and release protection, each on another processor than the
//! other, against replacements of the session and the rundown's end.
//!
//! A session is a number. Everything that a write does to it is a relaxed access, so that only the
//! rundown orders it: a write with protection must find its session alive, and a replacement that
//! has returned must have seen all that the old session's writes did.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use snapless_fixed::rundown::{Event, Rundown, RundownOwner};

use super::{ModelEvent, model};

/// Sessions, the first included.
const SESSIONS: usize = 3;
/// The number of no session.
const NONE: usize = usize::MAX;

/// The event, which is gone with the rundown.
#[derive(Debug)]
struct Released {
    event: ModelEvent,
    gone: AtomicBool,
}

impl Released {
    fn new() -> Self {
        Self { event: ModelEvent::new(), gone: AtomicBool::new(false) }
    }
}

impl Event for Released {
    fn set(&self) {
        assert!(!self.gone.load(Relaxed), "T0: no write signals after the rundown's end");
        self.event.set();
    }

    fn wait_for(&self, ticks: u64) -> bool {
        self.event.wait_for(ticks)
    }
}

struct Volume {
    rundown: Rundown<AtomicUsize, Released>,
    alive: [AtomicBool; SESSIONS],
    writes: [AtomicUsize; SESSIONS],
}

impl Volume {
    fn new() -> (Arc<Self>, RundownOwner) {
        let sides = (AtomicUsize::new(0), AtomicUsize::new(NONE));
        let rundown = Rundown::new(sides.0, sides.1, Released::new(), 1);
        let (rundown, owner) = rundown.unwrap();
        let alive = core::array::from_fn(|session| AtomicBool::new(session == 0));
        let writes = core::array::from_fn(|_| AtomicUsize::new(0));
        (Arc::new(Self { rundown, alive, writes }), owner)
    }

    /// A write from beginning to end, which completes on the other processor; returns the session
    /// that it belonged to, unless the rundown is closed.
    fn write(&self, processor: usize) -> Option<usize> {
        let protection = self.rundown.acquire(processor)?;
        let session = self.rundown.protected(protection).load(Relaxed);
        assert_ne!(session, NONE, "a write sees what the replacement put there");
        assert!(
            self.alive[session].load(Relaxed),
            "T0: the session lives while a write has protection"
        );
        self.writes[session].fetch_add(1, Relaxed);
        assert!(
            self.alive[session].load(Relaxed),
            "T0: the session lives while a write has protection"
        );
        self.rundown.release(protection, 1 - processor);
        Some(session)
    }

    /// Replaces `session - 1` by `session`; returns how many writes the old one had.
    fn replace_by(&self, owner: &mut RundownOwner, session: usize) -> usize {
        self.alive[session].store(true, Relaxed);
        let fill = |it: &AtomicUsize| it.store(session, Relaxed);
        let clear = |it: &AtomicUsize| it.store(NONE, Relaxed);
        self.rundown.replace(owner, fill, clear, || ());
        let old = session - 1;
        self.alive[old].store(false, Relaxed);
        self.writes[old].load(Relaxed)
    }
}

/// `writers` threads of `each` writes, against `replacements` of the session.
fn run(writers: usize, each: usize, replacements: usize) {
    let (volume, mut owner) = Volume::new();
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let volume = volume.clone();
            thread::spawn(move || {
                let mut newest = 0;
                for _ in 0..each {
                    let session = volume.write(writer % 2).unwrap();
                    assert!(newest <= session, "a later write does not see an older session");
                    newest = session;
                }
            })
        })
        .collect();
    let seen: Vec<_> =
        (1..=replacements).map(|session| volume.replace_by(&mut owner, session)).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for (session, seen) in seen.into_iter().enumerate() {
        let all = volume.writes[session].load(Relaxed);
        assert_eq!(seen, all, "T0: after a replacement no write of the old session is left");
    }
}

#[test]
fn a_replacement_waits_for_every_write_that_saw_the_old_session() {
    model(None, || run(1, 1, 1));
    model(3, || run(2, 1, 1));
}

#[test]
fn a_side_that_is_current_again_does_not_mix_two_sessions() {
    model(3, || run(1, 2, 2));
    model(2, || run(2, 1, 2));
}

#[test]
fn the_end_waits_for_every_write_and_no_write_touches_the_rundown_after_it() {
    model(3, || {
        let (volume, mut owner) = Volume::new();
        let writers: Vec<_> = (0..2)
            .map(|processor| {
                let volume = volume.clone();
                thread::spawn(move || volume.write(processor))
            })
            .collect();
        volume.rundown.close(&mut owner, || ());
        volume.rundown.released().gone.store(true, Relaxed);
        volume.alive[0].store(false, Relaxed);
        let seen = volume.writes[0].load(Relaxed);
        let done = writers.into_iter().filter_map(|writer| writer.join().unwrap()).count();
        assert_eq!(seen, done, "T0: after its end a rundown has no write left");
        assert_eq!(volume.write(0), None);
    });
}

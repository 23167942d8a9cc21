//! Rundown protection of a volume's session, for every write of the volume.
//!
//! A rundown has two sides, of which one is current. A write acquires protection on the current
//! side and releases it when it completes. [`Rundown::replace`] puts the new session into the other
//! side, makes that one current, and waits until every protection of the old side is released. Then
//! no write that saw the old session is left. For a session that begins, that is the t0 drain (rule
//! T0, rules.md#t0); a session that ended may be freed.
//!
//! Without a session a write costs an increment, a load and a branch here, and a decrement when it
//! completes. This is the one algorithm of the write path that takes no lock.
//!
//! # Why it holds
//!
//! [`Rundown::replace`] stores `current`, then reads `holders`; a write increments `holders`, then
//! reads `current`. With plain reads both could come too early. But every access to `holders` is a
//! read-modify-write, that of `replace` too, and those have one order. If the read of `replace`
//! comes before the write's increment, the write's second read of `current` sees the new side, and
//! the write acquires that one. If it comes after, `replace` sees the write and waits, and the
//! write's decrement is followed by a read of `current` that sees the new side and signals.
//! `engine/src/models/rundown.rs` tries every interleaving.

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// What [`Rundown::replace`] waits on until the last protection is released. A signal lets one
/// waiter through; one signal is remembered.
pub trait Event {
    /// Signals. Called at the level at which writes complete; must not block.
    fn set(&self);

    /// Waits for a signal at most `ticks` of 100 ns; true if it came. May return early.
    fn wait_for(&self, ticks: u64) -> bool;
}

/// Protection that a write has acquired, on one of the rundown's two sides.
#[must_use = "protection that is not released keeps its session alive for ever"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection(usize);

impl Protection {
    /// The protection as one bit, to be carried through a completion routine.
    pub fn into_bit(self) -> usize {
        self.0
    }

    /// The protection that [`Protection::into_bit`] gave this bit; other bits of the number are
    /// ignored.
    pub fn from_bit(bit: usize) -> Self {
        Self(bit & 1)
    }

    fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// The right to call [`Rundown::replace`]. A rundown has one; a host keeps it behind a lock that
/// its threads may wait for.
#[derive(Debug)]
pub struct RundownOwner(());

#[derive(Debug)]
struct Side<T> {
    /// Protections that are not released. Accessed by read-modify-write only.
    holders: AtomicU64,
    protected: T,
}

/// A volume's rundown. `T` is what each side protects: a place for a session, or for none.
#[derive(Debug)]
pub struct Rundown<T, E> {
    current: AtomicUsize,
    sides: [Side<T>; 2],
    /// Signalled when the last protection of the side that is not current is released.
    released: E,
}

impl<T, E: Event> Rundown<T, E> {
    /// How often [`Rundown::replace`] calls `meanwhile`, in ticks of 100 ns: every 100 ms.
    const WAIT_TICKS: u64 = 1_000_000;

    /// A rundown that protects `first` now and has `second` as its other side, and the right to
    /// replace.
    pub fn new(first: T, second: T, released: E) -> (Self, RundownOwner) {
        let side = |protected| Side { holders: AtomicU64::new(0), protected };
        let sides = [side(first), side(second)];
        (Self { current: AtomicUsize::new(0), sides, released }, RundownOwner(()))
    }

    /// Acquires protection for a write. Takes no lock; repeats itself only during
    /// [`Rundown::replace`].
    pub fn acquire(&self) -> Protection {
        loop {
            // Acquire, here and below: a side that is seen current is seen with what `replace` put
            // there.
            let side = self.current();
            // Acquire: sees `current` as it was stored before an earlier read of `replace`.
            // Release: see `release`.
            self.side(side).holders.fetch_add(1, Ordering::AcqRel);
            if self.current() == side {
                return side;
            }
            self.release(side);
        }
    }

    /// Releases protection.
    pub fn release(&self, protection: Protection) {
        // Release: all that the write did comes before a read of `replace` that misses it. Acquire:
        // as in `acquire`; without it the signal that `replace` waits for could be left out.
        let before = self.side(protection).holders.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.current() != protection {
            self.released.set();
        }
    }

    /// What this protection protects: it does not change until the protection is released.
    pub fn protected(&self, protection: Protection) -> &T {
        &self.side(protection).protected
    }

    /// Replaces what later writes see by what `fill` puts there, and waits until every protection
    /// that was acquired before is released; `clear` then empties what those saw. While `fill` or
    /// `clear` runs, no write has protection on the side that it is given. Calls `meanwhile` each
    /// time that the wait has taken another 100 ms.
    pub fn replace(
        &self,
        _owner: &mut RundownOwner,
        fill: impl FnOnce(&T),
        clear: impl FnOnce(&T),
        meanwhile: impl FnMut(),
    ) {
        let old = self.current();
        let new = old.other();
        fill(&self.side(new).protected);
        // Release: publishes what `fill` did.
        self.current.store(new.0, Ordering::Release);
        self.wait(old, meanwhile);
        clear(&self.side(old).protected);
    }

    /// Waits until every protection of a side that is not current is released.
    fn wait(&self, old: Protection, mut meanwhile: impl FnMut()) {
        // A read-modify-write that changes nothing: a load could miss an increment that was just
        // made. Release: a later increment sees `current`. Acquire: sees all that the released
        // writes did.
        while self.side(old).holders.fetch_add(0, Ordering::AcqRel) != 0 {
            if !self.released.wait_for(Self::WAIT_TICKS) {
                meanwhile();
            }
        }
    }

    fn current(&self) -> Protection {
        Protection(self.current.load(Ordering::Acquire))
    }

    fn side(&self, side: Protection) -> &Side<T> {
        // One bit: the index is always in bounds.
        &self.sides[side.0 & 1]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Counts signals; waiting runs `waiting`.
    struct TestEvent<F: Fn() -> bool> {
        signals: Cell<u32>,
        waiting: F,
    }

    impl<F: Fn() -> bool> Event for TestEvent<F> {
        fn set(&self) {
            self.signals.set(self.signals.get() + 1);
        }

        fn wait_for(&self, _: u64) -> bool {
            (self.waiting)()
        }
    }

    fn event<F: Fn() -> bool>(waiting: F) -> TestEvent<F> {
        TestEvent { signals: Cell::new(0), waiting }
    }

    #[test]
    fn a_write_sees_the_session_that_was_current_when_it_arrived() {
        let no_wait = event(|| panic!("no write has protection"));
        let (rundown, mut owner) = Rundown::new(Cell::new(0), Cell::new(0), no_wait);
        for session in 1..=3 {
            rundown.replace(&mut owner, |it| it.set(session), |it| it.set(0), || ());
            let protection = rundown.acquire();
            assert_eq!(rundown.protected(protection).get(), session);
            rundown.release(protection);
        }
        let signals = rundown.released.signals.get();
        assert_eq!(signals, 0, "a replacement that does not wait needs no signal");
    }

    #[test]
    fn a_replacement_waits_for_a_write_and_calls_meanwhile() {
        let waits = Cell::new(0);
        let waiting = || {
            waits.set(waits.get() + 1);
            false
        };
        let (rundown, mut owner) = Rundown::new(Cell::new(0), Cell::new(0), event(waiting));
        let protection = rundown.acquire();
        let fill = |it: &Cell<u32>| it.set(7);
        let clear = |it: &Cell<u32>| {
            assert_eq!(waits.get(), 3, "T0: the old side is cleared once the write has left");
            it.set(0);
        };
        rundown.replace(&mut owner, fill, clear, || {
            if waits.get() == 3 {
                rundown.release(protection);
            }
        });
        assert_eq!(waits.get(), 3);
        let signals = rundown.released.signals.get();
        assert_eq!(signals, 1, "the last release of the old side signals");
        let now = rundown.acquire();
        assert_eq!((now, rundown.protected(now).get()), (protection.other(), 7));
        rundown.release(now);
    }

    #[test]
    fn a_protection_survives_the_way_through_a_bit() {
        for bit in 0..4 {
            let protection = Protection::from_bit(bit);
            assert_eq!(protection.into_bit(), bit & 1);
            assert_eq!(Protection::from_bit(protection.into_bit()), protection);
            assert_eq!(protection.other().other(), protection);
        }
    }
}

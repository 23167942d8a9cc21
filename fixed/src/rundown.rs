//! Rundown protection of a volume's session, for every write of the volume.
//!
//! A rundown has two sides, of which one is current. A write acquires protection on the current
//! side and releases it when it completes. [`Rundown::replace`] puts the new session into the other
//! side, makes that one current, and waits until every protection of the old side is released. Then
//! no write that saw the old session is left. For a session that begins, that is the t0 drain (rule
//! T0, rules.md#t0); a session that ended may be freed. [`Rundown::close`] gives no protection any
//! more and waits for the rest; after it the rundown itself may be freed.
//!
//! Each processor has words of its own, so that writes on several processors share no cache line
//! that is written to. This is the one algorithm of the write path that takes no lock.
//!
//! # Why it holds
//!
//! A processor's word for a side has a count and a mark. To acquire adds one to the count, if the
//! word has no mark; to release takes one from it, on any processor's word, so that a count may be
//! negative and only the sum means something. A side that is not current has its mark in every
//! word.
//!
//! [`Rundown::replace`] marks the words of the old side, one after the other, and sums what each
//! had counted when it was marked. An acquisition comes before the mark of its word, and is in the
//! sum, or fails. A release comes before the mark, and is in the sum too, or finds the mark and
//! takes one from `remaining`, which gets the sum once all words are marked. So `remaining` reaches
//! zero once, when the last protection is released. The one that makes it zero ends the wait: the
//! last release by its signal, which `replace` waits for in any case. So a release touches the
//! rundown for the last time before the wait ends.
//!
//! `engine/src/models/rundown.rs` tries every interleaving.

use alloc::boxed::Box;

use crate::memory::boxed_slice;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// What [`Rundown::replace`] waits on until the last protection is released. A signal lets one
/// waiter through; one signal is remembered.
pub trait Event {
    /// Signals. Called at the level at which writes complete; must not block.
    fn set(&self);

    /// Waits for a signal at most `ticks` of 100 ns; true if it came.
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

/// In a word: its side gives no protection, and its count has been taken.
const MARK: u64 = 1;
/// In a word: one protection.
const ONE: u64 = 2;
/// In `remaining`, until the sum is known: more than there are protections.
const UNKNOWN: u64 = 1 << 62;
/// In `current`, beside the side: no protection is given any more.
const CLOSED: usize = 2;

/// One processor's words, one for each side, on a cache line that no other processor's are on.
#[repr(C)]
#[derive(Debug)]
struct Words {
    sides: [AtomicU64; 2],
    /// Two lines, since processors fetch lines in pairs.
    _padding: [u64; 14],
}

impl Words {
    fn new() -> Self {
        Self { sides: [AtomicU64::new(0), AtomicU64::new(MARK)], _padding: [0; 14] }
    }

    fn of(&self, side: Protection) -> &AtomicU64 {
        // One bit: the index is always in bounds.
        &self.sides[side.0 & 1]
    }
}

/// A volume's rundown. `T` is what each side protects: a place for a session, or for none.
#[derive(Debug)]
pub struct Rundown<T, E> {
    current: AtomicUsize,
    protected: [T; 2],
    processors: Box<[Words]>,
    /// Of the processors that came after the rundown was made.
    others: Words,
    /// Protections of the side that is being drained, less those of words that are not marked yet.
    remaining: AtomicU64,
    /// Signalled when `remaining` falls to zero by a release.
    released: E,
}

impl<T, E: Event> Rundown<T, E> {
    /// How often [`Rundown::replace`] calls `meanwhile`, in ticks of 100 ns: every 100 ms.
    const WAIT_TICKS: u64 = 1_000_000;

    /// A rundown that protects `first` now and has `second` as its other side, and the right to
    /// replace; for `processors` processors that are numbered from 0. `None` if there is no memory.
    pub fn new(
        first: T,
        second: T,
        released: E,
        processors: usize,
    ) -> Option<(Self, RundownOwner)> {
        let rundown = Self {
            current: AtomicUsize::new(0),
            protected: [first, second],
            processors: boxed_slice(processors as u64, || Ok(Words::new())).ok()?,
            others: Words::new(),
            remaining: AtomicU64::new(0),
            released,
        };
        Some((rundown, RundownOwner(())))
    }

    /// Acquires protection for a write; `None` once the rundown is closed. `processor` is the one
    /// that this runs on; another one costs time, nothing else. Takes no lock; repeats itself only
    /// during [`Rundown::replace`], or if the processor's word is changed meanwhile.
    pub fn acquire(&self, processor: usize) -> Option<Protection> {
        loop {
            // Acquire, here and below: a word is unmarked before its side becomes current.
            let current = self.current.load(Ordering::Acquire);
            let side = Protection::from_bit(current);
            let word = self.words(processor).of(side);
            // Acquire: after the mark of an old side, `current` is read as the new one.
            let mut count = word.load(Ordering::Acquire);
            while count & MARK == 0 {
                let more = count.wrapping_add(ONE);
                // Acquire: a side is seen with what `replace` put there before it took the mark
                // off.
                match word.compare_exchange(count, more, Ordering::Acquire, Ordering::Acquire) {
                    Err(changed) => count = changed,
                    Ok(_) if self.current.load(Ordering::Acquire) == current => return Some(side),
                    // The side is not current any more, or not yet: a later write on another
                    // processor must not see an older session.
                    Ok(_) => {
                        self.release(side, processor);
                        break;
                    }
                }
            }
            if current & CLOSED != 0 {
                return None;
            }
        }
    }

    /// Releases protection, on any processor.
    #[inline]
    pub fn release(&self, protection: Protection, processor: usize) {
        // Release: all that the write did comes before the mark of `replace`, or before the
        // decrement below. Acquire: with the mark, `remaining` is seen as `replace` set it.
        let before = self.words(processor).of(protection).fetch_sub(ONE, Ordering::AcqRel);
        if before & MARK == 0 {
            return;
        }
        // Acquire and release: the last one passes on what all have done.
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.released.set();
        }
    }

    /// What this protection protects: it does not change until the protection is released.
    pub fn protected(&self, protection: Protection) -> &T {
        // One bit: the index is always in bounds.
        &self.protected[protection.0 & 1]
    }

    /// Replaces what later writes see by what `fill` puts there, and waits until every protection
    /// that was acquired before is released; `clear` then empties what those saw. While `fill` or
    /// `clear` runs, no write has protection on the side that it is given. Calls `meanwhile` each
    /// time that the wait has taken another 100 ms. Does nothing once the rundown is closed.
    pub fn replace(
        &self,
        _owner: &mut RundownOwner,
        fill: impl FnOnce(&T),
        clear: impl FnOnce(&T),
        meanwhile: impl FnMut(),
    ) {
        // Relaxed: only the owner stores it.
        let current = self.current.load(Ordering::Relaxed);
        if current & CLOSED != 0 {
            return;
        }
        let old = Protection::from_bit(current);
        let new = old.other();
        fill(self.protected(new));
        for words in self.all_words() {
            // Release: publishes what `fill` did. No write has protection on this side, so that
            // what is left of its counts means nothing.
            words.of(new).store(0, Ordering::Release);
        }
        // Release: a side that is seen current is seen without its marks.
        self.current.store(new.0, Ordering::Release);
        self.drain(old, meanwhile);
        clear(self.protected(old));
    }

    /// Gives no protection any more, and waits until every protection is released: nothing uses the
    /// rundown after that, but for calls of [`Rundown::acquire`], which fail. Calls `meanwhile` as
    /// [`Rundown::replace`] does.
    pub fn close(&self, _owner: &mut RundownOwner, meanwhile: impl FnMut()) {
        // Relaxed: only the owner stores it.
        let current = self.current.load(Ordering::Relaxed);
        if current & CLOSED == 0 {
            // Release: as in `replace`.
            self.current.store(current | CLOSED, Ordering::Release);
            self.drain(Protection::from_bit(current), meanwhile);
        }
    }

    /// Waits until every protection of a side is released, and gives none of it meanwhile.
    fn drain(&self, old: Protection, mut meanwhile: impl FnMut()) {
        // Relaxed: the marks publish it.
        self.remaining.store(UNKNOWN, Ordering::Relaxed);
        let mut held = 0_u64;
        for words in self.all_words() {
            // Release: a write that finds the mark finds `remaining` and `current` too. Acquire:
            // sees all that released writes did.
            let count = words.of(old).fetch_or(MARK, Ordering::AcqRel);
            // The count may be negative: the sign is kept.
            held = held.wrapping_add((count.cast_signed() >> 1).cast_unsigned());
        }
        // Acquire: as above, of the writes that found the mark.
        let held = held.wrapping_sub(UNKNOWN);
        if self.remaining.fetch_add(held, Ordering::AcqRel).wrapping_add(held) == 0 {
            return;
        }
        while !self.released.wait_for(Self::WAIT_TICKS) {
            meanwhile();
        }
    }

    /// The event, for a model.
    #[cfg(loom)]
    pub fn released(&self) -> &E {
        &self.released
    }

    fn words(&self, processor: usize) -> &Words {
        self.processors.get(processor).unwrap_or(&self.others)
    }

    fn all_words(&self) -> impl Iterator<Item = &Words> {
        self.processors.iter().chain(core::iter::once(&self.others))
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

    fn rundown<F: Fn() -> bool>(waiting: F) -> (Rundown<Cell<u32>, TestEvent<F>>, RundownOwner) {
        Rundown::new(Cell::new(0), Cell::new(0), event(waiting), 3).unwrap()
    }

    #[test]
    fn a_write_sees_the_session_that_was_current_when_it_arrived() {
        let (rundown, mut owner) = rundown(|| panic!("no write has protection"));
        for session in 1..=3 {
            rundown.replace(&mut owner, |it| it.set(session), |it| it.set(0), || ());
            // Released elsewhere than it was acquired, and on a processor that came later.
            for (from, to) in [(0, 0), (0, 2), (2, 0), (1, 64), (64, 1)] {
                let protection = rundown.acquire(from).unwrap();
                assert_eq!(rundown.protected(protection).get(), session);
                rundown.release(protection, to);
            }
        }
        let signals = rundown.released.signals.get();
        assert_eq!(signals, 0, "a replacement that does not wait needs no signal");
    }

    #[test]
    fn a_replacement_waits_for_every_write_and_calls_meanwhile() {
        let waits = Cell::new(0);
        let waiting = || {
            waits.set(waits.get() + 1);
            waits.get() > 3
        };
        let (rundown, mut owner) = rundown(waiting);
        let protections = [0, 1, 2, 64].map(|processor| rundown.acquire(processor).unwrap());
        // One is released before the replacement, elsewhere.
        rundown.release(protections[3], 0);
        let fill = |it: &Cell<u32>| it.set(7);
        let clear = |it: &Cell<u32>| {
            assert_eq!(waits.get(), 4, "T0: the old side is cleared once the writes have left");
            it.set(0);
        };
        rundown.replace(&mut owner, fill, clear, || {
            let signals = rundown.released.signals.get();
            assert_eq!(signals, 0, "T0: a write that is left has protection");
            rundown.release(protections[waits.get() - 1], 1);
        });
        let signals = rundown.released.signals.get();
        assert_eq!(signals, 1, "the last release of the old side signals");
        let now = rundown.acquire(0).unwrap();
        assert_eq!((now, rundown.protected(now).get()), (protections[0].other(), 7));
        rundown.release(now, 0);
    }

    #[test]
    fn a_closed_rundown_gives_no_protection() {
        let waits = Cell::new(0);
        let waiting = || {
            waits.set(waits.get() + 1);
            waits.get() > 1
        };
        let (rundown, mut owner) = rundown(waiting);
        let held = rundown.acquire(2).unwrap();
        rundown.close(&mut owner, || {
            assert_eq!(rundown.acquire(2), None);
            rundown.release(held, 0);
        });
        assert_eq!((rundown.acquire(0), rundown.released.signals.get()), (None, 1));
        rundown.replace(&mut owner, |_| panic!("closed"), |_| panic!("closed"), || ());
        rundown.close(&mut owner, || panic!("closed already"));
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

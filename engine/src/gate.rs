//! The gate that every write of a volume passes: which session it belongs to, and when all writes of
//! the time before have completed.
//!
//! A gate has two sides. Writes enter by the side that is open and leave by the same one when they complete.
//! To change the volume's session, the other side gets the new one, becomes the open side, and the old one is
//! awaited empty. Then no write that saw the old session is left: for a session that begins that is the
//! t0 drain (rule T0); for one that ends, it may be freed.
//!
//! Without a session a write costs an increment, a load and a branch here, and a decrement when it completes.
//! This is the one algorithm of the write path that takes no lock.
//!
//! # Why it holds
//!
//! A change stores `open`, then looks at `inside`; a write counts itself in `inside`, then looks at `open`.
//! Plain looks could both come too early. But every access to a side's `inside` is a read-modify-write, the
//! look of a change too, and those have one order. If the look comes before the write's count, the write's
//! second look at `open` sees the change, and the write goes to the other side. If it comes after, it sees the
//! write, waits, and the write's last step sees the change and signals it. `engine/src/models/gate.rs` tries
//! every interleaving.

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// What a change waits on until the last write has left: lets one waiter through per signal, and remembers
/// one signal that nobody waits for.
pub trait Event {
    /// Signals. At the level at which writes complete; must not block.
    fn set(&self);

    /// Waits for a signal at most `ticks` of 100 ns; true if it came. May return early.
    fn wait_for(&self, ticks: u64) -> bool;
}

/// One of a gate's two sides.
#[must_use = "who enters a gate leaves it by the same side"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Side(usize);

impl Side {
    /// The side as one bit, to be carried through a completion routine.
    pub fn into_bit(self) -> usize {
        self.0
    }

    /// The side that [`Side::into_bit`] gave this bit; any other bit of the number is ignored.
    pub fn from_bit(bit: usize) -> Self {
        Self(bit & 1)
    }

    fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// The right to change a gate. There is one for each gate; a host keeps it behind a lock that its threads may
/// wait for.
#[derive(Debug)]
pub struct Turn(());

#[derive(Debug)]
struct State<T> {
    /// Writes that entered by this side and have not left. Read and written by read-modify-write only.
    inside: AtomicU64,
    slot: T,
}

/// A volume's gate. `T` is what each side holds for those inside: a place for a session, or none.
#[derive(Debug)]
pub struct Gate<T, E> {
    open: AtomicUsize,
    sides: [State<T>; 2],
    /// Signalled when a closed side becomes empty.
    emptied: E,
}

impl<T, E: Event> Gate<T, E> {
    /// How often a change looks after what cannot wait for it, in ticks of 100 ns: 100 ms.
    const PATIENCE: u64 = 1_000_000;

    /// A gate whose sides hold `first`, which is open, and `second`; and the right to change it.
    pub fn new(first: T, second: T, emptied: E) -> (Self, Turn) {
        let state = |slot| State { inside: AtomicU64::new(0), slot };
        let sides = [state(first), state(second)];
        (Self { open: AtomicUsize::new(0), sides, emptied }, Turn(()))
    }

    /// Lets a write in. Takes no lock; repeats itself only when the gate is changed at the same time.
    pub fn enter(&self) -> Side {
        loop {
            // Acquire, here and below: who sees a side open sees what `change` put into its slot.
            let side = self.open();
            // Acquire: sees `open` as it was stored before an earlier look of `change`. Release: see `leave`.
            self.side(side).inside.fetch_add(1, Ordering::AcqRel);
            if self.open() == side {
                return side;
            }
            self.leave(side);
        }
    }

    /// Lets a write out.
    pub fn leave(&self, side: Side) {
        // Release: all that the write did comes before a look of `change` that misses it. Acquire: as in
        // `enter`; without it the signal that `change` waits for could be left out.
        let before = self.side(side).inside.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && self.open() != side {
            self.emptied.set();
        }
    }

    /// What a side holds. The caller is inside that side: until it leaves, that does not change.
    pub fn slot(&self, side: Side) -> &T {
        &self.side(side).slot
    }

    /// Lets writes from now on see what `fill` puts into a slot, and waits until every write that entered
    /// before has left; `clear` then empties the slot that those saw. Nobody else looks at a slot while `fill`
    /// or `clear` has it. Calls `meanwhile` each time that this has taken another 100 ms.
    pub fn change(
        &self,
        _turn: &mut Turn,
        fill: impl FnOnce(&T),
        clear: impl FnOnce(&T),
        mut meanwhile: impl FnMut(),
    ) {
        let old = self.open();
        let new = old.other();
        fill(&self.side(new).slot);
        // Release: publishes the slot.
        self.open.store(new.0, Ordering::Release);
        // A read-modify-write that changes nothing: a load could miss a write that has just counted itself.
        // Release: a write that counts itself later sees `open`. Acquire: sees all that those did who left.
        while self.side(old).inside.fetch_add(0, Ordering::AcqRel) != 0 {
            if !self.emptied.wait_for(Self::PATIENCE) {
                meanwhile();
            }
        }
        clear(&self.side(old).slot);
    }

    fn open(&self) -> Side {
        Side(self.open.load(Ordering::Acquire))
    }

    fn side(&self, side: Side) -> &State<T> {
        // One bit: an index that cannot be wrong.
        &self.sides[side.0 & 1]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Signals are counted; waiting runs what the test wants to happen meanwhile.
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
    fn a_write_sees_the_session_of_the_time_it_entered_at() {
        let (gate, mut turn) =
            Gate::new(Cell::new(0), Cell::new(0), event(|| panic!("nobody is inside")));
        for session in 1..=3 {
            gate.change(&mut turn, |slot| slot.set(session), |slot| slot.set(0), || ());
            let side = gate.enter();
            assert_eq!(gate.slot(side).get(), session);
            gate.leave(side);
        }
        assert_eq!(gate.emptied.signals.get(), 0, "a change that does not wait needs no signal");
    }

    #[test]
    fn a_change_waits_for_the_write_inside_and_says_how_long_it_takes() {
        let waits = Cell::new(0);
        let waiting = || {
            waits.set(waits.get() + 1);
            false
        };
        let (gate, mut turn) = Gate::new(Cell::new(0), Cell::new(0), event(waiting));
        let side = gate.enter();
        let fill = |slot: &Cell<u32>| slot.set(7);
        let clear = |slot: &Cell<u32>| {
            assert_eq!(waits.get(), 3, "T0: the slot is cleared once the write has left");
            slot.set(0);
        };
        gate.change(&mut turn, fill, clear, || {
            if waits.get() == 3 {
                gate.leave(side);
            }
        });
        assert_eq!(waits.get(), 3);
        assert_eq!(gate.emptied.signals.get(), 1, "the last one out of a closed side signals");
        let now = gate.enter();
        assert_eq!((now, gate.slot(now).get()), (side.other(), 7));
        gate.leave(now);
    }

    #[test]
    fn a_side_survives_the_way_through_a_bit() {
        for bit in 0..4 {
            let side = Side::from_bit(bit);
            assert_eq!(side.into_bit(), bit & 1);
            assert_eq!(Side::from_bit(side.into_bit()), side);
            assert_eq!(side.other().other(), side);
        }
    }
}

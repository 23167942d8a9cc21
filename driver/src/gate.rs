//! The gate that every write of a volume passes: which session it belongs to, and when all writes of
//! the time before have completed.
//!
//! A gate has two sides. Writes enter by the side that is open and leave by the same one when they complete.
//! To change the volume's session, the other side gets the new one, becomes the open side, and the old one is
//! awaited empty. Then no write that saw the old session is left: for a session that begins that is the
//! t0 drain (rule T0); for one that ends, it may be freed.
//!
//! Without a session a write costs an increment, a load and a branch here, and a decrement when it completes.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::kernel::event::Event;
use crate::kernel::passive_lock::PassiveLock;

/// One of a gate's two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Side(usize);

impl Side {
    /// The side as one bit, to be carried through a completion routine.
    pub fn into_bit(self) -> usize {
        self.0
    }

    /// The side that [`Side::into_bit`] gave this bit.
    pub fn from_bit(bit: usize) -> Self {
        Self(bit & 1)
    }

    fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}

struct State<S> {
    /// Writes that entered by this side and have not left.
    inside: AtomicU64,
    /// Null: no session.
    session: AtomicPtr<S>,
}

impl<S> State<S> {
    const fn new() -> Self {
        Self { inside: AtomicU64::new(0), session: AtomicPtr::new(null_mut()) }
    }
}

/// A volume's gate. `S` is the session.
pub struct Gate<S> {
    open: AtomicUsize,
    sides: [State<S>; 2],
    /// Signalled when a closed side becomes empty.
    emptied: Event,
    /// Serializes changes.
    changing: PassiveLock<()>,
}

impl<S> Gate<S> {
    /// How often a change looks after what cannot wait for it, in ticks of 100 ns: 100 ms.
    const PATIENCE: u64 = 1_000_000;

    /// A gate to no session; `None` if there is no memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            open: AtomicUsize::new(0),
            sides: [State::new(), State::new()],
            emptied: Event::new(false)?,
            changing: PassiveLock::new(())?,
        })
    }

    /// Lets a write in. IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Side {
        loop {
            // SeqCst throughout: the increment and the second look at `open` must not change places with
            // the store to `open` and the look at `inside` in `change`.
            let side = Side(self.open.load(Ordering::SeqCst) & 1);
            self.side(side).inside.fetch_add(1, Ordering::SeqCst);
            if self.open.load(Ordering::SeqCst) & 1 == side.0 {
                return side;
            }
            self.leave(side);
        }
    }

    /// Lets a write out. IRQL <= DISPATCH_LEVEL.
    pub fn leave(&self, side: Side) {
        let before = self.side(side).inside.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.open.load(Ordering::SeqCst) & 1 != side.0 {
            self.emptied.set();
        }
    }

    /// The session of a side; null for none. It lives as long as the caller is inside that side.
    pub fn session(&self, side: Side) -> *const S {
        // Acquire: pairs with the release in `change`, so the session is seen complete.
        self.side(side).session.load(Ordering::Acquire)
    }

    /// Lets writes from now on see `session` (null for none), and waits until every write that entered before
    /// has left. Calls `meanwhile` every [`Gate::PATIENCE`] that this takes. PASSIVE_LEVEL.
    pub fn change(&self, session: *const S, mut meanwhile: impl FnMut()) {
        self.changing.with(|()| {
            let old = Side(self.open.load(Ordering::SeqCst) & 1);
            let new = old.other();
            self.side(new).session.store(session.cast_mut(), Ordering::Release);
            self.open.store(new.0, Ordering::SeqCst);
            while self.side(old).inside.load(Ordering::SeqCst) != 0 {
                if !self.emptied.wait_for(Self::PATIENCE) {
                    meanwhile();
                }
            }
            self.side(old).session.store(null_mut(), Ordering::Release);
        });
    }

    fn side(&self, side: Side) -> &State<S> {
        let [a, b] = &self.sides;
        if side.0 == 0 { a } else { b }
    }
}

//! The engine's gate, for sessions of the driver: each side holds a pointer to a session.
//!
//! When a side opens, closes and is empty is the engine's to say (`engine/src/rundown.rs`); what is here keeps
//! the pointers, the event and the lock that a Windows kernel has for it.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

pub use snapless_engine::Protection as Side;
use snapless_engine::{Rundown, RundownOwner};

use crate::kernel::event::Event;
use crate::kernel::passive_lock::PassiveLock;

/// A volume's gate. `S` is the session.
pub struct Gate<S> {
    /// A side's pointer is null where there is no session.
    gate: Rundown<AtomicPtr<S>, Event>,
    /// Serializes changes.
    turn: PassiveLock<RundownOwner>,
}

impl<S> Gate<S> {
    /// A gate to no session; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        let none = || AtomicPtr::new(null_mut());
        let (gate, turn) = Rundown::new(none(), none(), Event::new(false)?);
        Some(Self { gate, turn: PassiveLock::new(turn)? })
    }

    /// Lets a write in. IRQL <= DISPATCH_LEVEL.
    pub fn enter(&self) -> Side {
        self.gate.acquire()
    }

    /// Lets a write out. IRQL <= DISPATCH_LEVEL.
    pub fn leave(&self, side: Side) {
        self.gate.release(side);
    }

    /// The session of a side; null for none. It lives as long as the caller is inside that side.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn session(&self, side: Side) -> *const S {
        // Relaxed, here and below: entering comes after the change that put the pointer there, and leaving
        // before the one that takes it away.
        self.gate.protected(side).load(Ordering::Relaxed)
    }

    /// Lets writes from now on see `session` (null for none), and waits until every write that entered before
    /// has left. Calls `meanwhile` each time that this has taken another 100 ms. PASSIVE_LEVEL.
    pub fn change(&self, session: *const S, meanwhile: impl FnMut()) {
        self.turn.with(|turn| {
            let fill = |slot: &AtomicPtr<S>| slot.store(session.cast_mut(), Ordering::Relaxed);
            let clear = |slot: &AtomicPtr<S>| slot.store(null_mut(), Ordering::Relaxed);
            self.gate.replace(turn, fill, clear, meanwhile);
        });
    }
}

impl snapless_engine::Event for Event {
    fn set(&self) {
        Event::set(self);
    }

    fn wait_for(&self, ticks: u64) -> bool {
        Event::wait_for(self, ticks)
    }
}

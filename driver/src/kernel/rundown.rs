//! The engine's rundown protection over a reference to a session: the session stays in memory while
//! a request holds protection on it.
//!
//! The engine decides when a replacement is complete (`fixed/src/rundown.rs`). This module keeps
//! what that needs in a Windows kernel: the references, the event and the lock.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use snapless_engine::{Protection, RundownOwner};

use super::event::Event;
use super::passive_lock::PassiveLock;
use super::processor;
use super::shared::Shared;

/// A volume's rundown protection. `S` is the session.
pub struct Rundown<S> {
    /// A side's pointer carries a reference to its session; null for none.
    sides: snapless_engine::Rundown<AtomicPtr<c_void>, Event>,
    /// Serializes replacements.
    owner: PassiveLock<RundownOwner>,
    sessions: PhantomData<Shared<S>>,
}

/// Proof that a request holds protection, to be released once, when the request ends.
#[must_use = "protection that is not released keeps its session for ever"]
#[derive(Debug)]
pub struct RundownProtection(u8);

impl RundownProtection {
    fn new(protection: Protection) -> Self {
        Self(u8::from(protection.into_bit() != 0))
    }

    fn protection(&self) -> Protection {
        Protection::from_bit(usize::from(self.0))
    }

    /// The protection as one bit, to be carried through a completion routine. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn into_bit(self) -> usize {
        usize::from(self.0)
    }

    /// The protection that [`RundownProtection::into_bit`] gave this bit; other bits are ignored.
    /// IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// Called once for each call of `into_bit`, with its result.
    pub unsafe fn from_bit(bit: usize) -> Self {
        Self(u8::from(bit & 1 != 0))
    }
}

impl<S> Rundown<S> {
    /// Rundown protection without a session yet; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        let none = || AtomicPtr::new(null_mut());
        let released = Event::new(false)?;
        let (sides, owner) =
            snapless_engine::Rundown::new(none(), none(), released, processor::count())?;
        Some(Self { sides, owner: PassiveLock::new(owner)?, sessions: PhantomData })
    }

    /// Acquires protection for a request; `None` once the volume is removed. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn acquire(&self) -> Option<RundownProtection> {
        self.sides.acquire(processor::current()).map(RundownProtection::new)
    }

    /// Releases a request's protection. The caller does not use the volume afterwards: its removal
    /// goes on when the last request has released its protection. IRQL <= DISPATCH_LEVEL.
    pub fn release(&self, protection: RundownProtection) {
        self.sides.release(protection.protection(), processor::current());
    }

    /// Gives no protection any more, and waits until all protection is released: the volume is
    /// being removed. May be called again. PASSIVE_LEVEL.
    pub fn close(&self) {
        self.owner.with(|owner| self.sides.close(owner, || ()));
    }

    /// The session that the protection was acquired on. IRQL <= DISPATCH_LEVEL.
    ///
    /// The caller uses it until it releases the protection, or hands it on with its request.
    pub fn session(&self, protection: &RundownProtection) -> Option<&S> {
        // Relaxed, here and below: `acquire` comes after the `replace` that stored the pointer, and
        // `release` before the one that clears it.
        let session = self.sides.protected(protection.protection()).load(Ordering::Relaxed);
        // SAFETY: null, or a reference that `replace` keeps until this protection is released.
        unsafe { Shared::<S>::value_at(session) }
    }

    /// Sets the session that requests acquire protection on from now on, then waits until all
    /// protection that was acquired before is released. Calls `meanwhile` for every 100 ms that
    /// this takes. PASSIVE_LEVEL.
    pub fn replace(&self, session: Option<Shared<S>>, meanwhile: impl FnMut()) {
        let session = session.map_or(null_mut(), Shared::into_context);
        self.owner.with(|owner| {
            let fill = |slot: &AtomicPtr<c_void>| slot.store(session, Ordering::Relaxed);
            let clear = |slot: &AtomicPtr<c_void>| {
                let old = slot.swap(null_mut(), Ordering::Relaxed);
                // SAFETY: null, or stored by an earlier call; no protection on it is left.
                drop(unsafe { Shared::<S>::from_context(old) });
            };
            self.sides.replace(owner, fill, clear, meanwhile);
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

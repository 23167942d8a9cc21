//! A lock whose holder may wait: PASSIVE_LEVEL only.

use core::cell::UnsafeCell;

use super::event::Event;

/// A `T` that one thread uses at a time; it may wait while it holds the lock.
pub struct PassiveLock<T> {
    /// Signalled while the lock is free.
    free: Event,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one caller at a time.
unsafe impl<T: Send> Send for PassiveLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for PassiveLock<T> {}

impl<T> PassiveLock<T> {
    /// Protects `value`; `None` if there is no memory for the lock. PASSIVE_LEVEL.
    pub fn new(value: T) -> Option<Self> {
        Some(Self { free: Event::new(true)?, value: UnsafeCell::new(value) })
    }

    /// Calls `f` with the value. PASSIVE_LEVEL. `f` must not take this lock.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.free.wait();
        self.use_locked(f)
    }

    /// The same, but `None` if the lock is not free within `ticks` of 100 ns. PASSIVE_LEVEL.
    pub fn with_within<R>(&self, ticks: u64, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.free.wait_for(ticks).then(|| self.use_locked(f))
    }

    fn use_locked<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the event releases one thread until it is set again.
        let result = f(unsafe { &mut *self.value.get() });
        self.free.set();
        result
    }
}

//! A spin lock: acquired at IRQL <= DISPATCH_LEVEL, held at DISPATCH_LEVEL.

use core::cell::UnsafeCell;

use wdk_sys::KSPIN_LOCK;
use wdk_sys::ntddk::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock};

/// A `T` that one processor uses at a time.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one caller at a time.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Protects `value`. Any IRQL.
    pub const fn new(value: T) -> Self {
        // `KeInitializeSpinLock` writes zero (docs: an opaque ULONG_PTR, initialized to 0).
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Calls `f` with the value, at DISPATCH_LEVEL. `f` must not wait, and must not take this lock.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the lock is initialized and nonpaged; callers are at IRQL <= DISPATCH_LEVEL.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: holding the lock makes this the only reference.
        let result = f(unsafe { &mut *self.value.get() });
        // SAFETY: acquired above, with the IRQL it returned.
        unsafe { KeReleaseSpinLock(self.lock.get(), irql) };
        result
    }
}

impl<T> snapless_engine::Mutex<T> for SpinLock<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        Self::with(self, f)
    }
}

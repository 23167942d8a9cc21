//! A value behind a lock that sleeps, with a condition to wait for.
//!
//! The rule: for the rig's own work only. It is built on the process's locks rather than on kernel
//! events, because on Wine every wait for a kernel event costs several calls to another process;
//! the driver under test never sees it.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    ops::{Deref, DerefMut},
    ptr,
};

use crate::win32::{
    RtlAcquireSRWLockExclusive, RtlReleaseSRWLockExclusive, RtlSleepConditionVariableSRW,
    RtlWakeAllConditionVariable, RtlWakeConditionVariable,
};

/// A value that one thread at a time may use for as long as it needs.
pub struct Monitor<T> {
    lock: UnsafeCell<*mut c_void>,
    changed: UnsafeCell<*mut c_void>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and there is one guard at a time; the lock and
// the condition are made for concurrent use.
unsafe impl<T: Send> Sync for Monitor<T> {}
// SAFETY: owning the monitor is owning the value.
unsafe impl<T: Send> Send for Monitor<T> {}

/// The right to use the value, until it is dropped.
pub struct MonitorGuard<'a, T> {
    monitor: &'a Monitor<T>,
}

impl<T> Monitor<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self {
            lock: UnsafeCell::new(ptr::null_mut()),
            changed: UnsafeCell::new(ptr::null_mut()),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MonitorGuard<'_, T> {
        // SAFETY: an all-zero word is a free lock; the monitor does not move while it is borrowed.
        unsafe { RtlAcquireSRWLockExclusive(self.lock.get()) };
        MonitorGuard { monitor: self }
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        // SAFETY: an all-zero word is a condition without waiters.
        unsafe { RtlWakeConditionVariable(self.changed.get()) };
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        // SAFETY: as above.
        unsafe { RtlWakeAllConditionVariable(self.changed.get()) };
    }
}

impl<'a, T> MonitorGuard<'a, T> {
    /// Releases the lock until a notification, and takes it again. May return without a
    /// notification.
    #[must_use]
    pub fn wait(self) -> MonitorGuard<'a, T> {
        let monitor = self.monitor;
        // SAFETY: this thread holds the lock; a null timeout waits for ever.
        let _ = unsafe {
            RtlSleepConditionVariableSRW(monitor.changed.get(), monitor.lock.get(), ptr::null(), 0)
        };
        self
    }
}

impl<T> Deref for MonitorGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, so there is no other reference to the value.
        unsafe { &*self.monitor.value.get() }
    }
}

impl<T> DerefMut for MonitorGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.monitor.value.get() }
    }
}

impl<T> Drop for MonitorGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock.
        unsafe { RtlReleaseSRWLockExclusive(self.monitor.lock.get()) };
    }
}

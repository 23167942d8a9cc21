//! The driver's state between load and unload, for callbacks that get no context.

use alloc::boxed::Box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::pool::try_box;

/// A place for one `T`, empty before load and after unload.
pub struct Global<T>(AtomicPtr<T>);

/// Proof that the driver unloads: every device is gone, and none of their callbacks runs any more.
pub struct Unloading(());

impl Unloading {
    /// PASSIVE_LEVEL.
    ///
    /// # Safety
    /// Called from `EvtDriverUnload`.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

impl<T: Send + Sync> Global<T> {
    /// An empty place. Any IRQL.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Puts the value there, once; gives it back if there is no memory. PASSIVE_LEVEL.
    pub fn set(&self, value: T) -> Result<(), T> {
        let value = Box::into_raw(try_box(value)?);
        // Release: publishes the value.
        let before = self.0.swap(value, Ordering::AcqRel);
        debug_assert!(before.is_null(), "a driver is loaded once");
        Ok(())
    }

    /// The value, if it is there. IRQL <= DISPATCH_LEVEL.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or what `set` stored, which stays until the driver unloads.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Drops the value. PASSIVE_LEVEL.
    pub fn clear(&self, _unloading: &Unloading) {
        let value = self.0.swap(null_mut(), Ordering::AcqRel);
        if !value.is_null() {
            // SAFETY: from `set`, and taken out once; the driver unloads, so that no callback uses
            // it.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

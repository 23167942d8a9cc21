//! Reference-counted values in nonpaged pool.
//!
//! `alloc::sync::Arc` with two differences: an allocation can fail instead of aborting, and a
//! reference can be carried by a `void *` context.

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ffi::c_void;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

struct Inner<T> {
    references: AtomicUsize,
    value: T,
}

/// One of several owners of a `T`. Dropping the last one drops the value, at the IRQL of that drop.
pub struct Shared<T> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: as for `Arc`: several threads get `&T`, and any may drop the value.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves `value` into pool memory; `None`, and the value is dropped, if there is no memory.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn new(value: T) -> Option<Self> {
        // SAFETY: the layout has room for the counter and so is not empty.
        let memory = unsafe { alloc(Layout::new::<Inner<T>>()) };
        let inner = NonNull::new(memory.cast::<Inner<T>>())?;
        // SAFETY: fresh memory of the right size and alignment.
        unsafe { inner.write(Inner { references: AtomicUsize::new(1), value }) };
        Some(Self { inner })
    }

    /// A pointer that carries this reference, until [`Shared::from_context`] takes it back.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn into_context(self) -> *mut c_void {
        let context = self.inner.as_ptr().cast();
        core::mem::forget(self);
        context
    }

    /// Takes back the reference that `context` carries. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Safety
    /// `context` is null or came from [`Shared::into_context`] of the same type, and was not taken
    /// back before.
    pub unsafe fn from_context(context: *mut c_void) -> Option<Self> {
        Some(Self { inner: NonNull::new(context.cast())? })
    }

    /// The value behind the reference that `context` carries, without taking it back. IRQL <=
    /// DISPATCH_LEVEL.
    ///
    /// # Safety
    /// `context` is null or came from [`Shared::into_context`] of the same type, and is not taken
    /// back while the result is used.
    pub unsafe fn value_at<'a>(context: *mut c_void) -> Option<&'a T> {
        // SAFETY: the caller's promise.
        unsafe { context.cast::<Inner<T>>().as_ref() }.map(|inner| &inner.value)
    }

    /// A pointer to the value, which lives as long as some reference does. IRQL <= DISPATCH_LEVEL.
    pub fn as_ptr(&self) -> *const T {
        let value: &T = self;
        value
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: this reference keeps the allocation alive.
        unsafe { self.inner.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // Relaxed: the new reference is made from one that exists.
        self.inner().references.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release and acquire: every use of the value happens before its drop.
        if self.inner().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference.
        unsafe { self.inner.drop_in_place() };
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.inner.as_ptr().cast(), Layout::new::<Inner<T>>()) };
    }
}

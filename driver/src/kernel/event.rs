//! Synchronization events: set at IRQL <= DISPATCH_LEVEL, awaited at PASSIVE_LEVEL.

use core::cell::UnsafeCell;
use core::ptr::null_mut;

use wdk_sys::ntddk::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdk_sys::{
    _EVENT_TYPE::SynchronizationEvent, _KWAIT_REASON::Executive, BOOLEAN, KEVENT, KPRIORITY,
    LARGE_INTEGER, STATUS_SUCCESS,
};

use super::KERNEL_MODE;
use super::shared::Shared;

/// Added to the priority of a thread that a signal wakes (`EVENT_INCREMENT`), so that it runs soon;
/// the system takes it back as the thread uses up its time. Threads at a realtime priority have no
/// use for it.
const BOOST: KPRIORITY = 1;

/// Storage for a `KEVENT`.
struct KernelEvent(UnsafeCell<KEVENT>);

// SAFETY: only the kernel's routines access it, from any thread.
unsafe impl Send for KernelEvent {}
// SAFETY: as above.
unsafe impl Sync for KernelEvent {}

/// A synchronization event: a signal releases one waiter; one signal is remembered.
///
/// The `KEVENT` has an allocation of its own: once initialized it must not move.
pub struct Event {
    event: Shared<KernelEvent>,
}

impl Event {
    /// An event, signalled or not; `None` if there is no memory for it. IRQL <= DISPATCH_LEVEL.
    pub fn new(signalled: bool) -> Option<Self> {
        let event = Shared::new(KernelEvent(UnsafeCell::new(KEVENT::default())))?;
        let event = Self { event };
        // SAFETY: nonpaged memory at its final address, which is not waited on yet.
        unsafe { KeInitializeEvent(event.raw(), SynchronizationEvent, BOOLEAN::from(signalled)) };
        Some(event)
    }

    /// Signals: releases one waiter. IRQL <= DISPATCH_LEVEL.
    pub fn set(&self) {
        // SAFETY: initialized in `new`; `Wait` is FALSE, so any IRQL up to DISPATCH_LEVEL is
        // allowed.
        unsafe { KeSetEvent(self.raw(), BOOST, 0) };
    }

    /// Waits for a signal. PASSIVE_LEVEL.
    pub fn wait(&self) {
        self.wait_until_due(null_mut());
    }

    /// Waits for a signal at most `ticks` of 100 ns; true if it came. PASSIVE_LEVEL.
    pub fn wait_for(&self, ticks: u64) -> bool {
        // Negative: relative to now.
        let due = i64::try_from(ticks).unwrap_or(i64::MAX).wrapping_neg();
        let mut due = LARGE_INTEGER { QuadPart: due };
        self.wait_until_due(&raw mut due)
    }

    /// The kernel's own event, for requests that signal it. IRQL <= DISPATCH_LEVEL.
    pub(super) fn raw(&self) -> *mut KEVENT {
        self.event.0.get()
    }

    fn wait_until_due(&self, due: *mut LARGE_INTEGER) -> bool {
        // SAFETY: initialized in `new`; `due` is null or points to a local of the caller.
        let status =
            unsafe { KeWaitForSingleObject(self.raw().cast(), Executive, KERNEL_MODE, 0, due) };
        status == STATUS_SUCCESS
    }
}

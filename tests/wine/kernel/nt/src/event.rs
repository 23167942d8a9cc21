//! Kernel events.
//!
//! The rule: an event does not move while it lives, since waiters know it by its address.

use alloc::boxed::Box;
use core::{cell::UnsafeCell, ptr};

use wdk_sys::{
    _EVENT_TYPE::NotificationEvent,
    _KWAIT_REASON::Executive,
    _MODE::KernelMode,
    KEVENT, LARGE_INTEGER, NTSTATUS, STATUS_TIMEOUT,
    ntddk::{KeInitializeEvent, KeResetEvent, KeSetEvent, KeWaitForSingleObject},
};

/// An event in a box of its own.
pub struct Event {
    raw: Box<UnsafeCell<KEVENT>>,
}

// SAFETY: the kernel synchronises all access to an initialised event.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that stays signalled until it is reset.
    pub fn notification() -> Self {
        // An all-zero KEVENT is a valid value to initialise over.
        let raw = Box::new(UnsafeCell::new(KEVENT::default()));
        // SAFETY: `raw` is a KEVENT of its own in memory that does not move.
        unsafe { KeInitializeEvent(raw.get(), NotificationEvent, 0) };
        Self { raw }
    }

    /// Signals the event.
    pub fn set(&self) {
        // SAFETY: the event was initialised and does not move.
        unsafe { KeSetEvent(self.raw.get(), 0, 0) };
    }

    /// Resets the event.
    pub fn reset(&self) {
        // SAFETY: the event was initialised and does not move.
        unsafe { KeResetEvent(self.raw.get()) };
    }

    /// Waits for the signal.
    pub fn wait(&self) {
        let _ = self.wait_until(ptr::null_mut());
    }

    /// Waits for the signal for at most that long; returns whether it came.
    pub fn wait_ms(&self, milliseconds: u32) -> bool {
        let mut timeout = LARGE_INTEGER { QuadPart: crate::time::relative_ms(milliseconds) };
        self.wait_until(&raw mut timeout) != STATUS_TIMEOUT
    }

    /// A null timeout waits for ever.
    fn wait_until(&self, timeout: *mut LARGE_INTEGER) -> NTSTATUS {
        // SAFETY: as in `set`; the timeout is null or valid for the call.
        unsafe {
            KeWaitForSingleObject(self.raw.get().cast(), Executive, KernelMode as _, 0, timeout)
        }
    }

    /// The address that kernel routines take.
    pub fn as_ptr(&self) -> *mut KEVENT {
        self.raw.get()
    }
}

//! System threads of the rig, and words that each thread has of its own.
//!
//! The rule: the starter of a thread joins it before its code can be unloaded.

use alloc::boxed::Box;
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use wdk_sys::{
    _KWAIT_REASON::Executive,
    _MODE::KernelMode,
    HANDLE, THREAD_ALL_ACCESS,
    ntddk::{
        KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject,
        PsCreateSystemThread, PsTerminateSystemThread, ZwClose,
    },
};

use crate::{
    status::{Result, check},
    win32::{SwitchToThread, TLS_OUT_OF_INDEXES, TlsAlloc, TlsGetValue, TlsSetValue},
};

type Body = Box<dyn FnOnce() + Send>;

/// Gives up the rest of the time slice.
pub fn yield_now() {
    // SAFETY: has no preconditions.
    unsafe { SwitchToThread() };
}

/// The calling thread's object.
pub fn current() -> *mut c_void {
    // SAFETY: has no preconditions.
    unsafe { PsGetCurrentThread() }
}

unsafe extern "C" {
    /// Imported by hand: the headers have it as an inline function.
    fn PsGetCurrentThread() -> *mut c_void;
}

/// A word that each thread has of its own, 0 at first.
pub struct ThreadWord(AtomicU32);

impl Default for ThreadWord {
    fn default() -> Self {
        Self::new()
    }
}

impl ThreadWord {
    /// A word without a slot; the first use allocates one.
    pub const fn new() -> Self {
        Self(AtomicU32::new(TLS_OUT_OF_INDEXES))
    }

    /// The calling thread's word.
    pub fn get(&self) -> usize {
        // SAFETY: `slot` allocated the slot.
        unsafe { TlsGetValue(self.slot()) as usize }
    }

    /// Sets the calling thread's word.
    pub fn set(&self, value: usize) {
        // SAFETY: `slot` allocated the slot.
        unsafe { TlsSetValue(self.slot(), value as *mut c_void) };
    }

    fn slot(&self) -> u32 {
        // Relaxed: the number is all that is shared.
        let slot = self.0.load(Ordering::Relaxed);
        if slot != TLS_OUT_OF_INDEXES {
            return slot;
        }
        // SAFETY: has no preconditions.
        let fresh = unsafe { TlsAlloc() };
        assert!(fresh != TLS_OUT_OF_INDEXES, "the device process has no thread-local slot left");
        // A thread that loses the race takes the winner's slot; its own stays unused.
        self.0
            .compare_exchange(TLS_OUT_OF_INDEXES, fresh, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|winner| winner, |_| fresh)
    }
}

/// A running thread; must be joined.
#[must_use = "a thread that is not joined outlives its code"]
pub struct Thread {
    object: *mut c_void,
}

// SAFETY: a referenced thread object may be waited on and released from any thread.
unsafe impl Send for Thread {}
// SAFETY: the object is only read here.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread.
    pub fn spawn(body: impl FnOnce() + Send + 'static) -> Result<Self> {
        let body: Box<Body> = Box::new(Box::new(body));
        let context = Box::into_raw(body);
        let mut handle: HANDLE = ptr::null_mut();
        // SAFETY: all pointers are valid for the call; the new thread takes ownership of `context`.
        let status = unsafe {
            PsCreateSystemThread(
                &raw mut handle,
                THREAD_ALL_ACCESS,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                Some(run),
                context.cast(),
            )
        };
        if let Err(failure) = check(status) {
            // SAFETY: no thread took the context, so it is still ours.
            drop(unsafe { Box::from_raw(context) });
            return Err(failure);
        }
        let mut object = ptr::null_mut();
        // SAFETY: the handle is a thread's and was just returned.
        let status = unsafe {
            ObReferenceObjectByHandle(
                handle,
                THREAD_ALL_ACCESS,
                ptr::null_mut(),
                KernelMode as _,
                &raw mut object,
                ptr::null_mut(),
            )
        };
        // SAFETY: the handle is ours and is not used again.
        let _ = unsafe { ZwClose(handle) };
        check(status)?;
        Ok(Self { object })
    }

    /// Waits for the thread to end.
    pub fn join(self) {
        // SAFETY: the object is referenced.
        let _ = unsafe {
            KeWaitForSingleObject(self.object, Executive, KernelMode as _, 0, ptr::null_mut())
        };
        // SAFETY: this is the reference that `spawn` took.
        unsafe { ObfDereferenceObject(self.object) };
    }
}

unsafe extern "C" fn run(context: *mut c_void) {
    // SAFETY: `spawn` handed over this box, to this thread only.
    let body: Box<Body> = unsafe { Box::from_raw(context.cast()) };
    body();
    // SAFETY: called on a system thread, at its end.
    let _ = unsafe { PsTerminateSystemThread(0) };
}

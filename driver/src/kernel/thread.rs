//! System threads that can be waited for.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::ntddk::{
    KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject, PsCreateSystemThread,
    PsTerminateSystemThread, ZwClose,
};
use wdk_sys::{
    _KWAIT_REASON::Executive, HANDLE, NT_SUCCESS, NTSTATUS, PVOID, STATUS_SUCCESS,
    THREAD_ALL_ACCESS,
};

use super::KERNEL_MODE;
use super::shared::Shared;

/// The routine of a thread, with the value that it is given.
pub trait Run: Send + Sync + 'static {
    /// Runs at PASSIVE_LEVEL until it returns.
    fn run(context: &Shared<Self>)
    where
        Self: Sized;
}

/// A thread that has been started.
pub struct Thread {
    object: PVOID,
}

// SAFETY: a thread object may be waited for and dereferenced by any thread.
unsafe impl Send for Thread {}

impl Thread {
    /// Starts a thread that runs `context`. PASSIVE_LEVEL.
    pub fn start<T: Run>(context: Shared<T>) -> Result<Self, NTSTATUS> {
        let mut handle: HANDLE = null_mut();
        let context = context.into_context();
        // SAFETY: every pointer is null or valid for the call; `context` goes to `routine` of the
        // same type.
        let status = unsafe {
            PsCreateSystemThread(
                &raw mut handle,
                THREAD_ALL_ACCESS,
                null_mut(),
                null_mut(),
                null_mut(),
                Some(routine::<T>),
                context,
            )
        };
        if !NT_SUCCESS(status) {
            // SAFETY: no thread was created, so nothing else takes the reference back.
            drop(unsafe { Shared::<T>::from_context(context) });
            return Err(status);
        }
        let mut object: PVOID = null_mut();
        // SAFETY: `handle` is a thread handle that this function owns. A kernel-mode caller with a
        // valid handle and no type gets the object.
        let referenced = unsafe {
            ObReferenceObjectByHandle(
                handle,
                THREAD_ALL_ACCESS,
                null_mut(),
                KERNEL_MODE,
                &raw mut object,
                null_mut(),
            )
        };
        // SAFETY: closed once; the object reference keeps the thread.
        let _ = unsafe { ZwClose(handle) };
        if NT_SUCCESS(referenced) { Ok(Self { object }) } else { Err(referenced) }
    }

    /// Waits until the thread has ended. PASSIVE_LEVEL, not on the thread itself.
    pub fn join(self) {
        // SAFETY: `object` is a referenced thread object, which is signalled when the thread has
        // ended.
        let _ =
            unsafe { KeWaitForSingleObject(self.object, Executive, KERNEL_MODE, 0, null_mut()) };
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: referenced in `start`, dereferenced once.
        unsafe { ObfDereferenceObject(self.object) };
    }
}

/// Threads that are waited for together.
pub struct Threads<const N: usize>(pub [Option<Thread>; N]);

impl<const N: usize> Threads<N> {
    /// No thread yet. Any IRQL.
    pub const fn none() -> Self {
        Self([const { None }; N])
    }

    /// Waits until every thread has ended. PASSIVE_LEVEL, on none of the threads.
    pub fn join(self) {
        for thread in self.0.into_iter().flatten() {
            thread.join();
        }
    }
}

/// `KSTART_ROUTINE`. PASSIVE_LEVEL.
unsafe extern "C" fn routine<T: Run>(context: *mut c_void) {
    // SAFETY: `start` passed what `into_context` gave it, to this function of the same type, once.
    if let Some(context) = unsafe { Shared::<T>::from_context(context) } {
        T::run(&context);
    }
    // SAFETY: ends the calling system thread, whose stack holds no value any more.
    let _ = unsafe { PsTerminateSystemThread(STATUS_SUCCESS) };
}

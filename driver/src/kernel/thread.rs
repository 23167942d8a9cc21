//! System threads with a priority of their own, which can be waited for.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::ntddk::{
    KeSetPriorityThread, KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject,
    PsCreateSystemThread, PsTerminateSystemThread, ZwClose,
};
use wdk_sys::{
    _KWAIT_REASON::Executive, HANDLE, KPRIORITY, LARGE_INTEGER, NT_SUCCESS, NTSTATUS, PVOID,
    STATUS_SUCCESS, THREAD_ALL_ACCESS,
};

use super::KERNEL_MODE;
use super::shared::Shared;
use super::time;

/// The routine of a thread, with the value that it is given.
pub trait Run: Send + Sync + 'static {
    /// Runs at PASSIVE_LEVEL until it returns.
    fn run(context: &Shared<Self>)
    where
        Self: Sized;
}

/// How a thread competes for processors with the machine's other threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Writes wait for this thread: ahead of every ordinary thread (`LOW_REALTIME_PRIORITY`), as
    /// the memory manager's writers of pages, which wait for such writes, are.
    WritesWait,
    /// Ahead of applications, behind those: the priority of the system's delayed work.
    Raised,
    /// Behind applications at their usual priority, 8.
    Background,
}

impl Priority {
    fn level(self) -> KPRIORITY {
        match self {
            Self::WritesWait => 16,
            Self::Raised => 12,
            Self::Background => 6,
        }
    }
}

/// A thread that has been started.
pub struct Thread {
    object: PVOID,
}

// SAFETY: a thread object may be waited for and dereferenced by any thread.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread that runs `context`. PASSIVE_LEVEL.
    pub fn start<T: Run>(context: Shared<T>, priority: Priority) -> Result<Self, NTSTATUS> {
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
        if !NT_SUCCESS(referenced) {
            return Err(referenced);
        }
        // SAFETY: a referenced thread object; the old priority is of no interest.
        let _ = unsafe { KeSetPriorityThread(object.cast(), priority.level()) };
        Ok(Self { object })
    }

    /// Waits until the thread has ended, until an uptime at most; true if it has. PASSIVE_LEVEL,
    /// not on the thread itself.
    fn has_ended(&self, deadline: Option<u64>) -> bool {
        // Negative: relative to now.
        let left = deadline.map(|deadline| deadline.saturating_sub(time::uptime()));
        let due = left.map(|left| i64::try_from(left).unwrap_or(i64::MAX).wrapping_neg());
        let mut due = due.map(|due| LARGE_INTEGER { QuadPart: due });
        let due = due.as_mut().map_or(null_mut(), core::ptr::from_mut);
        // SAFETY: `object` is a referenced thread object, which is signalled when the thread has
        // ended; `due` is null or points to a local.
        let status = unsafe { KeWaitForSingleObject(self.object, Executive, KERNEL_MODE, 0, due) };
        status == STATUS_SUCCESS
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

    /// Waits until every thread has ended, until an uptime at most; true if all have.
    /// PASSIVE_LEVEL, on none of the threads.
    pub fn have_ended(&self, deadline: Option<u64>) -> bool {
        self.0.iter().flatten().all(|thread| thread.has_ended(deadline))
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

//! A job object: what a script has started ends with it.
#![allow(unsafe_code, reason = "calls of Windows")]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::Child;
use std::ptr;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, TerminateJobObject,
};

/// The job.
pub(super) struct Job(OwnedHandle);

impl Job {
    /// An empty one.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: both parameters are optional.
        let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        if job.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is ours.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(job) }))
    }

    /// Takes a process, and what it starts from now on.
    pub(super) fn take(&self, child: &Child) -> io::Result<()> {
        // SAFETY: both handles are open.
        let taken =
            unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), child.as_raw_handle()) };
        if taken == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends all processes in it.
    pub(super) fn end(&self) {
        // It fails if there is none.
        // SAFETY: the handle is open.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) };
    }
}

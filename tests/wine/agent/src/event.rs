//! An event that the system sets when a request is done.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{CreateEventW, WaitForSingleObject};

pub(crate) struct Event(OwnedHandle);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no attributes, no name; manual reset, not signalled.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this handle, and nothing else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(event) }))
    }

    pub(crate) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Whether the event is set within `limit_ms`.
    pub(crate) fn wait(&self, limit_ms: u32) -> bool {
        // SAFETY: the event is open.
        unsafe { WaitForSingleObject(self.handle(), limit_ms) == WAIT_OBJECT_0 }
    }
}

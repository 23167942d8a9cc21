//! A synchronous device control call on an overlapped handle, which another thread can cancel.
//!
//! Rule: [`control`] returns only after the system is done with the buffers, whatever the outcome;
//! the borrows that it takes cover every access.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, WAIT_FAILED};
use windows_sys::Win32::System::IO::{
    CancelIoEx, DeviceIoControl, GetOverlappedResult, OVERLAPPED,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects,
};

/// A manual-reset event.
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// A new event, not set.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: attributes and name may be null.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above created this handle; nothing else owns it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sets the event. It is never reset.
    pub(crate) fn set(&self) {
        // SAFETY: the handle is an event's, and open as long as `self`.
        let set = unsafe { SetEvent(self.0.as_raw_handle()) };
        debug_assert!(set != 0, "SetEvent on an open event cannot fail");
    }
}

/// Sends `code` to the device and waits for the answer; returns how many bytes of `output` it
/// fills.
///
/// Setting `cancel`, before the call or during it, cancels the call: it fails with
/// `ERROR_OPERATION_ABORTED` unless the device has completed it.
pub(crate) fn control(
    device: &OwnedHandle,
    code: u32,
    input: &[u8],
    output: &mut [u8],
    cancel: Option<&Event>,
) -> io::Result<usize> {
    let done = Event::new()?;
    let mut overlapped = OVERLAPPED { hEvent: done.0.as_raw_handle(), ..OVERLAPPED::default() };
    let handle = device.as_raw_handle();
    // SAFETY: both buffers and `overlapped` live until this function returns, which is after the
    // system has completed the call (see `finish`); lengths are those of the buffers.
    let started = unsafe {
        DeviceIoControl(
            handle,
            code,
            input.as_ptr().cast(),
            len_u32(input.len())?,
            output.as_mut_ptr().cast(),
            len_u32(output.len())?,
            ptr::null_mut(),
            &raw mut overlapped,
        )
    };
    if started == 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
            return Err(error);
        }
        if let Some(cancel) = cancel {
            cancel_when_set(device, &overlapped, &done, cancel);
        }
    }
    finish(device, &overlapped)
}

/// Waits until the call is done or `cancel` is set; cancels the call in the second case.
fn cancel_when_set(device: &OwnedHandle, call: &OVERLAPPED, done: &Event, cancel: &Event) {
    let handles = [done.0.as_raw_handle(), cancel.0.as_raw_handle()];
    // SAFETY: both handles are events', and open until this function returns.
    let woken = unsafe { WaitForMultipleObjects(2, handles.as_ptr(), 0, INFINITE) };
    if woken == WAIT_FAILED || woken == 1 {
        // SAFETY: `call` is the structure of the pending call. The result is ignored: if the call
        // is complete already, `finish` returns its outcome.
        unsafe { CancelIoEx(device.as_raw_handle(), call) };
    }
}

/// Waits until the system is done with the call, and returns its outcome.
fn finish(device: &OwnedHandle, call: &OVERLAPPED) -> io::Result<usize> {
    let mut bytes = 0;
    // SAFETY: `call` belongs to a call on this handle; the last argument makes it wait.
    let succeeded = unsafe { GetOverlappedResult(device.as_raw_handle(), call, &raw mut bytes, 1) };
    if succeeded == 0 { Err(io::Error::last_os_error()) } else { Ok(bytes as usize) }
}

fn len_u32(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

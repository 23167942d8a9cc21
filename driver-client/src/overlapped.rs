//! One device control call on an overlapped handle, waited for, and cancellable from another
//! thread.
//!
//! Rule: [`control`] returns only after the system is done with the buffers, whatever happened, so
//! that the borrows it takes are the whole truth about who uses them.

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
        // SAFETY: no attributes and no name are asked for; both may be null.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made this handle for us alone.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sets the event for good.
    pub(crate) fn set(&self) {
        // SAFETY: the handle is an event's and open as long as `self`.
        let set = unsafe { SetEvent(self.0.as_raw_handle()) };
        debug_assert!(set != 0, "SetEvent on an event of our own cannot fail");
    }
}

/// Sends `code` to the device and waits for its answer; returns the bytes of `output` that it
/// filled.
///
/// When `cancel` is set, before or meanwhile, the call is cancelled: it then fails with
/// `ERROR_OPERATION_ABORTED` unless the device was quicker.
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

/// Waits until the call is done or `cancel` is set; in the second case asks the system to cancel
/// it.
fn cancel_when_set(device: &OwnedHandle, call: &OVERLAPPED, done: &Event, cancel: &Event) {
    let handles = [done.0.as_raw_handle(), cancel.0.as_raw_handle()];
    // SAFETY: two handles of events, open for as long as this function runs.
    let woken = unsafe { WaitForMultipleObjects(2, handles.as_ptr(), 0, INFINITE) };
    if woken == WAIT_FAILED || woken == 1 {
        // SAFETY: `call` is the structure that the call under way was made with. That the call is
        // over already is no error of ours: `finish` tells.
        unsafe { CancelIoEx(device.as_raw_handle(), call) };
    }
}

/// Waits until the system is done with the call.
fn finish(device: &OwnedHandle, call: &OVERLAPPED) -> io::Result<usize> {
    let mut bytes = 0;
    // SAFETY: `call` belongs to a call made on this handle; waiting is asked for.
    let fine = unsafe { GetOverlappedResult(device.as_raw_handle(), call, &raw mut bytes, 1) };
    if fine == 0 { Err(io::Error::last_os_error()) } else { Ok(bytes as usize) }
}

fn len_u32(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

//! Requests to a volume's devices and to file systems.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::System::IO::DeviceIoControl;

/// Sends a request without input and reply.
pub(crate) fn control(file: &File, code: u32) -> io::Result<()> {
    // SAFETY: no byte is written to a reply without room.
    unsafe { send(file, code, ptr::null_mut(), 0) }.map(|_| ())
}

/// Sends a request whose reply fills all of `reply`.
///
/// # Safety
/// Whatever bytes `reply` gets are sound.
pub(crate) unsafe fn ask<T>(file: &File, code: u32, reply: &mut T) -> io::Result<()> {
    let room = size_of::<T>();
    // SAFETY: the reply is writable for its size; the caller takes any bytes.
    let len = unsafe { send(file, code, ptr::from_mut(reply).cast(), room) }?;
    if len == room { Ok(()) } else { Err(io::Error::other(format!("a reply of {len} bytes"))) }
}

/// Sends a request; returns the reply's length.
///
/// # Safety
/// `reply` is writable for `room` bytes, and whatever bytes it gets are sound.
unsafe fn send(file: &File, code: u32, reply: *mut c_void, room: usize) -> io::Result<usize> {
    let (room, mut len) = (u32::try_from(room).map_err(io::Error::other)?, 0);
    // SAFETY: the reply and its length live until the call ends, which is when the request is
    // done: the handle is synchronous.
    let answered = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            code,
            ptr::null(),
            0,
            reply,
            room,
            &raw mut len,
            ptr::null_mut(),
        )
    };
    if answered == 0 { Err(io::Error::last_os_error()) } else { Ok(len as usize) }
}

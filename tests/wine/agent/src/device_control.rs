//! Device control requests on handles that are not overlapped.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::System::IO::DeviceIoControl;

/// Sends a control code; returns the length of the answer.
pub(crate) fn device_control(
    device: &File,
    code: u32,
    input: &[u8],
    answer: &mut [u8],
) -> io::Result<usize> {
    let too_long = |_| io::Error::other("a buffer is too long");
    let in_len = u32::try_from(input.len()).map_err(too_long)?;
    let out_len = u32::try_from(answer.len()).map_err(too_long)?;
    let mut got = 0;
    // SAFETY: the handle is open and not overlapped; both buffers and `got` are valid for the call.
    let done = unsafe {
        DeviceIoControl(
            device.as_raw_handle().cast(),
            code,
            input.as_ptr().cast(),
            in_len,
            answer.as_mut_ptr().cast(),
            out_len,
            &raw mut got,
            ptr::null_mut(),
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(got as usize) }
}

//! The rig's control device.
//!
//! The rule: an answer of another length than the protocol's is an error.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use protocol::ioctl::{self, AllocationFailure, Memory, TopWrite, TopWriteResult};
use protocol::names::CONTROL_PATH;
use zerocopy::{FromZeros, IntoBytes};

use crate::device_control::device_control;

/// The removal that was begun.
static REMOVAL: Mutex<Option<JoinHandle<io::Result<()>>>> = Mutex::new(None);

/// Sends a command whose words are hexadecimal; `None` if they are not.
pub(crate) fn command(code: &str, input: &str, length: &str) -> Option<Result<String, String>> {
    let code = u32::from_str_radix(code, 16).ok()?;
    let digits = input.trim_start_matches('-').as_bytes();
    let bytes =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let input: Vec<u8> = bytes.collect::<Option<_>>()?;
    let mut answer = vec![0; usize::from_str_radix(length, 16).ok()?];
    let sent = control(code, &input, &mut answer);
    let text = |()| {
        answer.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    Some(sent.map(text).map_err(|error| error.to_string()))
}

/// Begins to remove the volume's stack.
pub(crate) fn begin_remove() -> String {
    let removal = std::thread::spawn(|| control(ioctl::REMOVE, &[], &mut []));
    *REMOVAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(removal);
    String::new()
}

/// Waits for the end of that removal.
pub(crate) fn end_remove() -> Result<String, String> {
    let removal = REMOVAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    match removal.map(JoinHandle::join) {
        Some(Ok(ended)) => ended.map(|()| String::new()).map_err(|error| error.to_string()),
        Some(Err(_)) | None => Err("no removal was begun".into()),
    }
}

/// Attaches the volume's filters.
pub(crate) fn attach() -> io::Result<()> {
    control(ioctl::ATTACH, &[], &mut [])
}

/// Makes allocations of the product's driver fail.
pub(crate) fn fail_allocations(failure: AllocationFailure) -> io::Result<()> {
    control(ioctl::FAIL_ALLOCATIONS, failure.as_bytes(), &mut [])
}

/// The driver's allocations since then.
pub(crate) fn memory() -> io::Result<Memory> {
    let mut memory = Memory::new_zeroed();
    control(ioctl::MEMORY, &[], memory.as_mut_bytes())?;
    Ok(memory)
}

/// Sends a write from the top of the volume's stack and waits for it.
pub(crate) fn top_write(write: TopWrite) -> io::Result<TopWriteResult> {
    let mut result = TopWriteResult::new_zeroed();
    control(ioctl::TOP_WRITE, write.as_bytes(), result.as_mut_bytes())?;
    Ok(result)
}

/// Sends a control code; its answer must fill `answer`.
///
/// The device is opened for each command, so that no handle keeps the driver from being unloaded.
fn control(code: u32, input: &[u8], answer: &mut [u8]) -> io::Result<()> {
    let device = File::options().read(true).write(true).open(CONTROL_PATH)?;
    let got = device_control(&device, code, input, answer)?;
    if got == answer.len() {
        return Ok(());
    }
    Err(io::Error::other(format!("control code {code:#x} answered with {got} bytes")))
}

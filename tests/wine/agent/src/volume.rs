//! The bench's control device: each command is one control code.
//!
//! Upholds: an answer of another length than the protocol's is an error, never half a result.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;

use protocol::ioctl::{self, COUNTERS_LENGTH, Counters, Usage};
use protocol::names::CONTROL_PATH;
use windows_sys::Win32::System::IO::DeviceIoControl;

use crate::command::Command;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot open {CONTROL_PATH}: {0}; is the test volume's driver started?")]
    Open(io::Error),
    #[error("control code {code:#x} failed: {source}")]
    Control { code: u32, source: io::Error },
    #[error("control code {code:#x} answered with {got} bytes")]
    Length { code: u32, got: usize },
    #[error("this command is not for the test volume")]
    NotHere,
}

/// Does what the command says; returns what to answer.
pub(crate) fn act(command: Command) -> Result<String, CommandError> {
    match command {
        Command::Hello => Ok(String::new()),
        Command::Query => query(),
        Command::Attach => control(ioctl::ATTACH, &mut []).map(|()| String::new()),
        Command::Remove => control(ioctl::REMOVE, &mut []).map(|()| String::new()),
        Command::FlushJournal => control(ioctl::FLUSH, &mut []).map(|()| String::new()),
        Command::Pause => control(ioctl::PAUSE, &mut []).map(|()| String::new()),
        Command::Resume => control(ioctl::RESUME, &mut []).map(|()| String::new()),
        Command::Power(state) => {
            send(ioctl::SET_POWER, &state.to_le_bytes(), &mut []).map(|()| String::new())
        }
        Command::Usage { kind, in_path } => {
            let usage = Usage { kind, in_path }.encode();
            send(ioctl::USAGE, &usage, &mut []).map(|()| String::new())
        }
        Command::Shutdown => control(ioctl::SHUTDOWN, &mut []).map(|()| String::new()),
        Command::MalformedAlone | Command::MalformedBeside { .. } => Err(CommandError::NotHere),
    }
}

fn query() -> Result<String, CommandError> {
    let mut answer = [0; COUNTERS_LENGTH];
    control(ioctl::QUERY, &mut answer)?;
    let wrong = CommandError::Length { code: ioctl::QUERY, got: answer.len() };
    let counters = Counters::decode(&answer).ok_or(wrong)?;
    Ok(format!(
        "submitted={} applied={} in_flight={} reads={} flushes={}",
        counters.submitted, counters.applied, counters.in_flight, counters.reads, counters.flushes
    ))
}

/// Sends a control code without input; its answer must fill `answer`.
fn control(code: u32, answer: &mut [u8]) -> Result<(), CommandError> {
    send(code, &[], answer)
}

/// Sends a control code; its answer must fill `answer`.
///
/// The device is opened for each command, so that no handle keeps the driver from being unloaded.
fn send(code: u32, input: &[u8], answer: &mut [u8]) -> Result<(), CommandError> {
    let device = File::options().read(true).write(true).open(CONTROL_PATH);
    let device = device.map_err(CommandError::Open)?;
    let mut got = 0;
    let len = u32::try_from(answer.len()).expect("answers are short");
    // SAFETY: the handle is open and not overlapped; both buffers and `got` are valid for the call.
    let done = unsafe {
        DeviceIoControl(
            device.as_raw_handle().cast(),
            code,
            input.as_ptr().cast(),
            u32::try_from(input.len()).expect("commands are short"),
            answer.as_mut_ptr().cast(),
            len,
            &raw mut got,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(CommandError::Control { code, source: io::Error::last_os_error() });
    }
    let got = usize::try_from(got).unwrap_or(usize::MAX);
    if got == answer.len() { Ok(()) } else { Err(CommandError::Length { code, got }) }
}

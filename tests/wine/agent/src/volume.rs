//! The rig's control device: each command is one control code.
//!
//! Upholds: an answer of another length than the protocol's is an error, never half a result.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use protocol::disguise::{ARRIVED_LENGTH, Arrived, TopWrite};
use protocol::ioctl::{self, COUNTERS_LENGTH, Counters, Usage};
use protocol::memory::{MEMORY_LENGTH, Memory, Scarcity};
use protocol::names::CONTROL_PATH;
use windows_sys::Win32::System::IO::DeviceIoControl;

use crate::command::Rig;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot open {CONTROL_PATH}: {0}; is the test volume's driver started?")]
    Open(io::Error),
    #[error("control code {code:#x} failed: {source}")]
    Control { code: u32, source: io::Error },
    #[error("control code {code:#x} answered with {got} bytes")]
    Length { code: u32, got: usize },
    #[error("no removal was begun")]
    NotBegun,
}

/// A removal under way.
type Removal = Option<JoinHandle<Result<(), CommandError>>>;

/// The removal that was begun.
static BEGUN: Mutex<Removal> = Mutex::new(None);

fn begun() -> MutexGuard<'static, Removal> {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what the command says; returns what to answer.
pub(crate) fn act(command: Rig) -> Result<String, CommandError> {
    match command {
        Rig::Query => return query(),
        Rig::Memory => {
            return memory().map(|memory| {
                let Memory { asked, refused, outstanding } = memory;
                format!("asked={asked} refused={refused} outstanding={outstanding}")
            });
        }
        Rig::TopWrite(write) => return top_write(write),
        Rig::Scarce(scarcity) => scarce(scarcity),
        Rig::Disguise(disguise) => tell(ioctl::DISGUISE, &disguise.encode()),
        Rig::Clearing(how) => tell(ioctl::SET_CLEARING, &how.to_le_bytes()),
        Rig::Attach => tell(ioctl::ATTACH, &[]),
        Rig::Remove => tell(ioctl::REMOVE, &[]),
        Rig::SurpriseRemove => tell(ioctl::SURPRISE_REMOVE, &[]),
        Rig::BeginRemove => {
            *begun() = Some(std::thread::spawn(|| tell(ioctl::REMOVE, &[])));
            Ok(())
        }
        Rig::EndRemove => match begun().take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(CommandError::NotBegun),
        },
        Rig::Step(step) => tell(ioctl::STEP, &step.encode()),
        Rig::FlushJournal => tell(ioctl::FLUSH, &[]),
        Rig::Pause => tell(ioctl::PAUSE, &[]),
        Rig::Resume => tell(ioctl::RESUME, &[]),
        Rig::Power(state) => tell(ioctl::SET_POWER, &state.to_le_bytes()),
        Rig::Shutdown => tell(ioctl::SHUTDOWN, &[]),
        Rig::Resize(len) => tell(ioctl::RESIZE, &len.to_le_bytes()),
        Rig::Protect(on) => tell(ioctl::WRITE_PROTECT, &u32::from(on).to_le_bytes()),
        Rig::Usage { kind, in_path } => tell(ioctl::USAGE, &Usage { kind, in_path }.encode()),
        Rig::RefuseUsage(times) => tell(ioctl::REFUSE_USAGE, &times.to_le_bytes()),
    }
    .map(|()| String::new())
}

/// Refuses memory to the product's driver.
pub(crate) fn scarce(scarcity: Scarcity) -> Result<(), CommandError> {
    tell(ioctl::SET_SCARCITY, &scarcity.encode())
}

/// What memory it asked for and has.
pub(crate) fn memory() -> Result<Memory, CommandError> {
    let mut answer = [0; MEMORY_LENGTH];
    control(ioctl::MEMORY, &[], &mut answer)?;
    let wrong = CommandError::Length { code: ioctl::MEMORY, got: answer.len() };
    Memory::decode(&answer).ok_or(wrong)
}

fn top_write(write: TopWrite) -> Result<String, CommandError> {
    let mut answer = [0; ARRIVED_LENGTH];
    control(ioctl::TOP_WRITE, &write.encode(), &mut answer)?;
    let wrong = CommandError::Length { code: ioctl::TOP_WRITE, got: answer.len() };
    let Arrived { status, length, location_flags, irp_flags } =
        Arrived::decode(&answer).ok_or(wrong)?;
    Ok(format!(
        "status={status:#x} length={length} location_flags={location_flags:#x} \
         irp_flags={irp_flags:#x}"
    ))
}

fn tell(code: u32, input: &[u8]) -> Result<(), CommandError> {
    control(code, input, &mut [])
}

fn query() -> Result<String, CommandError> {
    let mut answer = [0; COUNTERS_LENGTH];
    control(ioctl::QUERY, &[], &mut answer)?;
    let wrong = CommandError::Length { code: ioctl::QUERY, got: answer.len() };
    let counters = Counters::decode(&answer).ok_or(wrong)?;
    Ok(format!(
        "submitted={} applied={} in_flight={} reads={} flushes={}",
        counters.submitted, counters.applied, counters.in_flight, counters.reads, counters.flushes
    ))
}

/// Sends a control code; its answer must fill `answer`.
///
/// The device is opened for each command, so that no handle keeps the driver from being unloaded.
fn control(code: u32, input: &[u8], answer: &mut [u8]) -> Result<(), CommandError> {
    let device = File::options().read(true).write(true).open(CONTROL_PATH);
    let device = device.map_err(CommandError::Open)?;
    let mut got = 0;
    let len = u32::try_from(answer.len()).expect("answers are short");
    let input_len = u32::try_from(input.len()).expect("inputs are short");
    // SAFETY: the handle is open and not overlapped; both buffers and `got` are valid for the call.
    let done = unsafe {
        DeviceIoControl(
            device.as_raw_handle().cast(),
            code,
            input.as_ptr().cast(),
            input_len,
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

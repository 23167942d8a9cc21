//! Sound requests that the product's driver cannot carry out: its allocations fail, or the volume
//! cannot be protected.
//!
//! The rule: each ends with its own status, and leaves no memory allocated in the driver.

use std::time::Duration;

use protocol::ioctl::{AllocationFailure, Memory};
use protocol::names::VOLUME_DEVICE;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, DRAIN_BUFFER_MIN, IOCTL_DRAIN, IOCTL_LIST_VOLUMES, IOCTL_RESUME, IOCTL_START,
    IOCTL_STATUS, IOCTL_STOP, IOCTL_VERSION, ListRequest, SessionReply, SessionRequest,
    StatusReply, VersionReply, VolumeEntry,
};
use windows_sys::Win32::Foundation::ERROR_NO_SYSTEM_RESOURCES;
use zerocopy::IntoBytes;

use crate::cases::{Case, sound_start, status};
use crate::handle::Handle;
use crate::rig;

/// The agent's own session.
const OWN: SessionId = SessionId([0xA8; 16]);
const NO_FAILURE: AllocationFailure = AllocationFailure { kinds: 0, nth: 0 };
/// The Windows error of `STATUS_INSUFFICIENT_RESOURCES`.
const NO_RESOURCES: Option<i32> = Some(ERROR_NO_SYSTEM_RESOURCES.cast_signed());
/// How long the system may take to send the driver the close of a file.
const CLOSE_TIME: Duration = Duration::from_millis(500);
/// A start takes fewer allocations.
const ALLOCATIONS_MAX: u32 = 1000;
/// Of the first and the last ones of a start, each fails once.
const EDGE: u32 = 80;
/// Of those between, one in so many: they are a packet and a list for each of hundreds of reads.
const STEP: u32 = 7;

/// A start on a volume that cannot be protected.
pub(crate) fn start() -> Result<String, String> {
    own_start(status::NOT_SUPPORTED).run(&Handle::open()?)?;
    Ok(String::new())
}

/// Starts a session with its first allocation failing, then its second, and so on, until a start
/// succeeds. Of many alike, a few fail.
pub(crate) fn each_allocation() -> Result<String, String> {
    let before = memory()?.outstanding;
    let total = allocations_of_a_start(before)?;
    let is_tried = |&nth: &u32| {
        nth <= EDGE || u64::from(nth) + u64::from(EDGE) > total || nth.is_multiple_of(STEP)
    };
    for nth in (1..=ALLOCATIONS_MAX).filter(is_tried) {
        let claimant = Handle::open()?;
        fail_allocations(AllocationFailure {
            kinds: AllocationFailure::KERNEL | AllocationFailure::FRAMEWORK,
            nth,
        })?;
        let answer = claimant.ask(IOCTL_START, own_start_request().as_bytes(), SESSION_REPLY);
        let after = memory()?;
        fail_allocations(NO_FAILURE)?;
        let found = answer?.status;
        let expected =
            if after.failed == 0 { status::SUCCESS } else { status::INSUFFICIENT_RESOURCES };
        if found != expected {
            return Err(format!(
                "a start without its allocation {nth} ended with {found:#010x}, not with \
                 {expected:#010x}"
            ));
        }
        if after.failed == 0 {
            stop(&claimant)?;
            leaves_nothing(before, "a start and a stop")?;
            return Ok(format!("allocations={}", nth - 1));
        }
        leaves_nothing(before, &format!("a start without its allocation {nth}"))?;
    }
    Err(format!("a start takes more than {ALLOCATIONS_MAX} allocations"))
}

/// How many allocations a start takes.
fn allocations_of_a_start(before: u64) -> Result<u64, String> {
    let claimant = Handle::open()?;
    let kinds = AllocationFailure::KERNEL | AllocationFailure::FRAMEWORK;
    fail_allocations(AllocationFailure { kinds, nth: u32::MAX })?;
    let answer = claimant.ask(IOCTL_START, own_start_request().as_bytes(), SESSION_REPLY);
    let total = memory()?.asked;
    fail_allocations(NO_FAILURE)?;
    let found = answer?.status;
    if found != status::SUCCESS {
        return Err(format!("a start ended with {found:#010x}"));
    }
    stop(&claimant)?;
    leaves_nothing(before, "a start and a stop")?;
    Ok(total)
}

/// Attaches the driver to the volume in the same way.
pub(crate) fn attach() -> Result<String, String> {
    let before = memory()?.outstanding;
    for nth in 1..=ALLOCATIONS_MAX {
        fail_allocations(AllocationFailure {
            kinds: AllocationFailure::KERNEL | AllocationFailure::FRAMEWORK,
            nth,
        })?;
        let attached = rig::attach();
        let after = memory()?;
        fail_allocations(NO_FAILURE)?;
        match (attached, after.failed) {
            (Ok(()), 0) => return Ok(format!("allocations={}", nth - 1)),
            // The system goes on without a filter that fails to attach. If it were attached, the
            // next round would fail.
            (Ok(()), 1) => {}
            (Err(error), 1) if error.raw_os_error() == NO_RESOURCES => {}
            (attached, failed) => {
                return Err(format!(
                    "attaching without allocation {nth} ended as {attached:?}; {failed} failed"
                ));
            }
        }
        leaves_nothing(before, &format!("attaching without allocation {nth}"))?;
    }
    Err(format!("attaching takes more than {ALLOCATIONS_MAX} allocations"))
}

/// Requests that need no memory succeed, others fail with the right status; a claim ends with its
/// file even without memory.
pub(crate) fn no_memory() -> Result<String, String> {
    let (claimant, other) = (Handle::open()?, Handle::open()?);
    let before = memory()?.outstanding;
    own_start(status::SUCCESS).run(&claimant)?;
    let id = SessionRequest::new(ABI_VERSION, OWN);
    let list = size_of::<VolumeEntry>() * 4;
    let refused = status::INSUFFICIENT_RESOURCES;
    let request = |name, code, room, expected| Case::new(name, code, id.as_bytes(), room, expected);

    while_failing(AllocationFailure::KERNEL, || {
        let version = size_of::<VersionReply>();
        Case::new("a version", IOCTL_VERSION, &[], version, status::SUCCESS).run(&other)?;
        let all = ListRequest::new(ABI_VERSION);
        Case::new("a list", IOCTL_LIST_VOLUMES, all.as_bytes(), list, refused).run(&other)?;
        let state = size_of::<StatusReply>();
        request("a status", IOCTL_STATUS, state, status::SUCCESS).run(&other)?;
        let another = sound_start(VOLUME_DEVICE, SessionId([0xA9; 16]));
        Case::new("another start", IOCTL_START, another.as_bytes(), SESSION_REPLY, refused)
            .run(&other)
    })?;
    while_failing(AllocationFailure::MAPPINGS, || {
        let name = "a drain that cannot be mapped";
        Case::new(name, IOCTL_DRAIN, &[], DRAIN_BUFFER_MIN, refused).run(&claimant)
    })?;
    while_failing(AllocationFailure::FRAMEWORK, || {
        let state = size_of::<StatusReply>();
        request("a status without a request", IOCTL_STATUS, state, refused).run(&other)
    })?;
    while_failing(AllocationFailure::KERNEL, || {
        drop(claimant);
        std::thread::sleep(CLOSE_TIME);
        Ok(())
    })?;
    request("a resume", IOCTL_RESUME, SESSION_REPLY, status::SUCCESS).run(&other)?;
    while_failing(AllocationFailure::KERNEL, || stop(&other))?;
    leaves_nothing(before, "a session without memory")?;
    Ok(String::new())
}

/// Starts sessions and ends them again, while others write to the volume; returns how many.
pub(crate) fn short_sessions() -> Result<String, String> {
    for number in 0..SHORT_SESSIONS {
        let handle = Handle::open()?;
        own_start(status::SUCCESS).run(&handle)?;
        // Some end before t0, some in their first sync.
        std::thread::sleep(SHORT_STEP * (number % 8));
        stop(&handle)?;
    }
    Ok(SHORT_SESSIONS.to_string())
}

/// How many short sessions there are, and by how much one is longer than the other.
const SHORT_SESSIONS: u32 = 40;
const SHORT_STEP: Duration = Duration::from_millis(15);

const SESSION_REPLY: usize = size_of::<SessionReply>();

fn own_start_request() -> snapless_wire::ioctl::StartRequest {
    sound_start(VOLUME_DEVICE, OWN)
}

fn own_start(expected: i32) -> Case {
    let request = own_start_request();
    Case::new("a start", IOCTL_START, request.as_bytes(), SESSION_REPLY, expected)
}

fn stop(handle: &Handle) -> Result<(), String> {
    let id = SessionRequest::new(ABI_VERSION, OWN);
    Case::new("a stop", IOCTL_STOP, id.as_bytes(), 0, status::SUCCESS).run(handle)
}

/// Runs `act` while allocations of these kinds fail.
fn while_failing(kinds: u32, act: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    fail_allocations(AllocationFailure { kinds, nth: 0 })?;
    let done = act();
    fail_allocations(NO_FAILURE)?;
    done
}

fn leaves_nothing(before: u64, what: &str) -> Result<(), String> {
    let after = memory()?.outstanding;
    if after == before {
        return Ok(());
    }
    Err(format!("{what} leaves {after} allocations; there were {before} before it"))
}

fn fail_allocations(failure: AllocationFailure) -> Result<(), String> {
    rig::fail_allocations(failure).map_err(|error| error.to_string())
}

fn memory() -> Result<Memory, String> {
    rig::memory().map_err(|error| error.to_string())
}

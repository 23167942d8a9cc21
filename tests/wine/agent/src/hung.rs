//! Requests that concern a volume whose disk hangs.
//!
//! The rule: each is answered while the disk hangs, and within the driver's own limits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::names::SECOND_DEVICE;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, IOCTL_LIST_VOLUMES, IOCTL_START, IOCTL_STOP, ListRequest, SessionReply,
    SessionRequest, VolumeEntry,
};
use zerocopy::IntoBytes;

use crate::cases::{Case, sound_start, status};
use crate::handle::Handle;

const SESSION: SessionId = SessionId([0xB1; 16]);
const NEXT_SESSION: SessionId = SessionId([0xB2; 16]);
/// The list of volumes waits 2 s for all of them, a stop 2 s for its session; and some for Wine.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);

/// The handle that has claimed the session on the volume.
static CLAIMANT: Mutex<Option<Handle>> = Mutex::new(None);

/// Starts a session on the volume, which does not hang yet, or not any more.
pub(crate) fn begin() -> Result<String, String> {
    let handle = Handle::open()?;
    start("a start", SESSION, status::SUCCESS).run(&handle)?;
    *CLAIMANT.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    Ok(String::new())
}

/// Lists, stops and starts while the disk hangs; it has reads of the session.
pub(crate) fn ask() -> Result<String, String> {
    let handle = Handle::open()?;
    let request = ListRequest::new(ABI_VERSION);
    let room = 4 * size_of::<VolumeEntry>();
    let list =
        || Case::new("a list", IOCTL_LIST_VOLUMES, request.as_bytes(), room, status::SUCCESS);
    promptly(&list(), &handle)?;
    // The second one meets the query that the first one has left behind.
    promptly(&list(), &handle)?;
    promptly(&stop(SESSION), &handle)?;
    let refused = status::IO_TIMEOUT;
    promptly(&start("a start beside reads that hang", NEXT_SESSION, refused), &handle)?;
    promptly(&list(), &handle)?;
    *CLAIMANT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    Ok(String::new())
}

/// Starts and stops a session once the disk answers again.
pub(crate) fn end() -> Result<String, String> {
    let handle = Handle::open()?;
    start("a start on a disk that answers again", NEXT_SESSION, status::SUCCESS).run(&handle)?;
    stop(NEXT_SESSION).run(&handle)?;
    Ok(String::new())
}

fn start(name: &str, session: SessionId, expected: i32) -> Case {
    let request = sound_start(SECOND_DEVICE, session);
    Case::new(name, IOCTL_START, request.as_bytes(), size_of::<SessionReply>(), expected)
}

fn stop(session: SessionId) -> Case {
    let request = SessionRequest::new(ABI_VERSION, session);
    Case::new("a stop", IOCTL_STOP, request.as_bytes(), 0, status::SUCCESS)
}

fn promptly(case: &Case, handle: &Handle) -> Result<(), String> {
    let begun = Instant::now();
    case.run(handle)?;
    let took = begun.elapsed();
    if took > ANSWER_LIMIT {
        return Err(format!("{} took {:.1} s", case.name(), took.as_secs_f64()));
    }
    Ok(())
}

//! The start of a session on a volume: by the service, or when the machine comes up, before any
//! service is there. PASSIVE_LEVEL throughout.

use snapless_engine::Tick;
use snapless_types::{Geometry, Overflow};
use snapless_wire::ioctl::{Protection, StartSettings};
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_SUPPORTED,
};

use crate::framework::request::FileObject;
use crate::globals::Globals;
use crate::kernel::shared::Shared;
use crate::session::claim::Claim;
use crate::session::startup::Startup;
use crate::trace;
use crate::volume::Volume;
use crate::workers;

/// Starts a session, to be drained by `claimant`, or by who resumes it; an error if the volume
/// cannot be protected, or has a session. PASSIVE_LEVEL.
#[inline(never)]
pub fn start(
    globals: &Globals,
    claimant: Option<FileObject>,
    volume: &Shared<Volume>,
    startup: Shared<Startup>,
    deadline: Tick,
) -> Result<Geometry, NTSTATUS> {
    if volume.protection(&globals.settings, deadline)? != Protection::Possible {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let StartSettings { overflow, session, queue_bytes, .. } = startup.settings;
    // HANG (rules.md#hang): the system would wait for memory that waits for the server.
    if overflow == Overflow::Hold && volume.special_files.has_paging_file() {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let drains = globals.drains().ok_or(STATUS_INVALID_DEVICE_REQUEST)?;
    let claim = Claim::new(claimant, drains).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let started = workers::start_session(volume, startup, claim);
    if started == Err(STATUS_INSUFFICIENT_RESOURCES) {
        trace::out_of_memory(session, queue_bytes);
    }
    started
}

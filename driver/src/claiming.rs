//! Handles that are about to claim a session.
//!
//! Requests of the control device run side by side, and a start takes as long as its disk. Rule: a
//! handle claims one session at most, and an identity belongs to one session at most, however many
//! requests ask at once; a handle that is closed meanwhile keeps no claim. PASSIVE_LEVEL
//! throughout.

use alloc::vec::Vec;

use snapless_wire::id::SessionId;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST};

use crate::framework::request::FileObject;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::reserved;

/// The starts that are under way.
pub struct Claiming {
    starts: PassiveLock<Vec<Start>>,
}

struct Start {
    /// `None`: it claims none.
    session: Option<SessionId>,
    /// `None`: the driver starts it by itself.
    claimant: Option<FileObject>,
    /// The handle was closed since.
    closed: bool,
}

impl Claiming {
    /// None yet; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        Some(Self { starts: PassiveLock::new(Vec::new())? })
    }

    /// Calls `start` while the handle and the identity, if there are such, are taken, unless one of
    /// them is taken already or `is_free` says no; then `close` if the handle was closed meanwhile.
    /// PASSIVE_LEVEL.
    pub fn start<T>(
        &self,
        claimant: Option<FileObject>,
        session: Option<SessionId>,
        is_free: impl FnOnce() -> bool,
        start: impl FnOnce() -> Result<T, NTSTATUS>,
        close: impl FnOnce(),
    ) -> Result<T, NTSTATUS> {
        self.starts.with(|starts| {
            let is_named = |start: &Start| session.is_some() && start.session == session;
            let is_same = |start: &Start| start.claimant == claimant || is_named(start);
            if starts.iter().any(is_same) || !is_free() {
                return Err(STATUS_INVALID_DEVICE_REQUEST);
            }
            let entry = Start { session, claimant, closed: false };
            reserved::push(starts, entry).ok_or(STATUS_INSUFFICIENT_RESOURCES)
        })?;
        let started = start();
        let closed = self.starts.with(|starts| {
            let closed = starts.iter().any(|start| start.claimant == claimant && start.closed);
            starts.retain(|start| start.claimant != claimant);
            if starts.is_empty() {
                // Frees its memory.
                *starts = Vec::new();
            }
            closed
        });
        if closed {
            close();
        }
        started
    }

    /// Calls `claim`, which waits for nothing, unless the handle is about to claim another session.
    /// PASSIVE_LEVEL.
    pub fn claim<T>(
        &self,
        claimant: FileObject,
        claim: impl FnOnce() -> Result<T, NTSTATUS>,
    ) -> Result<T, NTSTATUS> {
        self.starts.with(|starts| {
            if starts.iter().any(|start| start.claimant == Some(claimant)) {
                return Err(STATUS_INVALID_DEVICE_REQUEST);
            }
            claim()
        })
    }

    /// Notes that a handle is closed. PASSIVE_LEVEL.
    pub fn closed(&self, claimant: FileObject) {
        self.starts.with(|starts| {
            for start in starts.iter_mut().filter(|start| start.claimant == Some(claimant)) {
                start.closed = true;
            }
        });
    }
}

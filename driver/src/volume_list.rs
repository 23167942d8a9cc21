//! The list of volumes with a filter on them. PASSIVE_LEVEL throughout.
//!
//! The rule: finding a volume or a session needs no memory, so that the status, the end of a claim
//! and a stop work when there is none.

use alloc::vec::Vec;

use snapless_engine::Tick;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::DeviceName;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_IO_TIMEOUT, STATUS_NOT_FOUND};

use crate::framework::request::FileObject;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::reserved;
use crate::kernel::shared::Shared;
use crate::session::Session;
use crate::volume::Volume;

/// Every volume with a filter on it.
pub struct VolumeList {
    state: PassiveLock<State>,
}

struct State {
    /// In order of arrival, each with its number.
    volumes: Vec<(u64, Shared<Volume>)>,
    /// Volumes that have arrived so far.
    arrived: u64,
}

impl VolumeList {
    /// An empty list; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        let state = State { volumes: Vec::new(), arrived: 0 };
        Some(Self { state: PassiveLock::new(state)? })
    }

    /// Adds a volume. PASSIVE_LEVEL.
    pub fn add(&self, volume: Shared<Volume>) -> Result<(), NTSTATUS> {
        self.state.with(|state| {
            let number = state.arrived.wrapping_add(1);
            let added = reserved::push(&mut state.volumes, (number, volume));
            added.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            state.arrived = number;
            Ok(())
        })
    }

    /// Removes a volume. PASSIVE_LEVEL.
    pub fn remove(&self, volume: &Volume) {
        self.state.with(|state| {
            state.volumes.retain(|(_, known)| !core::ptr::eq(known.as_ptr(), volume));
            if state.volumes.is_empty() {
                // Frees its memory.
                state.volumes = Vec::new();
            }
        });
    }

    /// The volumes, one after the other. Those that come or go meanwhile may be seen or not.
    /// PASSIVE_LEVEL.
    pub fn volumes(&self) -> impl Iterator<Item = Shared<Volume>> {
        let mut last = 0;
        core::iter::from_fn(move || {
            // The lock is not held while the caller uses a volume, which may wait for a disk.
            self.state.with(|state| {
                let (number, volume) = state.volumes.iter().find(|(number, _)| *number > last)?;
                last = *number;
                Some(volume.clone())
            })
        })
    }

    /// The volume with this device name. PASSIVE_LEVEL.
    // Out of line, as the next ones: the search is not on the stack of the requests that call it.
    #[inline(never)]
    pub fn by_name(&self, name: &DeviceName, deadline: Tick) -> Result<Shared<Volume>, NTSTATUS> {
        // Known names first: another volume, which may hang, is not asked.
        if let Some(volume) = self.volumes().find(|volume| volume.is_named(name)) {
            return Ok(volume);
        }
        let mut unknown = STATUS_NOT_FOUND;
        for volume in self.volumes() {
            match volume.name(deadline) {
                Ok(_) if volume.is_named(name) => return Ok(volume),
                Err(status @ (STATUS_INSUFFICIENT_RESOURCES | STATUS_IO_TIMEOUT)) => {
                    unknown = status;
                }
                _ => {}
            }
        }
        Err(unknown)
    }

    /// The volume and the session with this identity. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn by_session(&self, id: SessionId) -> Result<(Shared<Volume>, Shared<Session>), NTSTATUS> {
        let found = self.volumes().find_map(|volume| {
            let session = volume.session(id)?;
            Some((volume, session))
        });
        found.ok_or(STATUS_NOT_FOUND)
    }

    /// The session that this file object claims. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn by_claimant(&self, claimant: FileObject) -> Result<Shared<Session>, NTSTATUS> {
        let found = self.volumes().find_map(|volume| volume.session_claimed_by(claimant));
        found.ok_or(STATUS_NOT_FOUND)
    }
}

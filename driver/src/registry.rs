//! The volumes that the driver sits on. PASSIVE_LEVEL throughout.
//!
//! The rule: to find a volume or a session takes no memory, so that a session can be asked for, left and stopped when
//! there is none.

use alloc::vec::Vec;

use snapless_wire::id::SessionId;
use snapless_wire::ioctl::DeviceName;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_FOUND, WDFFILEOBJECT};

use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::reserved;
use crate::kernel::shared::Shared;
use crate::questions;
use crate::session::Session;
use crate::volume::Volume;

/// Every volume with our filter on it.
pub struct Registry {
    state: PassiveLock<State>,
}

struct State {
    /// In order of arrival, each with its number.
    volumes: Vec<(u64, Shared<Volume>)>,
    /// Volumes that have arrived so far.
    arrived: u64,
}

impl Registry {
    /// An empty registry; `None` if there is no memory. PASSIVE_LEVEL.
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

    /// Forgets a volume. PASSIVE_LEVEL.
    pub fn remove(&self, volume: &Volume) {
        self.state.with(|state| {
            state.volumes.retain(|(_, known)| !core::ptr::eq(known.as_ptr(), volume));
            if state.volumes.is_empty() {
                // Gives its room back.
                state.volumes = Vec::new();
            }
        });
    }

    /// The volumes, one after the other. Those that come or go meanwhile may be seen or not. PASSIVE_LEVEL.
    pub fn volumes(&self) -> impl Iterator<Item = Shared<Volume>> {
        let mut last = 0;
        core::iter::from_fn(move || {
            // The lock is not held while a volume is looked at: that may take as long as its disk does.
            self.state.with(|state| {
                let (number, volume) = state.volumes.iter().find(|(number, _)| *number > last)?;
                last = *number;
                Some(volume.clone())
            })
        })
    }

    /// The volume with this device name. PASSIVE_LEVEL.
    // Out of line, as the next ones: many requests look, and none needs the look on its own stack.
    #[inline(never)]
    pub fn by_name(&self, name: &DeviceName) -> Result<Shared<Volume>, NTSTATUS> {
        for volume in self.volumes() {
            let own = questions::told(questions::device_name(volume.lower()))?;
            if own.is_ok_and(|own| own.matches(name)) {
                return Ok(volume);
            }
        }
        Err(STATUS_NOT_FOUND)
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
    pub fn by_claimant(&self, claimant: WDFFILEOBJECT) -> Result<Shared<Session>, NTSTATUS> {
        let found = self.volumes().find_map(|volume| volume.session_claimed_by(claimant));
        found.ok_or(STATUS_NOT_FOUND)
    }
}

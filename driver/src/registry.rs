//! The volumes that the driver sits on. PASSIVE_LEVEL throughout.

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
    volumes: PassiveLock<Vec<Shared<Volume>>>,
}

impl Registry {
    /// An empty registry; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new() -> Option<Self> {
        Some(Self { volumes: PassiveLock::new(Vec::new())? })
    }

    /// Adds a volume. PASSIVE_LEVEL.
    pub fn add(&self, volume: Shared<Volume>) -> Result<(), NTSTATUS> {
        self.volumes
            .with(|volumes| reserved::push(volumes, volume).ok_or(STATUS_INSUFFICIENT_RESOURCES))
    }

    /// Forgets a volume. PASSIVE_LEVEL.
    pub fn remove(&self, volume: &Volume) {
        self.volumes.with(|volumes| {
            volumes.retain(|known| !core::ptr::eq(known.as_ptr(), volume));
        });
    }

    /// The volumes of this moment. PASSIVE_LEVEL.
    pub fn volumes(&self) -> Result<Vec<Shared<Volume>>, NTSTATUS> {
        self.volumes.with(|volumes| {
            let copy = reserved::collect(volumes.len(), volumes.iter().cloned());
            copy.ok_or(STATUS_INSUFFICIENT_RESOURCES)
        })
    }

    /// The volume with this device name. PASSIVE_LEVEL.
    // Out of line, as the next ones: many requests look, and none needs the look on its own stack.
    #[inline(never)]
    pub fn by_name(&self, name: &DeviceName) -> Result<Shared<Volume>, NTSTATUS> {
        self.find(|volume| {
            questions::device_name(volume.lower())
                .is_ok_and(|own| own.matches(name))
                .then(|| volume.clone())
        })
    }

    /// The volume and the session with this identity. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn by_session(&self, id: SessionId) -> Result<(Shared<Volume>, Shared<Session>), NTSTATUS> {
        self.find(|volume| volume.session(id).map(|session| (volume.clone(), session)))
    }

    /// The session that this file object claims. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn by_claimant(&self, claimant: WDFFILEOBJECT) -> Result<Shared<Session>, NTSTATUS> {
        self.find(|volume| volume.session_claimed_by(claimant))
    }

    fn find<T>(&self, mut look: impl FnMut(&Shared<Volume>) -> Option<T>) -> Result<T, NTSTATUS> {
        self.volumes()?.iter().find_map(&mut look).ok_or(STATUS_NOT_FOUND)
    }
}

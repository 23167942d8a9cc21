//! A volume that the driver sits on: its gate, its session, and what it says of itself.

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_engine::Geometry;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName, SessionPhase, StartSettings};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, WDFFILEOBJECT,
};

use crate::gate::Gate;
use crate::kernel::irp::CompletionRoutine;
use crate::kernel::lower::LowerDevice;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::shared::Shared;
use crate::session::{Claim, Session, SessionThreads};

/// `CTL_CODE(IOCTL_DISK_BASE, 0x17, METHOD_BUFFERED, FILE_READ_ACCESS)`; answers a `GET_LENGTH_INFORMATION`.
const IOCTL_DISK_GET_LENGTH_INFO: u32 = 0x0007_405c;
/// `CTL_CODE(IOCTL_DISK_BASE, 0, METHOD_BUFFERED, FILE_ANY_ACCESS)`; answers a `DISK_GEOMETRY`.
const IOCTL_DISK_GET_DRIVE_GEOMETRY: u32 = 0x0007_0000;
/// `CTL_CODE(MOUNTDEVCONTROLTYPE, 2, METHOD_BUFFERED, FILE_ANY_ACCESS)`; answers a `MOUNTDEV_NAME`.
const IOCTL_MOUNTDEV_QUERY_DEVICE_NAME: u32 = 0x004d_0008;
/// Bytes of a `DISK_GEOMETRY`; the last four are `BytesPerSector`.
const DISK_GEOMETRY_LEN: usize = 24;

/// A session and the threads that run it.
struct Protection {
    session: Shared<Session>,
    threads: SessionThreads,
}

/// A volume with our filter on it.
pub struct Volume {
    lower: LowerDevice,
    /// Every write passes it.
    pub gate: Gate<Session>,
    protection: PassiveLock<Option<Protection>>,
    removed: AtomicBool,
}

impl Volume {
    /// A volume above `lower`; `None` if there is no memory.
    pub fn new(lower: LowerDevice) -> Option<Self> {
        Some(Self {
            lower,
            gate: Gate::new()?,
            protection: PassiveLock::new(None)?,
            removed: AtomicBool::new(false),
        })
    }

    /// The device below the filter.
    pub fn lower(&self) -> LowerDevice {
        self.lower
    }

    /// Its device name, as the mount manager knows it. PASSIVE_LEVEL.
    // Out of line: it keeps two names on its stack, and callers look at many volumes.
    #[inline(never)]
    pub fn device_name(&self) -> Result<DeviceName, NTSTATUS> {
        // MOUNTDEV_NAME: a length in bytes, then that many bytes of UTF-16.
        let mut answer = [0_u8; 2 + 2 * DEVICE_NAME_MAX];
        let len = self.lower.query(IOCTL_MOUNTDEV_QUERY_DEVICE_NAME, &mut answer)?;
        let name = answer.get(..len).and_then(|answer| {
            let (size, units) = answer.split_first_chunk()?;
            units.get(..usize::from(u16::from_le_bytes(*size)))
        });
        let units = name.ok_or(STATUS_INVALID_PARAMETER)?.chunks_exact(2);
        DeviceName::new(units.filter_map(|unit| unit.try_into().ok().map(u16::from_le_bytes)))
            .ok_or(STATUS_INVALID_PARAMETER)
    }

    /// Its length and sector size in bytes. PASSIVE_LEVEL; never while the boot volume is being started.
    pub fn size(&self) -> Result<(u64, u32), NTSTATUS> {
        let mut length = [0; 8];
        let mut geometry = [0; DISK_GEOMETRY_LEN];
        let got = self.lower.query(IOCTL_DISK_GET_LENGTH_INFO, &mut length)?;
        let got_geometry = self.lower.query(IOCTL_DISK_GET_DRIVE_GEOMETRY, &mut geometry)?;
        let sector = geometry.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if got != length.len() || got_geometry != geometry.len() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok((u64::from_le_bytes(length), sector))
    }

    /// Begins a session that belongs to whoever `claim` says. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn start(
        volume: &Shared<Self>,
        settings: &StartSettings,
        claim: Claim,
        completion: CompletionRoutine,
    ) -> Result<Geometry, NTSTATUS> {
        volume.reap();
        volume.protection.with(|protection| {
            if protection.is_some() {
                return Err(STATUS_DEVICE_BUSY);
            }
            if volume.removed.load(Ordering::Acquire) {
                return Err(STATUS_INVALID_DEVICE_STATE);
            }
            let (length, sector_size) = volume.size()?;
            let geometry = Geometry::new(length, sector_size, settings.block_shift)
                .map_err(|_| STATUS_INVALID_PARAMETER)?;
            let session = Session::new(volume.lower, geometry, settings, claim, completion)?;
            let session = Shared::new(session).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            let threads = SessionThreads::start(&session, volume)?;
            *protection = Some(Protection { session, threads });
            Ok(geometry)
        })
    }

    /// The session with this identity, if it is this volume's. PASSIVE_LEVEL.
    pub fn session(&self, id: SessionId) -> Option<Shared<Session>> {
        self.find(|session| session.id() == id)
    }

    /// The session that this file object claims, if it is this volume's. PASSIVE_LEVEL.
    pub fn session_claimed_by(&self, claimant: WDFFILEOBJECT) -> Option<Shared<Session>> {
        self.find(|session| session.is_claimed_by(claimant))
    }

    /// The session's identity and phase. PASSIVE_LEVEL.
    pub fn summary(&self) -> (SessionId, SessionPhase) {
        self.find(|_| true)
            .map_or((SessionId::NIL, SessionPhase::None), |session| (session.id(), session.phase()))
    }

    /// Ends the session with this identity and waits until nothing of it is left. PASSIVE_LEVEL.
    pub fn stop(&self, id: SessionId) -> Result<(), NTSTATUS> {
        let session = self.session(id).ok_or(STATUS_NOT_FOUND)?;
        session.stop();
        drop(session);
        self.reap();
        Ok(())
    }

    /// Ends whatever session there is, for good: the volume is going away. PASSIVE_LEVEL.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        if let Some(session) = self.find(|_| true) {
            session.stop();
        }
        self.reap();
    }

    /// Waits for the threads of a stopped session and forgets it.
    fn reap(&self) {
        let ended = self
            .protection
            .with(|protection| protection.take_if(|protection| protection.session.is_stopped()));
        if let Some(protection) = ended {
            protection.threads.join();
        }
    }

    fn find(&self, is_it: impl Fn(&Session) -> bool) -> Option<Shared<Session>> {
        self.protection.with(|protection| {
            let session = &protection.as_ref()?.session;
            is_it(session).then(|| session.clone())
        })
    }
}

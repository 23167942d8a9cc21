//! A volume that the driver sits on: its gate, its session, and what it says of itself.

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::protection::{self, Choices};
use snapless_types::Geometry;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{Protection, SessionPhase, StartSettings};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, WDFFILEOBJECT,
};

use crate::gate::Gate;
use crate::kernel::lower::LowerDevice;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::shared::Shared;
use crate::questions;
use crate::session::{Callbacks, Claim, Session, SessionThreads, VolumeFacts};
use crate::settings::DriverSettings;
use crate::special_files::SpecialFiles;

/// A session and the threads that run it.
struct Running {
    session: Shared<Session>,
    threads: SessionThreads,
}

/// A volume with our filter on it.
pub struct Volume {
    lower: LowerDevice,
    /// Every write passes it.
    pub gate: Gate<Session>,
    /// The system's files on it.
    pub special_files: SpecialFiles,
    running: PassiveLock<Option<Running>>,
    removed: AtomicBool,
    shutting_down: AtomicBool,
}

impl Volume {
    /// A volume above `lower`; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(lower: LowerDevice) -> Option<Self> {
        Some(Self {
            lower,
            gate: Gate::new()?,
            special_files: SpecialFiles::default(),
            running: PassiveLock::new(None)?,
            removed: AtomicBool::new(false),
            shutting_down: AtomicBool::new(false),
        })
    }

    /// The device below the filter. IRQL <= DISPATCH_LEVEL.
    pub fn lower(&self) -> LowerDevice {
        self.lower
    }

    /// Whether it can be protected, and why not; an error if there was no memory to ask. PASSIVE_LEVEL.
    pub fn protection(&self, settings: &DriverSettings) -> Result<Protection, NTSTATUS> {
        let excluded = self.is_excluded(settings)?;
        let choices = Choices { pass_through: settings.limits.pass_through, excluded };
        let facts = questions::facts(self.lower)?;
        Ok(protection::protection(self.lower.facts(), facts, choices))
    }

    #[inline(never)] // The name is to be on the stack while it is needed only.
    fn is_excluded(&self, settings: &DriverSettings) -> Result<bool, NTSTATUS> {
        match questions::device_name(self.lower) {
            Ok(name) => settings.excludes(&name),
            Err(STATUS_INSUFFICIENT_RESOURCES) => Err(STATUS_INSUFFICIENT_RESOURCES),
            Err(_) => Ok(false),
        }
    }

    /// What a session's status says of its volume: nothing that the volume would have to be asked for, so that a
    /// disk that does not answer keeps nobody from the status. Any IRQL.
    pub fn known_facts(&self, settings: &DriverSettings) -> VolumeFacts {
        let as_begun = protection::VolumeFacts { answers: true, ..Default::default() };
        let choices = Choices { pass_through: settings.limits.pass_through, ..Choices::default() };
        VolumeFacts {
            protection: protection::protection(self.lower.facts(), as_begun, choices),
            special_files: self.special_files.bits(),
        }
    }

    /// What the list of volumes says of it; an error if there was no memory to ask. PASSIVE_LEVEL.
    pub fn facts(&self, settings: &DriverSettings) -> Result<VolumeFacts, NTSTATUS> {
        Ok(VolumeFacts {
            protection: self.protection(settings)?,
            special_files: self.special_files.bits(),
        })
    }

    /// Begins a session that belongs to whoever `claim` says. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn start(
        volume: &Shared<Self>,
        settings: &StartSettings,
        claim: Claim,
        callbacks: Callbacks,
    ) -> Result<Geometry, NTSTATUS> {
        volume.reap();
        volume.running.with(|running| {
            if running.is_some() {
                return Err(STATUS_DEVICE_BUSY);
            }
            if volume.removed.load(Ordering::Acquire) {
                return Err(STATUS_INVALID_DEVICE_STATE);
            }
            let (length, sector_size) = questions::size(volume.lower)?;
            let geometry = Geometry::new(length, sector_size, settings.block_size)
                .map_err(|_| STATUS_INVALID_PARAMETER)?;
            let trims = questions::trims(volume.lower)?;
            let session = Session::new(volume.lower, geometry, settings, claim, callbacks, trims)?;
            let session = Shared::new(session).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            let threads = SessionThreads::start(&session, volume)?;
            *running = Some(Running { session, threads });
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

    /// Ends whatever session there is without waiting for anything: the volume is gone. PASSIVE_LEVEL.
    pub fn lose(&self) {
        // SeqCst, as in `is_removed`: a session that is not seen below sees this when it comes through the gate.
        self.removed.store(true, Ordering::SeqCst);
        self.with_session(Session::stop);
    }

    /// True once the volume is gone or going. Any IRQL.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Notes that the system shuts down. Waits for nothing. PASSIVE_LEVEL.
    pub fn shut_down(&self) {
        // Relaxed: the event that is set next orders it; a session that comes through the gate looks too.
        self.shutting_down.store(true, Ordering::Relaxed);
        self.with_session(Session::look_again);
    }

    /// True once the system shuts down. Any IRQL.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Does something with the session that the gate leads to. Not by way of `running`: whoever starts a session has
    /// that while it waits for the disk.
    fn with_session(&self, act: impl FnOnce(&Session)) {
        let side = self.gate.enter();
        // SAFETY: a session lives while the gate leads to it and somebody is inside.
        if let Some(session) = unsafe { self.gate.session(side).as_ref() } {
            act(session);
        }
        self.gate.leave(side);
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
        let ended =
            self.running.with(|running| running.take_if(|running| running.session.is_stopped()));
        if let Some(running) = ended {
            running.threads.join();
        }
    }

    fn find(&self, is_it: impl Fn(&Session) -> bool) -> Option<Shared<Session>> {
        self.running.with(|running| {
            let session = &running.as_ref()?.session;
            is_it(session).then(|| session.clone())
        })
    }
}

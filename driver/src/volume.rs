//! A volume with a filter on it: its rundown protection, its session, and whether it can be
//! protected.

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::protection::{self, Choices};
use snapless_driver_logic::special_files::SpecialFiles;
use snapless_engine::Worker;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{Protection, SessionPhase};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE,
    STATUS_NOT_FOUND,
};

use crate::framework::request::FileObject;
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::rundown::Rundown;
use crate::kernel::shared::Shared;
use crate::kernel::thread::Threads;
use crate::session::{Session, VolumeFacts};
use crate::settings::DriverSettings;
use crate::volume_query;

/// All threads of a session.
pub const SESSION_THREADS: usize = 4;
/// The threads of a session.
pub type SessionThreads = Threads<SESSION_THREADS>;

/// A session and the threads that run it.
pub struct Running {
    /// The session.
    pub session: Shared<Session>,
    /// Its threads.
    pub threads: SessionThreads,
}

/// A volume with a filter on it.
pub struct Volume {
    lower: LowerDevice,
    /// Protection on the session, for every request that it may know of.
    pub rundown: Rundown<Session>,
    /// Paging, hibernation and dump files on it.
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
            rundown: Rundown::new()?,
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

    /// Whether it can be protected, and why not; an error if there was no memory to find out.
    /// PASSIVE_LEVEL.
    pub fn protection(&self, settings: &DriverSettings) -> Result<Protection, NTSTATUS> {
        let excluded = self.is_excluded(settings)?;
        let choices = Choices { pass_through: settings.limits.pass_through, excluded };
        let facts = volume_query::facts(self.lower)?;
        Ok(protection::protection(self.lower.facts(), facts, choices))
    }

    #[inline(never)] // The name is on the stack only while it is needed.
    fn is_excluded(&self, settings: &DriverSettings) -> Result<bool, NTSTATUS> {
        match volume_query::device_name(self.lower) {
            Ok(name) => settings.excludes(&name),
            Err(STATUS_INSUFFICIENT_RESOURCES) => Err(STATUS_INSUFFICIENT_RESOURCES),
            Err(_) => Ok(false),
        }
    }

    /// What a session's status has of its volume: without a query, so that a status does not wait
    /// for a disk that does not answer. Any IRQL.
    pub fn known_facts(&self, settings: &DriverSettings) -> VolumeFacts {
        let as_started = protection::VolumeFacts { answers: true, ..Default::default() };
        let choices = Choices { pass_through: settings.limits.pass_through, ..Choices::default() };
        VolumeFacts {
            protection: protection::protection(self.lower.facts(), as_started, choices),
            special_files: self.special_files.bits(),
        }
    }

    /// What the list of volumes has of it; an error if there was no memory to find out.
    /// PASSIVE_LEVEL.
    pub fn facts(&self, settings: &DriverSettings) -> Result<VolumeFacts, NTSTATUS> {
        Ok(VolumeFacts {
            protection: self.protection(settings)?,
            special_files: self.special_files.bits(),
        })
    }

    /// Starts a session that `start` creates, unless there is one already. PASSIVE_LEVEL.
    pub fn start<T>(
        &self,
        start: impl FnOnce() -> Result<(Running, T), NTSTATUS>,
    ) -> Result<T, NTSTATUS> {
        self.reap();
        self.running.with(|running| {
            if running.is_some() {
                return Err(STATUS_DEVICE_BUSY);
            }
            if self.removed.load(Ordering::Acquire) {
                return Err(STATUS_INVALID_DEVICE_STATE);
            }
            let (started, result) = start()?;
            *running = Some(started);
            Ok(result)
        })
    }

    /// The session with this identity, if it is this volume's. PASSIVE_LEVEL.
    pub fn session(&self, id: SessionId) -> Option<Shared<Session>> {
        self.find(|session| session.id() == id)
    }

    /// The session that this file object claims, if it is this volume's. PASSIVE_LEVEL.
    pub fn session_claimed_by(&self, claimant: FileObject) -> Option<Shared<Session>> {
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

    /// Ends the session there is, if any, without waiting for anything: the volume is gone.
    /// PASSIVE_LEVEL.
    pub fn surprise_remove(&self) {
        // SeqCst, as in `is_removed`: a session that is not seen below sees this when interception
        // is on.
        self.removed.store(true, Ordering::SeqCst);
        self.with_session(Session::stop);
    }

    /// True once the volume is gone or going. Any IRQL.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Notes that the system shuts down. Waits for nothing. PASSIVE_LEVEL.
    pub fn shut_down(&self) {
        // Relaxed: the event that is set next orders it; a session that starts now looks too.
        self.shutting_down.store(true, Ordering::Relaxed);
        self.with_session(|session| session.event(Worker::Dispatch).set());
    }

    /// True once the system shuts down. Any IRQL.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Calls `act` with the session that requests acquire protection on. Not by way of `running`: a
    /// thread that starts a session holds that lock while it waits for the disk.
    fn with_session(&self, act: impl FnOnce(&Session)) {
        let Some(protection) = self.rundown.acquire() else { return };
        if let Some(session) = self.rundown.session(&protection) {
            act(session);
        }
        self.rundown.release(protection);
    }

    /// Ends the session there is, if any, and waits until nothing of it is left: the volume is
    /// being removed. PASSIVE_LEVEL.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        if let Some(session) = self.find(|_| true) {
            session.stop();
        }
        self.reap();
    }

    /// Waits until no request is on its way through the filter, and lets none in any more: the
    /// device is being deleted. PASSIVE_LEVEL.
    pub fn close(&self) {
        self.rundown.close();
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

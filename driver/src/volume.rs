//! A volume with a filter on it: its rundown protection, its session, and whether it can be
//! protected.

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::protection;
use snapless_driver_logic::special_files::SpecialFiles;
use snapless_engine::{Tick, Worker};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{DeviceName, Protection, SessionPhase};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE,
    STATUS_IO_TIMEOUT, STATUS_NOT_FOUND,
};

use crate::framework::request::FileObject;
use crate::keeper::Keeper;
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::query::QueryChannel;
use crate::kernel::rundown::Rundown;
use crate::kernel::shared::Shared;
use crate::kernel::thread::Threads;
use crate::kernel::time;
use crate::session::{Session, VolumeFacts};
use crate::settings::DriverSettings;
use crate::state::VolumeState;
use crate::volume_query::{self, Asked};

/// All threads of a session.
pub const SESSION_THREADS: usize = 5;
/// The threads of a session.
pub type SessionThreads = Threads<SESSION_THREADS>;

/// How long a stop and a start wait for the threads of a stopped session, in ticks: 2 s. They end
/// at once unless the disk keeps their reads.
const REAP_LIMIT: u64 = 2_000 * Tick::PER_MS;

/// A session and the threads that run it.
pub struct Running {
    /// The session.
    pub session: Shared<Session>,
    /// Its threads. Held while they are started, and by who waits for their end.
    pub threads: PassiveLock<SessionThreads>,
    /// Stopped by a request: it is gone for those who look for it, and its threads are ending.
    ending: AtomicBool,
}

impl Running {
    /// A session without threads yet; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(session: Shared<Session>) -> Option<Self> {
        let threads = PassiveLock::new(Threads::none())?;
        Some(Self { session, threads, ending: AtomicBool::new(false) })
    }

    fn is_ending(&self) -> bool {
        // Relaxed: publishes no other memory.
        self.ending.load(Ordering::Relaxed)
    }
}

#[inline(never)] // It is on the stack only while it is made.
fn new_known() -> Option<Shared<PassiveLock<Known>>> {
    Shared::new(PassiveLock::new(Known::default())?)
}

#[inline(never)] // As above.
fn new_keeper() -> Option<Shared<PassiveLock<Keeper>>> {
    Shared::new(PassiveLock::new(Keeper::default())?)
}

/// What the volume said last.
#[derive(Default)]
struct Known {
    name: Option<DeviceName>,
    size: Option<(u64, u32)>,
}

/// A volume with a filter on it.
pub struct Volume {
    lower: LowerDevice,
    /// Rule: no request but the start of a session and the list of volumes uses it, both with a
    /// deadline: a disk that hangs delays nothing else.
    queries: Shared<QueryChannel>,
    /// In memory of its own: a volume is on the stack while it is made.
    known: Shared<PassiveLock<Known>>,
    /// What it keeps while the machine is off.
    state: Shared<VolumeState>,
    /// In memory of its own, as `known`.
    keeper: Shared<PassiveLock<Keeper>>,
    /// Protection on the session, for every request that it may know of.
    pub rundown: Rundown<Session>,
    /// Paging, hibernation and dump files on it.
    pub special_files: SpecialFiles,
    /// Held while a session is started, and while the volume is removed.
    changes: PassiveLock<()>,
    /// Held for a moment only.
    running: PassiveLock<Option<Shared<Running>>>,
    removed: AtomicBool,
    shutting_down: AtomicBool,
}

impl Volume {
    /// A volume above `lower`; `None` if there is no memory. PASSIVE_LEVEL.
    #[inline(never)] // Its parts are on the stack only while it is made.
    pub fn new(lower: LowerDevice, state: Shared<VolumeState>) -> Option<Self> {
        Some(Self {
            lower,
            queries: Shared::new(QueryChannel::new(lower)?)?,
            known: new_known()?,
            state,
            keeper: new_keeper()?,
            rundown: Rundown::new()?,
            special_files: SpecialFiles::default(),
            changes: PassiveLock::new(())?,
            running: PassiveLock::new(None)?,
            removed: AtomicBool::new(false),
            shutting_down: AtomicBool::new(false),
        })
    }

    /// The device below the filter. IRQL <= DISPATCH_LEVEL.
    pub fn lower(&self) -> LowerDevice {
        self.lower
    }

    /// The channel to ask it by. IRQL <= DISPATCH_LEVEL.
    pub fn queries(&self) -> &Shared<QueryChannel> {
        &self.queries
    }

    /// What it keeps while the machine is off. IRQL <= DISPATCH_LEVEL.
    pub fn state(&self) -> &Shared<VolumeState> {
        &self.state
    }

    /// Calls `act` with what is known of its state area on the disk. PASSIVE_LEVEL.
    pub fn with_keeper<R>(&self, act: impl FnOnce(&mut Keeper) -> R) -> R {
        self.keeper.with(act)
    }

    /// The same, but `None` if another thread still reads or writes the area by the deadline.
    /// PASSIVE_LEVEL.
    pub fn with_keeper_by<R>(
        &self,
        deadline: Tick,
        act: impl FnOnce(&mut Keeper) -> R,
    ) -> Option<R> {
        self.keeper.with_within(deadline.since(Tick(time::uptime())), act)
    }

    /// True if this is known to be its device name. PASSIVE_LEVEL.
    pub fn is_named(&self, name: &DeviceName) -> bool {
        self.known.with(|known| known.name.as_ref().is_some_and(|own| own.matches(name)))
    }

    /// Its device name, which it is asked for once. PASSIVE_LEVEL.
    #[inline(never)] // The name is on the stack only while it is needed.
    pub fn name(&self, deadline: Tick) -> Result<DeviceName, NTSTATUS> {
        if let Some(name) = self.known.with(|known| known.name) {
            return Ok(name);
        }
        let name = volume_query::device_name(Asked::new(&self.queries, deadline))?;
        self.known.with(|known| known.name = Some(name));
        Ok(name)
    }

    /// Its length and sector size in bytes; those that it said last if it does not answer in time.
    /// PASSIVE_LEVEL.
    pub fn last_size(&self, deadline: Tick) -> Result<(u64, u32), NTSTATUS> {
        let size = volume_query::size(Asked::new(&self.queries, deadline));
        self.known.with(|known| {
            match size {
                Ok(size) => known.size = Some(size),
                Err(STATUS_IO_TIMEOUT) => {}
                Err(_) => known.size = None,
            }
            known.size.ok_or(size.err().unwrap_or(STATUS_IO_TIMEOUT))
        })
    }

    /// Whether it can be protected, and why not; an error if that could not be found out.
    /// PASSIVE_LEVEL.
    pub fn protection(
        &self,
        settings: &DriverSettings,
        deadline: Tick,
    ) -> Result<Protection, NTSTATUS> {
        let excluded = self.is_excluded(settings, deadline)?;
        let choices = settings.choices(excluded);
        let facts = volume_query::facts(Asked::new(&self.queries, deadline))?;
        Ok(protection::protection(self.lower.stack_facts(), facts, choices))
    }

    #[inline(never)] // The name is on the stack only while it is needed.
    fn is_excluded(&self, settings: &DriverSettings, deadline: Tick) -> Result<bool, NTSTATUS> {
        match self.name(deadline) {
            Ok(name) => settings.excludes(&name),
            Err(status @ (STATUS_INSUFFICIENT_RESOURCES | STATUS_IO_TIMEOUT)) => Err(status),
            Err(_) => Ok(false),
        }
    }

    /// What a session's status has of its volume: without a query, so that a status does not wait
    /// for a disk that does not answer. PASSIVE_LEVEL.
    pub fn known_facts(&self, settings: &DriverSettings) -> VolumeFacts {
        let as_started = protection::VolumeFacts { answers: true, ..Default::default() };
        let choices = settings.choices(false);
        VolumeFacts {
            protection: protection::protection(self.lower.stack_facts(), as_started, choices),
            special_files: self.special_files.bits(),
        }
    }

    /// What the list of volumes has of it; a volume that does not answer in time is silent. An
    /// error if there was no memory to find out. PASSIVE_LEVEL.
    #[inline(never)] // What it needs does not add to the list's stack.
    pub fn facts(
        &self,
        settings: &DriverSettings,
        deadline: Tick,
    ) -> Result<VolumeFacts, NTSTATUS> {
        let protection = match self.protection(settings, deadline) {
            Err(STATUS_IO_TIMEOUT) => Protection::Silent,
            found => found?,
        };
        Ok(VolumeFacts { protection, special_files: self.special_files.bits() })
    }

    /// Starts a session that `start` creates, unless there is one already. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_IO_TIMEOUT` while the disk keeps reads of a session that was stopped.
    pub fn start<T>(
        &self,
        start: impl FnOnce() -> Result<(Shared<Running>, T), NTSTATUS>,
    ) -> Result<T, NTSTATUS> {
        self.changes.with(|()| {
            match self.reap(Some(REAP_LIMIT)) {
                Reaped::Nothing => {}
                Reaped::Runs => return Err(STATUS_DEVICE_BUSY),
                Reaped::Waits => return Err(STATUS_IO_TIMEOUT),
            }
            if self.removed.load(Ordering::Acquire) {
                return Err(STATUS_INVALID_DEVICE_STATE);
            }
            let (started, result) = start()?;
            self.running.with(|running| *running = Some(started));
            Ok(result)
        })
    }

    /// The session with this identity, if it is this volume's. PASSIVE_LEVEL.
    pub fn session(&self, id: SessionId) -> Option<Shared<Session>> {
        self.find(|running| running.session.id() == id && !running.is_ending())
    }

    /// The session that this file object claims, if it is this volume's. PASSIVE_LEVEL.
    pub fn session_claimed_by(&self, claimant: FileObject) -> Option<Shared<Session>> {
        self.find(|running| running.session.is_claimed_by(claimant))
    }

    /// The session's identity and phase. PASSIVE_LEVEL.
    pub fn summary(&self) -> (SessionId, SessionPhase) {
        // A session that a request stopped may have ended meanwhile: its memory is freed.
        if self.find(Running::is_ending).is_some() {
            let _ = self.reap(Some(0));
        }
        self.find(|running| !running.is_ending())
            .map_or((SessionId::NIL, SessionPhase::None), |session| (session.id(), session.phase()))
    }

    /// Ends the session with this identity. Nothing of it is left afterwards, unless the disk keeps
    /// its reads: then they end it later. PASSIVE_LEVEL.
    pub fn stop(&self, id: SessionId) -> Result<(), NTSTATUS> {
        let session = self.running.with(|running| {
            let running = running.as_ref().filter(|running| running.session.id() == id)?;
            // Relaxed: as in `is_ending`.
            let first = !running.ending.swap(true, Ordering::Relaxed);
            first.then(|| running.session.clone())
        });
        session.ok_or(STATUS_NOT_FOUND)?.stop();
        let _ = self.reap(Some(REAP_LIMIT));
        Ok(())
    }

    /// Ends the session there is, if any, without waiting for anything: the volume is gone.
    /// PASSIVE_LEVEL.
    pub fn surprise_remove(&self) {
        // SeqCst, as in `is_removed`: a session that is not seen below sees this when interception
        // is on.
        self.removed.store(true, Ordering::SeqCst);
        // The removal may wait for requests that wait for the area to be read.
        self.state.forget();
        let _ = self.with_session(Session::stop);
    }

    /// True once the volume is gone or going. Any IRQL.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Notes that the system shuts down. Waits for nothing. PASSIVE_LEVEL.
    pub fn shut_down(&self) {
        // Relaxed: the event that is set next orders it; a session that starts now looks too.
        self.shutting_down.store(true, Ordering::Relaxed);
        let _ = self.with_session(|session| session.event(Worker::Dispatch).set());
    }

    /// True once the system shuts down. Any IRQL.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Calls `act` with the session that requests acquire protection on; `None` without one.
    /// PASSIVE_LEVEL. Not by way of `running`: a thread that starts a session holds that lock while
    /// it waits for the disk.
    pub fn with_session<R>(&self, act: impl FnOnce(&Session) -> R) -> Option<R> {
        let protection = self.rundown.acquire()?;
        let result = self.rundown.session(&protection).map(act);
        self.rundown.release(protection);
        result
    }

    /// Ends the session there is, if any, and waits until nothing of it is left, nor a query: the
    /// volume is being removed. PASSIVE_LEVEL.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.state.forget();
        self.stop_running();
        self.changes.with(|()| {
            // One that was being started meanwhile.
            self.stop_running();
            let _ = self.reap(None);
        });
        self.queries.close();
        self.keeper.with(Keeper::close);
        self.state.close();
    }

    fn stop_running(&self) {
        if let Some(session) = self.find(|_| true) {
            session.stop();
        }
    }

    /// Waits until no request is on its way through the filter, and lets none in any more: the
    /// device is being deleted. PASSIVE_LEVEL.
    pub fn close(&self) {
        self.rundown.close();
    }

    /// Waits for the threads of a stopped session, at most `limit` ticks, and forgets it.
    fn reap(&self, limit: Option<u64>) -> Reaped {
        let found = self.running.with(|running| running.clone());
        let Some(found) = found else { return Reaped::Nothing };
        if !found.session.is_stopped() {
            return Reaped::Runs;
        }
        let deadline = limit.map(|limit| volume_query::deadline(limit).0);
        let ended = |threads: &mut SessionThreads| threads.have_ended(deadline);
        let ended = match limit {
            Some(limit) => found.threads.with_within(limit, ended) == Some(true),
            None => found.threads.with(ended),
        };
        if !ended {
            return Reaped::Waits;
        }
        let same = |running: &mut Shared<Running>| core::ptr::eq(running.as_ptr(), found.as_ptr());
        let ended = self.running.with(|running| running.take_if(same));
        drop(ended);
        Reaped::Nothing
    }

    fn find(&self, is_it: impl Fn(&Running) -> bool) -> Option<Shared<Session>> {
        let found = self.running.with(|running| running.clone())?;
        is_it(&found).then(|| found.session.clone())
    }
}

/// What is left of a volume's last session.
enum Reaped {
    /// Nothing.
    Nothing,
    /// It is not stopped.
    Runs,
    /// Threads that wait for the disk.
    Waits,
}

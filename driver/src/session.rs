//! A session: the engine and the queue's memory, on one volume.
//!
//! | module | what |
//! | --- | --- |
//! | [`submit`] | requests and the engine: submitted, captured, completed, cancelled |
//! | [`write`](mod@write), [`split_request`] | what the engine keeps for a request |
//! | [`waiting`] | held requests: how they are cancelled, and chained while no slot is free |
//! | [`reads`] | reads of blocks |
//! | [`startup`] | what it is started with |
//! | [`claim`], [`drains`] | the service's claim, and its drain requests |
//! | [`status`], [`counts`], [`changes`] | state and counters, for status and trace |
//! | [`standstill`] | held writes while the system shuts down |
//! | [`host`] | the engine's host |
//!
//! Threads and IRPs are not here: [`workers`](crate::workers) and [`io_path`](crate::io_path) drive
//! a session.

pub mod changes;
pub mod claim;
mod counts;
mod drains;
mod host;
pub mod reads;
pub mod split_request;
pub mod standstill;
pub mod startup;
mod status;
mod submit;
mod waiting;
pub mod write;

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::tracker::{Known, Taken};
use snapless_engine::{Config, Cut, Host, Marks, StartError, Tick, Worker};
use snapless_types::{BlockIndex, BlockRange, Extent, Geometry, Regions};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    CUT_LEN_MAX, CutTime, EXCLUDED_MAX, Protection, StartSettings, SweepLimits, UnusedRequest,
};
use wdk_sys::{
    DO_BUFFERED_IO, DO_DIRECT_IO, NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
};

use crate::kernel::event::Event;
use crate::kernel::irp::{CancelRoutine, OwnedIrp};
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::query::QueryChannel;
use crate::kernel::queue_memory::QueueMemory;
use crate::kernel::reserved;
use crate::kernel::shared::Shared;
use crate::kernel::spin_lock::SpinLock;
use crate::state::VolumeState;

use claim::Claim;
use counts::Counts;
use host::KernelHost;
use startup::Startup;

/// The engine of a session.
pub type Engine = snapless_engine::Session<KernelHost>;

/// One protection of one volume.
pub struct Session {
    startup: Shared<Startup>,
    /// In memory of its own: values as large are not moved over a kernel's stack.
    engine: Shared<Engine>,
    lower: LowerDevice,
    lower_flags: u32,
    queries: Shared<QueryChannel>,
    state: Shared<VolumeState>,
    /// The regions that writes may go to at once, while there is a log.
    marks: Marks,
    /// What it continues with; `None` if every block is read.
    taken: SpinLock<Option<Shared<Taken>>>,
    claim: Claim,
    counts: Counts,
    /// The device does not trim.
    no_trim: AtomicBool,
    /// The device does not write zeros by itself.
    no_zero: AtomicBool,
    /// The drain thread queries the volume's length next.
    length_query: AtomicBool,
    /// The volume has become shorter than the session's table, when its length changed last.
    shrunk: AtomicBool,
    /// Set when t0 could not be stamped in time.
    failed: AtomicBool,
    queue: QueueMemory,
}

/// The device that a session is on.
pub struct Device {
    /// Its requests go there.
    pub lower: LowerDevice,
    /// Its queries go there.
    pub queries: Shared<QueryChannel>,
    /// What its volume keeps while the machine is off.
    pub state: Shared<VolumeState>,
    /// It supports trim.
    pub trims: bool,
    /// The cancel routine of requests that are held.
    pub cancel_routine: CancelRoutine,
}

/// What a session's status has of its volume.
#[derive(Clone, Copy)]
pub struct VolumeFacts {
    /// Whether it can be protected.
    pub protection: Protection,
    /// Which special files are on it, as bits.
    pub special_files: u32,
}

impl Session {
    /// Allocates everything a session needs (rule BOUND, rules.md#bound). PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES`; `STATUS_INVALID_PARAMETER` for limits that the engine
    /// refuses; `STATUS_NOT_SUPPORTED` for a device that does neither direct nor buffered I/O.
    #[inline(never)]
    pub fn new(
        device: Device,
        geometry: Geometry,
        startup: Shared<Startup>,
        claim: Claim,
    ) -> Result<Self, NTSTATUS> {
        let Device { lower, queries, state, trims, cancel_routine } = device;
        let lower_flags = lower.flags();
        if lower_flags & (DO_DIRECT_IO | DO_BUFFERED_IO) == 0 {
            return Err(STATUS_NOT_SUPPORTED);
        }
        let out_of_memory = STATUS_INSUFFICIENT_RESOURCES;
        let settings = &startup.settings;
        let queue = QueueMemory::new(settings.queue_bytes).ok_or(out_of_memory)?;
        let host = KernelHost::new(cancel_routine).ok_or(out_of_memory)?;
        let engine = engine(host, geometry, settings)?;
        let excluded = startup.excluded.iter().copied();
        engine.exclude(reserved::collect(EXCLUDED_MAX, excluded).ok_or(out_of_memory)?);
        let marks = Marks::new(Regions::of(&geometry)).map_err(|_| out_of_memory)?;
        Ok(Self {
            startup,
            engine,
            lower,
            lower_flags,
            queries,
            state,
            marks,
            taken: SpinLock::new(None),
            claim,
            counts: Counts::default(),
            no_trim: AtomicBool::new(!trims),
            no_zero: AtomicBool::new(false),
            length_query: AtomicBool::new(false),
            shrunk: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            queue,
        })
    }

    /// Its identity. IRQL <= DISPATCH_LEVEL.
    pub fn id(&self) -> SessionId {
        self.startup.settings.session
    }

    /// What it was started with. IRQL <= DISPATCH_LEVEL.
    pub fn startup(&self) -> &Shared<Startup> {
        &self.startup
    }

    /// The engine. IRQL <= DISPATCH_LEVEL.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The volume's geometry at the start. IRQL <= DISPATCH_LEVEL.
    pub fn geometry(&self) -> &Geometry {
        self.engine.geometry()
    }

    /// The device that its requests go to. IRQL <= DISPATCH_LEVEL.
    pub fn lower(&self) -> LowerDevice {
        self.lower
    }

    /// What its volume keeps while the machine is off. IRQL <= DISPATCH_LEVEL.
    #[inline]
    pub fn state(&self) -> &Shared<VolumeState> {
        &self.state
    }

    /// The regions that writes may go to at once. IRQL <= DISPATCH_LEVEL.
    #[inline]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// True if a write goes at once although changes of the volume are watched. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn lets_pass(&self, irp: &OwnedIrp) -> bool {
        self.state.lets_pass(&self.marks, irp)
    }

    /// Notes what it continues with; false if there is no memory. PASSIVE_LEVEL.
    #[inline(never)] // It is on the stack only meanwhile.
    pub fn set_taken(&self, taken: Option<Taken>) -> bool {
        let is_some = taken.is_some();
        let taken = taken.and_then(Shared::new);
        let is_known = taken.is_some() == is_some;
        self.taken.with(|known| *known = taken);
        is_known
    }

    /// What it continues with; `None` if it reads every block. IRQL <= DISPATCH_LEVEL.
    pub fn taken(&self) -> Option<Shared<Taken>> {
        self.taken.with(|taken| taken.clone())
    }

    /// Takes what is known of the volume, before it begins: every change from now on is its own.
    /// PASSIVE_LEVEL.
    #[inline(never)] // The map is on the stack only meanwhile.
    pub fn take_known(&self) {
        let known = self.state.take();
        let is_noted = self.set_taken(known.as_ref().map(Known::summary));
        if let Some(Known { map, .. }) = known.filter(|_| is_noted) {
            self.engine.know(&map);
        }
    }

    /// Takes what was changed since the file system was asked which clusters are free, before it
    /// begins; what was noted for another handle's session is dropped. PASSIVE_LEVEL.
    #[inline(never)] // The map is on the stack only meanwhile.
    pub fn take_noted(&self) {
        if let Some((noter, noted)) = self.state.take_noted()
            && self.is_claimed_by(noter)
        {
            self.engine.expect_unused(noted);
        }
    }

    /// Notes which blocks no file has, run by run; returns the block to go on with.
    /// `STATUS_NOT_SUPPORTED` if it is not known what was changed before t0. IRQL <=
    /// DISPATCH_LEVEL.
    #[inline(never)]
    pub fn unused(&self, request: &UnusedRequest) -> Result<BlockIndex, NTSTATUS> {
        for mut run in request.runs() {
            while !run.is_empty() {
                let reached = self.engine.unused(run).ok_or(STATUS_NOT_SUPPORTED)?;
                if reached == run.start {
                    return Ok(reached);
                }
                run = BlockRange::new(reached, run.end);
            }
        }
        if request.is_last() {
            self.engine.end_unused();
        }
        Ok(request.blocks().end)
    }

    /// Sets how hard its sweep may read the disk from now on. IRQL <= DISPATCH_LEVEL.
    pub fn limit_sweep(&self, limits: SweepLimits) {
        self.engine.set_sweep_limits(sweep_limits(limits));
    }

    /// Lets writes that arrive in this time wait until its end; `STATUS_DEVICE_NOT_READY` if it has
    /// begun, is too far ahead, or another one has not ended. IRQL <= DISPATCH_LEVEL.
    pub fn cut(&self, cut: CutTime) -> Result<(), NTSTATUS> {
        const { assert!(CUT_LEN_MAX == Cut::LEN_MAX) };
        let made = self.engine.cut(Tick(cut.from), Tick(cut.until));
        made.map_err(|_| STATUS_DEVICE_NOT_READY)
    }

    /// Bytes of its queue. IRQL <= DISPATCH_LEVEL.
    pub fn queue_bytes(&self) -> u64 {
        self.queue.len() as u64
    }

    /// The event that the engine sets to wake a worker. IRQL <= DISPATCH_LEVEL.
    pub fn event(&self, worker: Worker) -> &Event {
        self.engine.host().event(worker)
    }

    /// Monotonic time. IRQL <= DISPATCH_LEVEL.
    pub fn now(&self) -> Tick {
        self.engine.host().now()
    }

    /// Has the drain thread query the volume's length: it may have changed. IRQL <= DISPATCH_LEVEL.
    pub fn query_length_later(&self) {
        // Relaxed: the event that is set next orders it.
        self.length_query.store(true, Ordering::Relaxed);
        self.event(Worker::Drain).set();
    }

    /// Notes the volume's length. IRQL <= DISPATCH_LEVEL.
    pub fn note_length(&self, length: u64) {
        let known = self.geometry().length();
        if length != known {
            // Relaxed: shown in the status only.
            self.shrunk.store(length < known, Ordering::Relaxed);
            self.engine.resize(length);
            VolumeState::changes(&self.state);
        }
    }

    /// Notes whether the files still have the excluded extents; `STATUS_DEVICE_NOT_READY` before
    /// t0. IRQL <= DISPATCH_LEVEL.
    pub fn review_excluded(&self, are_still: bool) -> Result<(), NTSTATUS> {
        let taken = self.engine.review_excluded(are_still);
        taken.then_some(()).ok_or(STATUS_DEVICE_NOT_READY)
    }

    /// True if a write, which is known to be a paging file's, goes past the session. IRQL <=
    /// DISPATCH_LEVEL.
    #[inline(never)] // What it needs is not to be on the stack of every write.
    pub fn page_out(&self, extent: &Extent) -> bool {
        self.engine.page_out(extent)
    }

    /// Notes that a request was refused. IRQL <= DISPATCH_LEVEL.
    pub fn note_refused(&self) {
        self.counts.add_refused();
    }

    /// Stops a session that could not stamp t0 in time. IRQL <= DISPATCH_LEVEL.
    pub fn fail(&self) {
        // Relaxed: read after the session is stopped.
        self.failed.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// True if it never began to capture. IRQL <= DISPATCH_LEVEL.
    pub fn has_failed(&self) -> bool {
        // Relaxed: set before the session is stopped.
        self.failed.load(Ordering::Relaxed)
    }

    /// Ends the session: held writes are issued uncaptured, and nothing more is captured. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn stop(&self) {
        self.engine.stop();
        self.state.wake_log();
    }

    /// True once the session is stopped: its threads end. IRQL <= DISPATCH_LEVEL.
    pub fn is_stopped(&self) -> bool {
        self.engine.status().phase == snapless_engine::Phase::Stopped
    }
}

// Out of line, as it is large while it is made.
#[inline(never)]
fn engine(
    host: KernelHost,
    geometry: Geometry,
    settings: &StartSettings,
) -> Result<Shared<Engine>, NTSTATUS> {
    let config = config(settings);
    let made = match settings.continues {
        None => Engine::new(host, geometry, config),
        Some(reason) => Engine::continued(host, geometry, config, reason),
    };
    match made {
        Ok(engine) => Shared::new(engine).ok_or(STATUS_INSUFFICIENT_RESOURCES),
        Err(StartError::Config(_)) => Err(STATUS_INVALID_PARAMETER),
        Err(StartError::OutOfMemory) => Err(STATUS_INSUFFICIENT_RESOURCES),
    }
}

fn config(settings: &StartSettings) -> Config {
    let mut config = Config::new(settings.queue_bytes);
    config.hold_limit = u64::from(settings.hold_limit_ms).saturating_mul(Tick::PER_MS);
    config.sweep = sweep_limits(settings.sweep);
    config.overflow = settings.overflow;
    config
}

/// The limits as the engine has them.
fn sweep_limits(limits: SweepLimits) -> snapless_engine::SweepLimits {
    snapless_engine::SweepLimits {
        bytes_per_second: limits.bytes_per_second,
        latency: u64::from(limits.latency_ms).saturating_mul(Tick::PER_MS),
    }
}

//! A session in the kernel: the engine, the queue's memory, and the write path around them.

mod changes;
mod claim;
mod clearing;
mod counts;
mod host;
mod status;
mod workers;
mod write;

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_engine::{Config, StartError, Tick, Worker};
use snapless_types::Geometry;
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::StartSettings;
use wdk_sys::{
    DO_BUFFERED_IO, DO_DIRECT_IO, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
};

use crate::gate::Side;
use crate::kernel::irp::{CancelRoutine, CompletionRoutine, OwnedIrp};
use crate::kernel::lower::LowerDevice;
use crate::kernel::mdl::BufferMdl;
use crate::kernel::pool::PoolBuffer;
use crate::kernel::shared::Shared;

pub use claim::Claim;
pub use clearing::Request;
pub use status::VolumeFacts;
pub use workers::SessionThreads;
pub use write::{After, CompletionContext, Write};

use counts::Counts;
use host::KernelHost;

/// What a session has done by those who know its volume.
#[derive(Clone, Copy)]
pub struct Callbacks {
    /// Completion routine of every request of the session that goes down.
    pub completed: CompletionRoutine,
    /// Cancel routine of every request that is held.
    pub cancel: CancelRoutine,
    /// Completes a request that entered the gate by this side, and lets it out. IRQL <= DISPATCH_LEVEL.
    pub finish: fn(OwnedIrp, Side, NTSTATUS),
}

/// One protection of one volume.
pub struct Session {
    id: SessionId,
    /// In memory of its own: values as large are not moved over a kernel's stack.
    engine: Shared<snapless_engine::Session<KernelHost>>,
    lower: LowerDevice,
    lower_flags: u32,
    claim: Claim,
    callbacks: Callbacks,
    counts: Counts,
    /// The device does not trim.
    no_trim: AtomicBool,
    /// The device does not write zeros by itself.
    no_zero: AtomicBool,
    /// The drain thread is to ask for the volume's length.
    length_asked: AtomicBool,
    /// The volume has become shorter than the session's table.
    shrunk: AtomicBool,
    /// Set when t0 could not be stamped in time.
    failed: AtomicBool,
    /// Describes `queue`, and so goes first.
    queue_mdl: BufferMdl,
    queue: PoolBuffer,
}

impl Session {
    /// Allocates everything a session needs; `trims` tells whether the device takes trims. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES`; `STATUS_INVALID_PARAMETER` for limits that the engine refuses;
    /// `STATUS_NOT_SUPPORTED` for a device that does neither direct nor buffered I/O.
    #[inline(never)]
    pub fn new(
        lower: LowerDevice,
        geometry: Geometry,
        settings: &StartSettings,
        claim: Claim,
        callbacks: Callbacks,
        trims: bool,
    ) -> Result<Self, NTSTATUS> {
        let lower_flags = lower.flags();
        if lower_flags & (DO_DIRECT_IO | DO_BUFFERED_IO) == 0 {
            return Err(STATUS_NOT_SUPPORTED);
        }
        let out_of_memory = STATUS_INSUFFICIENT_RESOURCES;
        let bytes = usize::try_from(settings.queue_bytes).map_err(|_| out_of_memory)?;
        let queue = PoolBuffer::new(bytes).ok_or(out_of_memory)?;
        let queue_mdl = BufferMdl::new(&queue).ok_or(out_of_memory)?;
        let host = KernelHost::new().ok_or(out_of_memory)?;
        let engine = engine(host, geometry, settings)?;
        Ok(Self {
            id: settings.session,
            engine,
            lower,
            lower_flags,
            claim,
            callbacks,
            counts: Counts::default(),
            no_trim: AtomicBool::new(!trims),
            no_zero: AtomicBool::new(false),
            length_asked: AtomicBool::new(false),
            shrunk: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            queue_mdl,
            queue,
        })
    }

    /// Its identity. IRQL <= DISPATCH_LEVEL.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The volume's geometry at the start. IRQL <= DISPATCH_LEVEL.
    pub fn geometry(&self) -> &Geometry {
        self.engine.geometry()
    }

    /// Has the drain thread ask for the volume's length: it may have changed. IRQL <= DISPATCH_LEVEL.
    pub fn ask_for_length(&self) {
        // Relaxed: the event that is set next orders it.
        self.length_asked.store(true, Ordering::Relaxed);
        self.engine.host().event(Worker::Drain).set();
    }

    /// Notes the volume's length. IRQL <= DISPATCH_LEVEL.
    pub fn has_length(&self, length: u64) {
        let known = self.engine.geometry().length();
        if length > known {
            self.engine.grow(length);
        }
        if length < known {
            // Relaxed: for people to see.
            self.shrunk.store(true, Ordering::Relaxed);
        }
    }

    /// Has the dispatch thread look at what is held. IRQL <= DISPATCH_LEVEL.
    pub fn look_again(&self) {
        self.engine.host().event(Worker::Dispatch).set();
    }

    /// Notes that a request was refused. IRQL <= DISPATCH_LEVEL.
    pub fn refused(&self) {
        Counts::add(&self.counts.requests_refused);
    }

    /// Ends the session: held writes go through, nothing more is captured. IRQL <= DISPATCH_LEVEL.
    pub fn stop(&self) {
        self.engine.stop();
    }

    /// True once the session has been stopped: its threads end, and nothing of it comes back.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn is_stopped(&self) -> bool {
        self.engine.status().phase == snapless_engine::Phase::Stopped
    }
}

/// The engine, in memory of its own. Out of line, as it is large while it is made.
#[inline(never)]
fn engine(
    host: KernelHost,
    geometry: Geometry,
    settings: &StartSettings,
) -> Result<Shared<snapless_engine::Session<KernelHost>>, NTSTATUS> {
    match snapless_engine::Session::new(host, geometry, config(settings)) {
        Ok(engine) => Shared::new(engine).ok_or(STATUS_INSUFFICIENT_RESOURCES),
        Err(StartError::Config(_)) => Err(STATUS_INVALID_PARAMETER),
        Err(StartError::OutOfMemory) => Err(STATUS_INSUFFICIENT_RESOURCES),
    }
}

fn config(settings: &StartSettings) -> Config {
    let mut config = Config::new(settings.queue_bytes);
    config.hold_limit = u64::from(settings.hold_limit_ms).saturating_mul(Tick::PER_MS);
    config.sweep_bytes_per_second = settings.sweep.bytes_per_second;
    config.sweep_latency = u64::from(settings.sweep.latency_ms).saturating_mul(Tick::PER_MS);
    config.overflow = settings.overflow;
    config
}

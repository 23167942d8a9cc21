//! A session in the kernel: the engine, the queue's memory, and the write path around them.

mod claim;
mod host;
mod status;
mod workers;

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;

use snapless_engine::{
    Capture, Config, Extent, Geometry, Issue, Overflow, StartError, Submission, Tick, Ticket,
    Urgency,
};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{self, StartSettings};
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED,
    STATUS_PENDING,
};

use crate::gate::Side;
use crate::kernel::irp::{CompletionRoutine, OwnedIrp};
use crate::kernel::lower::LowerDevice;
use crate::kernel::mdl::BufferMdl;
use crate::kernel::pool::PoolBuffer;
use crate::kernel::shared::Shared;

pub use claim::Claim;
pub use workers::SessionThreads;

use host::KernelHost;

/// A write on its way through a session.
#[derive(Debug)]
pub struct Write {
    irp: OwnedIrp,
    side: Side,
    /// Its data; `None` if they cannot be reached: then the engine does not ask for them.
    payload: Option<NonNull<u8>>,
}

// SAFETY: the payload belongs to the IRP, which belongs to the value.
unsafe impl Send for Write {}

/// One protection of one volume.
pub struct Session {
    id: SessionId,
    /// In memory of its own: values as large are not moved over a kernel's stack.
    engine: Shared<snapless_engine::Session<KernelHost>>,
    lower: LowerDevice,
    lower_flags: u32,
    claim: Claim,
    /// Called when a write of this session completes.
    completion: CompletionRoutine,
    /// Set when t0 could not be stamped in time.
    failed: AtomicBool,
    /// Describes `queue`, and so goes first.
    queue_mdl: BufferMdl,
    queue: PoolBuffer,
}

impl Session {
    /// Allocates everything a session needs. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES`; `STATUS_INVALID_PARAMETER` for limits that the engine refuses;
    /// `STATUS_NOT_SUPPORTED` for a device that does no direct I/O.
    #[inline(never)]
    pub fn new(
        lower: LowerDevice,
        geometry: Geometry,
        settings: &StartSettings,
        claim: Claim,
        completion: CompletionRoutine,
    ) -> Result<Self, NTSTATUS> {
        let lower_flags = lower.flags();
        if lower_flags & wdk_sys::DO_DIRECT_IO == 0 {
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
            completion,
            failed: AtomicBool::new(false),
            queue_mdl,
            queue,
        })
    }

    /// Its identity.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The volume's geometry at the start.
    pub fn geometry(&self) -> &Geometry {
        self.engine.geometry()
    }

    /// Takes a write that has come through the gate by `side`. IRQL <= DISPATCH_LEVEL.
    ///
    /// Returns what the dispatch routine returns: always `STATUS_PENDING`.
    pub fn write(&self, irp: OwnedIrp, side: Side, extent: Extent) -> NTSTATUS {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        // Mapped now, while that can still be answered by letting the write through; the mapping stays
        // with the IRP's MDL.
        let payload = irp.payload(self.lower_flags, len);
        let urgency = match payload {
            None => Urgency::Uncapturable,
            Some(_) if irp.is_paging_file() => Urgency::MustNotWait,
            Some(_) => Urgency::MayWait,
        };
        // Another thread may issue and complete the write before `submit` returns.
        irp.mark_pending();
        let write = Write { irp, side, payload };
        self.carry_out(self.engine.submit(write, extent, urgency));
        STATUS_PENDING
    }

    /// Notes that the disk is done with a write of this session. IRQL <= DISPATCH_LEVEL.
    pub fn completed(&self, ticket: Ticket, succeeded: bool) {
        self.engine.completed(ticket, succeeded);
    }

    /// Ends the session: held writes go through, nothing more is captured. IRQL <= DISPATCH_LEVEL.
    pub fn stop(&self) {
        self.engine.stop();
    }

    /// True once the session has been stopped: its threads end, and nothing of it comes back.
    pub fn is_stopped(&self) -> bool {
        self.engine.status().phase == snapless_engine::Phase::Stopped
    }

    /// Does what the engine decided about a write.
    fn carry_out(&self, submission: Submission<Write>) {
        match submission {
            Submission::Capture(capture) => {
                self.copy_payload(&capture);
                self.issue(self.engine.captured(capture));
            }
            Submission::Issue(issue) => self.issue(issue),
            Submission::Held => {}
        }
    }

    fn copy_payload(&self, capture: &Capture<Write>) {
        let memory = capture.memory();
        let target = self.queue.range(memory.offset(), memory.len());
        let (Some(source), Some(target)) = (capture.write().payload, target) else {
            // The engine asks for payloads that `write` found, and hands out ranges inside the queue.
            debug_assert!(false, "LOSS: a captured write has a payload and a place for it");
            return;
        };
        let len = usize::try_from(memory.len()).unwrap_or(0);
        // SAFETY: the payload has at least the extent's bytes, which is what the range has; the range is this
        // capture's alone. The application may change its buffer meanwhile: that is its affair.
        unsafe { target.copy_from_nonoverlapping(source, len) };
    }

    fn issue(&self, issue: Issue<Write>) {
        let Issue { write, ticket, .. } = issue;
        let context = CompletionContext { ticket: Some(ticket), side: write.side }.into_raw();
        // The IRP is marked pending: what the lower driver returns is for nobody.
        let _ = write.irp.send(self.lower.as_ptr(), self.completion, context);
    }
}

/// What a write's completion routine has to know, in the bits of its context pointer.
pub struct CompletionContext {
    /// The engine's name for the write; none for a request that the engine knows nothing of.
    pub ticket: Option<Ticket>,
    /// The side of the gate that it entered by.
    pub side: Side,
}

/// The ticket takes the low 32 bits, the side the next, the one after it says that there is a ticket.
const SIDE_SHIFT: u32 = 32;
const TRACKED: usize = 1 << 33;
const TICKET_MASK: usize = 0xffff_ffff;

impl CompletionContext {
    /// The context pointer, which is never dereferenced.
    pub fn into_raw(self) -> *mut c_void {
        let ticket = self.ticket.map_or(0, |ticket| ticket.into_raw() as usize | TRACKED);
        core::ptr::without_provenance_mut(ticket | self.side.into_bit() << SIDE_SHIFT)
    }

    /// What [`CompletionContext::into_raw`] packed.
    pub fn from_raw(context: *mut c_void) -> Self {
        let bits = context.addr();
        let ticket = (bits & TRACKED != 0)
            .then(|| Ticket::from_raw(u32::try_from(bits & TICKET_MASK).unwrap_or(u32::MAX)));
        Self { ticket, side: Side::from_bit(bits >> SIDE_SHIFT) }
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
    config.overflow = match settings.overflow {
        ioctl::Overflow::Gap => Overflow::Gap,
        ioctl::Overflow::Hold => Overflow::Hold,
    };
    config
}

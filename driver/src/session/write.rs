//! The way of a write, a trim or a write of zeros through a session: submitted, captured, issued, completed; or held,
//! and maybe cancelled.

use alloc::boxed::Box;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use snapless_driver_logic::dataset::Action;
use snapless_engine::{Capture, Issue, Submission, Ticket, Urgency};
use snapless_types::{Clearing, Extent};
use wdk_sys::{
    NT_SUCCESS, NTSTATUS, PIRP, STATUS_CANCELLED, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED, STATUS_PENDING,
};

use super::Session;
use super::clearing::Run;
use super::counts::Counts;
use crate::gate::Side;
use crate::kernel::irp::OwnedIrp;
use crate::trace;

/// A write on its way through a session, or a request that clears.
pub struct Write {
    form: Form,
    side: Side,
    /// Its data; `None` if they cannot be reached, or there are none: then the engine does not ask for them.
    payload: Option<NonNull<u8>>,
}

enum Form {
    /// The application's own request.
    Whole(Whole),
    /// A piece of one.
    Piece(Box<Run>),
}

/// An application's request.
struct Whole {
    irp: OwnedIrp,
    what: What,
    /// It is held, and has a cancel routine.
    cancellable: Cell<bool>,
}

// SAFETY: the payload belongs to the IRP, which belongs to the value.
unsafe impl Send for Write {}

/// What a request that the engine knows of is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A write.
    Write,
    /// A request that clears.
    Clearing(Action),
}

impl Session {
    /// Takes a write that has come through the gate by `side`. IRQL <= DISPATCH_LEVEL.
    ///
    /// Returns what the dispatch routine returns: always `STATUS_PENDING`.
    pub fn write(
        &self,
        irp: OwnedIrp,
        side: Side,
        extent: Extent,
        volume_has_paging_file: bool,
    ) -> NTSTATUS {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        // Mapped now, while that can still be answered by letting the write through; the mapping stays
        // with the IRP's MDL.
        let payload = irp.payload(self.lower_flags, len);
        let urgency = match payload {
            None => Urgency::PayloadUnavailable,
            Some(_) if irp.is_paging_file(volume_has_paging_file) => Urgency::MustNotWait,
            Some(_) => Urgency::MayWait,
        };
        match urgency {
            Urgency::MayWait => {}
            Urgency::MustNotWait => {
                Counts::add(&self.counts.writes_urgent);
                trace::write_urgent(self.id, extent);
            }
            Urgency::PayloadUnavailable => {
                Counts::add(&self.counts.writes_unreachable);
                trace::write_uncapturable(self.id, extent);
            }
        }
        if extent.end() > self.engine.geometry().length() {
            // Whoever writes there knows of a longer volume.
            self.ask_for_length();
        }
        // Another thread may issue and complete the write before `submit` returns.
        irp.mark_pending();
        let form = Form::Whole(Whole::new(irp, What::Write));
        let write = Write { form, side, payload };
        self.carry_out(self.engine.submit(write, extent, urgency));
        STATUS_PENDING
    }

    /// Takes a request of one piece that clears, as it came. IRQL <= DISPATCH_LEVEL. Returns as
    /// [`Session::write`].
    pub(super) fn clear_whole(
        &self,
        irp: OwnedIrp,
        side: Side,
        action: Action,
        extent: Extent,
    ) -> NTSTATUS {
        irp.mark_pending();
        let form = Form::Whole(Whole::new(irp, What::Clearing(action)));
        let write = Write { form, side, payload: None };
        let clearing = as_clearing(action);
        self.carry_out(self.engine.submit_clearing(write, clearing, extent, Urgency::MayWait));
        STATUS_PENDING
    }

    /// Carries out the next pieces of a request, until one is held or under way. IRQL <= DISPATCH_LEVEL.
    pub(super) fn clear_pieces(&self, mut run: Box<Run>) {
        loop {
            let (side, action, extent) = (run.side(), run.action(), run.extent());
            let write = Write { form: Form::Piece(run), side, payload: None };
            let clearing = as_clearing(action);
            match self.engine.submit_clearing(write, clearing, extent, Urgency::MayWait) {
                Submission::Issue(Issue { write, ticket, .. }) => match write.form {
                    Form::Piece(next) => {
                        Counts::add(&self.counts.clearings);
                        match Run::send(next, ticket, self) {
                            Some(left) => run = left,
                            None => return,
                        }
                    }
                    // The engine gives back what it was given.
                    Form::Whole(whole) => return self.issue_whole(whole, write.side, ticket),
                },
                Submission::Held => return,
                Submission::Capture(_) => {
                    debug_assert!(false, "LOSS: what clears has no payload to be captured");
                    return;
                }
            }
        }
    }

    /// Notes that the disk is done with a request of this session. IRQL <= DISPATCH_LEVEL.
    pub fn completed(&self, ticket: Ticket, what: What, status: NTSTATUS) {
        let succeeded = NT_SUCCESS(status);
        if !succeeded {
            Counts::add(&self.counts.writes_failed);
            self.learn(what, status);
        }
        self.engine.completed(ticket, succeeded);
    }

    /// True if the device has said that it does not do this. IRQL <= DISPATCH_LEVEL.
    pub(super) fn is_unsupported(&self, action: Action) -> bool {
        // Relaxed: a late look costs one more request that fails.
        self.unsupported(action).load(Ordering::Relaxed)
    }

    /// Does what the engine decided about a write. IRQL <= DISPATCH_LEVEL.
    pub(super) fn carry_out(&self, submission: Submission<Write>) {
        match submission {
            Submission::Capture(capture) => {
                self.copy_payload(&capture);
                self.issue(self.engine.captured(capture));
            }
            Submission::Issue(issue) => self.issue(issue),
            Submission::Held => {}
        }
    }

    /// Lets applications cancel what is held for them, and completes what they have cancelled by now. For the
    /// dispatch thread, each time that it wakes: a write is not seen held before it does. PASSIVE_LEVEL.
    pub(super) fn let_cancel(&self) {
        let routine = self.callbacks.cancel;
        let cancelled = |write: &Write| match &write.form {
            // What has a routine already is the routine's to take.
            Form::Whole(whole) => {
                !whole.cancellable.replace(true) && !whole.irp.let_cancel(routine)
            }
            // One piece of several: the request goes on to its end.
            Form::Piece(_) => false,
        };
        while let Some(write) = self.engine.cancel_held(cancelled) {
            self.finish_cancelled(write);
        }
    }

    /// Takes a request of an application that cancels it, if it is held still. IRQL = DISPATCH_LEVEL, in its cancel
    /// routine.
    pub fn take_cancelled(&self, irp: PIRP) -> Option<(OwnedIrp, Side)> {
        let this_one = |write: &Write| match &write.form {
            Form::Whole(whole) => whole.irp.is(irp),
            Form::Piece(_) => false,
        };
        match self.engine.cancel_held(this_one)? {
            Write { form: Form::Whole(Whole { irp, .. }), side, .. } => {
                Counts::add(&self.counts.writes_cancelled);
                Some((irp, side))
            }
            Write { form: Form::Piece(_), .. } => None,
        }
    }

    fn finish_cancelled(&self, write: Write) {
        if let Write { form: Form::Whole(Whole { irp, .. }), side, .. } = write {
            Counts::add(&self.counts.writes_cancelled);
            irp.end_cancel();
            (self.callbacks.finish)(irp, side, STATUS_CANCELLED);
        }
    }

    fn copy_payload(&self, capture: &Capture<Write>) {
        let memory = capture.memory();
        let target = self.queue.range(memory.offset, memory.len);
        let (Some(source), Some(target)) = (capture.write().payload, target) else {
            // The engine asks for payloads that `write` found, and hands out ranges inside the queue.
            debug_assert!(false, "LOSS: a captured write has a payload and a place for it");
            return;
        };
        let len = usize::try_from(memory.len).unwrap_or(0);
        // SAFETY: the payload has at least the extent's bytes, which is what the range has; the range is this
        // capture's alone. The application may change its buffer meanwhile: that is its affair.
        unsafe { target.copy_from_nonoverlapping(source, len) };
    }

    fn issue(&self, issue: Issue<Write>) {
        let Issue { write: Write { form, side, .. }, ticket, .. } = issue;
        match form {
            Form::Whole(whole) => self.issue_whole(whole, side, ticket),
            Form::Piece(run) => {
                Counts::add(&self.counts.clearings);
                if let Some(run) = Run::send(run, ticket, self) {
                    self.clear_pieces(run);
                }
            }
        }
    }

    fn issue_whole(&self, whole: Whole, side: Side, ticket: Ticket) {
        let Whole { irp, what, cancellable } = whole;
        if let What::Clearing(_) = what {
            Counts::add(&self.counts.clearings);
        }
        if cancellable.get() {
            irp.end_cancel();
        }
        let context = CompletionContext { ticket: Some((ticket, what)), side, after: None };
        // The IRP is marked pending: what the lower driver returns is for nobody.
        let _ = irp.send(self.lower.as_ptr(), self.callbacks.completed, context.into_raw());
    }

    /// A device that does not know a request leaves the data alone, but the stream says that they are cleared: the
    /// engine makes that good, and it is not to happen again.
    fn learn(&self, what: What, status: NTSTATUS) {
        let unknown = [STATUS_NOT_SUPPORTED, STATUS_NOT_IMPLEMENTED, STATUS_INVALID_DEVICE_REQUEST];
        if let What::Clearing(action) = what
            && unknown.contains(&status)
        {
            // Relaxed: as in `is_unsupported`.
            self.unsupported(action).store(true, Ordering::Relaxed);
        }
    }

    fn unsupported(&self, action: Action) -> &AtomicBool {
        match action {
            Action::Trim => &self.no_trim,
            Action::Zero => &self.no_zero,
        }
    }
}

impl Whole {
    fn new(irp: OwnedIrp, what: What) -> Self {
        Self { irp, what, cancellable: Cell::new(false) }
    }
}

fn as_clearing(action: Action) -> Clearing {
    match action {
        Action::Trim => Clearing::Trim,
        Action::Zero => Clearing::Zero,
    }
}

/// What a completion routine looks at once a request has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// The volume's length: it may be another now.
    AskForLength,
    /// The answer: it is the volume's length.
    ReadLength,
}

/// What a completion routine has to know, in the bits of its context pointer.
pub struct CompletionContext {
    /// The engine's name for the request, and what it is; none for one that the engine knows nothing of.
    pub ticket: Option<(Ticket, What)>,
    /// The side of the gate that it entered by.
    pub side: Side,
    /// What else is to be done.
    pub after: Option<After>,
}

/// The ticket takes the low 32 bits, the side the next; then two for what the request is (0: unknown to the
/// engine), and two for what is to be done after it.
const SIDE_SHIFT: u32 = 32;
const WHAT_SHIFT: u32 = 33;
const AFTER_SHIFT: u32 = 35;
const TICKET_MASK: usize = 0xffff_ffff;

impl CompletionContext {
    /// The context pointer, which is never dereferenced. IRQL <= DISPATCH_LEVEL.
    pub fn into_raw(self) -> *mut c_void {
        let (ticket, what) = match self.ticket {
            None => (0, 0),
            Some((ticket, what)) => {
                let what = match what {
                    What::Write => 1,
                    What::Clearing(Action::Trim) => 2,
                    What::Clearing(Action::Zero) => 3,
                };
                (ticket.into_raw() as usize, what)
            }
        };
        let after = match self.after {
            None => 0,
            Some(After::AskForLength) => 1,
            Some(After::ReadLength) => 2,
        };
        let side = self.side.into_bit() << SIDE_SHIFT;
        core::ptr::without_provenance_mut(
            ticket | side | (what << WHAT_SHIFT) | (after << AFTER_SHIFT),
        )
    }

    /// What [`CompletionContext::into_raw`] packed. IRQL <= DISPATCH_LEVEL.
    pub fn from_raw(context: *mut c_void) -> Self {
        let bits = context.addr();
        let what = match (bits >> WHAT_SHIFT) & 3 {
            0 => None,
            1 => Some(What::Write),
            2 => Some(What::Clearing(Action::Trim)),
            _ => Some(What::Clearing(Action::Zero)),
        };
        let after = match (bits >> AFTER_SHIFT) & 3 {
            1 => Some(After::AskForLength),
            2 => Some(After::ReadLength),
            _ => None,
        };
        let ticket = u32::try_from(bits & TICKET_MASK).unwrap_or(u32::MAX);
        Self {
            ticket: what.map(|what| (Ticket::from_raw(ticket), what)),
            side: Side::from_bit(bits >> SIDE_SHIFT),
            after,
        }
    }
}

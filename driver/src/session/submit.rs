//! A session's requests and the engine: submitted, captured, completed, cancelled while held.
//!
//! Sending and completing IRPs is for the caller, [`io_path`](crate::io_path).

use core::sync::atomic::{AtomicBool, Ordering};

use snapless_engine::{Capture, Issue, MemorySpan, Part, Submission, Ticket, Urgency};
use snapless_types::{Clearing, Extent};
use wdk_sys::{
    NT_SUCCESS, NTSTATUS, STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_IMPLEMENTED,
    STATUS_NOT_SUPPORTED,
};

use super::Session;
use super::split_request::SplitIrp;
use super::write::{Form, Original, RequestKind, Write};
use crate::kernel::irp::{CancelledIrp, CompletedIrp, OwnedIrp};
use crate::kernel::payload_mdl::PayloadMdl;
use crate::kernel::rundown::RundownProtection;
use crate::trace;

impl Session {
    /// Submits a write. Its dispatch routine returns `STATUS_PENDING`. IRQL <= DISPATCH_LEVEL.
    pub fn submit_write(
        &self,
        irp: OwnedIrp,
        protection: RundownProtection,
        extent: Extent,
        must_not_wait: bool,
    ) -> Submission<Write> {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        // Mapped before the write can be held, if it can be; the mapping stays with the IRP's MDL.
        let payload = irp.payload(self.lower_flags, len);
        let urgency = match payload {
            None => Urgency::PayloadUnavailable,
            Some(_) if must_not_wait => Urgency::MustNotWait,
            Some(_) => Urgency::MayWait,
        };
        match urgency {
            Urgency::MayWait => {}
            Urgency::MustNotWait => trace::write_urgent(self.id(), extent),
            Urgency::PayloadUnavailable => trace::write_payload_unavailable(self.id(), extent),
        }
        if extent.end() > self.engine.geometry().length() {
            // The sender knows of a longer volume.
            self.query_length_later();
        }
        // Another thread may issue and complete the write before `submit` returns.
        irp.mark_pending();
        let write = Write::original(irp, protection, RequestKind::Write, payload);
        self.engine.submit(write, extent, urgency)
    }

    /// Submits a trim or a write of zeros of one piece, which goes down as it came. Its dispatch
    /// routine returns `STATUS_PENDING`. IRQL <= DISPATCH_LEVEL.
    pub fn submit_clearing(
        &self,
        irp: OwnedIrp,
        protection: RundownProtection,
        action: Clearing,
        extent: Extent,
    ) -> Submission<Write> {
        irp.mark_pending();
        let write = Write::original(irp, protection, RequestKind::Clearing(action), None);
        self.engine.submit_clearing(write, action, extent, Urgency::MayWait)
    }

    /// Submits the next piece of a split request, whose IRP is marked pending. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn submit_piece(&self, split: SplitIrp) -> Submission<Write> {
        let (clearing, extent) = (split.value().action, split.value().extent());
        self.engine.submit_clearing(Write::piece(split), clearing, extent, Urgency::MayWait)
    }

    /// Copies a write's payload into the queue. IRQL <= DISPATCH_LEVEL.
    pub fn capture(&self, capture: Capture<Write>) -> Issue<Write> {
        if self.copy(&capture, 0) {
            return self.engine.captured(capture);
        }
        trace::write_payload_unavailable(self.id(), capture.extent());
        self.engine.not_captured(capture)
    }

    /// Copies a payload, or a part of it, of which a record is made next: the log has the write's
    /// regions before it lists the end of that record's epoch.
    #[inline(never)] // Not on the stack of what follows.
    fn copy(&self, capture: &Capture<Write>, skip: u64) -> bool {
        if self.state.watches() {
            self.state.expect(&self.marks, &capture.extent());
        }
        let payload = capture.write().payload;
        payload.is_some_and(|payload| self.queue.capture(capture, payload, skip))
    }

    /// Copies a part of a write's payload into the queue; returns what to do next. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn capture_part(&self, part: Part<Write>) -> Submission<Write> {
        let (capture, skip) = (part.capture(), part.skip());
        if self.copy(capture, skip) {
            return self.engine.part_captured(part);
        }
        trace::write_payload_unavailable(self.id(), capture.extent());
        self.engine.part_not_captured(part)
    }

    /// Has the disk transfer a captured write from the queue; `None` if it goes down as it came.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn issue_from_queue(&self, irp: &OwnedIrp, payload: MemorySpan) -> Option<PayloadMdl> {
        self.queue.issue_from(irp, payload)
    }

    /// The bytes of a write of this length that is about to go to the disk from the queue. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn issued_bytes(&self, payload: PayloadMdl, len: u32) -> Option<&[u8]> {
        self.queue.issued(payload.span(len))
    }

    /// Gives a request that has completed its caller's buffer back. IRQL <= DISPATCH_LEVEL.
    pub fn put_back(&self, irp: &CompletedIrp, payload: PayloadMdl) {
        self.queue.put_back(irp, payload);
    }

    /// Notes that the lower device has completed a request. IRQL <= DISPATCH_LEVEL.
    pub fn completed(&self, ticket: Ticket, kind: RequestKind, status: NTSTATUS) {
        let succeeded = NT_SUCCESS(status);
        if !succeeded {
            self.note_if_unsupported(kind, status);
        }
        self.engine.completed(ticket, succeeded);
    }

    /// True if the lower device does not support this. IRQL <= DISPATCH_LEVEL.
    pub fn is_unsupported(&self, action: Clearing) -> bool {
        // Relaxed: a late look costs one more request that fails.
        self.unsupported(action).load(Ordering::Relaxed)
    }

    /// Takes a request out of the session in its cancel routine; `None` if it is not held any more.
    /// DISPATCH_LEVEL.
    pub fn take_cancelled(
        &self,
        cancelled: &CancelledIrp,
    ) -> Option<(OwnedIrp, RundownProtection)> {
        match self.engine.cancel_held(cancelled)?.form {
            Form::Original(Original { irp, protection, .. }) => Some((irp, protection)),
            Form::Piece(_) => None,
        }
    }

    /// A device that does not support a request leaves the data alone, but the stream has the
    /// clearing already: the engine reads the blocks again (rule TRUTH, rules.md#truth), and from
    /// now on the request is refused.
    fn note_if_unsupported(&self, kind: RequestKind, status: NTSTATUS) {
        let refusals =
            [STATUS_NOT_SUPPORTED, STATUS_NOT_IMPLEMENTED, STATUS_INVALID_DEVICE_REQUEST];
        if let RequestKind::Clearing(action) = kind
            && refusals.contains(&status)
        {
            // Relaxed: as in `is_unsupported`.
            self.unsupported(action).store(true, Ordering::Relaxed);
        }
    }

    fn unsupported(&self, action: Clearing) -> &AtomicBool {
        match action {
            Clearing::Trim => &self.no_trim,
            Clearing::Zero => &self.no_zero,
        }
    }
}

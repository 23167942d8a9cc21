//! The path of a write, and of a device control request that changes the volume: preprocess
//! callback, session, lower device, completion routine; or held, and maybe cancelled.
//!
//! The requests come here as IRPs ahead of the framework, so that a volume without a session costs
//! no framework request. Each acquires rundown protection first and releases it last ([`finish`],
//! or the completion routine): in between its session is there. Which device control requests
//! change a volume, `snapless_driver_logic::requests` decides.
//!
//! While the machine comes up or goes down, a request may have to wait for what the volume keeps of
//! its state ([`VolumeState`]): looked at last, when it is ready to be sent.
//!
//! IRQL <= DISPATCH_LEVEL throughout: nothing here waits or touches pageable memory.

mod tag;

use snapless_driver_logic::dataset::PIECE_REQUEST_LEN;
use snapless_driver_logic::requests::{self, Verdict};
use snapless_driver_logic::special_files::PagingWrite;
use snapless_engine::{Issue, MemorySpan, Submission, Ticket};
use snapless_types::Extent;
use wdk_sys::{
    NT_SUCCESS, NTSTATUS, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::framework::filter_device::{self, IoCallbacks, Preprocessed};
use crate::kernel::child_irp::ChildCompletion;
use crate::kernel::irp::{CancelledIrp, CompletedIrp, OwnedIrp};
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::parked_irps::Parked;
use crate::kernel::rundown::RundownProtection;
use crate::kernel::shared::Shared;
use crate::session::Session;
use crate::session::split_request::{ClearingRequest, SplitIrp, SplitRequest};
use crate::session::write::{Form, Original, RequestKind, Write};
use crate::state::VolumeState;
use crate::volume::Volume;

use tag::{OnCompletion, Tag};

/// The callbacks of a filter device for writes and device control requests.
pub struct IoPath;

impl IoCallbacks for IoPath {
    type Volume = Volume;

    fn write(volume: &Volume, irp: OwnedIrp) -> Preprocessed {
        let Some(protection) = volume.rundown.acquire() else { return removed(irp) };
        let Some(session) = volume.rundown.session(&protection) else {
            return send(volume, irp, protection, None);
        };
        let (offset, len) = irp.extent();
        match u64::try_from(offset).ok().and_then(|offset| Extent::new(offset, u64::from(len))) {
            // If it succeeds, the volume has grown past what the session describes.
            Some(extent) if extent.offset() >= session.geometry().length() => {
                send(volume, irp, protection, Some(OnCompletion::QueryLength))
            }
            Some(extent) => {
                let paging = volume.special_files.write_of(|| irp.origin());
                if paging == PagingWrite::Known && session.page_out(&extent) {
                    // A don't-care: as without a session.
                    return send(volume, irp, protection, None);
                }
                let must_not_wait = paging != PagingWrite::No;
                let submission = session.submit_write(irp, protection, extent, must_not_wait);
                let piece = carry_out_original(session, submission);
                debug_assert!(piece.is_none(), "CLEAR: the engine gives back what it was given");
                Preprocessed::Taken(STATUS_PENDING)
            }
            // Zero length or out of range: pass down.
            None => send(volume, irp, protection, None),
        }
    }

    fn device_control(volume: &Volume, irp: OwnedIrp) -> Preprocessed {
        if !requests::is_of_concern(irp.control_code()) {
            return Preprocessed::Framework(irp);
        }
        let Some(protection) = volume.rundown.acquire() else { return removed(irp) };
        match volume.rundown.session(&protection) {
            Some(session) => control(volume, session, irp, protection),
            None => send(volume, irp, protection, None),
        }
    }

    fn completed(volume: &Volume, protection: RundownProtection, tag: usize, irp: &CompletedIrp) {
        let Tag { ticket, on_completion, payload } = Tag::from_bits(tag);
        let status = irp.status();
        if let Some(session) = volume.rundown.session(&protection) {
            // First: the engine may use the memory again.
            if let Some(payload) = payload {
                session.put_back(irp, payload);
            }
            if let Some((ticket, kind)) = ticket {
                session.completed(ticket, kind, status);
            }
            match on_completion.filter(|_| NT_SUCCESS(status)) {
                Some(OnCompletion::QueryLength) => session.query_length_later(),
                Some(OnCompletion::ReadLength) => {
                    if let Some(length) = irp.reply() {
                        session.note_length(length);
                    }
                }
                Some(OnCompletion::Submit) | None => {}
            }
        }
        volume.rundown.release(protection);
    }

    /// The session that protection is acquired on here need not be the request's; then the
    /// request's session is ending and releases it anyway, as it does if the volume is removed.
    fn take_cancelled(
        volume: &Volume,
        irp: &CancelledIrp,
    ) -> Option<(OwnedIrp, RundownProtection)> {
        let protection = volume.rundown.acquire()?;
        let session = volume.rundown.session(&protection);
        let taken = session.and_then(|session| session.take_cancelled(irp));
        volume.rundown.release(protection);
        taken
    }

    fn finish(irp: OwnedIrp, protection: RundownProtection, status: NTSTATUS) {
        finish(irp, protection, status);
    }
}

/// Does what the engine has decided about a request. IRQL <= DISPATCH_LEVEL.
pub fn carry_out(session: &Session, submission: Submission<Write>) {
    if let Some((split, ticket)) = carry_out_original(session, submission)
        && let Some(next) = issue_piece(session, split, ticket)
    {
        submit_pieces(session, next);
    }
}

/// As [`carry_out`], but returns a piece that is to be sent: what pieces need is not on the stack
/// of a write.
#[inline]
fn carry_out_original(
    session: &Session,
    mut submission: Submission<Write>,
) -> Option<(SplitIrp, Ticket)> {
    let Issue { write, ticket, payload, .. } = loop {
        submission = match submission {
            Submission::Capture(capture) => break session.capture(capture),
            Submission::Part(part) => session.capture_part(part),
            Submission::Issue(issue) => break issue,
            Submission::Held => return None,
            Submission::Cancelled(write) => {
                cancelled(write);
                return None;
            }
        };
    };
    match write.form {
        Form::Original(original) => {
            issue_original(session, original, ticket, payload);
            None
        }
        Form::Piece(split) => Some((split, ticket)),
    }
}

/// Completes a request that would have been held and had been cancelled before. IRQL <=
/// DISPATCH_LEVEL.
#[inline(never)] // Not on the stack of a write that is issued.
fn cancelled(write: Write) {
    match write.form {
        Form::Original(Original { irp, protection, .. }) => {
            finish(irp, protection, STATUS_CANCELLED);
        }
        Form::Piece(split) => finish_split(split, STATUS_CANCELLED),
    }
}

/// A device control request that concerns the session.
fn control(
    volume: &Volume,
    session: &Session,
    irp: OwnedIrp,
    protection: RundownProtection,
) -> Preprocessed {
    let sector_size = session.geometry().sector_size();
    let status = match requests::judge(irp.control_code(), irp.control_input(), sector_size) {
        Verdict::Pass => return send(volume, irp, protection, None),
        Verdict::ReportsLength => {
            return send(volume, irp, protection, Some(OnCompletion::ReadLength));
        }
        Verdict::Resizes => return send(volume, irp, protection, Some(OnCompletion::QueryLength)),
        Verdict::Clear(clearing) => match ClearingRequest::new(&clearing) {
            Some(request) => return clear(session, irp, protection, request),
            None => STATUS_INSUFFICIENT_RESOURCES,
        },
        Verdict::Refuse => STATUS_NOT_SUPPORTED,
        Verdict::RefuseMalformed => STATUS_INVALID_PARAMETER,
    };
    refuse(session, irp, protection, status)
}

/// A trim or a write of zeros.
fn clear(
    session: &Session,
    irp: OwnedIrp,
    protection: RundownProtection,
    request: ClearingRequest,
) -> Preprocessed {
    if session.is_unsupported(request.action) {
        return refuse(session, irp, protection, STATUS_NOT_SUPPORTED);
    }
    // RESUME (rules.md#resume): the log has its regions before it has a record.
    let tag = Tag { on_completion: Some(OnCompletion::Submit), ..Tag::default() }.into_bits();
    let parked = Parked { irp, protection, tag };
    let Some(parked) = session.state().take_clearing(parked, || request.extents()) else {
        return Preprocessed::Taken(STATUS_PENDING);
    };
    let Parked { irp, protection, .. } = parked;
    if let Some(extent) = request.only_piece {
        carry_out(session, session.submit_clearing(irp, protection, request.action, extent));
        session.state().clearing_done();
        return Preprocessed::Taken(STATUS_PENDING);
    }
    match SplitRequest::new(irp, protection, request, session.lower()) {
        Ok(split) => {
            split.value().parent.mark_pending();
            submit_pieces(session, split);
            Preprocessed::Taken(STATUS_PENDING)
        }
        // BOUND: refused without memory for the pieces; its sender goes on without it.
        Err((irp, protection)) => {
            session.state().clearing_done();
            refuse(session, irp, protection, STATUS_INSUFFICIENT_RESOURCES)
        }
    }
}

fn refuse(
    session: &Session,
    irp: OwnedIrp,
    protection: RundownProtection,
    status: NTSTATUS,
) -> Preprocessed {
    session.note_refused();
    finish(irp, protection, status);
    Preprocessed::Taken(status)
}

/// Sends a request down that the engine does not know.
fn send(
    volume: &Volume,
    irp: OwnedIrp,
    protection: RundownProtection,
    on_completion: Option<OnCompletion>,
) -> Preprocessed {
    let tag = Tag { ticket: None, on_completion, payload: None }.into_bits();
    if volume.state().watches() {
        return send_watched(volume, Parked { irp, protection, tag });
    }
    Preprocessed::Taken(filter_device::send::<IoPath>(irp, volume.lower(), protection, tag))
}

/// As [`send`], while changes of the volume are noted or wait.
#[inline(never)] // Not on the stack of a request that is not watched.
fn send_watched(volume: &Volume, parked: Parked) -> Preprocessed {
    parked.irp.mark_pending();
    issue_watched(volume.state(), volume.lower(), parked, None);
    Preprocessed::Taken(STATUS_PENDING)
}

/// Sends a request, marked pending, that may have to wait. IRQL <= DISPATCH_LEVEL.
#[inline(never)] // As above.
fn issue_watched(
    state: &Shared<VolumeState>,
    lower: LowerDevice,
    parked: Parked,
    session: Option<&Session>,
) {
    // What the disk transfers, if that is from the queue.
    let payload = Tag::from_bits(parked.tag).payload;
    let bytes = session.zip(payload).and_then(|(session, payload)| {
        let (_, len) = parked.irp.extent();
        session.issued_bytes(payload, len)
    });
    if let Some(Parked { irp, protection, tag }) = VolumeState::take_in(state, parked, bytes) {
        let _ = filter_device::send::<IoPath>(irp, lower, protection, tag);
    }
}

/// As [`issue_watched`], of a request that the engine knows, which may go at once.
#[inline(never)] // As above.
fn issue_logged(session: &Session, parked: Parked) {
    if session.lets_pass(&parked.irp) {
        let Parked { irp, protection, tag } = parked;
        let _ = filter_device::send::<IoPath>(irp, session.lower(), protection, tag);
    } else {
        issue_watched(session.state(), session.lower(), parked, Some(session));
    }
}

/// Takes a request that has waited. IRQL <= DISPATCH_LEVEL.
pub fn release(parked: Parked) {
    // It is there until the request has completed.
    if let Some(volume) = filter_device::volume_of::<IoPath>(&parked.irp) {
        if Tag::from_bits(parked.tag).on_completion == Some(OnCompletion::Submit) {
            return submit_again(volume, parked);
        }
        let session = volume.rundown.session(&parked.protection);
        issue_watched(volume.state(), volume.lower(), parked, session);
    }
}

/// Submits a clearing that has waited before the engine knew of it.
#[inline(never)] // As above.
fn submit_again(volume: &Volume, parked: Parked) {
    let Parked { irp, protection, .. } = parked;
    // It is marked pending: what its dispatch routine would return is ignored.
    let _ = match volume.rundown.session(&protection) {
        Some(session) => control(volume, session, irp, protection),
        None => send(volume, irp, protection, None),
    };
}

#[allow(clippy::inline_always)] // A write is not moved over the stack once more.
#[inline(always)]
fn issue_original(
    session: &Session,
    original: Original,
    ticket: Ticket,
    payload: Option<MemorySpan>,
) {
    let Original { irp, protection, kind, has_cancel_routine } = original;
    if has_cancel_routine {
        irp.clear_cancel_routine();
    }
    let payload = payload.and_then(|payload| session.issue_from_queue(&irp, payload));
    let tag = Tag { ticket: Some((ticket, kind)), on_completion: None, payload }.into_bits();
    if session.state().watches() {
        return issue_logged(session, Parked { irp, protection, tag });
    }
    // The IRP is marked pending: the lower device's status is ignored.
    let _ = filter_device::send::<IoPath>(irp, session.lower(), protection, tag);
}

/// Carries out the pieces of a split request, until one is held or in flight.
fn submit_pieces(session: &Session, mut split: SplitIrp) {
    loop {
        let Issue { write, ticket, .. } = match session.submit_piece(split) {
            Submission::Issue(issue) => issue,
            Submission::Held => return,
            Submission::Cancelled(write) => return cancelled(write),
            Submission::Capture(_) | Submission::Part(_) => {
                debug_assert!(false, "LOSS: a trim or a write of zeros has no payload");
                return;
            }
        };
        let next = match write.form {
            Form::Piece(split) => issue_piece(session, split, ticket),
            // The engine gives back what it was given.
            Form::Original(original) => return issue_original(session, original, ticket, None),
        };
        match next {
            Some(next) => split = next,
            None => return,
        }
    }
}

/// Sends a piece down. Returns the split request if the piece has completed by now and there is
/// another one.
fn issue_piece(session: &Session, split: SplitIrp, ticket: Ticket) -> Option<SplitIrp> {
    if session.state().watches() && !VolumeState::lets_go(session.state(), split.value().extent()) {
        // Its sender goes on without it; the engine reads the blocks again.
        let kind = RequestKind::Clearing(split.value().action);
        session.completed(ticket, kind, STATUS_INSUFFICIENT_RESOURCES);
        finish_split(split, STATUS_INSUFFICIENT_RESOURCES);
        return None;
    }
    piece_completed(session, SplitRequest::send(split, ticket)?)
}

/// Notes that a piece has completed; returns the split request if there is another piece.
fn piece_completed(session: &Session, mut split: SplitIrp) -> Option<SplitIrp> {
    let status = split.status();
    let request = split.value_mut();
    if let Some(ticket) = request.ticket.take() {
        session.completed(ticket, RequestKind::Clearing(request.action), status);
    }
    if NT_SUCCESS(status) && request.advance() {
        return Some(split);
    }
    let status = if NT_SUCCESS(status) { STATUS_SUCCESS } else { status };
    finish_split(split, status);
    None
}

/// Completes a split request, as [`finish`] does.
#[inline(never)] // The request's value is not on the stack of what is still to be sent.
fn finish_split(split: SplitIrp, status: NTSTATUS) {
    let SplitRequest { parent, protection, .. } = split.into_value();
    if let Some(volume) = filter_device::volume_of::<IoPath>(&parent) {
        volume.state().clearing_done();
    }
    finish(parent, protection, status);
}

impl ChildCompletion<PIECE_REQUEST_LEN> for SplitRequest {
    fn completed(child: SplitIrp) {
        let SplitRequest { parent, protection, .. } = child.value();
        let volume = filter_device::volume_of::<IoPath>(parent);
        let session = volume.and_then(|volume| volume.rundown.session(protection));
        debug_assert!(session.is_some(), "T0: the session of a request in flight is there");
        if let Some(session) = session
            && let Some(next) = piece_completed(session, child)
        {
            submit_pieces(session, next);
        }
    }
}

/// Completes a request and releases its protection: in this order, since the volume, its device and
/// the session are there until the protection is released, and no longer.
fn finish(irp: OwnedIrp, protection: RundownProtection, status: NTSTATUS) {
    let volume = filter_device::volume_of::<IoPath>(&irp);
    irp.complete(status);
    if let Some(volume) = volume {
        volume.rundown.release(protection);
    }
}

/// Refuses a request that has reached a volume after its removal.
fn removed(irp: OwnedIrp) -> Preprocessed {
    Preprocessed::Taken(irp.complete(STATUS_DELETE_PENDING))
}

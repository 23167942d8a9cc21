//! Trims and writes of zeros of a session: as they came if they are one piece, else piece by piece.
//!
//! Each piece goes through the engine on its own, one after the other: a request that kept one piece under way while
//! another waits could wait for a write that waits for it. The application's request completes when the last piece
//! has, or the first one has failed.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::boxed::Box;
use alloc::vec::Vec;
use snapless_driver_logic::dataset::{
    Action, Clearing, PIECE_REQUEST_LEN, Pieces, Range, piece_request,
};
use snapless_driver_logic::requests::IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES;
use snapless_engine::Ticket;
use snapless_types::Extent;
use wdk_sys::{
    NT_SUCCESS, NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
};

use super::Session;
use super::write::What;
use crate::gate::Side;
use crate::kernel::control_irp::ControlIrp;
use crate::kernel::irp::OwnedIrp;
use crate::kernel::pool::try_box;
use crate::kernel::reserved;

/// A request of several pieces under way.
pub struct Run {
    parent: OwnedIrp,
    side: Side,
    action: Action,
    flags: u32,
    ranges: Vec<Range>,
    pieces: Pieces,
    /// The piece that is submitted, held or under way.
    piece: (Range, Extent),
    child: ControlIrp<PIECE_REQUEST_LEN>,
    /// The session of `side`: it is there until the run leaves the gate.
    session: *const Session,
    ticket: Option<Ticket>,
    /// Set by the first of two: the sender, when it is back from sending; the completion routine. The second goes on.
    handed_over: AtomicBool,
}

// SAFETY: the session is shared between threads anyway; everything else belongs to the value.
unsafe impl Send for Run {}

impl Session {
    /// Takes a trim or a write of zeros that has come through the gate by `side`. IRQL <= DISPATCH_LEVEL.
    ///
    /// Returns what the dispatch routine returns, or the request and what to complete it with.
    pub fn clear(
        &self,
        irp: OwnedIrp,
        side: Side,
        request: Request,
    ) -> Result<NTSTATUS, (OwnedIrp, NTSTATUS)> {
        if self.is_unsupported(request.action) {
            return Err((irp, STATUS_NOT_SUPPORTED));
        }
        match request.only_piece {
            Some((_, extent)) => Ok(self.clear_whole(irp, side, request.action, extent)),
            None => self.clear_run(irp, side, request),
        }
    }

    fn clear_run(
        &self,
        irp: OwnedIrp,
        side: Side,
        request: Request,
    ) -> Result<NTSTATUS, (OwnedIrp, NTSTATUS)> {
        // BOUND: without memory the request is refused, and its sender goes on without it.
        let no_memory = STATUS_INSUFFICIENT_RESOURCES;
        let Request { action, flags, ranges, .. } = request;
        let mut pieces = Pieces::default();
        let Some(piece) = next_piece(&mut pieces, &ranges) else { return Err((irp, no_memory)) };
        let Some(child) = ControlIrp::new(self.lower) else { return Err((irp, no_memory)) };
        let run = Run {
            parent: irp,
            side,
            action,
            flags,
            ranges,
            pieces,
            piece,
            child,
            session: core::ptr::from_ref(self),
            ticket: None,
            handed_over: AtomicBool::new(false),
        };
        let run = try_box(run).map_err(|run| (run.parent, no_memory))?;
        run.parent.mark_pending();
        self.clear_pieces(run);
        Ok(STATUS_PENDING)
    }
}

/// A checked trim or write of zeros, out of its IRP's buffer.
pub struct Request {
    action: Action,
    flags: u32,
    ranges: Vec<Range>,
    only_piece: Option<(Range, Extent)>,
}

impl Request {
    /// Copies what was checked; `None` if there is no memory. A request of one piece takes none. IRQL <= DISPATCH_LEVEL.
    pub fn new(clearing: &Clearing<'_>) -> Option<Self> {
        let only_piece = clearing.only_piece().and_then(with_extent);
        let count = if only_piece.is_some() { 0 } else { clearing.ranges().count() };
        Some(Self {
            action: clearing.action,
            flags: clearing.flags,
            ranges: reserved::collect(count, clearing.ranges())?,
            only_piece,
        })
    }
}

impl Run {
    /// The side of the gate that the request entered by. IRQL <= DISPATCH_LEVEL.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the request does. IRQL <= DISPATCH_LEVEL.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The piece that is next. IRQL <= DISPATCH_LEVEL.
    pub fn extent(&self) -> Extent {
        self.piece.1
    }

    /// Sends the piece down. Gives the run back if the piece is over already and there is another; else somebody
    /// else goes on with it. IRQL <= DISPATCH_LEVEL.
    pub fn send(mut run: Box<Self>, ticket: Ticket, session: &Session) -> Option<Box<Self>> {
        let input = piece_request(run.action, run.flags, run.piece.0);
        let file = run.parent.file();
        run.ticket = Some(ticket);
        *run.handed_over.get_mut() = false;
        let run = NonNull::from(Box::leak(run));
        // SAFETY: inside the run's allocation.
        let child = unsafe { run.byte_add(offset_of!(Self, child)) }.cast();
        // SAFETY: the run stays where it is until both have handed it over.
        unsafe {
            ControlIrp::send(
                child,
                IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES,
                input,
                file,
                piece_completed,
                run.as_ptr().cast(),
            );
        }
        // SAFETY: as above.
        unsafe { Self::take_over(run) }.and_then(|run| run.piece_over(session))
    }

    /// The run, if the other one of sender and completion routine is through with it.
    ///
    /// # Safety
    /// `run` is a leaked box; each of the two calls this once for each piece.
    unsafe fn take_over(run: NonNull<Self>) -> Option<Box<Self>> {
        // SAFETY: nobody frees the run before both were here.
        let handed_over = unsafe { &run.as_ref().handed_over };
        // Acquire and release: what the first did to the run comes before what the second does.
        if !handed_over.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: a leaked box, and the other one does not touch it any more.
        Some(unsafe { Box::from_raw(run.as_ptr()) })
    }

    /// Notes that the piece is over; gives the run back if there is another one.
    fn piece_over(mut self: Box<Self>, session: &Session) -> Option<Box<Self>> {
        let status = self.child.status();
        if let Some(ticket) = self.ticket.take() {
            session.completed(ticket, What::Clearing(self.action), status);
        }
        if NT_SUCCESS(status)
            && let Some(piece) = next_piece(&mut self.pieces, &self.ranges)
        {
            self.piece = piece;
            return Some(self);
        }
        let status = if NT_SUCCESS(status) { STATUS_SUCCESS } else { status };
        let finish = session.callbacks.finish;
        let Self { parent, side, .. } = *self;
        finish(parent, side, status);
        None
    }
}

/// Completion routine of a piece. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn piece_completed(
    _device: PDEVICE_OBJECT,
    _irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    if let Some(run) = NonNull::new(context.cast::<Run>()) {
        // SAFETY: `Run::send` passed the run, and this is the completion routine's one call.
        if let Some(run) = unsafe { Run::take_over(run) } {
            // SAFETY: the run is inside the gate, and so its session is there until it has left.
            if let Some(session) = unsafe { run.session.as_ref() }
                && let Some(run) = run.piece_over(session)
            {
                session.clear_pieces(run);
            }
        }
    }
    // The IRP is the run's.
    STATUS_MORE_PROCESSING_REQUIRED
}

fn next_piece(pieces: &mut Pieces, ranges: &[Range]) -> Option<(Range, Extent)> {
    pieces.next(ranges).and_then(with_extent)
}

/// A checked range is never empty and ends inside 63 bits, and so is an extent.
fn with_extent(range: Range) -> Option<(Range, Extent)> {
    Some((range, Extent::new(range.offset, range.len)?))
}

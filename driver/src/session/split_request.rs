//! A trim or a write of zeros of several pieces.
//!
//! The pieces go through the engine one after the other: a request that kept one piece in flight
//! while another is held could wait for a write that waits for it. The application's request
//! completes when the last piece has completed, or the first has failed.

use alloc::vec::Vec;

use snapless_driver_logic::dataset::{
    CheckedClearing, PIECE_REQUEST_LEN, Pieces, Range, piece_request,
};
use snapless_driver_logic::requests::IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES;
use snapless_engine::Ticket;
use snapless_types::{Clearing, Extent};

use crate::kernel::child_irp::{ChildCompletion, ChildIrp};
use crate::kernel::irp::OwnedIrp;
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::reserved;
use crate::kernel::rundown::RundownProtection;

/// A trim or a write of zeros that has been checked, copied out of its IRP's buffer.
pub struct ClearingRequest {
    /// What it does.
    pub action: Clearing,
    /// The only piece, if there is only one: then the request goes down as it came.
    pub only_piece: Option<Extent>,
    flags: u32,
    ranges: Vec<Range>,
}

/// A split request, and which of its pieces is next.
pub struct SplitRequest {
    /// The application's request.
    pub parent: OwnedIrp,
    /// Its rundown protection.
    pub protection: RundownProtection,
    /// What it does.
    pub action: Clearing,
    /// The engine's ticket for the piece in flight.
    pub ticket: Option<Ticket>,
    flags: u32,
    ranges: Vec<Range>,
    pieces: Pieces,
    /// The piece that is submitted, held or in flight.
    piece: (Range, Extent),
}

/// A split request with the IRP that carries out its pieces.
pub type SplitIrp = ChildIrp<SplitRequest, PIECE_REQUEST_LEN>;

impl ClearingRequest {
    /// Copies what was checked; `None` if there is no memory. A request of one piece needs none.
    /// IRQL <= DISPATCH_LEVEL.
    pub fn new(clearing: &CheckedClearing<'_>) -> Option<Self> {
        let only_piece = clearing.only_piece().and_then(extent);
        let count = if only_piece.is_some() { 0 } else { clearing.ranges().count() };
        Some(Self {
            action: clearing.action,
            only_piece,
            flags: clearing.flags,
            ranges: reserved::collect(count, clearing.ranges())?,
        })
    }
}

impl ClearingRequest {
    /// The bytes that it clears. IRQL <= DISPATCH_LEVEL.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        let ranges = self.ranges.iter().filter_map(|range| extent(*range));
        self.only_piece.into_iter().chain(ranges)
    }
}

impl SplitRequest {
    /// Splits a request; gives its IRP back if there is no memory. IRQL <= DISPATCH_LEVEL.
    pub fn new(
        parent: OwnedIrp,
        protection: RundownProtection,
        request: ClearingRequest,
        lower: LowerDevice,
    ) -> Result<SplitIrp, (OwnedIrp, RundownProtection)>
    where
        Self: ChildCompletion<PIECE_REQUEST_LEN>,
    {
        let ClearingRequest { action, flags, ranges, .. } = request;
        let mut pieces = Pieces::default();
        let Some(piece) = next_piece(&mut pieces, &ranges) else {
            return Err((parent, protection));
        };
        let split = Self { parent, protection, action, ticket: None, flags, ranges, pieces, piece };
        ChildIrp::new(lower, split).map_err(|split| (split.parent, split.protection))
    }

    /// The bytes of the volume that the next piece clears. IRQL <= DISPATCH_LEVEL.
    pub fn extent(&self) -> Extent {
        self.piece.1
    }

    /// Makes the piece after this one the next; false if there is none. IRQL <= DISPATCH_LEVEL.
    pub fn advance(&mut self) -> bool {
        let next = next_piece(&mut self.pieces, &self.ranges);
        if let Some(piece) = next {
            self.piece = piece;
        }
        next.is_some()
    }

    /// Sends the next piece down. Returns the request if the piece has completed by now; else
    /// [`ChildCompletion::completed`] gets it. IRQL <= DISPATCH_LEVEL.
    pub fn send(mut split: SplitIrp, ticket: Ticket) -> Option<SplitIrp>
    where
        Self: ChildCompletion<PIECE_REQUEST_LEN>,
    {
        let request = split.value_mut();
        request.ticket = Some(ticket);
        let input = piece_request(request.action, request.flags, request.piece.0);
        let file = request.parent.file();
        split.send(IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES, input, file)
    }
}

fn next_piece(pieces: &mut Pieces, ranges: &[Range]) -> Option<(Range, Extent)> {
    let piece = pieces.next(ranges)?;
    Some((piece, extent(piece)?))
}

/// A checked range is not empty and ends below 2^63, as an extent does.
fn extent(range: Range) -> Option<Extent> {
    Extent::new(range.offset, range.len)
}

//! Held requests as the engine asks for them: cancellable, and chained through their IRPs while the
//! engine has no slot for them.

use snapless_driver_logic::dataset::PIECE_REQUEST_LEN;
use snapless_engine::{Fifo, Tick, Waiter};
use snapless_types::{Clearing, Extent, RecordKind};

use super::split_request::SplitRequest;
use super::write::{Form, Original, RequestKind, Write};
use crate::kernel::irp::{CancelRoutine, CancelledIrp};
use crate::kernel::waiting_irps::{Chained, Note, WaitingIrps};

/// The waiting requests of a session, in order of arrival.
#[derive(Default)]
pub struct WaitingWrites {
    irps: Irps,
    /// Of held requests; `None` leaves them uncancellable.
    cancel_routine: Option<CancelRoutine>,
}

type Irps = WaitingIrps<SplitRequest, PIECE_REQUEST_LEN>;
type ChainedWrite = Chained<SplitRequest, PIECE_REQUEST_LEN>;

/// In the bits of a note: a trim, a write of zeros, neither.
const KIND: u8 = 3;
/// In the bits of a note: the request's cancel routine is set.
const HAS_CANCEL_ROUTINE: u8 = 4;

impl WaitingWrites {
    /// None yet; held requests get this cancel routine. IRQL <= DISPATCH_LEVEL.
    pub fn new(cancel_routine: CancelRoutine) -> Self {
        Self { irps: Irps::default(), cancel_routine: Some(cancel_routine) }
    }
}

impl Fifo<Write> for WaitingWrites {
    /// What the cancel routine was called with.
    type Key = CancelledIrp;

    fn prepare(&self, write: &mut Write, extent: &Extent) -> bool {
        // A split request is carried out to its end.
        let (Form::Original(original), Some(routine)) = (&mut write.form, self.cancel_routine)
        else {
            return true;
        };
        Irps::prepare(&original.irp, place(extent));
        original.has_cancel_routine = original.irp.set_cancel_routine(routine);
        original.has_cancel_routine
    }

    fn extent(&self, cancelled: &CancelledIrp) -> Extent {
        let (offset, len) = Irps::place(cancelled);
        Extent::from_parts(offset, len.into())
    }

    fn is(&self, write: &Write, cancelled: &CancelledIrp) -> bool {
        matches!(&write.form, Form::Original(original) if original.irp.is(cancelled))
    }

    fn push(&mut self, waiter: Waiter<Write>) {
        let (request, note) = pack(waiter);
        self.irps.push(request, note);
    }

    fn pop(&mut self) -> Option<Waiter<Write>> {
        let (request, note) = self.irps.pop()?;
        Some(unpack(request, note))
    }

    fn take(&mut self, cancelled: &CancelledIrp) -> Option<Write> {
        let (request, note) = self.irps.take(cancelled)?;
        Some(unpack(request, note).write)
    }
}

/// An extent as the chain keeps it: no request is longer than a length in an IRP.
fn place(extent: &Extent) -> (u64, u32) {
    (extent.offset(), u32::try_from(extent.len()).unwrap_or(u32::MAX))
}

fn pack(waiter: Waiter<Write>) -> (ChainedWrite, Note) {
    let Waiter { write, kind, extent, since } = waiter;
    let kind = match kind {
        RecordKind::Trim => 1,
        RecordKind::Zero => 2,
        _ => 0,
    };
    let Write { form, payload } = write;
    let (request, cancel) = match form {
        Form::Original(Original { irp, protection, has_cancel_routine, .. }) => {
            let cancel = if has_cancel_routine { HAS_CANCEL_ROUTINE } else { 0 };
            (Chained::Original(irp, protection, payload), cancel)
        }
        Form::Piece(split) => (Chained::Child(split), 0),
    };
    (request, Note { place: place(&extent), time: since.0, bits: kind | cancel })
}

fn unpack(request: ChainedWrite, note: Note) -> Waiter<Write> {
    let Note { place: (offset, len), time, bits } = note;
    let (kind, record) = match bits & KIND {
        1 => (RequestKind::Clearing(Clearing::Trim), RecordKind::Trim),
        2 => (RequestKind::Clearing(Clearing::Zero), RecordKind::Zero),
        _ => (RequestKind::Write, RecordKind::Write),
    };
    let write = match request {
        Chained::Original(irp, protection, payload) => {
            let has_cancel_routine = bits & HAS_CANCEL_ROUTINE != 0;
            let original = Original { irp, protection, kind, has_cancel_routine };
            Write { form: Form::Original(original), payload }
        }
        Chained::Child(split) => Write::piece(split),
    };
    let extent = Extent::from_parts(offset, len.into());
    Waiter { write, kind: record, extent, since: Tick(time) }
}

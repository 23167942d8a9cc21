//! Requests for which the engine has no slot, chained through their IRPs.

use core::cell::Cell;

use snapless_driver_logic::dataset::PIECE_REQUEST_LEN;
use snapless_engine::{Fifo, Tick, Waiter};
use snapless_types::{Clearing, Extent, RecordKind};

use super::split_request::SplitRequest;
use super::write::{Form, Original, RequestKind, Write};
use crate::kernel::waiting_irps::{Chained, Note, WaitingIrps};

/// The waiting requests of a session, in order of arrival.
#[derive(Default)]
pub struct WaitingWrites(WaitingIrps<SplitRequest, PIECE_REQUEST_LEN>);

type ChainedWrite = Chained<SplitRequest, PIECE_REQUEST_LEN>;

/// In the bits of a note: a trim, a write of zeros, neither.
const KIND: u8 = 3;
/// In the bits of a note: the request's cancel routine is set.
const HAS_CANCEL_ROUTINE: u8 = 4;

impl Fifo<Write> for WaitingWrites {
    fn push(&mut self, waiter: Waiter<Write>) {
        let (request, note) = pack(waiter);
        self.0.push(request, note);
    }

    fn pop(&mut self) -> Option<Waiter<Write>> {
        let (request, note) = self.0.pop()?;
        Some(unpack(request, note))
    }

    fn take(&mut self, is_it: impl Fn(&Write) -> bool) -> Option<Write> {
        self.0.take(|request, note| {
            let waiter = unpack(request, note);
            // It may set the cancel routine, which is packed again.
            if is_it(&waiter.write) { Ok(waiter.write) } else { Err(pack(waiter)) }
        })
    }
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
            let cancel = if has_cancel_routine.get() { HAS_CANCEL_ROUTINE } else { 0 };
            (Chained::Original(irp, protection, payload), cancel)
        }
        Form::Piece(split) => (Chained::Child(split), 0),
    };
    let numbers = [extent.offset(), extent.len()];
    (request, Note { numbers, time: since.0, bits: kind | cancel })
}

fn unpack(request: ChainedWrite, note: Note) -> Waiter<Write> {
    let Note { numbers: [offset, len], time, bits } = note;
    let (kind, record) = match bits & KIND {
        1 => (RequestKind::Clearing(Clearing::Trim), RecordKind::Trim),
        2 => (RequestKind::Clearing(Clearing::Zero), RecordKind::Zero),
        _ => (RequestKind::Write, RecordKind::Write),
    };
    let write = match request {
        Chained::Original(irp, protection, payload) => {
            let has_cancel_routine = Cell::new(bits & HAS_CANCEL_ROUTINE != 0);
            let original = Original { irp, protection, kind, has_cancel_routine };
            Write { form: Form::Original(original), payload }
        }
        Chained::Child(split) => Write::piece(split),
    };
    Waiter { write, kind: record, extent: Extent::from_parts(offset, len), since: Tick(time) }
}

//! What the engine keeps for a request: a write, a trim or a write of zeros.

use snapless_types::Clearing;

use super::split_request::SplitIrp;
use crate::kernel::irp::{OwnedIrp, Payload};
use crate::kernel::rundown::RundownProtection;

/// A request that the engine decides about.
pub struct Write {
    /// Where its IRP is.
    pub form: Form,
    /// Its data; `None` if they cannot be mapped, or there are none: then the engine does not
    /// capture it.
    pub payload: Option<Payload>,
}

/// Where a request's IRP is.
pub enum Form {
    /// The application's own request.
    Original(Original),
    /// A piece of a split request.
    Piece(SplitIrp),
}

/// An application's request, which goes down as it came.
pub struct Original {
    /// The request.
    pub irp: OwnedIrp,
    /// Its rundown protection.
    pub protection: RundownProtection,
    /// What it does.
    pub kind: RequestKind,
    /// It was held, and its cancel routine was set.
    pub has_cancel_routine: bool,
}

/// What a request does that the engine decides about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// Writes.
    Write,
    /// Trims, or writes zeros.
    Clearing(Clearing),
}

impl Write {
    /// An application's request. IRQL <= DISPATCH_LEVEL.
    pub fn original(
        irp: OwnedIrp,
        protection: RundownProtection,
        kind: RequestKind,
        payload: Option<Payload>,
    ) -> Self {
        let original = Original { irp, protection, kind, has_cancel_routine: false };
        Self { form: Form::Original(original), payload }
    }

    /// A piece of a split request. IRQL <= DISPATCH_LEVEL.
    pub fn piece(split: SplitIrp) -> Self {
        Self { form: Form::Piece(split), payload: None }
    }
}

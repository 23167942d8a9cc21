//! What a completion routine has to know of its request, in the bits of its context pointer.

use snapless_engine::Ticket;
use snapless_types::Clearing;

use crate::session::write::RequestKind;

/// What is done for the session when a request has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnCompletion {
    /// Query the volume's length: it may have changed.
    QueryLength,
    /// Read the volume's length from the reply.
    ReadLength,
}

/// What a completion routine has to know of its request.
#[derive(Default)]
pub struct Tag {
    /// The engine's ticket, and what the request does; none for a request that the engine does not
    /// know.
    pub ticket: Option<(Ticket, RequestKind)>,
    /// What is done next.
    pub on_completion: Option<OnCompletion>,
}

/// The ticket takes the low 32 bits; then two bits for the request's kind (0: unknown to the
/// engine), and two for what is done next.
const KIND_SHIFT: u32 = 32;
const NEXT_SHIFT: u32 = 34;
const TICKET_MASK: usize = 0xffff_ffff;

impl Tag {
    /// The tag as a number. IRQL <= DISPATCH_LEVEL.
    pub fn into_bits(self) -> usize {
        let (ticket, kind) = match self.ticket {
            None => (0, 0),
            Some((ticket, kind)) => {
                let kind = match kind {
                    RequestKind::Write => 1,
                    RequestKind::Clearing(Clearing::Trim) => 2,
                    RequestKind::Clearing(Clearing::Zero) => 3,
                };
                (ticket.into_raw() as usize, kind)
            }
        };
        let next = match self.on_completion {
            None => 0,
            Some(OnCompletion::QueryLength) => 1,
            Some(OnCompletion::ReadLength) => 2,
        };
        ticket | (kind << KIND_SHIFT) | (next << NEXT_SHIFT)
    }

    /// The tag that [`Tag::into_bits`] gave this number. IRQL <= DISPATCH_LEVEL.
    pub fn from_bits(bits: usize) -> Self {
        let kind = match (bits >> KIND_SHIFT) & 3 {
            0 => None,
            1 => Some(RequestKind::Write),
            2 => Some(RequestKind::Clearing(Clearing::Trim)),
            _ => Some(RequestKind::Clearing(Clearing::Zero)),
        };
        let on_completion = match (bits >> NEXT_SHIFT) & 3 {
            1 => Some(OnCompletion::QueryLength),
            2 => Some(OnCompletion::ReadLength),
            _ => None,
        };
        let ticket = u32::try_from(bits & TICKET_MASK).unwrap_or(u32::MAX);
        Self { ticket: kind.map(|kind| (Ticket::from_raw(ticket), kind)), on_completion }
    }
}

//! What a completion routine has to know of its request, in the bits of its context pointer.

use snapless_engine::Ticket;
use snapless_types::Clearing;

use crate::kernel::payload_mdl::PayloadMdl;
use crate::session::write::RequestKind;

/// What is done for the session when a request has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnCompletion {
    /// Query the volume's length: it may have changed.
    QueryLength,
    /// Read the volume's length from the reply.
    ReadLength,
    /// Nothing: it was not sent, and is submitted when what it waits for is over.
    Submit,
}

/// What a completion routine has to know of its request.
#[derive(Default)]
pub struct Tag {
    /// The engine's ticket, and what the request does; none for a request that the engine does not
    /// know.
    pub ticket: Option<(Ticket, RequestKind)>,
    /// What is done next.
    pub on_completion: Option<OnCompletion>,
    /// The MDL that the request has in place of its caller's.
    pub payload: Option<PayloadMdl>,
}

/// The ticket takes the low 32 bits; then two bits for the request's kind (0: unknown to the
/// engine), two for what is done next, and the rest for an MDL (0: its caller's).
const KIND_SHIFT: u32 = 32;
const NEXT_SHIFT: u32 = 34;
const PAYLOAD_SHIFT: u32 = 36;
const TICKET_MASK: usize = 0xffff_ffff;
/// The highest bit is not the tag's.
const BITS_MASK: usize = usize::MAX >> 1;
const _: () = assert!(PAYLOAD_SHIFT + PayloadMdl::BITS == usize::BITS - 1);

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
            Some(OnCompletion::Submit) => 3,
        };
        let payload = self.payload.map_or(0, |payload| payload.into_raw() as usize);
        ticket | (kind << KIND_SHIFT) | (next << NEXT_SHIFT) | (payload << PAYLOAD_SHIFT)
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
            3 => Some(OnCompletion::Submit),
            _ => None,
        };
        let ticket = u32::try_from(bits & TICKET_MASK).unwrap_or(u32::MAX);
        let ticket = kind.map(|kind| (Ticket::from_raw(ticket), kind));
        let payload = u32::try_from((bits & BITS_MASK) >> PAYLOAD_SHIFT).unwrap_or(0);
        Self { ticket, on_completion, payload: PayloadMdl::from_raw(payload) }
    }
}

//! What a host hands to the engine with a write, and what it gets back: values that are consumed
//! once.

use snapless_fixed::arena::MemorySpan;
use snapless_fixed::slots::SlotId;
use snapless_tracking::capture_queue::Reservation;
use snapless_tracking::in_flight::Change;
use snapless_types::{Extent, Seq};

/// Whether a write may be made to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It may be held.
    MayWait,
    /// It must not be held: a paging-file write, or one whose caller cannot wait (rule HANG,
    /// rules.md#hang).
    MustNotWait,
    /// Its payload cannot be mapped or read: it is issued uncaptured.
    PayloadUnavailable,
}

/// What to do with a write.
#[must_use = "a write that is neither held nor issued is lost"]
#[derive(Debug)]
pub enum Submission<W> {
    /// Copy its payload to [`Capture::memory`], then call
    /// [`Session::captured`](crate::Session::captured).
    Capture(Capture<W>),
    /// Copy a part of its payload to [`Part::memory`], then call
    /// [`Session::part_captured`](crate::Session::part_captured).
    Part(Part<W>),
    /// Issue it to the disk as it is, then call [`Session::completed`](crate::Session::completed).
    Issue(Issue<W>),
    /// Nothing: the engine keeps it until [`Session::dispatch`](crate::Session::dispatch) returns
    /// it.
    Held,
    /// Complete it as cancelled: it would have been held, and had been cancelled before.
    Cancelled(W),
}

/// A write that has its place in the queue and waits for its payload to be copied there.
#[must_use = "a write that is not captured is never issued"]
#[derive(Debug)]
pub struct Capture<W> {
    pub(crate) write: W,
    pub(crate) slot: SlotId,
    pub(crate) change: Change,
    pub(crate) reservation: Reservation,
}

impl<W> Capture<W> {
    /// The write.
    pub fn write(&self) -> &W {
        &self.write
    }

    /// Where its payload goes.
    pub fn memory(&self) -> MemorySpan {
        self.reservation.memory()
    }

    /// The bytes of the volume that it writes.
    pub fn extent(&self) -> Extent {
        self.change.extent
    }
}

/// A write longer than one record, a part of which has its place in the queue.
#[must_use = "a write that is not captured is never issued"]
#[derive(Debug)]
pub struct Part<W> {
    pub(crate) capture: Capture<W>,
    pub(crate) whole: Change,
}

impl<W> Part<W> {
    /// The write, with the place and the bytes of this part.
    pub fn capture(&self) -> &Capture<W> {
        &self.capture
    }

    /// Bytes of the write's payload before this part.
    pub fn skip(&self) -> u64 {
        self.capture.change.extent.offset() - self.whole.extent.offset()
    }

    /// Where its payload goes.
    pub fn memory(&self) -> MemorySpan {
        self.capture.memory()
    }
}

/// A write that goes to the disk now.
#[must_use = "a write that is not issued never completes"]
#[derive(Debug)]
pub struct Issue<W> {
    /// The write.
    pub write: W,
    /// The argument of [`Session::completed`](crate::Session::completed).
    pub ticket: Ticket,
    /// Number of its record; `None` if it is uncaptured. Until the session is placed, counted from
    /// its first record.
    pub record: Option<Seq>,
    /// Where its payload is in the queue's memory: the disk transfers it from there, and not from
    /// the application's buffer, which may change meanwhile (rule LOSS, rules.md#loss). The memory
    /// stays as it is until [`Session::completed`](crate::Session::completed). `None` for a write
    /// that is uncaptured, longer than a record, or without a payload.
    pub payload: Option<MemorySpan>,
}

impl<W> Issue<W> {
    /// A write that goes to the disk as it came to the host.
    pub(crate) fn as_it_is(write: W, slot: SlotId, record: Option<Seq>) -> Self {
        Self { write, ticket: Ticket(slot), record, payload: None }
    }
}

/// Names a write in flight. Fits in a pointer, for a completion routine's context.
#[must_use = "a ticket is handed back when its write completes"]
#[derive(Debug)]
pub struct Ticket(pub(crate) SlotId);

impl Ticket {
    /// The ticket as a number, to be carried through a completion routine.
    pub fn into_raw(self) -> u32 {
        self.0.0
    }

    /// The ticket that [`Ticket::into_raw`] gave this number; to be made once from each.
    pub fn from_raw(raw: u32) -> Self {
        Self(SlotId(raw))
    }
}

//! What happens to a write that arrives, is captured, completes.

use snapless_types::{BlockRange, Extent, RecordKind};

use super::Phase;
use super::state::Core;
use crate::arena::MemorySpan;
use crate::host::Worker;
use crate::queue::{Region, Reservation};
use crate::table::BlockState;
use crate::writes::{Change, HeldWrite, SlotId};

/// Whether a write may be made to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It may be held.
    MayWait,
    /// It must never be held: a paging-file write, or one whose caller cannot wait (rule HANG).
    MustNotWait,
    /// Its payload cannot be read: it goes through uncaptured.
    PayloadUnavailable,
}

/// What to do with a write.
#[must_use = "a write that is neither held nor issued is lost"]
#[derive(Debug)]
pub enum Submission<W> {
    /// Copy its payload to [`Capture::memory`], then call [`Session::captured`](super::Session::captured).
    Capture(Capture<W>),
    /// Issue it to the disk as it is, then call [`Session::completed`](super::Session::completed).
    Issue(Issue<W>),
    /// Nothing: the engine keeps it until the dispatch thread gets it back.
    Held,
}

/// A write that has its place in the queue and waits for its payload to be copied there.
#[must_use = "a write that is not captured is never issued"]
#[derive(Debug)]
pub struct Capture<W> {
    write: W,
    slot: SlotId,
    change: Change,
    reservation: Reservation,
    generation: u64,
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

/// A write that goes to the disk now.
#[must_use = "a write that is not issued never completes"]
#[derive(Debug)]
pub struct Issue<W> {
    /// The write.
    pub write: W,
    /// What to call [`Session::completed`](super::Session::completed) with.
    pub ticket: Ticket,
    /// Number of its record; `None` if it goes uncaptured.
    pub record: Option<u64>,
}

/// Names a write in flight. Fits in a pointer, for a completion routine's context.
#[must_use = "a ticket is handed back when its write completes"]
#[derive(Debug)]
pub struct Ticket(u32);

/// The ticket of writes that found no slot.
const SLOTLESS: u32 = u32::MAX;

impl Ticket {
    /// The ticket as a number, to be carried through a completion routine.
    pub fn into_raw(self) -> u32 {
        self.0
    }

    /// The ticket that [`Ticket::into_raw`] gave this number; to be made once from each.
    pub fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

impl<W> Core<'_, W> {
    /// Decides what happens to a write that arrives. The case that matters comes first: its blocks are synced,
    /// it overlaps nobody, the queue has room.
    #[inline]
    pub(super) fn submit(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<W> {
        let Some(blocks) = self.shared.geometry.blocks_of(&extent) else {
            return self.pass_the_end(write, kind, extent);
        };
        let change = Change { kind, extent, blocks };
        if self.state.phase == Phase::Capturing
            && urgency != Urgency::PayloadUnavailable
            && !self.is_too_long(&change)
            && self.may_go_now(&change)
            && let Some(reservation) = self.reserve(&change)
        {
            if let Some(slot) = self.state.writes.fly(&change) {
                self.numbers().writes_captured_inline.add(1);
                self.quick = true;
                return self.go(write, slot, change, reservation);
            }
            self.state.queue.cancel(reservation);
        }
        self.submit_otherwise(write, change, urgency)
    }

    /// As [`Core::submit`], where a write cannot simply go, captured.
    #[inline(never)]
    fn submit_otherwise(&mut self, write: W, change: Change, urgency: Urgency) -> Submission<W> {
        let passes = match self.state.phase {
            Phase::Uncaptured | Phase::Stopped => true,
            Phase::Starting => false,
            // Its blocks are read again in any case: to read them first would only make it wait. Or it is too long to
            // be captured: it goes as soon as t0's content is safe.
            Phase::Capturing => {
                self.is_read_later(&change.blocks)
                    || self.is_too_long(&change)
                        && self.shared.table.all(change.blocks, BlockState::Synced)
            }
        };
        if passes || urgency != Urgency::MayWait {
            return self.pass(write, change);
        }
        // If it is not its blocks that keep it, it is the queue.
        let starves = self.may_go_now(&change);
        if starves && self.has_open_gap() {
            return self.pass_for_want_of_room(write, change);
        }
        if let Err(write) = self.state.writes.hold(write, &change, self.now) {
            return self.pass_for_want_of_room(write, change);
        }
        if starves {
            self.starve();
        }
        self.wakes.add(Worker::Hold);
        self.wakes.add(Worker::Dispatch);
        Submission::Held
    }

    pub(super) fn captured(&mut self, capture: Capture<W>) -> Issue<W> {
        let issue = self.put(capture);
        self.quick = issue.record.is_some();
        issue
    }

    /// Puts a write into the stream whose payload, if it has one, is in the queue.
    #[inline]
    fn put(&mut self, capture: Capture<W>) -> Issue<W> {
        let Capture { write, slot, change, reservation, generation } = capture;
        let ticket = Ticket(slot.0);
        if generation != self.state.generation || self.state.phase == Phase::Stopped {
            // The service was lost while the payload was being copied.
            self.state.queue.cancel(reservation);
            self.soil(change.blocks);
            self.wake_waiting();
            return Issue { write, ticket, record: None };
        }
        let is_in = |state| self.shared.table.find(change.blocks, state).is_some();
        rule!(!is_in(BlockState::Unsynced), "T0: a write's record comes after its blocks'");
        rule!(!is_in(BlockState::Reading), "T0: nobody reads a block that is written to");
        let record = self.record(change.kind, Some(change.extent));
        let seq = self.state.queue.commit(reservation, record);
        self.recorded(change.blocks, change.payload());
        Issue { write, ticket, record: Some(seq) }
    }

    pub(super) fn completed(&mut self, ticket: Ticket, succeeded: bool) {
        let Ticket(raw) = ticket;
        // Where writes are captured, one that succeeded changes neither a block nor the phase.
        self.quick = succeeded && self.state.phase == Phase::Capturing;
        if raw == SLOTLESS {
            self.state.slotless = self.state.slotless.saturating_sub(1);
        } else if let Some(blocks) = self.state.writes.land(SlotId(raw))
            && !succeeded
            && !sabotaged!(FailureForgotten)
        {
            // TRUTH: the disk may hold the old content, the new, or a mixture.
            self.soil(blocks);
        }
        self.wake_waiting();
    }

    pub(super) fn cancel_held(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let write = self.state.writes.cancel_held(is_it)?;
        // Others may have waited for it; a gap may have waited for the last held write.
        self.wake_waiting();
        Some(write)
    }

    /// Lets a held write go, captured. Dispatch has checked that it may.
    pub(super) fn go_held(&mut self, held: &HeldWrite, room: Reservation) -> Option<Submission<W>> {
        let Some(write) = self.release(held) else {
            self.state.queue.cancel(room);
            return None;
        };
        self.numbers().writes_held.add(1);
        Some(self.go(write, held.slot, held.change, room))
    }

    /// Lets a held write go, uncaptured.
    pub(super) fn pass_held(&mut self, held: &HeldWrite) -> Option<Submission<W>> {
        let write = self.release(held)?;
        self.numbers().writes_uncaptured.add(1);
        self.soil(held.change.blocks);
        Some(Submission::Issue(Issue { write, ticket: Ticket(held.slot.0), record: None }))
    }

    fn release(&mut self, held: &HeldWrite) -> Option<W> {
        let (write, since) = self.state.writes.release(held.slot)?;
        self.shared.board().held(self.now.since(since));
        Some(write)
    }

    /// Room in the queue for a write's record; `None` if there is none now.
    pub(super) fn reserve(&mut self, change: &Change) -> Option<Reservation> {
        self.state.queue.reserve(change.payload(), Region::Writes)
    }

    /// True if a write is never captured, because it would have to wait for most of the queue.
    pub(super) fn is_too_long(&self, change: &Change) -> bool {
        change.payload() > self.shared.config.write_bytes
    }

    /// True if nothing but queue space can keep the write from being issued right now.
    fn may_go_now(&self, change: &Change) -> bool {
        let writes = &self.state.writes;
        // A write that takes space ahead of one that starves would make it starve for ever.
        !writes.any_starves()
            && (sabotaged!(HoldForgotten)
                || self.shared.table.all(change.blocks, BlockState::Synced))
            // ORDER: the disk applies overlapping writes in any order it likes.
            && (sabotaged!(OverlapForgotten) || !writes.overlaps(change))
    }

    /// True if the stream needs nothing of these blocks before the sweep comes to them, neither their content nor
    /// what is written to them, and nobody waits for them to be read.
    fn is_read_later(&self, blocks: &BlockRange) -> bool {
        let (state, all) = (&self.state, |which| self.shared.table.all(*blocks, which));
        // If t0's content of another block is lost, nobody can be given t0's content of these.
        let is_dirty = all(BlockState::Dirty) || state.base_lost && all(BlockState::Unsynced);
        is_dirty && !state.insists && !state.writes.waits_in(blocks)
    }

    /// Hands out a write whose turn it is: to be captured first if it has a payload, else it is in the stream
    /// already.
    #[inline]
    fn go(
        &mut self,
        write: W,
        slot: SlotId,
        change: Change,
        reservation: Reservation,
    ) -> Submission<W> {
        let generation = self.state.generation;
        let capture = Capture { write, slot, change, reservation, generation };
        if change.kind.has_payload() {
            Submission::Capture(capture)
        } else {
            Submission::Issue(self.put(capture))
        }
    }

    /// Rule BOUND: there is no room to remember the write, or its payload. It goes through, and so do those that are
    /// held.
    fn pass_for_want_of_room(&mut self, write: W, change: Change) -> Submission<W> {
        // In this order: a gap of nothing would end at once, and be followed by that of this write.
        let submission = self.pass(write, change);
        if self.state.phase == Phase::Capturing {
            self.begin_gap();
        }
        submission
    }

    /// Lets a write through that reaches past the end of the volume as it was at t0: what of it lies inside turns dirty.
    #[inline(never)]
    fn pass_the_end(&mut self, write: W, kind: RecordKind, extent: Extent) -> Submission<W> {
        let geometry = &self.shared.geometry;
        let len = geometry.length().saturating_sub(extent.offset());
        let inside = Extent::new(extent.offset(), len);
        let blocks = inside.and_then(|inside| geometry.blocks_of(&inside));
        self.pass(write, Change { kind, extent, blocks: blocks.unwrap_or(BlockRange::EMPTY) })
    }

    /// Lets an arriving write through uncaptured (rule LOSS: its blocks turn dirty).
    fn pass(&mut self, write: W, change: Change) -> Submission<W> {
        self.numbers().writes_uncaptured.add(1);
        self.soil(change.blocks);
        let slot = self.state.writes.fly_past(&change);
        self.state.slotless += u64::from(slot.is_none());
        let ticket = Ticket(slot.map_or(SLOTLESS, |slot| slot.0));
        Submission::Issue(Issue { write, ticket, record: None })
    }
}

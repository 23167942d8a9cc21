//! What happens to a write that arrives, is captured, completes.

use super::Phase;
use super::state::Core;
use crate::arena::MemoryRange;
use crate::geometry::{BlockRange, Extent};
use crate::host::Worker;
use crate::queue::{RecordKind, Region, Reservation};
use crate::table::BlockState;
use crate::writes::{HeldWrite, SlotId};

/// Whether a write may be made to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It may be held.
    MayWait,
    /// It must never be held: a paging-file write, or one whose caller cannot wait (rule HANG).
    MustNotWait,
    /// Its payload cannot be read: it goes through uncaptured.
    Uncapturable,
}

/// A change that has no payload: it clears its bytes. Everything that holds for writes holds for it too, but
/// that its record takes no queue memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clearing {
    /// The disk may forget what the bytes were; a replica has zeros.
    Trim,
    /// The bytes become zeros.
    Zero,
}

impl Clearing {
    pub(super) fn kind(self) -> RecordKind {
        match self {
            Self::Trim => RecordKind::Trim,
            Self::Zero => RecordKind::Zero,
        }
    }
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
    extent: Extent,
    blocks: BlockRange,
    reservation: Reservation,
    generation: u64,
}

impl<W> Capture<W> {
    /// The write.
    pub fn write(&self) -> &W {
        &self.write
    }

    /// Where its payload goes.
    pub fn memory(&self) -> &MemoryRange {
        self.reservation.memory()
    }

    /// The bytes of the volume that it writes.
    pub fn extent(&self) -> Extent {
        self.extent
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

/// Room in the queue for a write's record.
#[derive(Debug)]
pub(super) enum Place {
    /// With memory for its payload.
    Payload(Reservation),
    /// A descriptor is free.
    Clearing,
}

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
        let blocks = self.shared.geometry.blocks_of(&extent);
        if let Some(blocks) = blocks
            && kind == RecordKind::Write
            && self.state.phase == Phase::Capturing
            && urgency != Urgency::Uncapturable
            && !self.is_too_long(kind, &extent)
            && self.may_go_now(&extent, &blocks)
            && let Some(reservation) = self.reserve_payload(&extent)
        {
            if let Some(slot) = self.state.writes.fly(extent, blocks) {
                self.numbers().writes_passed.add(1);
                self.quick = true;
                let generation = self.state.generation;
                let capture = Capture { write, slot, extent, blocks, reservation, generation };
                return Submission::Capture(capture);
            }
            self.state.queue.cancel(reservation);
        }
        self.submit_otherwise(write, kind, extent, blocks, urgency)
    }

    /// As [`Core::submit`], where a write cannot simply go, captured.
    #[inline(never)]
    fn submit_otherwise(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        blocks: Option<BlockRange>,
        urgency: Urgency,
    ) -> Submission<W> {
        let Some(blocks) = blocks else {
            // Past the end of the volume as it was at t0. What of it lies inside turns dirty.
            let inside = self.blocks_inside(&extent);
            return self.pass(write, extent, inside);
        };
        match self.state.phase {
            Phase::Passing | Phase::Stopped => return self.pass(write, extent, blocks),
            // Its blocks are read again in any case: to read them first would only make it wait.
            Phase::Capturing if self.is_read_later(&blocks) => {
                return self.pass(write, extent, blocks);
            }
            // Too long to be captured: it goes as soon as t0's content is safe.
            Phase::Capturing if self.is_too_long(kind, &extent) => {
                if self.shared.table.all(blocks, BlockState::Synced) {
                    return self.pass(write, extent, blocks);
                }
            }
            Phase::Capturing if self.may_go_now(&extent, &blocks) => {
                if kind != RecordKind::Write && self.state.queue.has_room() {
                    return self.clear_now(write, kind, extent, blocks);
                }
                // It is not its blocks that keep it, but the queue.
                if urgency == Urgency::MayWait {
                    return self.keep(write, kind, extent, blocks, true);
                }
            }
            Phase::Starting | Phase::Capturing => {}
        }
        match urgency {
            Urgency::MayWait => self.keep(write, kind, extent, blocks, false),
            Urgency::MustNotWait | Urgency::Uncapturable => self.pass(write, extent, blocks),
        }
    }

    pub(super) fn captured(&mut self, capture: Capture<W>) -> Issue<W> {
        let Capture { write, slot, extent, blocks, reservation, generation } = capture;
        let ticket = Ticket(slot.raw());
        if generation == self.state.generation && self.state.phase != Phase::Stopped {
            self.check_order_of_records(blocks);
            let stamp = self.stamp();
            self.state.queue.commit(reservation, RecordKind::Write, extent, stamp);
            let record = Some(self.state.queue.last_seq());
            self.recorded(blocks, extent.len());
            self.quick = true;
            return Issue { write, ticket, record };
        }
        // The service was lost while the payload was being copied.
        self.state.queue.cancel(reservation);
        self.soil(blocks);
        self.wake_waiting();
        Issue { write, ticket, record: None }
    }

    pub(super) fn completed(&mut self, ticket: Ticket, succeeded: bool) {
        let Ticket(raw) = ticket;
        // Where writes are captured, one that succeeded changes neither a block nor the phase.
        self.quick = succeeded && self.state.phase == Phase::Capturing;
        if raw == SLOTLESS {
            self.state.slotless = self.state.slotless.saturating_sub(1);
        } else if let Some(blocks) = self.state.writes.land(SlotId::from_raw(raw))
            && !succeeded
            && !sabotaged!(FailureForgotten)
        {
            // TRUTH: the disk may hold the old content, the new, or a mixture.
            self.soil(blocks);
        }
        self.wake_waiting();
    }

    pub(super) fn take_back(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let write = self.state.writes.take_back(is_it)?;
        // Others may have waited for it; a gap may have waited for the last held write.
        self.wake_waiting();
        Some(write)
    }

    /// Lets a held write go, captured. Dispatch has checked that it may.
    pub(super) fn go_held(&mut self, held: &HeldWrite, place: Place) -> Option<Submission<W>> {
        let Some((write, since)) = self.state.writes.release(held.slot) else {
            self.give_up(place);
            return None;
        };
        self.numbers().writes_held.add(1);
        self.shared.board().held(self.now.since(since));
        Some(self.go(write, held.slot, held.kind, held.extent, held.blocks, place))
    }

    /// Lets a held write go, uncaptured.
    pub(super) fn pass_held(&mut self, slot: SlotId, blocks: BlockRange) -> Option<Submission<W>> {
        let (write, since) = self.state.writes.release(slot)?;
        self.shared.board().held(self.now.since(since));
        self.numbers().writes_uncaptured.add(1);
        self.soil(blocks);
        Some(Submission::Issue(Issue { write, ticket: Ticket(slot.raw()), record: None }))
    }

    /// Room in the queue for a write's record; `None` if there is none now.
    pub(super) fn reserve(&mut self, kind: RecordKind, extent: &Extent) -> Option<Place> {
        if kind == RecordKind::Write {
            return self.reserve_payload(extent).map(Place::Payload);
        }
        self.state.queue.has_room().then_some(Place::Clearing)
    }

    fn reserve_payload(&mut self, extent: &Extent) -> Option<Reservation> {
        self.state.queue.reserve(extent.len(), Region::Writes)
    }

    /// True if a write is never captured, because it would have to wait for most of the queue.
    pub(super) fn is_too_long(&self, kind: RecordKind, extent: &Extent) -> bool {
        kind == RecordKind::Write && extent.len() > self.shared.config.write_bytes
    }

    /// True if nothing but queue space can keep the write from being issued right now.
    fn may_go_now(&self, extent: &Extent, blocks: &BlockRange) -> bool {
        let writes = &self.state.writes;
        // A write that takes space ahead of one that starves would make it starve for ever.
        !writes.any_starves()
            && (sabotaged!(HoldForgotten) || self.shared.table.all(*blocks, BlockState::Synced))
            // ORDER: the disk applies overlapping writes in any order it likes.
            && (sabotaged!(OverlapForgotten) || !writes.overlaps(extent, blocks))
    }

    /// True if the stream needs nothing of these blocks before the sweep comes to them, neither their content nor
    /// what is written to them, and nobody waits for them to be read.
    fn is_read_later(&self, blocks: &BlockRange) -> bool {
        let (state, all) = (&self.state, |which| self.shared.table.all(*blocks, which));
        // If t0's content of another block is lost, nobody can be given t0's content of these.
        let is_dirty = all(BlockState::Dirty) || state.base_lost && all(BlockState::Unsynced);
        is_dirty && !state.insists && !state.writes.waits_in(blocks)
    }

    /// Lets a clearing go right now.
    fn clear_now(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        blocks: BlockRange,
    ) -> Submission<W> {
        let Some(slot) = self.state.writes.fly(extent, blocks) else {
            return self.pass_for_want_of_room(write, extent, blocks);
        };
        self.numbers().writes_passed.add(1);
        self.go(write, slot, kind, extent, blocks, Place::Clearing)
    }

    /// Hands out a write whose turn it is: to be captured first if it has a payload, else it is in the stream
    /// already.
    fn go(
        &mut self,
        write: W,
        slot: SlotId,
        kind: RecordKind,
        extent: Extent,
        blocks: BlockRange,
        place: Place,
    ) -> Submission<W> {
        let generation = self.state.generation;
        let Place::Payload(reservation) = place else {
            self.check_order_of_records(blocks);
            let stamp = self.stamp();
            let described = self.state.queue.describe(kind, extent, stamp);
            rule!(described, "LOSS: a clearing goes only when there is room for its record");
            let record = Some(self.state.queue.last_seq());
            self.recorded(blocks, 0);
            return Submission::Issue(Issue { write, ticket: Ticket(slot.raw()), record });
        };
        Submission::Capture(Capture { write, slot, extent, blocks, reservation, generation })
    }

    fn give_up(&mut self, place: Place) {
        if let Place::Payload(reservation) = place {
            self.state.queue.cancel(reservation);
        }
    }

    fn check_order_of_records(&self, blocks: BlockRange) {
        rule!(
            self.shared.table.find(blocks, BlockState::Unsynced).is_none(),
            "T0: a write's record comes after those of its blocks"
        );
        rule!(
            self.shared.table.find(blocks, BlockState::Reading).is_none(),
            "T0: nobody reads a block while a write to it is on its way"
        );
    }

    fn keep(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        blocks: BlockRange,
        starves: bool,
    ) -> Submission<W> {
        if starves && self.has_open_gap() {
            return self.pass_for_want_of_room(write, extent, blocks);
        }
        match self.state.writes.hold(write, kind, extent, blocks, self.now) {
            Ok(_) => {
                if starves {
                    self.starve();
                }
                self.wakes.add(Worker::Hold);
                self.wakes.add(Worker::Dispatch);
                Submission::Held
            }
            Err(write) => self.pass_for_want_of_room(write, extent, blocks),
        }
    }

    /// Rule BOUND: there is no room to remember the write, or its payload. It goes through, and so do those that are
    /// held.
    fn pass_for_want_of_room(
        &mut self,
        write: W,
        extent: Extent,
        blocks: BlockRange,
    ) -> Submission<W> {
        // In this order: a gap of nothing would end at once, and be followed by that of this write.
        let submission = self.pass(write, extent, blocks);
        if self.state.phase == Phase::Capturing {
            self.begin_gap();
        }
        submission
    }

    /// Lets an arriving write through uncaptured (rule LOSS: its blocks turn dirty).
    fn pass(&mut self, write: W, extent: Extent, blocks: BlockRange) -> Submission<W> {
        self.numbers().writes_uncaptured.add(1);
        self.soil(blocks);
        let ticket = if let Some(slot) = self.state.writes.fly_past(extent, blocks) {
            Ticket(slot.raw())
        } else {
            self.state.slotless += 1;
            Ticket(SLOTLESS)
        };
        Submission::Issue(Issue { write, ticket, record: None })
    }

    fn blocks_inside(&self, extent: &Extent) -> BlockRange {
        let length = self.shared.geometry.length();
        length
            .checked_sub(extent.offset())
            .and_then(|len| Extent::new(extent.offset(), len))
            .and_then(|inside| self.shared.geometry.blocks_of(&inside))
            .unwrap_or(BlockRange::EMPTY)
    }
}

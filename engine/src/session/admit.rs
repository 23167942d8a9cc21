//! What happens to a write that arrives, is captured, completes.

use super::{Core, Phase};
use crate::arena::MemoryRange;
use crate::geometry::{BlockRange, Extent};
use crate::host::Worker;
use crate::queue::{RecordKind, Reservation};
use crate::table::BlockState;
use crate::writes::SlotId;

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
    pub(super) fn submit(&mut self, write: W, extent: Extent, urgency: Urgency) -> Submission<W> {
        let Some(blocks) = self.shared.geometry.blocks_of(&extent) else {
            // Past the end of the volume as it was at t0. What of it lies inside turns dirty.
            let inside = self.blocks_inside(&extent);
            return self.pass(write, extent, inside);
        };
        match self.state.phase {
            _ if urgency == Urgency::Uncapturable => return self.pass(write, extent, blocks),
            Phase::Passing | Phase::Stopped => return self.pass(write, extent, blocks),
            Phase::Starting => {}
            // Too long to be captured: it goes as soon as t0's content is safe.
            Phase::Capturing if self.is_too_long(&extent) => {
                if self.shared.table.all(blocks, BlockState::Synced) {
                    return self.pass(write, extent, blocks);
                }
            }
            Phase::Capturing => {
                if self.may_go_now(&extent, &blocks) {
                    if let Some(reservation) = self.reserve_write(&extent) {
                        return self.capture_now(write, extent, blocks, reservation);
                    }
                    if urgency == Urgency::MayWait {
                        return self.keep(write, extent, blocks, true);
                    }
                }
            }
        }
        match urgency {
            Urgency::MayWait => self.keep(write, extent, blocks, false),
            Urgency::MustNotWait | Urgency::Uncapturable => self.pass(write, extent, blocks),
        }
    }

    pub(super) fn captured(&mut self, capture: Capture<W>) -> Issue<W> {
        let Capture { write, slot, extent, blocks, reservation, generation } = capture;
        if generation == self.state.generation && self.state.phase != Phase::Stopped {
            rule!(
                self.shared.table.find(blocks, BlockState::Unsynced).is_none(),
                "T0: a write's record comes after those of its blocks"
            );
            rule!(
                self.shared.table.find(blocks, BlockState::Reading).is_none(),
                "T0: nobody reads a block while a write to it is on its way"
            );
            let stamp = self.stamp();
            self.state.queue.commit(reservation, RecordKind::Write, extent, stamp);
            self.recorded(blocks, extent.len());
        } else {
            // The service was lost while the payload was being copied.
            self.state.queue.cancel(reservation);
            self.soil(blocks);
            self.wake_waiting();
        }
        Issue { write, ticket: Ticket(slot.raw()) }
    }

    pub(super) fn completed(&mut self, ticket: Ticket, succeeded: bool) {
        let Ticket(raw) = ticket;
        if raw == SLOTLESS {
            self.state.slotless = self.state.slotless.saturating_sub(1);
        } else if let Some(blocks) = self.state.writes.land(SlotId::from_raw(raw))
            && !succeeded
        {
            // TRUTH: the disk may hold the old content, the new, or a mixture.
            self.soil(blocks);
        }
        self.wake_waiting();
    }

    /// Lets a held write go, captured. Dispatch has checked that it may.
    pub(super) fn capture_held(
        &mut self,
        slot: SlotId,
        extent: Extent,
        blocks: BlockRange,
        reservation: Reservation,
    ) -> Option<Submission<W>> {
        let generation = self.state.generation;
        let Some((write, since)) = self.state.writes.release(slot) else {
            self.state.queue.cancel(reservation);
            return None;
        };
        self.state.counters.writes_held += 1;
        self.state.counters.holds.add(self.now.since(since));
        Some(Submission::Capture(Capture { write, slot, extent, blocks, reservation, generation }))
    }

    /// Lets a held write go, uncaptured.
    pub(super) fn pass_held(&mut self, slot: SlotId, blocks: BlockRange) -> Option<Submission<W>> {
        let (write, since) = self.state.writes.release(slot)?;
        self.state.counters.holds.add(self.now.since(since));
        self.state.counters.writes_uncaptured += 1;
        self.soil(blocks);
        Some(Submission::Issue(Issue { write, ticket: Ticket(slot.raw()) }))
    }

    pub(super) fn reserve_write(&mut self, extent: &Extent) -> Option<Reservation> {
        self.state.queue.reserve(extent.len(), self.shared.config.queue_bytes)
    }

    /// True if a write is never captured, because it would have to wait for most of the queue.
    pub(super) fn is_too_long(&self, extent: &Extent) -> bool {
        extent.len() > self.shared.config.write_bytes
    }

    /// True if nothing but queue space can keep the write from being issued right now.
    fn may_go_now(&self, extent: &Extent, blocks: &BlockRange) -> bool {
        let writes = &self.state.writes;
        // A write that takes space ahead of one that starves would make it starve for ever.
        writes.starved_count() == 0
            && self.shared.table.all(*blocks, BlockState::Synced)
            && !writes.flies_over(extent)
            && !writes.holds_over(extent)
    }

    fn capture_now(
        &mut self,
        write: W,
        extent: Extent,
        blocks: BlockRange,
        reservation: Reservation,
    ) -> Submission<W> {
        let Some(slot) = self.state.writes.fly(extent, blocks) else {
            self.state.queue.cancel(reservation);
            self.begin_gap();
            return self.pass(write, extent, blocks);
        };
        self.state.counters.writes_passed += 1;
        let generation = self.state.generation;
        Submission::Capture(Capture { write, slot, extent, blocks, reservation, generation })
    }

    fn keep(
        &mut self,
        write: W,
        extent: Extent,
        blocks: BlockRange,
        starves: bool,
    ) -> Submission<W> {
        match self.state.writes.hold(write, extent, blocks, self.now) {
            Ok(_) => {
                if starves {
                    self.state.writes.starve(self.now);
                }
                self.wakes.add(Worker::Hold);
                self.wakes.add(Worker::Dispatch);
                Submission::Held
            }
            Err(write) => {
                // BOUND: there is no room to remember it.
                if self.state.phase == Phase::Capturing {
                    self.begin_gap();
                }
                self.pass(write, extent, blocks)
            }
        }
    }

    /// Lets an arriving write through uncaptured (rule LOSS: its blocks turn dirty).
    fn pass(&mut self, write: W, extent: Extent, blocks: BlockRange) -> Submission<W> {
        self.state.counters.writes_uncaptured += 1;
        self.soil(blocks);
        let ticket = if let Some(slot) = self.state.writes.fly(extent, blocks) {
            Ticket(slot.raw())
        } else {
            self.state.slotless += 1;
            Ticket(SLOTLESS)
        };
        Submission::Issue(Issue { write, ticket })
    }

    fn blocks_inside(&self, extent: &Extent) -> BlockRange {
        let length = self.shared.geometry.length();
        length
            .checked_sub(extent.offset())
            .and_then(|len| Extent::new(extent.offset(), len))
            .and_then(|inside| self.shared.geometry.blocks_of(&inside))
            .unwrap_or(Self::no_blocks())
    }
}

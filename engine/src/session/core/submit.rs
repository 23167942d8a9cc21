//! What happens to a write that arrives, is captured, completes or is cancelled.

use snapless_fixed::arena::MemorySpan;
use snapless_fixed::slots::SlotId;
use snapless_tracking::capture_queue::{Region, Reservation};
use snapless_tracking::in_flight::{Change, HeldWrite};
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::{Fifo, Waiter};
use snapless_types::{BlockRange, Extent, GapReason, RecordKind, Tick};

use super::Core;
use crate::host::Worker;
use crate::lifecycle::Phase;
use crate::submission::{Capture, Issue, Submission, Ticket, Urgency};

/// How often an urgent write, which cannot look again later, tries to find room while kept records
/// can be given up. Each try gives up [`CHUNK`](snapless_tracking::config::CHUNK) of them at most:
/// enough for a write of several megabytes among kept ones of a granule each.
const URGENT_TRIES: u32 = 8;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Decides what happens to a write that arrives. The usual case comes first: its blocks are
    /// synced, it overlaps no other, the queue has room.
    #[inline]
    pub fn submit(
        &mut self,
        write: W,
        kind: RecordKind,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<W> {
        if urgency != Urgency::MayWait {
            self.count_urgency(urgency);
        }
        let Some(blocks) = self.shared.geometry.blocks_of(&extent) else {
            return self.issue_past_end(write, kind, extent);
        };
        let change = Change { kind, extent, blocks };
        if self.state.lifecycle.is_capturing()
            && urgency != Urgency::PayloadUnavailable
            && !self.is_too_long(&change)
            && self.may_be_captured_now(&change)
            && let Some(reservation) = self.reserve(&change)
        {
            let slot = self.state.in_flight.insert(&change);
            if let Some(slot) = slot.or_else(|| self.insert_urgent(&change, urgency)) {
                self.state.counts[0].writes_captured_inline += 1;
                let capture = Capture { write, slot, change, reservation };
                // The usual one first, and its parts are moved once.
                return if kind.has_payload() {
                    Submission::Capture(capture)
                } else {
                    self.hand_out(capture)
                };
            }
            self.state.capture_queue.cancel(reservation);
        }
        self.submit_otherwise(write, change, urgency)
    }

    /// Puts a write into the stream whose payload, if it has one, is in the queue.
    #[inline]
    pub fn captured(&mut self, capture: Capture<W>) -> Issue<W> {
        if !self.is_current(&capture) {
            return self.not_captured(capture, GapReason::ServiceLost);
        }
        let Capture { write, slot, change, reservation } = capture;
        let is_any = |state| self.shared.table.find(change.blocks, state).is_some();
        rule!(!is_any(BlockState::Unsynced), "T0: a write's record comes after its blocks'");
        rule!(!is_any(BlockState::Reading), "T0: no block is read while it is written to");
        // Its content may be the old one or the new.
        self.state.claims[0].spoil_verifying(&change.blocks);
        let record = self.record(change.kind, Some(change.extent));
        let payload = self.keep_payload(slot, &reservation);
        let seq = self.state.capture_queue.commit(reservation, record);
        self.recorded(change.blocks, change.payload());
        Issue { write, ticket: Ticket(slot), record: Some(self.outside(seq)), payload }
    }

    /// Keeps the memory of a write's record until the disk has transferred the write from there.
    #[inline]
    fn keep_payload(&mut self, slot: SlotId, reservation: &Reservation) -> Option<MemorySpan> {
        let memory = self.state.capture_queue.share(reservation)?;
        let span = memory.span();
        self.state.in_flight.keep_payload(slot, memory);
        if sabotaged!(TransferForgotten) {
            self.give_payload_back(slot);
        }
        Some(span)
    }

    /// The disk does not transfer the write from the queue's memory, or not any more.
    #[inline]
    pub(super) fn give_payload_back(&mut self, slot: SlotId) {
        if let Some(memory) = self.state.in_flight.take_payload(slot) {
            self.state.capture_queue.transferred(memory);
        }
    }

    /// False if the service was lost while the payload was being copied.
    #[inline]
    pub(super) fn is_current(&self, capture: &Capture<W>) -> bool {
        self.state.capture_queue.is_current(&capture.reservation)
    }

    /// Issues a write uncaptured that has a place in the queue; the reason as for
    /// [`Core::mark_dirty`].
    #[inline(never)]
    pub fn not_captured(&mut self, capture: Capture<W>, reason: GapReason) -> Issue<W> {
        let Capture { write, slot, change, reservation } = capture;
        self.state.counts[0].writes_payload_unavailable +=
            u64::from(reason == GapReason::PayloadUnavailable);
        self.state.capture_queue.cancel(reservation);
        self.mark_dirty(change.blocks, Some(reason));
        self.wake_waiting();
        Issue::as_it_is(write, slot, None)
    }

    /// Notes that the disk is done with a write.
    pub fn completed(&mut self, ticket: Ticket, succeeded: bool) {
        let Ticket(slot) = ticket;
        self.state.counts[0].writes_failed += u64::from(!succeeded);
        self.give_payload_back(slot);
        if let Some(blocks) = self.state.in_flight.remove(slot)
            && !succeeded
            && !sabotaged!(FailureForgotten)
        {
            // TRUTH: the disk may have the old content, the new, or a mixture.
            self.mark_dirty(blocks, Some(GapReason::WriteFailed));
        }
        self.hold_waiting();
        self.wake_waiting();
    }

    /// Gives the held write with this key back to be cancelled.
    pub fn cancel_held(&mut self, key: &Q::Key) -> Option<W> {
        let write = self.state.in_flight.cancel_held(key)?;
        self.state.counts[0].writes_cancelled += 1;
        self.hold_waiting();
        // Others may have waited for it; capturing may have waited for the last held write.
        self.wake_waiting();
        Some(write)
    }

    /// Issues a held write captured. Dispatch has checked that it may be.
    pub(super) fn capture_held(
        &mut self,
        held: &HeldWrite,
        reservation: Reservation,
    ) -> Option<Submission<W>> {
        let Some(write) = self.release(held) else {
            self.state.capture_queue.cancel(reservation);
            return None;
        };
        self.state.counts[0].writes_held += 1;
        let HeldWrite { slot, change, .. } = *held;
        Some(self.hand_out(Capture { write, slot, change, reservation }))
    }

    /// Issues a held write uncaptured; the reason as for [`Core::mark_dirty`].
    pub(super) fn issue_held_uncaptured(
        &mut self,
        held: &HeldWrite,
        reason: Option<GapReason>,
    ) -> Option<Submission<W>> {
        let write = self.release(held)?;
        self.count_uncaptured(held.change.kind);
        self.count_past_cut(held.since);
        self.mark_dirty(held.change.blocks, reason);
        Some(Submission::Issue(Issue::as_it_is(write, held.slot, None)))
    }

    /// Room in the queue for a write's record; `None` if there is none now.
    pub(super) fn reserve(&mut self, change: &Change) -> Option<Reservation> {
        self.state.capture_queue.reserve(change.payload(), Region::Writes)
    }

    /// True if a write is captured in parts, because one record of it would have to wait for most
    /// of the queue.
    pub(super) fn is_too_long(&self, change: &Change) -> bool {
        change.payload() > self.shared.config.write_bytes
    }

    /// Notes that the queue has no room for what a held write needs.
    pub(super) fn queue_is_full(&mut self) {
        let state = &mut *self.state;
        let newest = state.in_flight.last_held();
        if state.capture_queue.has_more_to_give_up(Region::Writes) {
            // They look again, and more records are given up.
            self.call.wake(Worker::Dispatch);
            self.call.wake(Worker::Hold);
            state.backpressure.disk_has_queue(newest);
        } else if state.capture_queue.waits_for_disk() {
            state.backpressure.disk_has_queue(newest);
        } else if !state.lifecycle.is_attached() {
            self.stop_capturing(GapReason::ServiceLost);
        } else if state.backpressure.queue_is_full(newest, state.gap.is_open(), self.call.now) {
            self.stop_capturing(GapReason::QueueFull);
        }
    }

    /// As [`Core::submit`], for a write that cannot be captured at once.
    #[inline(never)]
    fn submit_otherwise(
        &mut self,
        mut write: W,
        change: Change,
        urgency: Urgency,
    ) -> Submission<W> {
        if self.is_covered_by_gap(&change) {
            return self.issue_uncaptured(write, change, self.call.now, None);
        }
        if urgency == Urgency::MustNotWait
            && let Some((slot, reservation)) = self.make_way_for_urgent(&change)
        {
            self.state.counts[0].writes_captured_inline += 1;
            self.count_past_cut(self.call.now);
            return self.hand_out(Capture { write, slot, change, reservation });
        }
        if let Some(reason) = self.reason_not_to_hold(urgency) {
            return self.issue_uncaptured(write, change, self.call.now, Some(reason));
        }
        // If its blocks do not keep it, the queue does.
        let lacks_room = self.state.lifecycle.is_capturing()
            && !self.state.in_flight.is_full()
            && !self.is_too_long(&change)
            && self.may_be_captured_now(&change);
        if lacks_room
            && !self.state.capture_queue.waits_for_disk()
            && !self.state.capture_queue.has_more_to_give_up(Region::Writes)
        {
            if !self.state.lifecycle.is_attached() {
                return self.issue_and_stop_capturing(write, change, GapReason::ServiceLost);
            }
            if self.state.backpressure.skips_wait(self.state.gap.is_open()) {
                return self.issue_and_stop_capturing(write, change, GapReason::QueueFull);
            }
        }
        if !self.state.in_flight.prepare(&mut write, &change) {
            self.state.counts[0].writes_cancelled += 1;
            return Submission::Cancelled(write);
        }
        // One that has no slot yet is looked at when it gets one.
        if let Some(slot) = self.state.in_flight.hold(write, &change, self.call.now) {
            self.note_held(&change, slot);
        }
        if lacks_room {
            self.queue_is_full();
        }
        self.call.wake(Worker::Hold);
        self.call.wake(Worker::Dispatch);
        Submission::Held
    }

    /// Notes what keeps a write that is held now.
    fn note_held(&mut self, change: &Change, slot: SlotId) {
        self.watch_if_unsynced(change, slot);
        if self.state.claims[0].is_read_by_sector(&change.blocks) {
            self.state.in_flight.note_read_failed(slot);
        }
    }

    /// Gives free slots to the writes that wait for them, the oldest first: none is left for one
    /// that arrives later, which does not overtake them (rule ORDER, rules.md#order).
    #[inline]
    fn hold_waiting(&mut self) {
        if self.state.in_flight.is_any_waiting() {
            self.hold_some_waiting();
        }
    }

    #[inline(never)]
    fn hold_some_waiting(&mut self) {
        while let Some(Waiter { write, kind, extent, since }) = self.state.in_flight.admit() {
            let change = self.change_of(kind, extent);
            if let Some(slot) = self.state.in_flight.hold(write, &change, since) {
                self.note_held(&change, slot);
            }
        }
    }

    /// Issues the oldest write that waits for a slot uncaptured.
    pub(super) fn issue_waiting_uncaptured(&mut self) -> Option<Submission<W>> {
        let Waiter { write, kind, extent, since } = self.state.in_flight.pop_waiting()?;
        self.count_hold(since);
        let change = self.change_of(kind, extent);
        Some(self.issue_uncaptured(write, change, since, None))
    }

    fn change_of(&self, kind: RecordKind, extent: Extent) -> Change {
        // It had blocks when it arrived.
        let blocks = self.shared.geometry.blocks_of(&extent).unwrap_or(BlockRange::EMPTY);
        Change { kind, extent, blocks }
    }

    /// A reserved slot for an urgent write, which may not wait for one of the usual ones.
    #[inline(never)]
    fn insert_urgent(&mut self, change: &Change, urgency: Urgency) -> Option<SlotId> {
        let is_urgent = urgency == Urgency::MustNotWait;
        is_urgent.then(|| self.state.in_flight.insert_reserved(change)).flatten()
    }

    /// Room for an urgent write, ahead of those that wait for room: otherwise it would begin a gap
    /// at once, while they may only come to that. It gives up more kept records than any other
    /// verb.
    fn make_way_for_urgent(&mut self, change: &Change) -> Option<(SlotId, Reservation)> {
        if !self.state.lifecycle.is_capturing()
            || self.is_too_long(change)
            || !self.is_ready(change)
        {
            return None;
        }
        for _ in 0..URGENT_TRIES {
            let Some(reservation) = self.reserve(change) else {
                if self.state.capture_queue.has_more_to_give_up(Region::Writes) {
                    continue;
                }
                return None;
            };
            let slot = self.state.in_flight.insert(change);
            let slot = slot.or_else(|| self.insert_urgent(change, Urgency::MustNotWait));
            if slot.is_none() {
                self.state.capture_queue.cancel(reservation);
                return None;
            }
            return slot.map(|slot| (slot, reservation));
        }
        None
    }

    /// True if a write is issued uncaptured because a gap is open, to which it adds nothing.
    fn is_covered_by_gap(&self, change: &Change) -> bool {
        let (state, table) = (&self.state, &self.shared.table);
        match state.lifecycle.phase() {
            Phase::Starting => false,
            Phase::Uncaptured | Phase::Stopped => true,
            Phase::Capturing => {
                let base_is_lost = state.base.is_lost();
                state.resync.yields_to(&change.blocks, table, &state.in_flight, base_is_lost)
            }
        }
    }

    /// Why a write is issued uncaptured rather than held; `None` if it may be held.
    fn reason_not_to_hold(&self, urgency: Urgency) -> Option<GapReason> {
        match urgency {
            Urgency::PayloadUnavailable => Some(GapReason::PayloadUnavailable),
            Urgency::MustNotWait if self.state.in_flight.is_exhausted() => {
                Some(GapReason::TooManyWrites)
            }
            Urgency::MustNotWait => Some(GapReason::UrgentWrite),
            Urgency::MayWait => None,
        }
    }

    /// True if only queue space can keep a write that arrives now from being captured and issued at
    /// once.
    #[inline]
    fn may_be_captured_now(&self, change: &Change) -> bool {
        let state = &self.state;
        // A write that takes space ahead of one that waits for it would make that one wait for
        // ever.
        !state.backpressure.holds_back(state.in_flight.oldest_held())
            && !state.cut.keeps(self.call.now, self.call.now)
            && self.is_ready(change)
    }

    /// True if neither a block nor another write keeps the write from being captured.
    #[inline]
    fn is_ready(&self, change: &Change) -> bool {
        let table = &self.shared.table;
        let is_synced = sabotaged!(HoldForgotten) || table.all(change.blocks, BlockState::Synced);
        // ORDER: the disk applies overlapping writes in any order.
        is_synced && (sabotaged!(OverlapForgotten) || !self.state.in_flight.overlaps(change))
    }

    /// Hands out a write to be issued: one with a payload is to be copied first, another goes into
    /// the stream at once.
    fn hand_out(&mut self, capture: Capture<W>) -> Submission<W> {
        if capture.change.kind.has_payload() {
            Submission::Capture(capture)
        } else {
            self.state.counts[0].clearings += 1;
            Submission::Issue(self.captured(capture))
        }
    }

    /// Rule BOUND (rules.md#bound): there is no room to keep the write or its payload. It is issued
    /// uncaptured, and so are those that are held.
    fn issue_and_stop_capturing(
        &mut self,
        write: W,
        change: Change,
        reason: GapReason,
    ) -> Submission<W> {
        // In this order: capturing would resume at once if no block were dirty.
        let submission = self.issue_uncaptured(write, change, self.call.now, Some(reason));
        if self.state.lifecycle.is_capturing() {
            self.stop_capturing(reason);
        }
        submission
    }

    /// Issues a write that reaches past the end of the volume as it was at t0: the blocks inside
    /// turn dirty.
    #[inline(never)]
    fn issue_past_end(&mut self, write: W, kind: RecordKind, extent: Extent) -> Submission<W> {
        let geometry = &self.shared.geometry;
        let len = geometry.length().saturating_sub(extent.offset());
        let inside = Extent::new(extent.offset(), len);
        let blocks = inside.and_then(|inside| geometry.blocks_of(&inside));
        let change = Change { kind, extent, blocks: blocks.unwrap_or(BlockRange::EMPTY) };
        self.issue_uncaptured(write, change, self.call.now, Some(GapReason::LengthChanged))
    }

    /// Issues a write without a slot uncaptured that arrived at `since`; the reason as for
    /// [`Core::mark_dirty`].
    fn issue_uncaptured(
        &mut self,
        write: W,
        change: Change,
        since: Tick,
        reason: Option<GapReason>,
    ) -> Submission<W> {
        self.count_uncaptured(change.kind);
        self.count_past_cut(since);
        self.mark_dirty(change.blocks, reason);
        let slot = self.state.in_flight.insert_past_held(&change);
        Submission::Issue(Issue::as_it_is(write, slot, None))
    }

    #[inline(never)]
    fn count_urgency(&mut self, urgency: Urgency) {
        let counts = &mut self.state.counts[0];
        counts.writes_urgent += u64::from(urgency == Urgency::MustNotWait);
        counts.writes_payload_unavailable += u64::from(urgency == Urgency::PayloadUnavailable);
    }

    pub(super) fn count_uncaptured(&mut self, kind: RecordKind) {
        self.state.counts[0].writes_uncaptured += 1;
        self.state.counts[0].clearings += u64::from(!kind.has_payload());
    }

    /// Counts a write that goes on if a cut would keep it.
    fn count_past_cut(&mut self, since: Tick) {
        self.state.counts[0].writes_past_cut +=
            u64::from(self.state.cut.keeps(since, self.call.now));
    }

    pub(super) fn release(&mut self, held: &HeldWrite) -> Option<W> {
        let (write, since) = self.state.in_flight.release(held.slot)?;
        // ORDER: a write on another volume may have completed just before this one arrived.
        self.call.not_before(since);
        self.count_hold(since);
        Some(write)
    }

    fn count_hold(&mut self, since: Tick) {
        self.state.counts[0].holds.add(self.call.now.since(since) / Tick::PER_US);
    }
}

//! Writes longer than one record may be: captured part by part, each a record of its own, and
//! issued when the stream has all of them.
//!
//! Such a write is held like others until its blocks are synced. While its parts are captured it
//! counts as in flight: no block of it is read, no overlapping write overtakes it, and it is not
//! cancelled any more. If a part finds no room, the write waits for room ahead of the held ones
//! (rule HANG, rules.md#hang). If capturing stops meanwhile, the write is issued uncaptured, and
//! all of its blocks turn dirty (rule LOSS, rules.md#loss).

use snapless_fixed::slots::SlotId;
use snapless_tracking::capture_queue::Reservation;
use snapless_tracking::in_flight::{Change, HeldWrite};
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{Extent, GapReason};

use super::Core;
use crate::host::Worker;
use crate::submission::{Capture, Issue, Part, Submission};

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Puts a part of a write into the stream whose payload is in the queue, and goes on with the
    /// next one.
    pub fn part_captured(&mut self, part: Part<W>) -> Submission<W> {
        if !self.is_current(&part.capture) {
            return self.part_not_captured(part, GapReason::ServiceLost);
        }
        let Part { capture, whole } = part;
        let (slot, end) = (capture.slot, capture.change.extent.end());
        let Issue { write, record, .. } = self.captured(capture);
        // It is in several places in the queue's memory.
        self.give_payload_back(slot);
        if end == whole.extent.end() {
            self.state.counts[0].writes_held += 1;
            return Submission::Issue(Issue::as_it_is(write, slot, record));
        }
        self.next_part(write, slot, whole, end)
    }

    /// Issues a write uncaptured a part of which has a place in the queue; the reason as for
    /// [`Core::mark_dirty`].
    pub fn part_not_captured(&mut self, part: Part<W>, reason: GapReason) -> Submission<W> {
        let Part { capture, whole } = part;
        let slot = capture.slot;
        let issue = self.not_captured(capture, reason);
        self.issue_part_uncaptured(issue.write, slot, &whole, Some(reason))
    }

    /// Begins with the first part of a held write that is ready.
    pub(super) fn first_part(&mut self, held: &HeldWrite) -> Option<Submission<W>> {
        let whole = held.change;
        let Some((change, reservation)) = self.reserve_part(&whole, whole.extent.offset()) else {
            self.queue_is_full();
            return None;
        };
        let Some(write) = self.release(held) else {
            self.state.capture_queue.cancel(reservation);
            return None;
        };
        let capture = Capture { write, slot: held.slot, change, reservation };
        Some(Submission::Part(Part { capture, whole }))
    }

    /// Goes on with a write of which the stream has the bytes before `from`.
    pub(super) fn next_part(
        &mut self,
        write: W,
        slot: SlotId,
        whole: Change,
        from: u64,
    ) -> Submission<W> {
        let is_synced = self.shared.table.all(whole.blocks, BlockState::Synced);
        if !self.state.lifecycle.is_capturing() || !is_synced {
            // A gap is open: capturing has stopped, or a write that could not wait went past it.
            return self.issue_part_uncaptured(write, slot, &whole, None);
        }
        let Some((change, reservation)) = self.reserve_part(&whole, from) else {
            self.state.in_flight.keep_part(slot, write, from);
            self.queue_is_full();
            // It has to know when the hold limit is due.
            self.call.wake(Worker::Dispatch);
            return Submission::Held;
        };
        Submission::Part(Part { capture: Capture { write, slot, change, reservation }, whole })
    }

    /// Issues a write uncaptured of which the stream may have a part.
    pub(super) fn issue_part_uncaptured(
        &mut self,
        write: W,
        slot: SlotId,
        whole: &Change,
        reason: Option<GapReason>,
    ) -> Submission<W> {
        self.count_uncaptured(whole.kind);
        self.mark_dirty(whole.blocks, reason);
        Submission::Issue(Issue::as_it_is(write, slot, None))
    }

    /// The part of a write that begins at `from`, and room for it in the queue; `None` if there is
    /// none now.
    fn reserve_part(&mut self, whole: &Change, from: u64) -> Option<(Change, Reservation)> {
        let longest = self.shared.config.write_bytes;
        // Whole sectors, so that a part is as good a write as any.
        let sector_size = u64::from(self.shared.geometry.sector_size());
        let longest = longest - longest.checked_rem(sector_size).unwrap_or(0);
        let len = longest.min(whole.extent.end() - from);
        let extent = Extent::new(from, len)?;
        let blocks = self.shared.geometry.blocks_of(&extent)?;
        let change = Change { kind: whole.kind, extent, blocks };
        Some((change, self.reserve(&change)?))
    }
}

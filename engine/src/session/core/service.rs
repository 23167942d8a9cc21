//! Events from outside: t0, a service that goes and one that comes, acknowledgements, a change of
//! the volume's length, stop.
//!
//! What takes work in proportion to the volume or to the queue only begins here. The dispatch
//! thread goes on with it, a chunk at a time ([`Core::tidy`]): writes wait for the lock (rule HANG,
//! rules.md#hang).

use snapless_tracking::epochs::ImpossibleEpoch;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{
    BlockIndex, BlockRange, End, Ends, EpochId, GapReason, Made, RecordKind, Seq,
};

use super::{Core, first_of};
use crate::host::Worker;
use crate::lifecycle::Phase;

/// A record up to which the server cannot have the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImpossibleSeq;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Stamps t0; of a session that continues, begins its gap.
    pub fn begin(&mut self) {
        if !self.state.lifecycle.begin() {
            return;
        }
        self.state.base.begin(self.call.clock);
        self.state.unused[0].begin(self.call.now);
        if !self.is_continued() {
            self.append(RecordKind::SessionStart, BlockRange::EMPTY);
        }
        if self.state.gap.is_open() {
            self.append_gap(self.state.gap.reason());
        }
        self.call.wake_all();
    }

    /// The service has gone. Its records are kept for the next one, which goes on behind what the
    /// server has ([`Core::drain_from`]). Writes are captured until the queue is full; then a gap
    /// begins, and no write waits (rule HANG, rules.md#hang).
    pub fn leave(&mut self) {
        // The next service does not know which extents are to be reviewed.
        if self.state.excluded[0].withdraw() && !self.state.lifecycle.is_stopped() {
            self.state.base.lose();
            self.open_gap(Some(GapReason::UrgentWrite));
        }
        // Nor what was free before t0.
        self.end_unused();
        if !self.state.lifecycle.leave() {
            return;
        }
        self.state.capture_queue.pin();
        // Nothing comes to writes that wait for room.
        self.call.wake_all();
    }

    /// The stream of a session that continues stands at record `durable` at the server, which was
    /// made then, and goes on behind `behind`
    /// ([`Origin::place`](snapless_tracking::origin::Origin::place)). Nothing happens if that is
    /// known already.
    ///
    /// # Errors
    /// [`ImpossibleSeq`] for a number with too few behind it.
    pub fn place(
        &mut self,
        durable: Seq,
        made: Made,
        behind: EpochId,
    ) -> Result<(), ImpossibleSeq> {
        let queue = &mut self.state.capture_queue;
        if queue.origin().is_placed() {
            return Ok(());
        }
        if !queue.place(durable, behind) {
            return Err(ImpossibleSeq);
        }
        self.state.epochs.begin_behind(made);
        Ok(())
    }

    /// True if the record that ends the server's stream is one of this past: it ends an epoch of
    /// the session, or is the one that the session continues behind, and was made then. False for
    /// one that another past of the machine has made, and for one that is not known any more
    /// (rule RESUME, rules.md#resume).
    pub fn has_made(&self, durable: Seq, made: Made) -> bool {
        if sabotaged!(NumbersRepeated) {
            return true;
        }
        let origin = self.state.capture_queue.origin();
        let inside = origin.is_placed().then(|| origin.seq_inside(durable)).flatten();
        // What is up to the origin is one record inside.
        let is_itself = |inside: &Seq| origin.seq_outside(*inside) == durable;
        let known = inside.filter(is_itself).and_then(|inside| self.state.epochs.end_made(inside));
        known == Some(made)
    }

    /// True once it is known where the stream stands at the server ([`Core::place`]).
    pub fn is_placed(&self) -> bool {
        self.state.capture_queue.origin().is_placed()
    }

    /// The records of this past that the server's stream may end with, as far as they are known
    /// ([`Core::has_made`]): the acknowledged one, and those behind it.
    pub fn ends(&self) -> Ends {
        let origin = self.state.capture_queue.origin();
        let mut ends = Ends::NONE;
        for End { seq, made } in self.state.epochs.ends().filter(|_| origin.is_placed()) {
            let seq = origin.seq_outside(seq);
            if seq > Seq::default() {
                ends.add(End { seq, made });
            }
        }
        ends
    }

    /// A service is there whose server has everything up to record `durable`, and drains what
    /// follows. True if all of that is there: the stream goes on without a gap. If not, the blocks
    /// whose records are not acknowledged turn dirty, as those of a service that is lost.
    ///
    /// # Errors
    /// [`ImpossibleSeq`] for a record that was not drained, or is before one that was acknowledged;
    /// for any in a session that was not placed.
    pub fn drain_from(&mut self, durable: Seq) -> Result<bool, ImpossibleSeq> {
        let state = &mut *self.state;
        if state.lifecycle.is_stopped() {
            return Ok(false);
        }
        let queue = &mut state.capture_queue;
        let origin = queue.origin();
        let inside = origin.is_placed().then(|| origin.seq_inside(durable)).flatten();
        let durable = inside.ok_or(ImpossibleSeq)?;
        if durable > queue.last_taken() || durable < state.epochs.acknowledged_seq() {
            return Err(ImpossibleSeq);
        }
        let has_all = !state.lifecycle.has_lost_service() && queue.has_all_after(durable);
        state.epochs.acknowledge_up_to(durable);
        queue.acknowledge(state.epochs.acknowledged_seq());
        if has_all {
            queue.unpin();
            queue.drain_after(durable);
        } else {
            self.detach();
        }
        self.state.lifecycle.attach();
        self.resume_capturing_if_drained();
        self.call.wake_all();
        Ok(has_all)
    }

    /// The service's records are lost: the blocks whose records it has not acknowledged turn dirty.
    /// Nothing is captured until the last of them is.
    pub fn detach(&mut self) {
        self.lose_service(GapReason::ServiceLost);
    }

    /// The volume may have been written to past the session, anywhere: the records that have not
    /// left are lost, and so is the service. Every block is read again ([`Core::doubt_blocks`]).
    /// False if there is nothing to be in doubt about: before t0 nothing was captured.
    pub fn doubt(&mut self) -> bool {
        let has_begun = self.state.base.t0().is_some() || self.is_continued();
        if !has_begun || self.state.lifecycle.is_stopped() {
            return false;
        }
        self.end_unused();
        self.lose_service(GapReason::Slept);
        true
    }

    /// What the disk has in these blocks is not known, after [`Core::doubt`]. Returns the block to
    /// go on with.
    pub fn doubt_blocks(&mut self, blocks: BlockRange) -> BlockIndex {
        let blocks = first_of(blocks);
        // A gap is open.
        self.mark_dirty(blocks, None);
        blocks.end
    }

    fn lose_service(&mut self, reason: GapReason) {
        let state = &mut *self.state;
        if !state.lifecycle.detach() {
            return;
        }
        state.base.lose_service(state.epochs.acknowledged_seq());
        if state.excluded[0].withdraw() {
            state.base.lose();
        }
        // Before t0 there is nothing to lose.
        if state.base.t0().is_some() {
            let drained = state.capture_queue.last_taken();
            state.capture_queue.lose();
            // The marker of the gap has to find room.
            state.capture_queue.discard();
            state.epochs.lose(drained);
        }
        // Blocks that are being read turn dirty when their reads end.
        state.claims[0].spoil(&self.shared.geometry.all_blocks());
        // The records for the next service begin with this gap, even if one was open already. Until
        // the server has the begin of a continued session, it is that one.
        let before = state.continues.filter(|_| state.epochs.acknowledged_seq() == Seq::default());
        state.gap.close();
        self.open_gap(Some(before.unwrap_or(reason)));
        self.call.wake_all();
    }

    /// Notes that an epoch and all before it are durable at the server.
    pub fn acknowledge(&mut self, epoch: EpochId) -> Result<(), ImpossibleEpoch> {
        let state = &mut *self.state;
        let origin = state.capture_queue.origin();
        let inside = origin.epoch_inside(epoch).unwrap_or_default();
        if inside < epoch && inside == EpochId::default() {
            // It was durable before.
            return Ok(());
        }
        let epoch = inside;
        if state.epochs.acknowledge(epoch, state.capture_queue.last_taken())? {
            state.capture_queue.acknowledge(state.epochs.acknowledged_seq());
            // It frees the epoch's records, and clears the epoch's bitmap; the open epoch may wait
            // for that.
            self.call.wake(Worker::Dispatch);
        }
        Ok(())
    }

    /// Does some of the work that losses and acknowledgements left; true if there is more.
    pub(super) fn tidy(&mut self) -> bool {
        let (state, table) = (&mut *self.state, &self.shared.table);
        let was_losing = state.epochs.is_losing();
        let frees_memory = state.capture_queue.has_acknowledged();
        let more = state.capture_queue.discard()
            || state.capture_queue.free_acknowledged()
            || state.epochs.tidy(|blocks| {
                table.turn(blocks, BlockState::Synced, BlockState::Dirty);
            });
        if was_losing && !state.epochs.is_losing() {
            self.resume_capturing_if_drained();
            // Records have waited behind those that were lost.
            self.call.wake(Worker::Drain);
        }
        if frees_memory || self.state.verification[0].is_under_way() {
            // It waits for the memory of what is not acknowledged, or may have waited for room.
            self.call.wake(Worker::Sweep);
        }
        more
    }

    /// The volume has `length` bytes now.
    pub fn resize(&mut self, length: u64) {
        if length == self.shared.geometry.length() || self.state.lifecycle.is_stopped() {
            return;
        }
        self.state.gap.resize();
        if self.state.lifecycle.phase() == Phase::Starting {
            // T0: the base image would be a part of the volume.
            return self.stop();
        }
        self.open_gap(Some(GapReason::LengthChanged));
    }

    /// Ends the session.
    pub fn stop(&mut self) {
        self.state.lifecycle.stop();
        // They are freed with the session.
        self.state.capture_queue.lose();
        self.call.wake_all();
    }
}

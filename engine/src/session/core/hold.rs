//! The hold thread: which blocks are read for held writes, and what ends a hold if reads fail.

use snapless_tracking::claims::Reader;
use snapless_tracking::in_flight::HeldWrite;
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, GapReason, Tick};

use super::Core;
use super::read::Read;
use crate::host::{Step, Worker};
use crate::lifecycle::Phase;
use crate::submission::Submission;

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// What the hold thread does next.
    pub fn hold(&mut self) -> Step<Read> {
        match self.state.lifecycle.phase() {
            Phase::Stopped => return Step::Ended,
            Phase::Capturing => {}
            Phase::Starting | Phase::Uncaptured => return Step::Wait(None),
        }
        // The end of a read wakes the hold thread.
        let most = self.shared.config.hold_reads(&self.shared.geometry);
        if self.state.claims[0].count_by(Reader::Hold) >= most {
            return Step::Wait(None);
        }
        if let Some(due) = self.state.failing[0].due(Reader::Hold, self.call.now) {
            return Step::Wait(Some(due));
        }
        self.state.backpressure.set_read_waits(false);
        let Some(blocks) = self.next_to_hold() else { return Step::Wait(None) };
        let Some(read) = self.claim(blocks, Reader::Hold) else {
            self.state.backpressure.set_read_waits(true);
            // There is room for the claim, so the queue has none.
            self.queue_is_full();
            // It has to know when the hold limit is due.
            self.call.wake(Worker::Dispatch);
            return Step::Wait(None);
        };
        let reads = self.state.claims[0].count_by(Reader::Hold);
        self.state.sweep[0].disturbed(reads, self.call.now);
        Step::Do(read)
    }

    /// The next run that is read for held writes: blocks of the oldest one that has any to be read,
    /// and those behind them that others wait for.
    fn next_to_hold(&mut self) -> Option<BlockRange> {
        if self.is_any(BlockState::Dirty) {
            // Which of them may be read depends on the writes in flight.
            self.state.in_flight.read_any_again();
        }
        // A trim may cover much, and no application waits for it as for a write.
        for payload in [true, false] {
            while let Some(held) = self.state.in_flight.unread(payload) {
                if let Some(blocks) = self.first_unread(held) {
                    return Some(self.with_neighbours(blocks));
                }
                self.state.in_flight.pass_unread(payload);
            }
        }
        None
    }

    /// Unsynced blocks, with those behind them that other held writes wait for, as far as one read
    /// goes.
    fn with_neighbours(&self, blocks: BlockRange) -> BlockRange {
        let (table, geometry) = (&self.shared.table, &self.shared.geometry);
        let is_next = |block: &BlockIndex| {
            table.get(*block) == BlockState::Unsynced
                && self.state.in_flight.holds(&BlockRange::one(*block))
        };
        if table.get(blocks.start) != BlockState::Unsynced {
            return blocks;
        }
        let longest = self.longest_read(blocks.start).intersection(&geometry.all_blocks());
        let more = BlockRange::new(blocks.end, longest.end).iter().take_while(is_next).count();
        BlockRange::new(blocks.start, BlockIndex(blocks.end.0 + more as u64))
    }

    /// Rule HANG (rules.md#hang): a held write whose blocks the disk fails to read goes once it has
    /// been held as long as it may, whatever a read takes.
    pub(super) fn next_past_failed_reads(&mut self) -> Option<Submission<W>> {
        let now = self.call.now;
        let late = self.over_failed_reads().find(|held| self.hold_ends(held) <= now)?;
        self.issue_held_uncaptured(&late, Some(GapReason::ReadFailed))
    }

    /// When [`Core::next_past_failed_reads`] has to be called again.
    pub(super) fn failed_reads_deadline(&self) -> Option<Tick> {
        let ends = self.over_failed_reads().map(|held| self.hold_ends(&held));
        ends.filter(|&end| end > self.call.now).min()
    }

    /// The held writes that wait for a read that failed, and for no other write. While none of the
    /// hold thread's reads succeeds, all of them do.
    fn over_failed_reads(&self) -> impl Iterator<Item = HeldWrite> + '_ {
        let all = self.state.failing[0].is_put_off(Reader::Hold);
        let held = (all || self.state.in_flight.has_failed_reads()).then(|| {
            let held = self.state.in_flight.held();
            held.filter(move |held| (all || held.read_failed) && !held.blocked)
        });
        held.into_iter().flatten()
    }

    fn hold_ends(&self, held: &HeldWrite) -> Tick {
        held.since.after(self.shared.config.hold_limit)
    }
}

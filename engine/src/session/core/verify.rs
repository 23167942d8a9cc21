//! The verification of the copy: which blocks it reads, and when what was read counts.
//!
//! Rule LOSS (rules.md#loss): a check states the content that the stream gives at its place. So its
//! blocks are read while no write in flight touches them, and outside a gap; a write to them that
//! is captured meanwhile, or goes uncaptured, spoils the read. A write that is held, or is being
//! copied, has not reached the disk, and its record comes after the check's.

use snapless_tracking::claims::{Claimed, Reader};
use snapless_tracking::table::BlockState;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, RecordKind};

use super::Core;
use super::read::{Read, ReadOutcome};
use crate::host::{Step, Worker};

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// Begins a verification at a rate of so many bytes per second at most; 0 for no limit but the
    /// sweep's.
    pub fn begin_verification(&mut self, rate: u64) {
        if self.state.lifecycle.is_stopped() {
            return;
        }
        self.state.verification[0].begin(rate, self.call.now);
        self.call.wake(Worker::Sweep);
    }

    /// Leaves blocks out of every verification from now on ([`Verification::keep_apart`]).
    ///
    /// [`Verification::keep_apart`]: crate::verification::Verification::keep_apart
    pub fn keep_apart(&mut self, blocks: BlockRange) {
        self.state.verification[0].keep_apart(blocks);
        self.state.claims[0].spoil_verifying(&blocks);
    }

    /// Ends the verification that is under way.
    pub fn end_verification(&mut self) {
        self.state.verification[0].end();
    }

    /// What the sweep thread reads to verify the copy, when it has nothing else to read.
    pub(super) fn verify(&mut self) -> Step<Read> {
        let (now, geometry) = (self.call.now, self.shared.geometry);
        let Some(due) = self.state.verification[0].due() else { return Step::Wait(None) };
        // The end of the read wakes the sweep, and so does that of a gap.
        if self.state.claims[0].count_by(Reader::Verify) > 0 || !self.may_verify() {
            return Step::Wait(None);
        }
        if now < due {
            return Step::Wait(Some(due));
        }
        let longest = self.shared.config.check_length() / u64::from(geometry.block_size());
        let all = geometry.all_blocks();
        let run = self.state.verification[0].next(&all, longest);
        if run.is_empty() {
            self.state.verification[0].finish();
            return Step::Wait(None);
        }
        let (run, is_apart) = self.state.verification[0].cut(run);
        let (run, is_excluded) = self.state.excluded[0].cut_at_any_byte(run, &geometry);
        if is_apart || is_excluded {
            self.state.verification[0].exclude(&run, self.bytes_of(&run));
            return Step::Again;
        }
        let is_still = |block: &BlockIndex| {
            sabotaged!(CheckUnderWrites)
                || !self.state.in_flight.may_touch(&BlockRange::one(*block))
        };
        let still = run.iter().take_while(is_still).count() as u64;
        if still == 0 {
            self.verification_kept_back(&run);
            return Step::Again;
        }
        let run = BlockRange::new(run.start, BlockIndex(run.start.0 + still));
        let Some(read) = self.claim(run, Reader::Verify) else {
            self.make_room_for_checks();
            return Step::Wait(None);
        };
        let bytes = read.extent().len();
        self.state.verification[0].begun(bytes, now);
        self.state.sweep[0].verifies(bytes, now);
        Step::Do(read)
    }

    /// Takes what was read to verify the copy.
    pub(super) fn end_check(&mut self, claimed: &Claimed, read: Read, outcome: ReadOutcome) {
        let Claimed { blocks, ref spoiled, .. } = *claimed;
        let (whole, bytes) = (read.extent(), read.extent().len());
        let is_current = self.state.capture_queue.is_current(read.reservation());
        let is_sound = outcome == ReadOutcome::Done && spoiled.is_empty();
        if is_sound && is_current && self.may_verify() {
            rule!(
                sabotaged!(CheckUnderWrites) || self.shared.table.all(blocks, BlockState::Synced),
                "LOSS: a check is about blocks that the stream describes"
            );
            let record = self.record(RecordKind::Check, Some(whole));
            self.state.capture_queue.commit(read.into_reservation(), record);
            // A loss of the record is no loss of content: it is about no block.
            self.recorded(BlockRange::EMPTY, bytes);
            self.state.verification[0].read(&blocks, bytes);
        } else {
            self.state.capture_queue.cancel(read.into_reservation());
            match outcome {
                ReadOutcome::BadSector if blocks.len() == 1 => {
                    self.state.verification[0].pass_over(&blocks, bytes);
                }
                ReadOutcome::NotNow => self.state.verification[0].put_off(self.call.now),
                _ => self.verification_kept_back(&blocks),
            }
        }
        self.call.wake(Worker::Sweep);
        self.wake_waiting();
    }

    /// True while the stream describes the volume, and a service takes it.
    fn may_verify(&self) -> bool {
        let state = &self.state;
        state.lifecycle.is_capturing()
            && state.lifecycle.is_attached()
            && !state.gap.is_open()
            && !state.base.is_open()
            && !self.is_any(BlockState::Unsynced)
    }

    /// The run at the cursor could not be read.
    fn verification_kept_back(&mut self, run: &BlockRange) {
        if self.state.verification[0].is_kept_back(self.call.now) {
            let first = BlockRange::one(run.start);
            self.state.verification[0].pass_over(&first, self.bytes_of(&first));
        }
    }

    /// The queue has no room that is spare: checks that were drained leave it when their epoch is
    /// acknowledged.
    fn make_room_for_checks(&mut self) {
        if self.state.capture_queue.is_empty() && self.state.epochs.has_records() {
            self.close_epoch_early();
        }
    }

    fn bytes_of(&self, blocks: &BlockRange) -> u64 {
        self.shared.geometry.extent_of(blocks).map_or(0, |extent| extent.len())
    }
}

//! The stream: records are appended to the capture queue and noted in the open epoch.
//!
//! Every record is noted with its blocks, so that a loss of the service finds each block whose
//! record is not acknowledged (rule LOSS, rules.md#loss).

use snapless_tracking::capture_queue::Record;
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockRange, Extent, GapReason, Made, RecordKind, Seq};

use super::Core;
use crate::host::{Call, Worker};

impl<W, Q: Fifo<W>> Core<'_, W, Q> {
    /// A record of this instant, still without a number.
    #[inline]
    pub(super) fn record(&self, kind: RecordKind, extent: Option<Extent>) -> Record {
        let Call { now: monotonic, clock: time, .. } = self.call;
        let (seq, epoch) = (Seq::default(), self.state.epochs.open_id());
        Record { kind, seq, time, monotonic, epoch, extent, gap_reason: None }
    }

    /// Appends a record without payload that describes `blocks`, or a marker if there are none.
    /// Returns its number; `None` if there is no room now.
    pub(super) fn append(&mut self, kind: RecordKind, blocks: BlockRange) -> Option<Seq> {
        let record = self.record(kind, self.shared.geometry.extent_of(&blocks));
        let seq = self.state.capture_queue.append(record)?;
        self.recorded(blocks, 0);
        Some(seq)
    }

    /// Appends the marker of a gap that begins.
    pub(super) fn append_gap(&mut self, gap_reason: Option<GapReason>) {
        // Of a session that continues, the marker says how long the volume is.
        let continues = gap_reason.is_some_and(GapReason::continues_session);
        let geometry = &self.shared.geometry;
        let volume = geometry.extent_of(&geometry.all_blocks()).filter(|_| continues);
        let record = Record { gap_reason, ..self.record(RecordKind::GapBegin, volume) };
        let seq = self.state.capture_queue.append(record);
        rule!(seq.is_some(), "LOSS: there is always room for the marker of a gap");
        self.recorded(BlockRange::EMPTY, 0);
    }

    /// Notes that the stream has a record about these blocks, or a marker about none.
    #[inline]
    pub(super) fn recorded(&mut self, blocks: BlockRange, payload: u64) {
        if self.state.epochs.record(blocks, payload, self.call.now) {
            // It has to know when the epoch is due.
            self.call.wake(Worker::Dispatch);
        }
        self.state.counts[0].bytes_captured += payload;
        self.call.wake(Worker::Drain);
        self.close_epoch_if_due();
    }

    /// Closes the open epoch if it is old or large enough and the next one can be opened.
    #[inline]
    pub(super) fn close_epoch_if_due(&mut self) {
        if self.state.epochs.is_due(self.call.now) {
            self.close_epoch();
        }
    }

    /// Closes the open epoch before it is due, if the next one can be opened.
    pub(super) fn close_epoch_early(&mut self) {
        if self.state.epochs.can_close() {
            self.close_epoch();
        }
    }

    fn close_epoch(&mut self) {
        let record = self.record(RecordKind::EpochEnd, None);
        let queue = &mut self.state.capture_queue;
        if let Some(seq) = queue.append(record) {
            let made = Made { time: record.time, monotonic: queue.last_monotonic() };
            self.state.epochs.close(seq, made);
            self.call.wake(Worker::Drain);
        }
    }
}

//! What a session's lock protects, and what every decision does to it: states of blocks and their counts, notes for the
//! stream, wake-ups.

use alloc::boxed::Box;

use snapless_types::{BlockIndex, BlockRange, Extent, Geometry, RecordKind};

use super::Phase;
use crate::claims::Claims;
use crate::config::{Config, HIGH_MARK, READS_MAX};
use crate::epoch::Epochs;
use crate::host::{Tick, WORKERS, Wakes, Worker};
use crate::memory::OutOfMemory;
use crate::pace::Pace;
use crate::queue::{CaptureQueue, Record};
use crate::status::{Board, Numbers};
use crate::table::{BlockState, Table};
use crate::writes::Writes;

/// What does not change while the session lives, and the table, which is read without the lock.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) geometry: Geometry,
    pub(super) config: Config,
    pub(super) table: Table,
    pub(super) board: Box<[Board; 1]>,
}

impl Shared {
    pub(super) fn board(&self) -> &Board {
        let [board] = &*self.board;
        board
    }
}

/// What the lock protects.
// Each flag is of its own, in all combinations.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub(super) struct State<W> {
    pub(super) phase: Phase,
    pub(super) attached: bool,
    pub(super) consistent: bool,
    /// t0's content of some block is lost: it was overwritten uncaptured, or its record was lost.
    pub(super) base_lost: bool,
    /// Number of the `BaseComplete` record.
    pub(super) base_complete_seq: Option<u64>,
    pub(super) t0: Option<u64>,
    /// Counts losses of the service: what was reserved before one is not committed after it.
    pub(super) generation: u64,
    pub(super) writes: Writes<W>,
    /// Writes in flight that found no slot.
    pub(super) slotless: u64,
    pub(super) claims: Claims,
    pub(super) queue: CaptureQueue,
    pub(super) epochs: Epochs,
    /// Since when the queue is full: from the first write that found no room, until none waits for it and there is room
    /// again for many.
    pub(super) full_since: Option<Tick>,
    /// When the open epoch got its first record.
    pub(super) epoch_since: Option<Tick>,
    pub(super) epoch_bytes: u64,
    /// Where the sweep goes on.
    pub(super) cursor: BlockIndex,
    pub(super) pace: Pace,
    /// All that the sweep has left to read is kept from it by writes in flight: from now on writes to dirty blocks
    /// wait, until the stream describes the volume again.
    pub(super) insists: bool,
    /// The volume is longer than the table: the stream cannot describe it.
    pub(super) outgrown: bool,
    /// The sweep reads nothing until it is resumed.
    pub(super) paused: bool,
    /// Blocks that are read one at a time, because a longer read that covered them failed.
    pub(super) careful: BlockRange,
}

/// The state while the lock is held, and what every decision needs.
pub(super) struct Core<'a, W> {
    pub(super) state: &'a mut State<W>,
    pub(super) shared: &'a Shared,
    pub(super) now: Tick,
    pub(super) clock: u64,
    pub(super) wakes: Wakes,
    /// The verb has changed nothing of what [`Core::post_the_rest`] posts.
    pub(super) quick: bool,
}

impl<W> Core<'_, W> {
    /// What everybody may read: the counters are kept there and nowhere else.
    pub(super) fn numbers(&self) -> &Numbers {
        &self.shared.board().numbers
    }

    pub(super) fn wake_all(&mut self) {
        for worker in WORKERS {
            self.wakes.add(worker);
        }
    }

    /// A record of this instant, still without a number.
    pub(super) fn record(&self, kind: RecordKind, extent: Option<Extent>) -> Record {
        Record { kind, seq: 0, time: self.clock, epoch: self.state.epochs.open_id(), extent }
    }

    /// Puts a record without payload into the stream: about blocks, or a marker about none. Returns its number; `None`
    /// if there is no room for it now.
    pub(super) fn tell(&mut self, kind: RecordKind, blocks: BlockRange) -> Option<u64> {
        let record = self.record(kind, self.shared.geometry.extent_of(&blocks));
        let seq = self.state.queue.tell(record)?;
        self.recorded(blocks, 0);
        Some(seq)
    }

    /// Notes that the stream got a record about these blocks, or a marker about none.
    pub(super) fn recorded(&mut self, blocks: BlockRange, bytes: u64) {
        self.state.epochs.touch(blocks);
        if self.state.epoch_since.is_none() {
            self.state.epoch_since = Some(self.now);
            // It has to know when the epoch is due.
            self.wakes.add(Worker::Dispatch);
        }
        self.state.epoch_bytes += bytes;
        self.numbers().bytes_captured.add(bytes);
        self.wakes.add(Worker::Drain);
        self.close_epoch_if_due();
    }

    pub(super) fn is_settled(&self) -> bool {
        let state = &self.state;
        state.phase == Phase::Stopped
            && state.writes.held_count() == 0
            && state.writes.flying_count() == 0
            && state.slotless == 0
            && state.claims.is_empty()
    }

    /// Queue memory or a block has become free: a gap may be over, workers may have something to do.
    pub(super) fn wake_waiting(&mut self) {
        self.end_gap_if_drained();
        if self.state.full_since.is_some()
            && self.state.queue.is_at_most(HIGH_MARK)
            && !self.state.writes.any_starves()
        {
            self.state.full_since = None;
        }
        if self.state.writes.held_count() > 0 && !sabotaged!(WakeForgotten) {
            self.wakes.add(Worker::Hold);
            self.wakes.add(Worker::Dispatch);
        }
        if self.is_any(BlockState::Unsynced) || self.is_any(BlockState::Dirty) {
            self.wakes.add(Worker::Sweep);
        }
    }

    /// Puts the state on the board.
    #[inline]
    pub(super) fn post(&self) {
        let (state, numbers) = (&self.state, self.numbers());
        numbers.writes_holding.set(state.writes.held_count());
        numbers.writes_in_flight.set(state.writes.flying_count() + state.slotless);
        numbers.queue_used.set(state.queue.used());
        numbers.last_seq.set(state.queue.last_seq());
        if !self.quick {
            return self.post_the_rest();
        }
        #[cfg(debug_assertions)]
        {
            let posted = self.shared.board().read();
            self.post_the_rest();
            rule!(
                posted == self.shared.board().read(),
                "CLEAR: a quick verb changes what it says it does"
            );
        }
    }

    /// Out of line, so that no verb has it on its stack: verbs run on the stack of whoever writes.
    #[inline(never)]
    fn post_the_rest(&self) {
        let (state, numbers, table) = (&self.state, self.numbers(), &self.shared.table);
        let to_read = |before| table.count(before) + state.claims.blocks_that_were(before);
        numbers.t0.set(state.t0.unwrap_or(0));
        numbers.blocks_total.set(self.shared.geometry.block_count());
        numbers.blocks_synced.set(table.count(BlockState::Synced));
        numbers.blocks_unsynced.set(to_read(BlockState::Unsynced));
        numbers.blocks_dirty.set(to_read(BlockState::Dirty));
        numbers.queue_bytes.set(state.queue.capacity());
        numbers.acknowledged_seq.set(state.epochs.acknowledged_seq());
        let base_complete = state.base_complete_seq.is_some() && !state.base_lost;
        let flags = [state.attached, state.paused, state.outgrown, state.consistent, base_complete];
        self.shared.board().post_flags(state.phase, flags);
    }

    /// True if blocks are in this state.
    pub(super) fn is_any(&self, state: BlockState) -> bool {
        self.shared.table.count(state) > 0
    }
}

/// The state of a session that starts. Out of line: its parts are on the stack only while they are made.
#[inline(never)]
pub(super) fn first_state<W>(shared: &Shared) -> Result<State<W>, OutOfMemory> {
    let (blocks, config) = (shared.geometry.block_count(), &shared.config);
    Ok(State {
        phase: Phase::Starting,
        attached: true,
        consistent: true,
        base_lost: false,
        base_complete_seq: None,
        t0: None,
        generation: 0,
        writes: Writes::new(config.writes_max)?,
        slotless: 0,
        claims: Claims::new(READS_MAX)?,
        queue: CaptureQueue::new(config.queue_bytes, config.sweep_share(), config.records())?,
        epochs: Epochs::new(config.epochs, blocks, config.epoch_bitmap_bytes)?,
        full_since: None,
        epoch_since: None,
        epoch_bytes: 0,
        cursor: BlockIndex(0),
        pace: Pace::NEW,
        insists: false,
        outgrown: false,
        paused: false,
        careful: BlockRange::EMPTY,
    })
}

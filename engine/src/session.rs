//! A session: the state of one protection, and the verbs that hosts call.
//!
//! Each verb takes the session's lock once, lets [`Core`] decide, posts on the [`Board`] what has changed,
//! releases the lock, and wakes the workers that have something to do now. The decisions are in the submodules, one per thread of the method:
//!
//! | module | decides |
//! | --- | --- |
//! | `admit` | what happens to a write that arrives, is captured, completes |
//! | `read` | which blocks sweep and hold read next, and what becomes of what they read |
//! | `dispatch` | which held write goes next, when an epoch closes, when a hold has lasted too long |
//! | `gap` | when capturing ends and begins again; what is lost with the service |
//! | `skip` | what is never read, because it holds no data |
//! | `drain` | what leaves the queue |
//! | `withdraw` | what becomes of a held write that its application takes back |

mod admit;
mod dispatch;
mod drain;
mod gap;
mod read;
mod skip;
mod withdraw;

use crate::board::Board;
use crate::claims::{Claims, Reader, Reason};
use crate::config::{Config, READS_MAX, StartError};
use crate::epoch::Epochs;
use crate::geometry::{BlockIndex, BlockRange, Extent, Geometry};
use crate::host::{Host, Mutex, Tick, WORKERS, Wakes, Worker};
use crate::queue::{CaptureQueue, RecordKind, Stamp};
use crate::stats::{Counters, Status};
use crate::table::{BlockState, Table};
use crate::writes::Writes;

pub use admit::{Capture, Clearing, Issue, Submission, Ticket, Urgency};
pub use drain::Drained;
pub use read::Read;

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Writes are held; those that were under way below when it was made still have to complete.
    Starting,
    /// Writes are captured.
    Capturing,
    /// Writes go through and leave their blocks dirty.
    Passing,
    /// Nothing is captured any more.
    Stopped,
}

/// What a worker does next.
#[derive(Debug)]
pub enum Step<T> {
    /// This, now.
    Do(T),
    /// Wait to be woken, or until this instant, and ask again.
    Wait(Option<Tick>),
    /// The session is stopped and nothing is left for this worker.
    Ended,
}

/// What does not change while the session lives, and the table, which is read without the lock.
#[derive(Debug)]
struct Shared {
    geometry: Geometry,
    config: Config,
    table: Table,
    board: Board,
}

/// What the lock protects.
// Each flag is of its own, in all combinations.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
struct State<W> {
    phase: Phase,
    attached: bool,
    consistent: bool,
    /// t0's content of some block is lost: it was overwritten uncaptured, or its record was lost.
    base_lost: bool,
    /// Number of the `BaseComplete` record.
    base_complete_seq: Option<u64>,
    t0: Option<u64>,
    /// Counts losses of the service: what was reserved before one is not committed after it.
    generation: u64,
    unsynced: u64,
    reading: u64,
    dirty: u64,
    writes: Writes<W>,
    /// Writes in flight that found no slot.
    slotless: u64,
    claims: Claims,
    queue: CaptureQueue,
    epochs: Epochs,
    /// When the open epoch got its first record.
    epoch_since: Option<Tick>,
    epoch_bytes: u64,
    /// Where the sweep goes on.
    cursor: BlockIndex,
    /// When it may read next, if its rate is capped.
    sweep_due: Tick,
    /// The volume is longer than the table: the stream cannot describe it.
    outgrown: bool,
    /// The sweep reads nothing until it is resumed.
    paused: bool,
    /// Blocks that are read one at a time, because a longer read that covered them failed.
    careful: BlockRange,
    counters: Counters,
}

/// One protection of one volume.
///
/// All verbs may be called from any thread and at any level at which the host's lock may be taken.
#[derive(Debug)]
pub struct Session<H: Host> {
    host: H,
    shared: Shared,
    state: H::Mutex<State<H::Write>>,
}

impl<H: Host> Session<H> {
    /// Makes a session in phase [`Phase::Starting`], attached: from here on it holds the writes that are
    /// submitted. Allocates all that it will ever need.
    ///
    /// # Errors
    /// [`StartError::Config`] for limits that [`Config::check`] refuses; [`StartError::OutOfMemory`].
    pub fn new(host: H, geometry: Geometry, config: Config) -> Result<Self, StartError> {
        config.check(&geometry)?;
        let blocks = geometry.block_count();
        let nothing = BlockRange::new(BlockIndex(0), BlockIndex(0));
        let state = State {
            phase: Phase::Starting,
            attached: true,
            consistent: true,
            base_lost: false,
            base_complete_seq: None,
            t0: None,
            generation: 0,
            unsynced: blocks,
            reading: 0,
            dirty: 0,
            writes: Writes::new(config.writes_max)?,
            slotless: 0,
            claims: Claims::new(READS_MAX, geometry.block_sectors())?,
            queue: CaptureQueue::new(config.queue_bytes, config.records())?,
            epochs: Epochs::new(config.epochs, blocks, config.epoch_bitmap_bytes)?,
            epoch_since: None,
            epoch_bytes: 0,
            cursor: BlockIndex(0),
            sweep_due: Tick(0),
            outgrown: false,
            paused: false,
            careful: nothing,
            counters: Counters::ZERO,
        };
        let (table, board) = (Table::new(blocks)?, Board::default());
        let shared = Shared { geometry, config, table, board };
        let session = Self { host, shared, state: H::Mutex::new(state) };
        // So that the board has something to show.
        session.locked(|_| ());
        Ok(session)
    }

    /// Bytes that [`Session::new`] allocates, for ever; the queue's payload memory, which the host provides,
    /// comes on top ([`Config::queue_bytes`]).
    ///
    /// | for | bytes |
    /// | --- | --- |
    /// | the first-sync table | 1 for 4 blocks |
    /// | each epoch | 1 for 8 blocks, at most [`Config::epoch_bitmap_bytes`] |
    /// | each write that is kept track of | about 120, and the host's own |
    /// | each 4 KiB of the queue | about 110 |
    pub fn memory_needed(geometry: &Geometry, config: &Config) -> u64 {
        let blocks = geometry.block_count();
        Table::bytes(blocks)
            + Epochs::bytes(config.epochs, blocks, config.epoch_bitmap_bytes)
            + CaptureQueue::bytes(config.records())
            + Writes::<H::Write>::bytes(config.writes_max)
            + Claims::bytes(READS_MAX, geometry.block_sectors())
    }

    /// The host given to [`Session::new`].
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The volume.
    pub fn geometry(&self) -> &Geometry {
        &self.shared.geometry
    }

    /// Stamps t0 and lets the work begin. The host calls it once, when every write that went below before
    /// the session was made has completed (rule T0).
    pub fn begin(&self) {
        self.locked(|core| core.begin());
    }

    /// Decides what happens to a write that has arrived.
    ///
    /// A host that cannot undo what "pending" means to it (an IRP must be marked before anybody else can
    /// complete it) prepares the write for [`Submission::Held`] before it calls this.
    pub fn submit(
        &self,
        write: H::Write,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<H::Write> {
        self.locked(|core| core.submit(write, RecordKind::Write, extent, urgency))
    }

    /// As [`Session::submit`], for a change without payload: it is never to be captured by the host, and
    /// [`Issue::record`] tells whether the stream has it.
    ///
    /// A decision takes time in proportion to the extent: a host cuts what is longer than some gibibytes.
    pub fn submit_clearing(
        &self,
        write: H::Write,
        clearing: Clearing,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<H::Write> {
        self.locked(|core| core.submit(write, clearing.kind(), extent, urgency))
    }

    /// Records blocks that held no data at t0 as unallocated, so that nobody reads them. Blocks that have
    /// been read or written to by now are left as they are.
    ///
    /// Returns the block to go on with: the run's end when all is done. The sweep thread calls this, run by
    /// run, before it sweeps; when it gets no further, it waits to be woken.
    pub fn skip(&self, blocks: BlockRange) -> BlockIndex {
        self.locked(|core| core.skip(blocks))
    }

    /// Takes back a held write: the oldest that `is_it` says yes to. It is neither issued nor in the stream, and the
    /// host completes it as cancelled; what waited behind it goes on. `None` if no such write is held: it never was,
    /// or it is on its way.
    ///
    /// `is_it` is called under the session's lock.
    pub fn withdraw(&self, is_it: impl Fn(&H::Write) -> bool) -> Option<H::Write> {
        self.locked(|core| core.withdraw(is_it))
    }

    /// Puts a write whose payload the host has copied into the stream. The host issues it next.
    pub fn captured(&self, capture: Capture<H::Write>) -> Issue<H::Write> {
        self.locked(|core| core.captured(capture))
    }

    /// Notes that the disk is done with a write; `succeeded` is false if it failed or was cancelled.
    pub fn completed(&self, ticket: Ticket, succeeded: bool) {
        self.locked(|core| core.completed(ticket, succeeded));
    }

    /// What the sweep thread does next.
    pub fn sweep(&self) -> Step<Read> {
        self.locked(|core| core.sweep())
    }

    /// What the hold thread does next.
    pub fn hold(&self) -> Step<Read> {
        self.locked(|core| core.hold())
    }

    /// Takes what the host read; `succeeded` is false if the disk could not read all of it.
    ///
    /// Gives a read that the same thread makes next, if the disk could not read a block: it is read again
    /// sector by sector, so that a bad sector leaves a hole of its own size. What cannot be read the host
    /// leaves as zeros; a record [`RecordKind::Unreadable`] says where that is.
    #[must_use = "the block that is being read sector by sector stays claimed until its last read is done"]
    pub fn read_done(&self, read: Read, succeeded: bool) -> Option<Read> {
        self.locked(|core| core.read_done(read, succeeded))
    }

    /// What the dispatch thread does next: never [`Submission::Held`].
    pub fn dispatch(&self) -> Step<Submission<H::Write>> {
        self.locked(|core| core.dispatch())
    }

    /// True if [`Session::drain`] has a record to give. One drainer at a time.
    pub fn has_records(&self) -> bool {
        self.locked(|core| !core.state.queue.is_empty())
    }

    /// The next record, if its payload has at most `payload_room` bytes. One drainer at a time.
    pub fn drain(&self, payload_room: u64) -> Step<Drained> {
        self.locked(|core| core.drain(payload_room))
    }

    /// Takes a record's memory back once the host has copied it out.
    pub fn drained(&self, drained: Drained) {
        self.locked(|core| core.drained(drained));
    }

    /// Notes that an epoch and all before it are durable at the server.
    pub fn acknowledge(&self, epoch: u64) {
        self.locked(|core| core.acknowledge(epoch));
    }

    /// Notes that the service is gone: what it had not acknowledged turns dirty, writes go through
    /// uncaptured until [`Session::attach`].
    pub fn detach(&self) {
        self.locked(|core| core.detach());
    }

    /// Notes that a service is there again; false if there is one already, or the session is stopped.
    pub fn attach(&self) -> bool {
        self.locked(|core| core.attach())
    }

    /// Lets the sweep read nothing, neither for the base image nor after a gap, until [`Session::resume`].
    /// Reads for held writes go on.
    pub fn pause(&self) {
        self.locked(|core| core.state.paused = true);
    }

    /// Lets the sweep go on.
    pub fn resume(&self) {
        self.locked(|core| core.resume());
    }

    /// Notes that the volume has `length` bytes now. A session describes as many blocks as it has a table for,
    /// those that there were at its start (rule BOUND): if the volume has outgrown them, a gap begins that does
    /// not end, and [`Status::outgrown`] says why. What was captured before stays restorable, t0 above all; to
    /// follow the grown volume takes a new session. A session that has not begun is stopped.
    pub fn grow(&self, length: u64) {
        self.locked(|core| core.grow(length));
    }

    /// Ends the session: every held write is released, nothing more is captured.
    pub fn stop(&self) {
        self.locked(|core| core.stop());
    }

    /// True once the session is stopped and no write and no read of it is under way: it may be dropped.
    pub fn is_settled(&self) -> bool {
        self.locked(|core| core.is_settled())
    }

    /// State and counters. Takes no lock: each number is right, but two of them may be a verb apart.
    pub fn status(&self) -> Status {
        self.shared.board.read()
    }

    /// Where a block stands. Takes no lock.
    pub fn block_state(&self, block: BlockIndex) -> BlockState {
        self.shared.table.get(block)
    }

    fn locked<R>(&self, decide: impl FnOnce(&mut Core<'_, H::Write>) -> R) -> R {
        let (now, clock) = (self.host.now(), self.host.clock());
        let (result, wakes) = self.state.with(|state| {
            let mut core =
                Core { state, shared: &self.shared, now, clock, wakes: Wakes::default() };
            let result = decide(&mut core);
            core.post();
            (result, core.wakes)
        });
        for worker in wakes.iter() {
            self.host.wake(worker);
        }
        result
    }
}

/// The state while the lock is held, and what every decision needs.
struct Core<'a, W> {
    state: &'a mut State<W>,
    shared: &'a Shared,
    now: Tick,
    clock: u64,
    wakes: Wakes,
}

impl<W> Core<'_, W> {
    fn wake_all(&mut self) {
        for worker in WORKERS {
            self.wakes.add(worker);
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp { time: self.clock, epoch: self.state.epochs.open_id() }
    }

    fn set_block(&mut self, block: BlockIndex, to: BlockState) {
        let from = self.shared.table.set(block, to);
        if let Some(count) = self.count_of(from) {
            *count -= 1;
        }
        if let Some(count) = self.count_of(to) {
            *count += 1;
        }
    }

    fn count_of(&mut self, state: BlockState) -> Option<&mut u64> {
        match state {
            BlockState::Unsynced => Some(&mut self.state.unsynced),
            BlockState::Reading => Some(&mut self.state.reading),
            BlockState::Dirty => Some(&mut self.state.dirty),
            BlockState::Synced => None,
        }
    }

    /// Notes that the stream got a record about these blocks, or a marker about none.
    fn recorded(&mut self, blocks: BlockRange, bytes: u64) {
        self.state.epochs.touch(blocks);
        if self.state.epoch_since.is_none() {
            self.state.epoch_since = Some(self.now);
            // It has to know when the epoch is due.
            self.wakes.add(Worker::Dispatch);
        }
        self.state.epoch_bytes += bytes;
        self.state.counters.bytes_captured += bytes;
        self.wakes.add(Worker::Drain);
        self.close_epoch_if_due();
    }

    fn no_blocks() -> BlockRange {
        BlockRange::new(BlockIndex(0), BlockIndex(0))
    }

    fn is_settled(&self) -> bool {
        let state = &self.state;
        state.phase == Phase::Stopped
            && state.writes.held_count() == 0
            && state.writes.flying_count() == 0
            && state.slotless == 0
            && state.claims.is_empty()
    }

    /// Queue memory or a block has become free: a gap may be over, workers may have something to do.
    fn wake_waiting(&mut self) {
        self.end_gap_if_drained();
        if self.state.writes.held_count() > 0 {
            self.wakes.add(Worker::Hold);
            self.wakes.add(Worker::Dispatch);
        }
        if self.state.unsynced > 0 || self.state.dirty > 0 {
            self.wakes.add(Worker::Sweep);
        }
    }

    /// Shows on the board where the session stands.
    #[inline(never)] // Once for all verbs: a status is larger than most of their frames.
    fn post(&self) {
        self.shared.board.post(&self.status());
    }

    fn status(&self) -> Status {
        let state = &self.state;
        let counters = &state.counters;
        let total = self.shared.geometry.block_count();
        Status {
            phase: state.phase,
            attached: state.attached,
            paused: state.paused,
            outgrown: state.outgrown,
            consistent: state.consistent,
            base_complete: state.base_complete_seq.is_some() && !state.base_lost,
            t0: state.t0.unwrap_or(0),
            blocks_total: total,
            blocks_synced: total - state.unsynced - state.reading - state.dirty,
            blocks_unsynced: state.unsynced + state.claims.blocks_for(Reason::Base),
            blocks_dirty: state.dirty + state.claims.blocks_for(Reason::Resync),
            blocks_by_sweep: counters.blocks_by_sweep,
            blocks_by_hold: counters.blocks_by_hold,
            blocks_unreadable: counters.blocks_unreadable,
            blocks_unallocated: counters.blocks_unallocated,
            writes_passed: counters.writes_passed,
            writes_held: counters.writes_held,
            writes_holding: state.writes.held_count(),
            writes_flying: state.writes.flying_count() + state.slotless,
            writes_uncaptured: counters.writes_uncaptured,
            bytes_captured: counters.bytes_captured,
            bytes_drained: counters.bytes_drained,
            queue_used: state.queue.used(),
            queue_bytes: state.queue.capacity(),
            gaps: counters.gaps,
            last_seq: state.queue.last_seq(),
            acknowledged_seq: state.epochs.acknowledged_seq(),
            // Their times are on the board already.
            ..Status::NOTHING
        }
    }

    fn any_hold_reading(&self) -> bool {
        self.state.claims.any_by(Reader::Hold)
    }

    fn extent_of(&self, blocks: &BlockRange) -> Option<Extent> {
        self.shared.geometry.extent_of(blocks)
    }
}

//! A session: the state of one protection, and the verbs that hosts call.
//!
//! Each verb takes the session's lock once, lets [`Core`] decide, posts on the [`Board`] what has changed,
//! releases the lock, and wakes the workers that have something to do now. The decisions are in the submodules, one for
//! each thread of the method; what they all need is in `state`.
//!
//! | module | decides |
//! | --- | --- |
//! | `admit` | what happens to a write that arrives, is captured, completes |
//! | `read` | which blocks sweep and hold read next, and what becomes of what they read |
//! | `dispatch` | which held write goes next, when an epoch closes, when a hold has lasted too long |
//! | `gap` | when capturing ends and begins again; what is lost with the service |
//! | `skip` | what is never read, because it holds no data |
//! | `drain` | what leaves the queue |

mod admit;
mod dispatch;
mod drain;
mod gap;
mod read;
mod skip;
mod state;

use alloc::boxed::Box;

use snapless_types::{BlockIndex, BlockRange, Clearing, Extent, Geometry, RecordKind};

use crate::claims::Claims;
use crate::config::{Config, READS_MAX, StartError};
use crate::epoch::Epochs;
use crate::host::{Host, Mutex, Tick, Wakes};
use crate::memory::boxed;
use crate::queue::{CaptureQueue, Drained};
use crate::status::{Board, Status};
use crate::table::{BlockState, Table};
use crate::writes::Writes;

use self::state::{Core, Shared, State, first_state};

pub use admit::{Capture, Issue, Submission, Ticket, Urgency};
pub use read::Read;

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    /// Writes are held; those that were under way below when it was made still have to complete.
    #[default]
    Starting,
    /// Writes are captured.
    Capturing,
    /// Writes go through and leave their blocks dirty.
    Uncaptured,
    /// Nothing is captured any more.
    Stopped,
}

impl Phase {
    /// The phase whose number is in the lowest two bits.
    pub(crate) fn from_bits(bits: u64) -> Self {
        // Two bits: an index that cannot be wrong.
        [Self::Starting, Self::Capturing, Self::Uncaptured, Self::Stopped][(bits & 3) as usize]
    }
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

/// One protection of one volume.
///
/// All verbs may be called from any thread and at any level at which the host's lock may be taken.
#[derive(Debug)]
pub struct Session<H: Host> {
    host: H,
    shared: Shared,
    state: H::Mutex<Box<[State<H::Write>; 1]>>,
}

impl<H: Host> Session<H> {
    /// Makes a session in phase [`Phase::Starting`], attached: from here on it holds the writes that are
    /// submitted. Allocates all that it will ever need.
    ///
    /// # Errors
    /// [`StartError::Config`] for limits that [`Config::check`] refuses; [`StartError::OutOfMemory`].
    #[inline(never)] // Its parts need not be on the stack of those who call it.
    pub fn new(host: H, geometry: Geometry, config: Config) -> Result<Self, StartError> {
        config.check(&geometry).map_err(StartError::Config)?;
        let table = Table::new(geometry.block_count())?;
        let board = boxed(|| Ok(Board::default()))?;
        let shared = Shared { geometry, config, table, board };
        let state = boxed(|| first_state(&shared))?;
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
    /// | each write that is kept track of | about 100, and the host's own |
    /// | each 4 KiB of the queue | about 110 |
    pub fn memory_needed(geometry: &Geometry, config: &Config) -> u64 {
        let blocks = geometry.block_count();
        Table::bytes(blocks)
            + Epochs::bytes(config.epochs, blocks, config.epoch_bitmap_bytes)
            + CaptureQueue::bytes(config.sweep_share(), config.records())
            + Writes::<H::Write>::bytes(config.writes_max)
            + Claims::bytes(READS_MAX)
            + (size_of::<Board>() + size_of::<State<H::Write>>()) as u64
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

    /// Takes a held write back that its owner wants no more, the first that `is_it` knows: it is never issued, and
    /// the stream has nothing of it. `None` if it is not held, or not any more.
    pub fn cancel_held(&self, is_it: impl Fn(&H::Write) -> bool) -> Option<H::Write> {
        self.locked(|core| core.cancel_held(is_it))
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
        self.shared.board().read()
    }

    /// Where a block stands. Takes no lock.
    pub fn block_state(&self, block: BlockIndex) -> BlockState {
        self.shared.table.get(block)
    }

    /// Words of the table and of the epochs' bitmaps that all verbs together have looked at: how the
    /// simulator sees that no work under the lock grows with the volume.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.shared.table.steps() + self.locked(|core| core.state.epochs.steps())
    }

    #[inline]
    fn locked<R>(&self, decide: impl FnOnce(&mut Core<'_, H::Write>) -> R) -> R {
        let (now, clock) = (self.host.now(), self.host.clock());
        let mut wakes = Wakes::default();
        let result = self.state.with(|state| {
            let [state] = &mut **state;
            let shared = &self.shared;
            let mut core = Core { state, shared, now, clock, wakes, quick: false };
            let result = decide(&mut core);
            core.post();
            wakes = core.wakes;
            result
        });
        if wakes.any() {
            wakes.iter().for_each(|worker| self.host.wake(worker));
        }
        result
    }
}

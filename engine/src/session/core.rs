//! The core of a session: the owners of its state, and the decisions that need more than one of
//! them.
//!
//! Each owner keeps its fields to itself and has verbs. The modules below decide by calling those
//! verbs, in one direction: an owner calls no decision.
//!
//! | module | decides |
//! | --- | --- |
//! | [`submit`] | what happens to a write that arrives, is captured, completes, is cancelled |
//! | [`sweep`], [`hold`] | which blocks are read next, by the sweep and for held writes |
//! | [`read`] | what becomes of blocks that were read |
//! | [`verify`] | what is read to verify the copy |
//! | [`skip`] | which blocks are never read: without data, unused or excluded |
//! | [`dispatch`] | which held write goes next |
//! | [`parts`] | how a write longer than one record is captured |
//! | [`stream`] | how records are appended, when an epoch closes |
//! | [`drain`] | what leaves the queue |
//! | [`gap`] | when capturing stops and resumes, when a gap opens and closes |
//! | [`service`] | what t0, a service that goes or comes, a change of length and stop do |
//! | [`report`] | what the status says |
//! | [`saved`] | what a state that is saved over a restart says, and what one is taken for |

mod dispatch;
mod drain;
mod gap;
mod hold;
mod parts;
mod read;
mod report;
mod saved;
mod service;
mod skip;
mod stream;
mod submit;
mod sweep;
mod verify;

use alloc::boxed::Box;

use snapless_fixed::memory::{OutOfMemory, boxed};
use snapless_tracking::capture_queue::CaptureQueue;
use snapless_tracking::claims::Claims;
use snapless_tracking::config::{CHUNK, Config, HIGH_MARK};
use snapless_tracking::epochs::Epochs;
use snapless_tracking::in_flight::InFlight;
use snapless_tracking::table::{BlockState, Table};
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, GapReason, Geometry, Seq};

use crate::backpressure::Backpressure;
use crate::base_image::BaseImage;
use crate::cut::Cut;
use crate::excluded::Excluded;
use crate::failing::Failing;
use crate::gap::Gap;
use crate::host::{Call, Waiting, Worker};
use crate::lifecycle::Lifecycle;
use crate::resync::Resync;
use crate::status::Status;
use crate::sweep::Sweep;
use crate::unused::Unused;
use crate::verification::Verification;

pub use read::{Read, ReadOutcome};
pub use service::ImpossibleSeq;

/// Most blocks that one call looks at while it holds the lock that writes wait for.
const BLOCKS_MAX: u64 = 64 * CHUNK;

/// The first of these blocks: as many as one call looks at.
fn first_of(blocks: BlockRange) -> BlockRange {
    let end = blocks.start.0.saturating_add(BLOCKS_MAX).min(blocks.end.0);
    BlockRange::new(blocks.start, BlockIndex(end))
}

/// What does not change while the session lives, and the table, which is read without the lock.
#[derive(Debug)]
pub struct Shared {
    pub geometry: Geometry,
    pub config: Config,
    pub table: Table,
}

/// What the lock protects.
#[derive(Debug)]
pub struct State<W, Q> {
    /// Why the session continues one of an earlier start; `None` if it began in this memory.
    continues: Option<GapReason>,
    lifecycle: Lifecycle,
    base: BaseImage,
    gap: Gap,
    backpressure: Backpressure,
    cut: Cut,
    resync: Resync,
    capture_queue: CaptureQueue,
    epochs: Epochs,
    in_flight: InFlight<W, Q>,
    // In memory of their own, as the counters are.
    claims: Box<[Claims; 1]>,
    excluded: Box<[Excluded; 1]>,
    unused: Box<[Unused; 1]>,
    sweep: Box<[Sweep; 1]>,
    failing: Box<[Failing; 1]>,
    verification: Box<[Verification; 1]>,
    waiting: Waiting,
    /// The counters; [`Core::status`] adds the rest. In memory of their own: the state is on a
    /// kernel's stack while it is made.
    counts: Box<[Status; 1]>,
}

/// The parts of a state that are in memory of their own.
struct Apart {
    claims: Box<[Claims; 1]>,
    excluded: Box<[Excluded; 1]>,
    unused: Box<[Unused; 1]>,
    sweep: Box<[Sweep; 1]>,
    failing: Box<[Failing; 1]>,
    verification: Box<[Verification; 1]>,
    counts: Box<[Status; 1]>,
}

impl Apart {
    // Out of line: each is on the stack only while it is made.
    #[inline(never)]
    fn new(geometry: &Geometry, config: &Config) -> Result<Self, OutOfMemory> {
        Ok(Self {
            claims: boxed(|| Claims::new(config.reads(geometry)))?,
            excluded: boxed(|| Ok(Excluded::default()))?,
            unused: boxed(|| Ok(Unused::default()))?,
            sweep: boxed(|| Ok(Sweep::new(config.sweep)))?,
            failing: boxed(|| Ok(Failing::NONE))?,
            verification: boxed(|| Ok(Verification::default()))?,
            counts: boxed(|| Ok(Status::default()))?,
        })
    }
}

impl<W, Q: Fifo<W>> State<W, Q> {
    /// The state of a session that starts. Out of line: its parts are on the stack only meanwhile.
    #[inline(never)]
    pub fn new(geometry: &Geometry, config: &Config, waiting: Q) -> Result<Self, OutOfMemory> {
        let Apart { claims, excluded, unused, sweep, failing, verification, counts } =
            Apart::new(geometry, config)?;
        Ok(Self {
            continues: None,
            lifecycle: Lifecycle::NEW,
            base: BaseImage::default(),
            gap: Gap::default(),
            backpressure: Backpressure::new(config),
            cut: Cut::default(),
            resync: Resync::new(config),
            capture_queue: CaptureQueue::new(
                config.queue_bytes,
                config.sweep_share(),
                config.records(geometry),
            )?,
            epochs: Epochs::new(geometry.block_count(), config)?,
            in_flight: InFlight::new(
                config.writes_max + config.urgent_writes(),
                config.urgent_writes(),
                geometry.block_count(),
                u64::from(geometry.block_size()),
                waiting,
            )?,
            claims,
            excluded,
            unused,
            sweep,
            failing,
            verification,
            waiting: Waiting::default(),
            counts,
        })
    }

    /// Makes the session, which has not begun, one that continues one of an earlier start.
    pub fn continue_from_before(&mut self, reason: GapReason) {
        self.continues = Some(reason);
        self.lifecycle = Lifecycle::CONTINUED;
        self.base = BaseImage::from_before();
        self.gap = Gap::from_before(reason);
        self.counts[0].gaps = 1;
        self.capture_queue.unplace();
    }

    /// Bytes that [`State::new`] allocates, with those of the state itself.
    pub fn bytes(geometry: &Geometry, config: &Config) -> u64 {
        CaptureQueue::bytes(config.queue_bytes, config.sweep_share(), config.records(geometry))
            + Epochs::bytes(geometry.block_count(), config)
            + InFlight::<W, Q>::bytes(
                config.writes_max + config.urgent_writes(),
                geometry.block_count(),
            )
            + Claims::bytes(config.reads(geometry))
            + (size_of::<Self>()
                + size_of::<Excluded>()
                + size_of::<Unused>()
                + size_of::<Sweep>()
                + size_of::<Claims>()
                + size_of::<Failing>()
                + size_of::<Verification>()
                + size_of::<Status>()) as u64
    }
}

/// The state while the lock is held, for one call of a verb.
pub struct Core<'a, W, Q> {
    state: &'a mut State<W, Q>,
    shared: &'a Shared,
    /// The call, with the workers that are to be woken.
    pub call: Call,
}

impl<'a, W, Q: Fifo<W>> Core<'a, W, Q> {
    /// The state, for one call.
    #[inline]
    pub fn new(state: &'a mut State<W, Q>, shared: &'a Shared, call: Call) -> Self {
        Self { state, shared, call }
    }

    /// Notes that a worker has nothing to do: it is signalled when it may have.
    pub fn waits(&mut self, worker: Worker) {
        self.state.waiting.add(worker);
    }

    /// The workers that are to be signalled now.
    pub fn signalled(&mut self) -> impl Iterator<Item = Worker> + use<W, Q> {
        self.call.signalled(&mut self.state.waiting)
    }

    /// True once the session is stopped and no write and no read of it is under way.
    pub fn is_settled(&self) -> bool {
        let state = &self.state;
        state.lifecycle.is_stopped()
            && state.in_flight.held_count() == 0
            && state.in_flight.count() == 0
            && state.claims[0].is_empty()
    }

    /// Queue memory or a block has become free: capturing may resume, workers may have something to
    /// do.
    fn wake_waiting(&mut self) {
        self.resume_capturing_if_drained();
        self.note_if_queue_is_empty();
        let (state, call) = (&mut *self.state, &mut self.call);
        if state.backpressure.counts_as_full() && state.capture_queue.is_at_most(HIGH_MARK) {
            state.backpressure.queue_has_room(state.in_flight.oldest_waiting());
        }
        // One that waits for a slot waits for nothing else.
        if state.in_flight.is_any_held() && !sabotaged!(WakeForgotten) {
            call.wake(Worker::Hold);
            call.wake(Worker::Dispatch);
        }
        if self.is_any(BlockState::Unsynced) || self.is_any(BlockState::Dirty) {
            self.call.wake(Worker::Sweep);
        }
    }

    /// Nothing waits for room in a queue that is empty, and nothing waits for the service in one in
    /// which only the disk keeps memory.
    fn note_if_queue_is_empty(&mut self) {
        let state = &mut *self.state;
        if !state.capture_queue.is_at_most(0) {
            return;
        }
        if state.capture_queue.with_disk() == 0 {
            state.backpressure.queue_is_empty();
        } else {
            state.backpressure.disk_alone_has_queue();
        }
    }

    /// True if the session continues one of an earlier start: the stream has a base image already,
    /// as far as there will be one.
    fn is_continued(&self) -> bool {
        self.state.continues.is_some()
    }

    /// The stream's number of a record.
    #[inline]
    fn outside(&self, seq: Seq) -> Seq {
        self.state.capture_queue.origin().seq_outside(seq)
    }

    /// True if blocks are in this state.
    fn is_any(&self, state: BlockState) -> bool {
        self.shared.table.count(state) > 0
    }
}

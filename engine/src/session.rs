//! A session: the verbs that hosts call.
//!
//! Each verb takes the session's lock once, lets the [`core`] decide, and wakes the workers that
//! have something to do now. It wakes them under the lock: once that is released, another thread
//! may complete the write and drop the session.

pub mod core;

use alloc::boxed::Box;
use alloc::vec::Vec;

use snapless_fixed::memory::boxed;
use snapless_tracking::capture_queue::Drained;
use snapless_tracking::config::{Config, StartError, SweepLimits};
use snapless_tracking::epochs::ImpossibleEpoch;
use snapless_tracking::regions::RegionMap;
use snapless_tracking::table::{BlockState, Table};
use snapless_tracking::waiting::Fifo;
use snapless_types::{
    BlockIndex, BlockRange, Clearing, Ends, EpochId, Extent, GapReason, Geometry, Made, RecordKind,
    Regions, Seq, Tick,
};

use self::core::{Core, ImpossibleSeq, Read, ReadOutcome, Shared, State};
use crate::cut::CutRefused;
use crate::host::{Call, Host, Mutex, Step, Worker};
use crate::status::Status;
use crate::submission::{Capture, Issue, Part, Submission, Ticket, Urgency};

/// Blocks that are marked to be repaired in one hold of the lock.
const REPAIRED_AT_ONCE: u64 = 8_192;

/// A session's state, in memory of its own.
type BoxedState<H> = Box<[State<<H as Host>::Write, <H as Host>::Waiting>; 1]>;

/// Most blocks that [`Session::lacks`] looks at while it holds the lock that writes wait for.
const LACKS_MAX: u64 = 8_192;

/// One protection of one volume.
///
/// All verbs may be called from any thread, at any level at which the host's lock may be taken.
#[derive(Debug)]
pub struct Session<H: Host> {
    host: H,
    shared: Shared,
    state: H::Mutex<BoxedState<H>>,
}

impl<H: Host> Session<H> {
    /// Makes a session in phase [`Phase::Starting`](crate::Phase::Starting), attached: from now on
    /// it holds the writes that are submitted. Allocates all that it needs until it is dropped.
    ///
    /// # Errors
    /// [`StartError::Config`] for limits that [`Config::check`] rejects;
    /// [`StartError::OutOfMemory`].
    pub fn new(host: H, geometry: Geometry, config: Config) -> Result<Self, StartError> {
        Self::make(host, geometry, config, None)
    }

    /// As [`Session::new`], for a session that continues one of an earlier start, for this reason
    /// (rule RESUME, rules.md#resume): a gap is open from the start, and ends when every block was
    /// read. Nothing is drained before [`Session::place`] has said where its stream stands.
    ///
    /// # Errors
    /// As for [`Session::new`].
    pub fn continued(
        host: H,
        geometry: Geometry,
        config: Config,
        reason: GapReason,
    ) -> Result<Self, StartError> {
        Self::make(host, geometry, config, Some(reason))
    }

    // Out of line: its parts are not to be on its callers' stack.
    #[inline(never)]
    fn make(
        host: H,
        geometry: Geometry,
        config: Config,
        continues: Option<GapReason>,
    ) -> Result<Self, StartError> {
        config.check(&geometry).map_err(StartError::Config)?;
        let table = Table::new(geometry.block_count())?;
        if continues.is_some() && sabotaged!(BlockNotCompared) {
            let last = geometry.all_blocks().end;
            let blocks = BlockRange::new(BlockIndex(last.0 - 1), last);
            table.set_run(blocks, BlockState::Unsynced, BlockState::Synced);
        }
        let shared = Shared { geometry, config, table };
        let mut state = boxed(|| State::new(&geometry, &config, host.waiting()))?;
        if let Some(reason) = continues {
            state[0].continue_from_before(reason);
        }
        Ok(Self { host, shared, state: H::Mutex::new(state) })
    }

    /// Bytes that [`Session::new`] allocates. The queue's payload memory, which the host provides,
    /// comes on top ([`Config::queue_bytes`]).
    ///
    /// | for | bytes |
    /// | --- | --- |
    /// | the first-sync table | 1 for 4 blocks |
    /// | each epoch | 1 for 8 blocks, at most [`Config::epoch_bitmap_bytes`] |
    /// | each tracked write | about 200, and the host's own |
    /// | each 4 KiB of the queue | about 110 |
    pub fn memory_needed(geometry: &Geometry, config: &Config) -> u64 {
        Table::bytes(geometry.block_count())
            + State::<H::Write, H::Waiting>::bytes(geometry, config)
    }

    /// The host given to [`Session::new`].
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The volume.
    pub fn geometry(&self) -> &Geometry {
        &self.shared.geometry
    }

    /// Its limits.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Stamps t0 and lets the work begin. The host calls it once, when every write that went below
    /// before the session was made has completed (rule T0).
    pub fn begin(&self) {
        self.locked(|core| core.begin());
    }

    /// Decides what happens to a write that has arrived.
    ///
    /// Another thread may get the write back from [`Session::dispatch`] before this returns. So a
    /// host prepares the write for [`Submission::Held`] before the call (an IRP is marked pending).
    pub fn submit(
        &self,
        write: H::Write,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<H::Write> {
        self.locked(|core| core.submit(write, RecordKind::Write, extent, urgency))
    }

    /// As [`Session::submit`], for a change without payload: never [`Submission::Capture`].
    /// [`Issue::record`] is its record.
    ///
    /// A decision takes time in proportion to the extent: a host splits extents longer than some
    /// gibibytes.
    pub fn submit_clearing(
        &self,
        write: H::Write,
        clearing: Clearing,
        extent: Extent,
        urgency: Urgency,
    ) -> Submission<H::Write> {
        self.locked(|core| core.submit(write, clearing.kind(), extent, urgency))
    }

    /// Records blocks that held no data at t0 as unallocated: they are not read. Blocks that were
    /// read or written to since are left as they are.
    ///
    /// Returns the block to go on with: the run's end when all is done. The sweep thread calls
    /// this, run by run, before it sweeps; when it gets no further, it waits to be woken.
    pub fn skip(&self, blocks: BlockRange) -> BlockIndex {
        self.locked(|core| core.skip(blocks))
    }

    /// Notes that the service will say after t0 which blocks no file has ([`Session::unused`]),
    /// before [`Session::begin`]. These regions of the volume were changed from before the file
    /// system was asked until now, when every change from before the session has completed: they
    /// count as used (rule T0, rules.md#t0). For a while the sweep waits until it is said.
    pub fn expect_unused(&self, noted: RegionMap) {
        self.locked(|core| core.expect_unused(noted));
    }

    /// Records blocks that no file has, as the file system has said before t0: they are not read,
    /// and the image may have anything there until they are written to. Blocks that were read or
    /// written to since, or noted as changed before t0, are left as they are.
    ///
    /// Returns the block to go on with: the run's end when all is done, its start if there is no
    /// room now. `None` if nothing was noted for it, or the service that has asked the file system
    /// is gone.
    pub fn unused(&self, blocks: BlockRange) -> Option<BlockIndex> {
        self.locked(|core| core.unused(blocks))
    }

    /// Notes that [`Session::unused`] has said all.
    pub fn end_unused(&self) {
        self.locked(|core| core.end_unused());
    }

    /// Takes the extents of the volume's paging, swap and hibernation files, ascending and apart
    /// from each other; once, before [`Session::begin`]. Their content is a don't-care (rule T0,
    /// rules.md#t0) if they are the files' after t0, too: until [`Session::review_excluded`] says
    /// so, the base image is not complete.
    pub fn exclude(&self, extents: Vec<Extent>) {
        self.locked(|core| core.exclude(extents));
    }

    /// Notes whether all the excluded extents are still the files': if so, the sweep records their
    /// blocks and does not read them; if not, they are blocks as any other, and the base image is
    /// lost if a write was let through meanwhile. The first call counts. False before t0: too
    /// early.
    pub fn review_excluded(&self, are_still: bool) -> bool {
        self.locked(|core| core.review_excluded(are_still))
    }

    /// True if a write to a paging file goes past the session, as if there were none: all of it is
    /// in an excluded extent. Only for writes that are known to be a paging file's.
    pub fn page_out(&self, extent: &Extent) -> bool {
        self.locked(|core| core.page_out(extent))
    }

    /// Puts a write into the stream whose payload the host has copied. The host issues it next.
    pub fn captured(&self, capture: Capture<H::Write>) -> Issue<H::Write> {
        self.locked(|core| core.captured(capture))
    }

    /// Takes a capture back whose payload the host could not copy. The host issues the write next;
    /// its blocks turn dirty.
    pub fn not_captured(&self, capture: Capture<H::Write>) -> Issue<H::Write> {
        self.locked(|core| core.not_captured(capture, GapReason::PayloadUnavailable))
    }

    /// As [`Session::not_captured`], for a part of a write. Returns what to do next, as
    /// [`Session::part_captured`].
    pub fn part_not_captured(&self, part: Part<H::Write>) -> Submission<H::Write> {
        self.locked(|core| core.part_not_captured(part, GapReason::PayloadUnavailable))
    }

    /// Puts a part of a write into the stream whose payload the host has copied. Returns what to do
    /// next: copy the next part, issue the write, or nothing, while the engine keeps it.
    pub fn part_captured(&self, part: Part<H::Write>) -> Submission<H::Write> {
        self.locked(|core| core.part_captured(part))
    }

    /// Notes that the disk is done with a write; `succeeded` is false if it failed or was
    /// cancelled.
    pub fn completed(&self, ticket: Ticket, succeeded: bool) {
        self.locked(|core| core.completed(ticket, succeeded));
    }

    /// What the sweep thread does next.
    pub fn sweep(&self) -> Step<Read> {
        self.step(Worker::Sweep, |core| core.sweep())
    }

    /// What the hold thread does next.
    pub fn hold(&self) -> Step<Read> {
        self.step(Worker::Hold, |core| core.hold())
    }

    /// Takes what the host read, or why it could not.
    ///
    /// Returns the read that the host makes next, if the disk cannot read a block: it is read again
    /// sector by sector, so that a bad sector leaves a hole of its own size. The host leaves zeros
    /// for a sector that cannot be read; a record [`RecordKind::Unreadable`] describes it.
    #[must_use = "a block that is read sector by sector stays claimed until its last read is done"]
    pub fn read_done(&self, read: Read, outcome: ReadOutcome) -> Option<Read> {
        self.locked(|core| core.read_done(read, outcome))
    }

    /// Cancels the held write with this key: it is never issued, and the stream has nothing of it.
    /// `None` if no such write is held, or not any more.
    pub fn cancel_held(&self, key: &<H::Waiting as Fifo<H::Write>>::Key) -> Option<H::Write> {
        self.locked(|core| core.cancel_held(key))
    }

    /// What the dispatch thread does next: never [`Submission::Held`] or
    /// [`Submission::Cancelled`].
    pub fn dispatch(&self) -> Step<Submission<H::Write>> {
        self.step(Worker::Dispatch, |core| core.dispatch())
    }

    /// True if [`Session::drain`] has a record to return. One drainer at a time.
    pub fn has_records(&self) -> bool {
        self.locked(|core| core.has_records())
    }

    /// The next record, if its payload has at most `payload_room` bytes. One drainer at a time.
    pub fn drain(&self, payload_room: u64) -> Step<Drained> {
        self.step(Worker::Drain, |core| core.drain(payload_room))
    }

    /// Takes a record back once the host has copied it. It is kept until it is acknowledged, or
    /// until the queue needs its room.
    pub fn drained(&self, drained: Drained) {
        self.locked(|core| core.drained(drained));
    }

    /// Notes that an epoch and all before it are durable at the server.
    ///
    /// # Errors
    /// [`ImpossibleEpoch`] for an epoch that the server cannot have: one that does not exist yet,
    /// is open, or has records that were not drained. Nothing changes.
    pub fn acknowledge(&self, epoch: EpochId) -> Result<(), ImpossibleEpoch> {
        self.locked(|core| core.acknowledge(epoch))
    }

    /// Notes that the service has gone. Records are kept for the next one and writes are captured
    /// until the queue is full; nothing is drained before [`Session::drain_from`].
    pub fn leave(&self) {
        self.locked(|core| core.leave());
    }

    /// Notes that the service's records are lost: blocks whose records are not acknowledged turn
    /// dirty, and writes are issued uncaptured until [`Session::drain_from`]. While
    /// [`Status::losing`] is set, the dispatch thread still turns blocks dirty, and nothing is
    /// captured.
    pub fn detach(&self) {
        self.locked(|core| core.detach());
    }

    /// Notes that the volume may have been written to past the session, as while the machine slept:
    /// records that have not left are lost, and so is the service, as by [`Session::detach`]; a gap
    /// begins, for [`GapReason::Slept`], and ends when every block was read again. Nothing happens
    /// before t0.
    pub fn doubt(&self) {
        if !self.locked(|core| core.doubt()) {
            return;
        }
        let mut blocks = self.shared.geometry.all_blocks();
        while !blocks.is_empty() {
            let reached = self.locked(|core| core.doubt_blocks(blocks));
            blocks = BlockRange::new(reached, blocks.end);
        }
    }

    /// Says where the stream of a session that continues stands at the server: at record `durable`,
    /// which was made then.
    /// Its epochs are numbered behind `behind`, its records behind the greater number of the two:
    /// one that no record has, in whatever copy of the stream (rule RESUME, rules.md#resume).
    /// Before the first [`Session::drain_from`]; nothing happens if it was said already, or the
    /// session began here.
    ///
    /// # Errors
    /// [`ImpossibleSeq`] for a number with too few behind it.
    pub fn place(&self, durable: Seq, made: Made, behind: EpochId) -> Result<(), ImpossibleSeq> {
        self.locked(|core| core.place(durable, made, behind))
    }

    /// True if it is known where the stream stands at the server: the session began here, or
    /// [`Session::place`] has said so.
    pub fn is_placed(&self) -> bool {
        self.locked(|core| core.is_placed())
    }

    /// True if the record that ends the server's stream was made by this session, at that instant:
    /// to be asked before [`Session::drain_from`]. False if another past of the machine has made
    /// it, and if nothing is known of it any more: then the session cannot go on as it is (rule
    /// RESUME, rules.md#resume).
    pub fn has_made(&self, durable: Seq, made: Made) -> bool {
        self.locked(|core| core.has_made(durable, made))
    }

    /// The records that the server's stream may end with: the acknowledged one and those behind it,
    /// none before the session is placed. For a state on the volume, which says so after a restart
    /// (rule RESUME, rules.md#resume).
    pub fn ends(&self) -> Ends {
        self.locked(|core| core.ends())
    }

    /// Notes that a service is there whose server has everything up to record `durable`: the next
    /// record to drain is the one after it. True if the stream goes on there without a gap; false
    /// if a record is missing, and a gap is open as after [`Session::detach`], or if the session is
    /// stopped.
    ///
    /// # Errors
    /// [`ImpossibleSeq`] for a record that was not drained, or is before one that was acknowledged;
    /// for any in a session that was not placed. Nothing changes.
    pub fn drain_from(&self, durable: Seq) -> Result<bool, ImpossibleSeq> {
        self.locked(|core| core.drain_from(durable))
    }

    /// Pauses the sweep, for the base image and after a gap, until [`Session::resume`]. Reads for
    /// held writes go on.
    pub fn pause(&self) {
        self.locked(|core| core.set_paused(true));
    }

    /// Sets how hard the sweep may read the disk from now on, in place of [`Config::sweep`].
    pub fn set_sweep_limits(&self, limits: SweepLimits) {
        self.locked(|core| core.set_sweep_limits(limits));
    }

    /// Lets the writes that arrive from `from` on wait until `until`: a cut, of whose image the
    /// last record before `until` is the end. A write that goes on, because it must not wait or a
    /// gap is open, is counted: the cut is no good then.
    ///
    /// # Errors
    /// [`CutRefused`]; nothing changes.
    pub fn cut(&self, from: Tick, until: Tick) -> Result<(), CutRefused> {
        // The clock is read under the lock, too: a write may have arrived while it was waited for.
        self.locked(|core| core.set_cut(from, until, self.host.now()))
    }

    /// Resumes the sweep.
    pub fn resume(&self) {
        self.locked(|core| core.set_paused(false));
    }

    /// Begins a verification of the copy at the start of the volume, anew if one is under way:
    /// while nothing else is to be read, the sweep reads what the stream describes already, so many
    /// bytes per second at most (0: as many as the sweep may), and appends it as
    /// [`RecordKind::Check`]. No write waits for it. It goes on when another service comes.
    pub fn begin_verification(&self, bytes_per_second: u64) {
        self.locked(|core| core.begin_verification(bytes_per_second));
    }

    /// Reads these blocks again, which a verification has found to differ from the copy: a gap
    /// begins, if none is open, and ends when the stream has them. False before the base image is
    /// complete and while nothing is captured: then it can be tried again.
    #[must_use]
    pub fn repair(&self, blocks: BlockRange) -> bool {
        // HANG: writes wait for the lock.
        blocks.chunks(REPAIRED_AT_ONCE).all(|some| self.locked(|core| core.repair(some)))
    }

    /// Leaves these blocks out of every verification from now on: the host writes to them past the
    /// session, and the stream does not have that.
    pub fn keep_apart(&self, blocks: BlockRange) {
        self.locked(|core| core.keep_apart(blocks));
    }

    /// Ends the verification that is under way, if one is.
    pub fn end_verification(&self) {
        self.locked(|core| core.end_verification());
    }

    /// Notes that the volume has `length` bytes now. The table and all else that follows from the
    /// length is made when a session starts (rule BOUND, rules.md#bound): if it is another one, a
    /// gap begins that does not end here, and [`Status::resized`] is set. The host then starts the
    /// session as one that continues, with the new length; earlier points stay. A session that has
    /// not begun is stopped.
    pub fn resize(&self, length: u64) {
        self.locked(|core| core.resize(length));
    }

    /// Ends the session: held writes are issued uncaptured, nothing more is captured.
    pub fn stop(&self) {
        self.locked(|core| core.stop());
    }

    /// True once the session is stopped and no write and no read of it is under way: it may be
    /// dropped.
    pub fn is_settled(&self) -> bool {
        self.locked(|core| core.is_settled())
    }

    /// State and counters, of one instant.
    pub fn status(&self) -> Status {
        self.locked(|core| core.status())
    }

    /// The state of a block. Takes no lock.
    pub fn block_state(&self, block: BlockIndex) -> BlockState {
        self.shared.table.get(block)
    }

    /// How many blocks of each of `cells` parts of the volume are in which state, by the numbers of
    /// [`BlockState`], in the order of the volume. Of a part of more than `samples` blocks so many
    /// are looked at, spread over it. Takes no lock: the parts are not of one instant.
    pub fn map(&self, cells: u64, samples: u8) -> impl Iterator<Item = [u8; 4]> {
        let (table, blocks) = (&self.shared.table, self.shared.geometry.block_count());
        (0..cells).map(move |cell| {
            let start = share(blocks, cell, cells);
            let len = share(blocks, cell + 1, cells) - start;
            let looked_at = len.min(samples.into());
            let mut counts = [0; 4];
            for sample in 0..looked_at {
                let block = BlockIndex(start + share(len, sample, looked_at));
                counts[table.get(block).index()] += 1;
            }
            counts
        })
    }

    /// Adds to each of `counts`, one for each part of the volume as in [`Session::map`], the blocks
    /// of the part to which writes are held, up to 255. Of very many held writes the oldest are
    /// looked at.
    pub fn count_held(&self, counts: &mut [u8]) {
        let blocks = self.shared.geometry.block_count();
        self.locked(|core| {
            for held in core.held_blocks() {
                count(counts, blocks, held);
            }
        });
    }

    /// Notes what is known of the volume of a session that continues, before [`Session::begin`]:
    /// the server has what the disk has in regions that are not marked (rule RESUME,
    /// rules.md#resume). Their blocks are not read again.
    ///
    /// The host notes the writes that come without the session, and calls this once all of those
    /// have completed.
    pub fn know(&self, map: &RegionMap) {
        let geometry = &self.shared.geometry;
        if *map.regions() != Regions::of(geometry) {
            return;
        }
        for mut blocks in map.unmarked().filter_map(|region| geometry.blocks_of(&region)) {
            while !blocks.is_empty() {
                let reached = self.locked(|core| core.know(blocks));
                blocks = BlockRange::new(reached, blocks.end);
            }
        }
    }

    /// True if the server may lack what the disk has in these blocks, or will have when the writes
    /// in flight are done. The work is in proportion to the blocks; the lock is held for a bounded
    /// part of it.
    pub fn lacks(&self, blocks: BlockRange) -> bool {
        let mut start = blocks.start;
        while start < blocks.end {
            // Writes wait for the lock.
            let end = BlockIndex(start.0.saturating_add(LACKS_MAX).min(blocks.end.0));
            if self.locked(|core| core.lacks(BlockRange::new(start, end))) {
                return true;
            }
            start = end;
        }
        false
    }

    /// True if a write in flight may change a byte of this extent.
    pub fn may_write(&self, extent: &Extent) -> bool {
        self.locked(|core| core.may_write(extent))
    }

    /// What all verbs together have looked at, of the table, the epochs' bitmaps, the queue's
    /// descriptors and the index of writes: the simulator checks that no work under the lock grows
    /// with the volume, the queue or the number of writes.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.locked(|core| core.steps())
    }

    #[inline]
    fn locked<R>(&self, decide: impl FnOnce(&mut Core<'_, H::Write, H::Waiting>) -> R) -> R {
        let call = Call::new(self.host.now(), self.host.clock());
        self.state.with(|state| {
            let [state] = &mut **state;
            let mut core = Core::new(state, &self.shared, call);
            let result = decide(&mut core);
            // Nothing of the session may be touched after the lock is released.
            core.signalled().for_each(|worker| self.host.wake(worker));
            result
        })
    }

    /// As [`Session::locked`], for a worker's verb.
    #[inline]
    fn step<T>(
        &self,
        worker: Worker,
        decide: impl FnOnce(&mut Core<'_, H::Write, H::Waiting>) -> Step<T>,
    ) -> Step<T> {
        self.locked(|core| {
            let step = decide(core);
            if let Step::Wait(_) = step {
                core.waits(worker);
            }
            step
        })
    }
}

/// Adds the blocks of a run to the parts of a whole of `blocks` blocks that have them.
fn count(counts: &mut [u8], blocks: u64, run: BlockRange) {
    let parts = counts.len() as u64;
    // The last part that begins at the run's first block or before.
    let first = (run.start.0 + 1).saturating_mul(parts).div_ceil(blocks.max(1)).saturating_sub(1);
    for (index, part) in (0..parts).zip(counts).skip(usize::try_from(first).unwrap_or(0)) {
        let start = share(blocks, index, parts).max(run.start.0);
        let Some(len) = share(blocks, index + 1, parts).min(run.end.0).checked_sub(start) else {
            break;
        };
        *part = part.saturating_add(u8::try_from(len).unwrap_or(u8::MAX));
    }
}

/// Where part `index` of `parts` of a whole begins. The product stays below 2^64: a volume has less
/// than 2^50 blocks, and a map few parts.
fn share(whole: u64, index: u64, parts: u64) -> u64 {
    whole.saturating_mul(index).checked_div(parts).unwrap_or(0)
}

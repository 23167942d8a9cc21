//! The capture queue: records in stream order, their payloads in two [`Arena`]s.
//!
//! The sweep's reads have a region of their own. Neither a slow read of the sweep nor a slow server
//! keeps a write from the rest, and the sweep cycles through memory that the processor's cache
//! still has.
//!
//! A payload's memory is reserved before the bytes are read or copied into it; a record takes its
//! number when it is committed. So the stream's order is the order of commits, and a slow disk read
//! delays its own record only. [`CaptureQueue::lose`] makes earlier reservations stale: they are
//! cancelled, not committed (rule LOSS, rules.md#loss). What was committed is then freed a chunk at
//! a time, by [`CaptureQueue::discard`].
//!
//! A write is transferred to the disk from its record's memory ([`CaptureQueue::share`]), which is
//! free when the record has left and the disk is done. What the disk alone keeps does not count as
//! in use: only the local disk has to go on for it to be free.
//!
//! A record that was drained stays until it is acknowledged, or until a write needs its space
//! ([`kept`]). It does not count as in use either.
//!
//! The last descriptor is reserved for `GapBegin`, which must have room when everything else is
//! full.

mod kept;

use alloc::boxed::Box;

use snapless_fixed::arena::{Arena, End, GRANULE, MemoryRange, MemorySpan};
use snapless_fixed::memory::{OutOfMemory, boxed_slice, slice_bytes};
use snapless_fixed::steps::Steps;
use snapless_types::{EpochId, Extent, GapReason, RecordKind, Seq, Tick};

use crate::config::{CHUNK, HIGH_MARK};
use crate::origin::Origin;

/// The account of kept records.
#[derive(Debug, Default)]
struct Kept {
    /// How many there are, with those that are being drained.
    count: usize,
    /// Bytes of their memory, in each arena.
    bytes: [u64; 2],
    /// None is given up.
    is_pinned: bool,
    /// Memory counts as kept from this record on: earlier ones are acknowledged, and leave soon.
    counted_from: Seq,
    /// Those up to this one are acknowledged.
    acknowledged: Seq,
    /// How many were given up.
    given_up: u64,
}

impl Kept {
    /// Bytes of their memory in an arena.
    #[inline]
    fn bytes_in(&self, arena: usize) -> u64 {
        let [sweep, writes] = self.bytes;
        if arena == SWEEP { sweep } else { writes }
    }

    #[inline]
    fn bytes_mut(&mut self, arena: usize) -> &mut u64 {
        let [sweep, writes] = &mut self.bytes;
        if arena == SWEEP { sweep } else { writes }
    }
}

/// A record's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it describes.
    pub kind: RecordKind,
    /// Its number in the stream, from 1; 0 until it has one.
    pub seq: Seq,
    /// When it was committed, on the host's clock. It may be set back.
    pub time: u64,
    /// The same in the host's monotonic time; never less than its predecessor's.
    pub monotonic: Tick,
    /// The epoch it belongs to.
    pub epoch: EpochId,
    /// The bytes of the volume that it describes. The whole volume for the `GapBegin` of a session
    /// that continues; none for any other marker.
    pub extent: Option<Extent>,
    /// Why the gap began; for `GapBegin` only.
    pub gap_reason: Option<GapReason>,
}

/// A region of the queue's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Region {
    /// The first bytes: blocks that the sweep reads.
    Sweep,
    /// The rest: payloads of writes.
    Writes,
    /// The rest too: blocks that are read for held writes. They are kept for as long as the disk
    /// takes, and so lie apart from the writes.
    Holds,
}

/// The arenas.
const SWEEP: usize = 0;
const WRITES: usize = 1;

/// Room in the queue for one record and its payload.
#[must_use = "a reservation is committed or cancelled"]
#[derive(Debug)]
pub struct Reservation {
    memory: Option<MemoryRange>,
    generation: u64,
}

impl Reservation {
    /// Where the payload goes; empty if there is none.
    pub fn memory(&self) -> MemorySpan {
        self.memory.as_ref().map(MemoryRange::span).unwrap_or_default()
    }
}

/// A record that is being drained, with its numbers in the session's stream. To be handed back to
/// `Session::drained`.
#[must_use = "a record that is not handed back keeps its queue memory"]
#[derive(Debug)]
pub struct Drained {
    record: Record,
    memory: Option<MemoryRange>,
}

impl Drained {
    /// The record's header.
    pub fn record(&self) -> Record {
        self.record
    }

    /// Where its payload is, if it has one.
    pub fn memory(&self) -> Option<MemorySpan> {
        self.memory.as_ref().map(MemoryRange::span)
    }
}

/// Committed records, oldest first, and the memory of their payloads.
#[derive(Debug)]
pub struct CaptureQueue {
    /// The sweep's memory, and that of writes. By itself, as the state is on a kernel's stack while
    /// it is made.
    arenas: Box<[Arena; 2]>,
    /// A ring of descriptors: kept records, then those that wait to be drained. A record that is
    /// being drained is not in its place.
    records: Box<[Option<Drained>]>,
    /// Index of the oldest.
    first: usize,
    /// Records that were drained, or are being drained, and are kept.
    kept: Kept,
    /// Committed records that wait to be drained.
    len: usize,
    /// Of all of them, the oldest: they are lost and wait to be freed.
    lost: usize,
    /// Descriptors promised to reservations.
    promised: usize,
    last_seq: Seq,
    last_monotonic: Tick,
    /// Numbers in the queue count from there.
    origin: Origin,
    /// How often the records were lost.
    generation: u64,
    /// Bytes of writes in flight whose records have left.
    with_disk: u64,
    steps: Steps,
}

impl CaptureQueue {
    /// A queue of `bytes` payload bytes, `sweep_bytes` of them the sweep's, and `records`
    /// descriptors.
    // Out of line, as the other parts of a session: together they would take much of a kernel's
    // stack.
    #[inline(never)]
    pub fn new(bytes: u64, sweep_bytes: u64, records: u64) -> Result<Self, OutOfMemory> {
        let rest = bytes.saturating_sub(sweep_bytes);
        let mut regions = [(0, sweep_bytes), (sweep_bytes, rest)].into_iter();
        let arenas = boxed_slice(2, || {
            let (base, capacity) = regions.next().ok_or(OutOfMemory)?;
            Arena::new(base, capacity)
        })?;
        Ok(Self {
            arenas: arenas.try_into().map_err(|_| OutOfMemory)?,
            records: boxed_slice(records, || Ok(None))?,
            first: 0,
            kept: Kept::default(),
            len: 0,
            lost: 0,
            promised: 0,
            last_seq: Seq::default(),
            last_monotonic: Tick(0),
            origin: Origin::BEGIN,
            generation: 0,
            with_disk: 0,
            steps: Steps::default(),
        })
    }

    /// Bytes that [`CaptureQueue::new`] allocates; the payload memory is the host's.
    pub fn bytes(bytes: u64, sweep_bytes: u64, records: u64) -> u64 {
        let rest = bytes.saturating_sub(sweep_bytes);
        let accounts = slice_bytes::<Arena>(2) + Arena::bytes(sweep_bytes) + Arena::bytes(rest);
        accounts + slice_bytes::<Option<Drained>>(records)
    }

    /// Reserves room for a record with `len` payload bytes in a region, or none; `None` if there is
    /// none now.
    #[inline]
    pub fn reserve(&mut self, len: u64, region: Region) -> Option<Reservation> {
        let has_descriptor = match region {
            Region::Sweep => self.free_records() > 1,
            Region::Writes | Region::Holds => self.make_room(1),
        };
        if !has_descriptor {
            return None;
        }
        let (arena, end) = match region {
            Region::Sweep => (SWEEP, End::Low),
            Region::Writes => (WRITES, End::Low),
            Region::Holds => (WRITES, End::High),
        };
        let memory = if len > 0 {
            let free = self.arena_mut(arena).take(len, end);
            Some(free.or_else(|| self.take_from_kept(len, arena, end))?)
        } else {
            None
        };
        self.promised += 1;
        Some(Reservation { memory, generation: self.generation })
    }

    /// True if the sweep's region has room for a record that is of no use to a later service: for
    /// that no kept record is given up, neither at once nor when it is drained.
    pub fn has_spare_room(&self, len: u64) -> bool {
        let [sweep, _] = &*self.arenas;
        let used = sweep.used().saturating_add(len.next_multiple_of(GRANULE));
        used <= sweep.capacity() / 4 * 3 && self.free_records() > self.records.len() / 4
    }

    /// Gives a reservation up.
    pub fn cancel(&mut self, reservation: Reservation) {
        self.promised -= 1;
        self.free(reservation.memory);
    }

    /// False for a reservation that was made before the records were lost.
    pub fn is_current(&self, reservation: &Reservation) -> bool {
        reservation.generation == self.generation
    }

    /// The memory of a write's record, for the disk to transfer the write from; `None` if it has
    /// none. To be handed back to [`CaptureQueue::transferred`].
    #[inline]
    pub fn share(&mut self, reservation: &Reservation) -> Option<MemoryRange> {
        let memory = reservation.memory.as_ref()?;
        Some(self.arenas[WRITES].share(memory))
    }

    /// Takes the memory of a write's record back that the disk is done with.
    #[inline]
    pub fn transferred(&mut self, memory: MemoryRange) {
        let bytes = whole_granules(&memory);
        if self.arenas[WRITES].give_back(memory) {
            self.with_disk -= bytes;
        }
    }

    /// Appends a record for which there is a current reservation, and returns its number.
    pub fn commit(&mut self, reservation: Reservation, record: Record) -> Seq {
        rule!(self.is_current(&reservation), "LOSS: a loss of the service ends its reservations");
        self.promised -= 1;
        self.push(record, reservation.memory)
    }

    /// Appends a record without payload, and returns its number; `None` if there is no room for it
    /// now.
    pub fn append(&mut self, record: Record) -> Option<Seq> {
        // The last descriptor is reserved for a gap.
        let reserved = usize::from(record.kind != RecordKind::GapBegin);
        self.make_room(reserved).then(|| self.push(record, None))
    }

    /// True if there is room for so many records without payload.
    pub fn has_room_for(&self, records: usize) -> bool {
        self.free_records() + self.to_give_up() > records
    }

    /// Takes the next record to be drained if its payload has at most `payload_room` bytes. To be
    /// handed back to [`CaptureQueue::keep`].
    #[inline]
    pub fn pop(&mut self, payload_room: u64) -> Option<Drained> {
        if self.is_empty() {
            return None;
        }
        self.steps.add(1);
        let index = self.index(self.kept.count);
        let fits = |memory: MemorySpan| memory.len <= payload_room;
        let place = self.records.get_mut(index)?;
        let Drained { record, memory } =
            place.take_if(|drained| drained.memory().is_none_or(fits))?;
        (self.kept.count, self.len) = (self.kept.count + 1, self.len - 1);
        let seq = self.origin.seq_outside(record.seq);
        let epoch = self.origin.epoch_outside(record.epoch);
        Some(Drained { record: Record { seq, epoch, ..record }, memory })
    }

    #[inline]
    fn free(&mut self, memory: Option<MemoryRange>) {
        let Some(memory) = memory else { return };
        if memory.span().offset < self.arenas[SWEEP].capacity() {
            self.arenas[SWEEP].give_back(memory);
            return;
        }
        let bytes = whole_granules(&memory);
        if !self.arenas[WRITES].give_back(memory) {
            self.with_disk += bytes;
        }
    }

    /// Loses every committed record. Earlier reservations are stale from now on.
    pub fn lose(&mut self) {
        self.generation += 1;
        self.lost = self.kept.count + self.len;
        self.unpin();
    }

    /// Frees some of the lost records; true if more of them wait. Then no later record leaves.
    pub fn discard(&mut self) -> bool {
        for _ in 0..CHUNK {
            if self.lost == 0 {
                break;
            }
            self.free_oldest();
        }
        self.lost > 0
    }

    /// True if no record can be taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0 || self.lost > 0
    }

    /// Number of the last record that was taken.
    pub fn last_taken(&self) -> Seq {
        Seq::new(self.last_seq.get() - self.len as u64)
    }

    /// Descriptors examined so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// True if at most `quarters` quarters of the writes' memory and of the descriptors are in use.
    #[inline]
    pub fn is_at_most(&self, quarters: u64) -> bool {
        let records = (self.len + self.promised) as u64;
        self.used_in(WRITES) <= self.arenas[WRITES].capacity() / 4 * quarters
            && records <= self.records.len() as u64 / 4 * quarters
    }

    /// True if there may be no room only because of what the disk alone keeps.
    pub fn waits_for_disk(&self) -> bool {
        self.with_disk > 0 && self.is_at_most(HIGH_MARK)
    }

    /// Bytes of payload memory in use, without those that the disk alone keeps, and without those
    /// of kept records.
    #[inline]
    pub fn used(&self) -> u64 {
        self.used_in(SWEEP) + self.used_in(WRITES)
    }

    #[inline]
    fn used_in(&self, arena: usize) -> u64 {
        let [sweep, writes] = &*self.arenas;
        let used = if arena == SWEEP { sweep.used() } else { writes.used() - self.with_disk };
        used - self.kept.bytes_in(arena)
    }

    #[inline]
    fn arena_mut(&mut self, arena: usize) -> &mut Arena {
        let [sweep, writes] = &mut *self.arenas;
        if arena == SWEEP { sweep } else { writes }
    }

    /// Bytes of payload memory that the disk alone keeps.
    #[inline]
    pub fn with_disk(&self) -> u64 {
        self.with_disk
    }

    /// Bytes of payload memory in all.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.arenas[SWEEP].capacity() + self.arenas[WRITES].capacity()
    }

    /// Where the records begin is not known yet: the session continues.
    pub fn unplace(&mut self) {
        self.origin = Origin::UNKNOWN;
    }

    /// Where in the session's stream the records begin.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Learns where they begin, before the first is drained: see [`Origin::place`].
    pub fn place(&mut self, durable: Seq, behind: EpochId) -> bool {
        rule!(self.kept.count == 0, "RESUME: no record is drained before it has its number");
        self.origin.place(durable, behind)
    }

    /// Number of the last record committed.
    #[inline]
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// The monotonic time of the last record, or a later one at which there was no other.
    pub fn last_monotonic(&self) -> Tick {
        self.last_monotonic
    }

    /// The monotonic time at which [`CaptureQueue::last_seq`] is told, `now` unless a record has a
    /// later one. No later record has an earlier one.
    pub fn observe(&mut self, now: Tick) -> Tick {
        self.last_monotonic = self.last_monotonic.max(now);
        self.last_monotonic
    }

    fn free_records(&self) -> usize {
        self.records.len().saturating_sub(self.kept.count + self.len + self.promised)
    }

    /// The index of the descriptor `after` the oldest.
    fn index(&self, after: usize) -> usize {
        let index = self.first + after;
        if index >= self.records.len() { index - self.records.len() } else { index }
    }

    fn push(&mut self, record: Record, memory: Option<MemoryRange>) -> Seq {
        let index = self.index(self.kept.count + self.len);
        self.last_seq = Seq::new(self.last_seq.get() + 1);
        // A thread may be preempted between reading the clock and taking the lock.
        self.last_monotonic = self.last_monotonic.max(record.monotonic);
        let record = Record { seq: self.last_seq, monotonic: self.last_monotonic, ..record };
        if let Some(place) = self.records.get_mut(index) {
            rule!(place.is_none(), "BOUND: a descriptor is promised before it is used");
            *place = Some(Drained { record, memory });
            self.len += 1;
        }
        record.seq
    }
}

/// Bytes of the granules of a range.
fn whole_granules(memory: &MemoryRange) -> u64 {
    memory.span().len.next_multiple_of(GRANULE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Region::{Holds, Sweep, Writes};
    use snapless_fixed::arena::GRANULE as PAGE;

    fn record(kind: RecordKind) -> Record {
        let extent = Extent::new(0, 512);
        let (seq, epoch) = (Seq::default(), EpochId::new(1));
        Record { kind, seq, time: 5, monotonic: Tick(5), epoch, extent, gap_reason: None }
    }

    #[test]
    fn records_leave_in_the_order_of_their_commits() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        let slow = queue.reserve(512, Writes).unwrap();
        let quick = queue.reserve(512, Writes).unwrap();
        queue.commit(quick, record(RecordKind::Write));
        queue.commit(slow, Record { time: 4, monotonic: Tick(4), ..record(RecordKind::Block) });
        let a = queue.pop(u64::MAX).unwrap();
        let b = queue.pop(u64::MAX).unwrap();
        let seen = [&a, &b].map(|it| (it.record.kind, it.record.seq.get(), it.record.time));
        assert_eq!(seen, [(RecordKind::Write, 1, 5), (RecordKind::Block, 2, 4)]);
        assert_eq!([&a, &b].map(|it| it.record.monotonic), [Tick(5); 2], "it never goes back");
        assert!(queue.pop(u64::MAX).is_none());
    }

    #[test]
    fn no_record_is_earlier_than_the_instant_at_which_it_was_not_there() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        assert_eq!(queue.observe(Tick(9)), Tick(9));
        assert_eq!(queue.append(record(RecordKind::BaseComplete)), Some(Seq::new(1)));
        assert_eq!(queue.pop(0).unwrap().record.monotonic, Tick(9));
        assert_eq!(queue.observe(Tick(8)), Tick(9), "it never goes back");
    }

    #[test]
    fn descriptors_and_reservations_come_back() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        assert_eq!(
            (queue.capacity(), queue.last_seq().get(), queue.is_empty()),
            (8 * PAGE, 0, true)
        );
        for _ in 0..50 {
            let given_up = queue.reserve(512, Writes).unwrap();
            queue.cancel(given_up);
        }
        for round in 0..20 {
            for _ in 0..7 {
                let reservation = queue.reserve(512, Writes).unwrap();
                queue.commit(reservation, record(RecordKind::Write));
            }
            assert_eq!((queue.last_seq().get(), queue.is_empty()), (round * 7 + 7, false));
            for seq in round * 7 + 1..=round * 7 + 7 {
                let drained = queue.pop(u64::MAX).unwrap();
                assert_eq!(drained.record.seq.get(), seq, "round the ring in order");
                queue.keep(drained);
            }
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn sweep_and_writes_have_separate_memory() {
        let mut queue = CaptureQueue::new(8 * PAGE, 2 * PAGE, 16).unwrap();
        assert_eq!((queue.capacity(), queue.used()), (8 * PAGE, 0));
        assert!(queue.reserve(2 * PAGE + 1, Sweep).is_none());
        assert!(queue.reserve(6 * PAGE + 1, Writes).is_none());
        let swept = queue.reserve(2 * PAGE, Sweep).unwrap();
        let written = queue.reserve(6 * PAGE, Writes).unwrap();
        assert_eq!((swept.memory().offset, written.memory().offset), (0, 2 * PAGE));
        assert!(queue.reserve(1, Sweep).is_none() && queue.reserve(1, Writes).is_none());
        queue.cancel(swept);
        assert_eq!(queue.used(), 6 * PAGE);
        assert!(queue.reserve(1, Writes).is_none(), "memory of the sweep comes back to the sweep");
        queue.commit(written, record(RecordKind::Write));
        lose(&mut queue);
        assert_eq!(queue.used(), 0);
        assert!(queue.reserve(6 * PAGE, Writes).is_some());
    }

    #[test]
    fn blocks_for_held_writes_lie_at_the_other_end() {
        let mut queue = CaptureQueue::new(8 * PAGE, 2 * PAGE, 16).unwrap();
        let held = queue.reserve(2 * PAGE, Holds).unwrap();
        let written = queue.reserve(PAGE, Writes).unwrap();
        assert_eq!((written.memory().offset, held.memory().offset), (2 * PAGE, 6 * PAGE));
        queue.cancel(written);
        assert!(queue.reserve(4 * PAGE, Writes).is_some());
        queue.cancel(held);
    }

    #[test]
    fn memory_that_the_disk_alone_keeps_is_not_in_use_and_not_free() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        let reserve = |queue: &mut CaptureQueue| queue.reserve(3 * PAGE + 1, Writes);
        let [mut with_record, mut with_disk] = [(); 2].map(|()| {
            let reservation = reserve(&mut queue).unwrap();
            let shared = queue.share(&reservation);
            queue.commit(reservation, record(RecordKind::Write));
            shared
        });
        assert!(reserve(&mut queue).is_none() && !queue.waits_for_disk(), "the records keep it");
        queue.transferred(with_record.take().unwrap());
        let drained = queue.pop(u64::MAX).unwrap();
        queue.keep(drained);
        assert_eq!((queue.used(), queue.with_disk()), (4 * PAGE, 0), "the disk was done first");
        let drained = queue.pop(u64::MAX).unwrap();
        queue.keep(drained);
        assert_eq!((queue.used(), queue.kept_bytes()), (0, 4 * PAGE), "the record is kept");
        assert!(queue.is_at_most(0) && !queue.waits_for_disk());
        assert!(queue.reserve(5 * PAGE, Writes).is_none());
        assert_eq!((queue.used(), queue.with_disk()), (0, 4 * PAGE), "the record has left first");
        assert!(queue.is_at_most(0) && queue.waits_for_disk());
        queue.transferred(with_disk.take().unwrap());
        assert!(queue.is_at_most(0) && !queue.waits_for_disk());
        assert!(queue.reserve(8 * PAGE, Writes).is_some());
    }

    #[test]
    fn a_record_that_does_not_fit_stays() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        let reservation = queue.reserve(512, Writes).unwrap();
        queue.commit(reservation, record(RecordKind::Write));
        assert!(queue.pop(511).is_none());
        assert!(queue.pop(512).is_some());
    }

    #[test]
    fn the_last_descriptor_is_kept_for_the_gap() {
        let mut queue = CaptureQueue::new(1 << 20, 0, 16).unwrap();
        let mut reserved = 0;
        while let Some(reservation) = queue.reserve(512, Writes) {
            queue.commit(reservation, record(RecordKind::Write));
            reserved += 1;
        }
        assert_eq!(reserved, 15);
        assert!(queue.append(record(RecordKind::EpochEnd)).is_none());
        assert!(queue.append(record(RecordKind::Trim)).is_none());
        assert!(queue.append(record(RecordKind::GapBegin)).is_some());
        assert!(queue.append(record(RecordKind::GapBegin)).is_none());
    }

    #[test]
    fn a_queue_is_as_full_as_its_memory_for_writes_or_its_descriptors() {
        let mut queue = CaptureQueue::new(8 * PAGE, 4 * PAGE, 16).unwrap();
        assert!(queue.is_at_most(0));
        for _ in 0..4 {
            assert!(queue.append(record(RecordKind::EpochEnd)).is_some());
        }
        assert!(queue.is_at_most(1) && !queue.is_at_most(0));
        let promised = queue.reserve(1, Sweep).unwrap();
        assert!(queue.is_at_most(2) && !queue.is_at_most(1), "a descriptor too many");
        queue.cancel(promised);
        lose(&mut queue);
        let swept = queue.reserve(4 * PAGE, Sweep).unwrap();
        assert!(queue.is_at_most(1), "the sweep's memory is its own");
        for (len, quarters) in [(PAGE, 1), (PAGE, 2), (1, 3)] {
            let reservation = queue.reserve(len, Writes).unwrap();
            assert!(queue.is_at_most(quarters) && !queue.is_at_most(quarters - 1));
            queue.commit(reservation, record(RecordKind::Write));
        }
        queue.cancel(swept);
    }

    fn lose(queue: &mut CaptureQueue) {
        queue.lose();
        while queue.discard() {}
    }

    #[test]
    fn records_leave_after_lost_ones_are_freed_and_a_gap_has_room_at_once() {
        let mut queue = CaptureQueue::new(1 << 20, 0, 4 * CHUNK).unwrap();
        while let Some(reservation) = queue.reserve(512, Writes) {
            queue.commit(reservation, record(RecordKind::Write));
        }
        assert!(queue.append(record(RecordKind::GapBegin)).is_some(), "the last descriptor");
        let last = queue.last_seq().get();
        assert_eq!(queue.last_taken().get(), 0);
        queue.lose();
        assert!(queue.discard() && queue.is_empty() && queue.pop(u64::MAX).is_none());
        assert!(queue.append(record(RecordKind::GapBegin)).is_some());
        while queue.discard() {
            assert!(queue.is_empty(), "lost records are still there");
        }
        assert_eq!(queue.last_taken().get(), last);
        assert_eq!(queue.pop(0).unwrap().record.seq.get(), last + 1);
        assert!(!queue.discard() && queue.is_empty());
        // A loss of nothing.
        queue.lose();
        assert!(!queue.discard());
    }

    #[test]
    fn a_loss_frees_what_is_committed_and_leaves_reservations() {
        let mut queue = CaptureQueue::new(8 * PAGE, 0, 16).unwrap();
        let reservation = queue.reserve(512, Writes).unwrap();
        queue.commit(reservation, record(RecordKind::Write));
        let pending = queue.reserve(PAGE + 1, Writes).unwrap();
        assert!(queue.is_current(&pending));
        lose(&mut queue);
        assert!(!queue.is_current(&pending));
        assert!(queue.pop(u64::MAX).is_none());
        assert_eq!(queue.used(), 2 * PAGE);
        queue.cancel(pending);
        assert_eq!(queue.used(), 0);
        assert!(queue.append(record(RecordKind::Unreadable)).is_some());
        let record = queue.pop(0).unwrap().record;
        assert_eq!((record.kind, record.seq.get()), (RecordKind::Unreadable, 2));
    }
}

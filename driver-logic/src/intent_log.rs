//! The write-intent log: which regions of a volume the server may lack if the machine crashes, on
//! the disk before a region is written to (rule RESUME, rules.md#resume).
//!
//! The log is a slot of the volume's state area that is written while the volume is. It is *live*,
//! with a map of regions and a hash of the stamp, or *void*: then nothing is known after a crash,
//! and every block is verified. While it is void, writes go, and are noted for the next slot. While
//! it is live, or on its way to be, a write waits until a slot on the disk has its regions.
//!
//! A write waits for the slot that is written next: one slot serves all that wait. Marks are taken
//! off now and then ([`IntentLog::unmark`]), of regions that were not written to for a while and of
//! which the server has all. A region that is written to again and again costs nothing.
//!
//! What counts as on the disk: a mark that the newest slot there has, and the one on its way to it.
//! After a crash one of these two is found.
//!
//! A write to the stamp makes its hash *stale*: a crash meanwhile finds another stamp, and every
//! block is verified. Soon after, the stamp is read again and a slot with its hash is written. No
//! write waits for that: the stamp shows that another system has written, and none makes an older
//! stamp of a newer one, as the numbers in it only grow.
//!
//! A slot lists the records that the server's stream may end with ([`Ends`]). Of any other server
//! it says nothing: that has another past, or the disk was put back to an older state and lacks
//! what was marked since. What is listed is looked at before the slot's marks are, and a write asks
//! for its mark before it has a record ([`IntentLog::expects`]): so the marks of all records up to
//! one that is listed are in the same slot.
//!
//! The log knows the stamp's bytes as well ([`IntentLog::wrote`]), without reading them again: when
//! the machine wakes up, they show whether another system has written meanwhile ([`crate::sleep`]).
//! Regions of the stamp keep their marks, so that no write to it waits: its bytes are known when it
//! goes.
//!
//! A record that ends an epoch leaves when the disk has a slot that lists it
//! ([`IntentLog::lists`]). If it left before, a crash meanwhile had every block verified.

use alloc::boxed::Box;

use snapless_fixed::memory::{OutOfMemory, boxed_slice};
use snapless_fixed::sabotaged;
use snapless_tracking::marks::Marks;
use snapless_tracking::regions::RegionMap;
use snapless_types::{Ends, Extent, Regions, Seq, Tick};
use snapless_wire::id::Extents;
use snapless_wire::state_area::{STAMP_LEN, STAMP_RANGES_MAX};

/// How long the log waits for what, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// An interval: a region loses its mark after one or two of them without a write.
    pub pass: u64,
    /// How soon marks are looked at again that were kept because the server lacked something.
    pub look: u64,
    /// From a write to the stamp until it is read again.
    pub settle: u64,
    /// From one live slot with a new hash to the next, at least.
    pub stamp: u64,
}

impl Timing {
    /// Of the driver.
    ///
    /// A region loses its mark after 60 to 120 s without a write. A shorter time makes a slow disk
    /// pay: of random writes over a tenth of a volume it does 200 a second, and comes back to a
    /// region after 16 s on average. A longer time leaves more to verify. A file system writes its
    /// restart pages in bursts, every few seconds: the hash is stale for 20 ms after one. A stamp
    /// that is written to without pause costs 4 slots a second, and is stale most of the time.
    pub const DRIVER: Self = Self {
        pass: 60_000 * Tick::PER_MS,
        look: 5_000 * Tick::PER_MS,
        settle: 20 * Tick::PER_MS,
        stamp: 250 * Tick::PER_MS,
    };
}

/// A slot of an area, by its number: the one that counts, or one that is written next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotPlace {
    /// Which of the two.
    pub index: usize,
    /// Its number.
    pub generation: u64,
}

impl SlotPlace {
    /// Where the next slot is written: never over the one that counts, which still does if power
    /// fails meanwhile.
    #[must_use]
    pub fn next(self) -> Self {
        // The breach: the first of two writes in a row goes where the last one went.
        let stays = sabotaged!(NewestSlotOverwritten) && self.generation & 1 == 0;
        let index = if stays { self.index } else { 1_usize.saturating_sub(self.index) };
        Self { index, generation: self.generation.saturating_add(1) }
    }

    /// The same place, with a number above the one of a slot whose write has failed elsewhere.
    #[must_use]
    pub fn again(self) -> Self {
        Self { generation: self.generation.saturating_add(2), ..self }
    }
}

/// What is to be done for the log next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Todo {
    /// Nothing before this instant, unless a request asks.
    Nothing(Tick),
    /// A slot that is void is written: [`IntentLog::begin_void`].
    Void,
    /// The stamp is read, and a live slot with its hash is written: [`IntentLog::begin_live`].
    Stamp,
    /// Marks are taken off: [`IntentLog::unmark`] of each region, [`IntentLog::passed`].
    Pass,
    /// A live slot is written, with the stamp's last hash.
    Slot,
    /// The log ends: it is void on the disk.
    End,
}

/// The stamp, as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StampRead {
    /// Its hash.
    pub hash: u64,
    /// [`IntentLog::stamp_writes`] before it was read.
    pub writes: u64,
}

/// A slot on its way to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnderWay {
    Live,
    Void,
}

/// A region whose mark was taken off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Unmarked {
    region: u64,
    was_marked: bool,
}

/// The log of a volume that has a session.
#[derive(Debug)]
// Each is independent of the others.
#[allow(clippy::struct_excessive_bools)]
pub struct IntentLog {
    timing: Timing,
    stamp: Extents<STAMP_RANGES_MAX>,
    /// The marks that count as on the disk, while the log is live.
    marked: RegionMap,
    /// The marks of the next slot.
    next: RegionMap,
    /// Those that requests have asked for since.
    asked: RegionMap,
    /// Regions that were written to in this interval; others are warm in [`Marks`].
    warm: RegionMap,
    /// Those of the interval before.
    was_warm: RegionMap,
    /// Regions of which not every write goes at once: those of the stamp and of the area.
    watched: RegionMap,
    /// The disk may have a live slot.
    is_live: bool,
    under_way: Option<UnderWay>,
    /// It does not become live again.
    is_lost: bool,
    /// The disk has failed a slot.
    has_failed: bool,
    /// The slot on the disk has marks that the next one has not.
    is_cleared: bool,
    /// Writes to the stamp so far, how many of them the hash is about, and how many of them the
    /// copy has; a copy has none before it was made.
    stamp_writes: u64,
    hashed_writes: u64,
    copied_writes: Option<u64>,
    /// The stamp's bytes, the ranges one after the other.
    copy: Box<[u8]>,
    hash: u64,
    /// When the stamp is read, if its hash is stale and that was noticed.
    read_at: Option<Tick>,
    was_read_at: Tick,
    pass_at: Tick,
    /// When the interval ends.
    cool_at: Tick,
    /// Regions kept their marks because the server lacked something: it may have it soon.
    looks_again: bool,
    /// The newest record that ends an epoch and that the slot on the disk lists; the one on its way
    /// to it; and one that is to leave.
    listed: Seq,
    listing: Seq,
    leaving: Seq,
    /// No slot was live so far.
    is_new: bool,
    /// A request waits for a mark that no slot has yet.
    is_asked: bool,
}

impl IntentLog {
    /// The log of a volume with this area and stamp, void: every region is marked.
    pub fn new(
        regions: Regions,
        area: &Extent,
        stamp: Extents<STAMP_RANGES_MAX>,
        (timing, now): (Timing, Tick),
    ) -> Result<Self, OutOfMemory> {
        let (mut next, mut watched) = (RegionMap::new(regions)?, RegionMap::new(regions)?);
        next.mark_all();
        watched.note(area);
        stamp.iter().for_each(|range| watched.note(&range));
        let stamped = stamp.iter().fold(0_u64, |sum, range| sum.saturating_add(range.len()));
        let copy = boxed_slice(stamped.min(STAMP_LEN as u64), || Ok(0))?;
        Ok(Self {
            timing,
            stamp,
            marked: RegionMap::new(regions)?,
            next,
            asked: RegionMap::new(regions)?,
            warm: RegionMap::new(regions)?,
            was_warm: RegionMap::new(regions)?,
            watched,
            is_live: false,
            under_way: None,
            is_lost: false,
            has_failed: false,
            is_cleared: false,
            stamp_writes: 0,
            hashed_writes: 0,
            copied_writes: None,
            copy,
            hash: 0,
            read_at: Some(now),
            was_read_at: now,
            pass_at: now.after(timing.look),
            cool_at: now.after(timing.pass),
            looks_again: false,
            listed: Seq::new(0),
            listing: Seq::new(0),
            leaving: Seq::new(0),
            is_new: true,
            is_asked: false,
        })
    }

    /// A request changes these bytes: true if it goes.
    pub fn goes<I: Iterator<Item = Extent>>(&mut self, extents: impl Fn() -> I) -> bool {
        if !self.is_live {
            extents().for_each(|extent| self.next.note(&extent));
        } else if !extents().all(|extent| self.marked.has(&extent)) && !sabotaged!(LogNotAwaited) {
            self.ask(extents);
            return false;
        }
        extents().for_each(|extent| self.warm.note(&extent));
        let writes_stamp = self.is_of_stamp(&extents);
        self.stamp_writes = self.stamp_writes.wrapping_add(u64::from(writes_stamp));
        true
    }

    /// A write that has no record yet will change these bytes: false if it will have to wait.
    pub fn expects(&mut self, extent: &Extent) -> bool {
        if !self.is_live {
            self.next.note(extent);
            return true;
        }
        let is_marked = self.marked.has(extent);
        if !is_marked {
            self.ask(|| core::iter::once(*extent));
        }
        is_marked
    }

    /// True if a change goes.
    pub fn has(&self, extent: &Extent) -> bool {
        !self.is_live || self.marked.has(extent)
    }

    /// True if a record may leave that ends an epoch: the disk lists it, or has nothing that would
    /// be trusted after a crash. If not, a slot that lists it is written.
    pub fn lists(&mut self, end: Seq) -> bool {
        if !self.is_live || end <= self.listed || sabotaged!(EndBeforeSlot) {
            return true;
        }
        self.leaving = end;
        false
    }

    /// True if the disk has nothing that would be trusted after a crash.
    pub fn is_void(&self) -> bool {
        !self.is_live
    }

    /// True if no slot was live so far: marks are taken off before the first one is.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// True if the disk has failed a slot.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// True if the stamp's hash has become stale and [`IntentLog::todo`] does not know of it.
    pub fn has_news(&self) -> bool {
        self.stamp_writes != self.hashed_writes && self.read_at.is_none()
    }

    /// The ranges of the stamp.
    pub fn stamp(&self) -> &Extents<STAMP_RANGES_MAX> {
        &self.stamp
    }

    /// Writes to the stamp so far: what is read of it from now on holds if there are no more, and
    /// none is under way.
    pub fn stamp_writes(&self) -> u64 {
        self.stamp_writes
    }

    /// True if a request changes the stamp.
    pub fn is_of_stamp<I: Iterator<Item = Extent>>(&self, extents: impl Fn() -> I) -> bool {
        extents().any(|extent| self.stamp.iter().any(|range| range.overlaps(&extent)))
    }

    /// A write to the stamp that has just been let go, by [`IntentLog::goes`], has these bytes.
    pub fn wrote(&mut self, extent: &Extent, bytes: &[u8]) {
        let Some(copied) = self.copied_writes else { return };
        let mut at = 0;
        for range in self.stamp.iter() {
            put_overlap((&range, at), &mut self.copy, (extent, bytes));
            at = range.len().saturating_add(at);
        }
        self.copied_writes = Some(copied.wrapping_add(1));
    }

    /// The stamp was read, after so many writes to it, with none of them under way.
    pub fn copy_stamp(&mut self, writes: u64, bytes: &[u8]) {
        if writes == self.stamp_writes && bytes.len() == self.copy.len() {
            self.copy.copy_from_slice(bytes);
            self.copied_writes = Some(writes);
        }
    }

    /// Whether the volume has the stamp's bytes as they were written last; `None` if they are not
    /// known.
    pub fn is_stamp(&self, bytes: &[u8]) -> Option<bool> {
        let is_known = self.copied_writes == Some(self.stamp_writes);
        is_known.then(|| *self.copy == *bytes || sabotaged!(SleepNotNoticed))
    }

    /// The stamp's bytes are not known any more, until it is read.
    pub fn forget_stamp(&mut self) {
        self.copied_writes = None;
    }

    /// The server may lack something of any region: each is marked from now on. The host has seen
    /// to it that no mark is taken off before the server has all of its region.
    pub fn mark_all(&mut self) {
        if self.is_live {
            // The slot that is on its way has not got them.
            self.asked.mark_all();
            self.is_asked = true;
        } else {
            self.next.mark_all();
        }
    }

    /// What is to be done next.
    pub fn todo(&mut self, now: Tick) -> Todo {
        if self.under_way.is_some() {
            return Todo::Nothing(now.after(self.timing.pass));
        }
        if self.is_lost || self.has_failed {
            return if self.is_live { Todo::Void } else { Todo::End };
        }
        if self.has_news() {
            let after_the_last = self.was_read_at.after(self.timing.stamp);
            self.read_at = Some(now.after(self.timing.settle).max(after_the_last));
        }
        if self.is_live && (self.is_asked || self.leaving > self.listed) {
            Todo::Slot
        } else if self.read_at.is_some_and(|at| now >= at) {
            Todo::Stamp
        } else if self.is_live && now >= self.pass_at {
            Todo::Pass
        } else if self.is_live && self.is_cleared {
            Todo::Slot
        } else {
            let pass_at = if self.is_live { self.pass_at } else { now.after(self.timing.pass) };
            Todo::Nothing(self.read_at.map_or(pass_at, |at| at.min(pass_at)))
        }
    }

    /// The stamp cannot be read, or the log not be live yet: it is tried again after so many ticks.
    pub fn put_off(&mut self, now: Tick, ticks: u64) {
        self.read_at = Some(now.after(ticks));
    }

    /// A live slot is on its way from now on, with the map that is written to `bytes`; returns the
    /// stamp's hash, `None` if it is not to be written. `ends`: what it lists, looked at after the
    /// last mark was taken off. `read`: the stamp; if there is none it is as in the last live slot.
    pub fn begin_live(
        &mut self,
        ends: &Ends,
        read: Option<StampRead>,
        bytes: &mut [u8],
    ) -> Option<u64> {
        let holds = read.map_or(self.is_live, |read| read.writes == self.stamp_writes);
        if !holds || self.under_way.is_some() || self.is_lost || self.has_failed {
            return None;
        }
        if let Some(StampRead { hash, writes }) = read {
            (self.hash, self.hashed_writes, self.read_at) = (hash, writes, None);
        }
        // One that is not known any more does not leave.
        (self.listing, self.leaving) = (ends.last(), self.leaving.min(ends.last()));
        self.next.add(&self.asked);
        self.asked.clear();
        self.next.write(bytes);
        if self.is_live {
            self.marked.retain(&self.next);
        } else {
            self.marked.copy(&self.next);
        }
        (self.is_live, self.is_new, self.is_asked) = (true, false, false);
        self.under_way = Some(UnderWay::Live);
        Some(self.hash)
    }

    /// True if what the disk has only in its cache has to be made durable before the next live slot
    /// is written, which lacks marks of what was written to it.
    pub fn flushes_first(&self) -> bool {
        self.is_cleared && !sabotaged!(ClearedUnflushed)
    }

    /// A void slot is on its way from now on.
    pub fn begin_void(&mut self) {
        self.under_way = Some(UnderWay::Void);
    }

    /// The slot is on the disk.
    pub fn written(&mut self, now: Tick) {
        match self.under_way.take() {
            None => {}
            Some(UnderWay::Live) => {
                self.marked.copy(&self.next);
                self.listed = self.listing;
                (self.is_cleared, self.was_read_at) = (false, now);
            }
            Some(UnderWay::Void) => self.is_live = false,
        }
    }

    /// The disk has failed the slot: what it has is not known. The log becomes void, and ends.
    pub fn failed(&mut self) {
        (self.under_way, self.has_failed) = (None, true);
    }

    /// It becomes void, and ends: its place on the disk is taken away, or its session ends.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Takes the mark off a region that is not written to, as far as is known here; `None` if it
    /// has none, or keeps it. What was taken off is for [`IntentLog::remark`] if the server may
    /// lack something of the region, and for [`IntentLog::leave_unmarked`] if not.
    pub fn unmark(&mut self, region: u64, marks: &Marks) -> Option<Unmarked> {
        let was_written = self.warm.is_marked(region) || self.was_warm.is_marked(region);
        let is_warm = was_written || marks.is_warm(region);
        let keeps = is_warm
            || self.watched.is_marked(region)
            || self.asked.is_marked(region)
            || self.under_way.is_some();
        if keeps || !self.next.set(region, false) {
            return None;
        }
        marks.close(region);
        Some(Unmarked { region, was_marked: self.marked.set(region, false) })
    }

    /// Gives a region its mark back.
    pub fn remark(&mut self, unmarked: Unmarked) {
        if sabotaged!(MarkTakenTooEarly) {
            return self.leave_unmarked(unmarked);
        }
        self.looks_again = true;
        let Unmarked { region, was_marked } = unmarked;
        self.next.set(region, true);
        if was_marked {
            self.marked.set(region, true);
        }
    }

    /// A mark stays off.
    pub fn leave_unmarked(&mut self, _unmarked: Unmarked) {
        self.is_cleared = true;
    }

    /// All marks were looked at.
    pub fn passed(&mut self, now: Tick, marks: &Marks) {
        if now >= self.cool_at {
            self.was_warm.copy(&self.warm);
            marks.cool(&mut self.was_warm);
            self.warm.clear();
            self.cool_at = now.after(self.timing.pass);
        }
        let soon = now.after(self.timing.look).min(self.cool_at);
        self.pass_at = if self.looks_again { soon } else { self.cool_at };
        self.looks_again = false;
    }

    /// Lets writes to the regions go at once to which they may.
    pub fn publish(&self, marks: &Marks) {
        marks.open(if self.is_live { &self.marked } else { &self.next }, &self.watched);
    }

    fn ask<I: Iterator<Item = Extent>>(&mut self, extents: impl Fn() -> I) {
        // The slot that is on its way may have them.
        let is_live_next = self.under_way == Some(UnderWay::Live);
        if !is_live_next || !extents().all(|extent| self.next.has(&extent)) {
            extents().for_each(|extent| self.asked.note(&extent));
            self.is_asked = true;
        }
    }
}

/// Copies what a write to `extent` has of a range, whose bytes begin at `at` in `copy`.
fn put_overlap((range, at): (&Extent, u64), copy: &mut [u8], (extent, bytes): (&Extent, &[u8])) {
    let (start, end) = (range.offset().max(extent.offset()), range.end().min(extent.end()));
    let Some(len) = end.checked_sub(start) else { return };
    let to = start.saturating_sub(range.offset()).saturating_add(at);
    let from = start.saturating_sub(extent.offset());
    let part = |from: u64| {
        let (from, len) = (usize::try_from(from).ok()?, usize::try_from(len).ok()?);
        Some(from..from.checked_add(len)?)
    };
    let (Some(to), Some(from)) = (part(to), part(from)) else { return };
    if let (Some(to), Some(from)) = (copy.get_mut(to), bytes.get(from)) {
        to.copy_from_slice(from);
    }
}

/// True if the stamp that a live slot speaks of is the one that the volume has.
pub fn is_stamped(slot: u64, volume: u64) -> bool {
    slot == volume || sabotaged!(StampNotCompared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::{End, Geometry, Made};

    const REGION: u64 = 64 << 10;

    fn regions() -> Regions {
        Regions::of(&Geometry::new(100 * REGION, 512, 64 << 10).unwrap())
    }

    fn region(number: u64) -> Extent {
        Extent::new(number * REGION, 512).unwrap()
    }

    fn ends(last: u64) -> Ends {
        let mut ends = Ends::NONE;
        ends.add(End { seq: Seq::new(last), made: Made::default() });
        ends
    }

    fn marks() -> Marks {
        Marks::new(regions()).unwrap()
    }

    /// The stamp is in region 0, the area in region 99.
    fn new() -> IntentLog {
        let stamp = Extents::new(&[region(0)]).unwrap();
        let area = Extent::new(99 * REGION, REGION).unwrap();
        IntentLog::new(regions(), &area, stamp, (Timing::DRIVER, Tick(0))).unwrap()
    }

    fn goes(log: &mut IntentLog, number: u64) -> bool {
        log.goes(|| core::iter::once(region(number)))
    }

    fn begin(log: &mut IntentLog, read: bool) -> Option<[u8; 4096]> {
        let mut bytes = [0; 4096];
        let read = read.then(|| StampRead { hash: 77, writes: log.stamp_writes() });
        log.begin_live(&ends(5), read, &mut bytes).map(|_| bytes)
    }

    fn is_in(bytes: &[u8; 4096], number: usize) -> bool {
        bytes[number / 8] >> (number % 8) & 1 == 1
    }

    /// Live, with these regions marked.
    fn live(marked: &[u64]) -> IntentLog {
        let mut log = new();
        for number in (1..99).filter(|number| !marked.contains(number)) {
            let unmarked = log.unmark(number, &marks()).unwrap();
            log.leave_unmarked(unmarked);
        }
        assert!([0, 99].into_iter().all(|number| log.unmark(number, &marks()).is_none()));
        assert!(begin(&mut log, true).is_some());
        log.written(Tick(1));
        log
    }

    #[test]
    fn before_the_first_slot_every_write_goes_and_is_in_it() {
        let mut log = new();
        for number in 1..99 {
            let unmarked = log.unmark(number, &marks()).unwrap();
            log.leave_unmarked(unmarked);
        }
        assert!(log.is_void() && goes(&mut log, 7) && log.expects(&region(8)));
        assert!(log.flushes_first(), "the slot lacks what may be in the disk's cache");
        let bytes = begin(&mut log, true).unwrap();
        assert!(is_in(&bytes, 7) && is_in(&bytes, 8) && !is_in(&bytes, 9));
        assert!(goes(&mut log, 7) && !goes(&mut log, 9), "it is on its way");
    }

    #[test]
    fn a_write_waits_until_a_slot_with_its_region_is_on_the_disk() {
        let mut log = live(&[1]);
        assert!(goes(&mut log, 1) && log.expects(&region(1)));
        assert!(!log.expects(&region(2)) && !goes(&mut log, 2));
        assert_eq!(log.todo(Tick(2)), Todo::Slot);
        let bytes = begin(&mut log, false).unwrap();
        assert!(is_in(&bytes, 1) && is_in(&bytes, 2));
        assert!(!goes(&mut log, 2), "it is not there yet");
        assert!(!goes(&mut log, 3));
        log.written(Tick(3));
        assert!(goes(&mut log, 2) && !goes(&mut log, 3));
        assert_eq!(log.todo(Tick(4)), Todo::Slot, "one that came too late");
        assert!(is_in(&begin(&mut log, false).unwrap(), 3));
        log.written(Tick(5));
        assert!(goes(&mut log, 3));
        assert!(matches!(log.todo(Tick(6)), Todo::Nothing(_)));
    }

    #[test]
    fn one_slot_serves_all_that_wait_and_those_that_come_while_it_is_written() {
        let mut log = live(&[]);
        for number in 1..50 {
            assert!(!goes(&mut log, number));
        }
        assert!(begin(&mut log, false).is_some());
        assert!(!goes(&mut log, 7));
        log.written(Tick(2));
        assert!((1..50).all(|number| goes(&mut log, number)));
        assert!(matches!(log.todo(Tick(3)), Todo::Nothing(_)));
    }

    #[test]
    fn a_mark_that_a_slot_on_its_way_has_not_does_not_count() {
        let mut log = live(&[1, 2, 3]);
        let (marks, numbers) = (marks(), [1, 2]);
        log.publish(&marks);
        for number in numbers {
            let unmarked = log.unmark(number, &marks).unwrap();
            assert!(!marks.pass(&region(number)) && !log.has(&region(number)));
            if number == 1 { log.leave_unmarked(unmarked) } else { log.remark(unmarked) }
        }
        assert!(goes(&mut log, 2) && log.flushes_first());
        log.passed(Tick(0), &marks);
        assert_eq!(log.todo(Tick(1)), Todo::Slot);
        let bytes = begin(&mut log, false).unwrap();
        assert!(!is_in(&bytes, 1) && is_in(&bytes, 2) && is_in(&bytes, 3));
        assert!(!goes(&mut log, 1) && goes(&mut log, 3));
        assert_eq!(log.unmark(3, &marks), None, "a slot is on its way");
        log.failed();
        assert!(!goes(&mut log, 1) && goes(&mut log, 3), "either may be on the disk");
    }

    #[test]
    fn a_region_that_is_written_to_keeps_its_mark_for_an_interval() {
        let mut log = live(&[1, 2, 3]);
        let marks = marks();
        log.publish(&marks);
        assert!(marks.pass(&region(1)) && goes(&mut log, 2));
        assert!(!goes(&mut log, 4), "it waits");
        let may = |log: &mut IntentLog, number| log.unmark(number, &marks).map(|it| log.remark(it));
        assert_eq!(
            [1, 2, 3, 4].map(|number| may(&mut log, number).is_some()),
            [false, false, true, false]
        );
        log.passed(Tick(Timing::DRIVER.look), &marks);
        assert!(may(&mut log, 1).is_none(), "the interval goes on");
        log.passed(Tick(Timing::DRIVER.pass), &marks);
        assert!(may(&mut log, 1).is_none() && may(&mut log, 2).is_none(), "it was just now");
        log.passed(Tick(2 * Timing::DRIVER.pass), &marks);
        assert_eq!(
            [1, 2, 3, 4].map(|number| may(&mut log, number).is_some()),
            [true, true, true, false]
        );
    }

    #[test]
    fn not_every_write_to_the_regions_of_stamp_and_area_goes_at_once() {
        let (log, marks) = (new(), marks());
        log.publish(&marks);
        assert!(!marks.pass(&region(0)) && marks.pass(&region(1)) && !marks.pass(&region(99)));
    }

    #[test]
    fn a_stamp_that_was_written_to_is_read_again_once_and_not_too_often() {
        let mut log = live(&[0]);
        assert!(!log.has_news() && goes(&mut log, 0) && log.has_news());
        let at = Timing::DRIVER.stamp + 1;
        assert_eq!(log.todo(Tick(10)), Todo::Nothing(Tick(at)), "the last time was just now");
        assert!(goes(&mut log, 0) && !log.has_news());
        assert_eq!(log.todo(Tick(at)), Todo::Stamp);
        let before = StampRead { hash: 1, writes: log.stamp_writes() };
        assert!(goes(&mut log, 0));
        assert_eq!(log.begin_live(&ends(5), Some(before), &mut [0; 4096]), None, "another write");
        assert!(begin(&mut log, true).is_some());
        log.written(Tick(at));
        let late = at + 2 * Timing::DRIVER.stamp;
        assert!(goes(&mut log, 0));
        assert_eq!(log.todo(Tick(late)), Todo::Nothing(Tick(late + Timing::DRIVER.settle)));
    }

    #[test]
    fn the_stamp_is_known_as_long_as_the_bytes_of_each_write_to_it_are() {
        let mut log = live(&[1]);
        let (first, second) = (Extent::new(256, 128).unwrap(), Extent::new(384, 512).unwrap());
        assert_eq!(log.is_stamp(&[0; 512]), None, "it was not read yet");
        log.copy_stamp(log.stamp_writes(), &[1; 512]);
        assert_eq!([&[1; 512], &[0; 512]].map(|it| log.is_stamp(it)), [Some(true), Some(false)]);
        let writes = |log: &mut IntentLog, extent: Extent| {
            assert!(log.goes(|| core::iter::once(extent)));
        };
        writes(&mut log, first);
        assert_eq!(log.is_stamp(&[1; 512]), None, "it is not known what was written");
        log.wrote(&first, &[3; 128]);
        writes(&mut log, second);
        log.wrote(&second, &[4; 512]);
        writes(&mut log, region(1));
        let whole = [[1; 256].as_slice(), &[3; 128], &[4; 128]].concat();
        assert_eq!([&whole[..], &[1; 512]].map(|it| log.is_stamp(it)), [Some(true), Some(false)]);
        writes(&mut log, first);
        log.copy_stamp(log.stamp_writes() - 1, &whole);
        assert_eq!(log.is_stamp(&whole), None, "it was read before that write");
        log.copy_stamp(log.stamp_writes(), &[7; 511]);
        log.copy_stamp(log.stamp_writes(), &[7; 512]);
        assert_eq!(log.is_stamp(&[7; 512]), Some(true));
        log.forget_stamp();
        assert_eq!(log.is_stamp(&[7; 512]), None);
    }

    #[test]
    fn all_regions_are_marked_by_the_next_slot_and_not_by_the_one_on_its_way() {
        let mut log = live(&[1]);
        let marks = marks();
        log.publish(&marks);
        let unmarked = log.unmark(1, &marks).unwrap();
        log.mark_all();
        log.leave_unmarked(unmarked);
        assert_eq!((log.todo(Tick(2)), log.unmark(2, &marks)), (Todo::Slot, None));
        assert!(
            (0..100).all(|number| is_in(&begin(&mut log, false).unwrap_or([0xff; 4096]), number))
        );
        log.mark_all();
        log.written(Tick(3));
        assert_eq!(log.todo(Tick(4)), Todo::Slot, "the one on its way may have lacked them");
        let mut void = new();
        void.mark_all();
        assert!(is_in(&begin(&mut void, true).unwrap(), 5));
    }

    #[test]
    fn what_is_lost_or_failed_becomes_void_and_ends() {
        for failed in [false, true] {
            let mut log = live(&[1]);
            if failed {
                assert!(!goes(&mut log, 2) && begin(&mut log, false).is_some());
                log.failed();
            } else {
                log.lose();
            }
            assert_eq!((log.todo(Tick(2)), begin(&mut log, false)), (Todo::Void, None));
            log.begin_void();
            assert!(!goes(&mut log, 3), "it is not void yet");
            log.written(Tick(3));
            assert!(log.is_void() && goes(&mut log, 3) && log.lists(Seq::new(99)));
            assert_eq!((log.todo(Tick(4)), log.has_failed()), (Todo::End, failed));
        }
    }

    #[test]
    fn the_end_of_an_epoch_leaves_when_a_slot_on_the_disk_lists_it() {
        let mut log = live(&[]);
        let end = Seq::new(9);
        assert!(log.lists(Seq::new(5)) && matches!(log.todo(Tick(1)), Todo::Nothing(_)));
        assert!(!log.lists(end));
        assert_eq!(log.todo(Tick(2)), Todo::Slot);
        assert_eq!(log.begin_live(&ends(9), None, &mut [0; 4096]), Some(77));
        assert!(!log.lists(end), "it is on its way");
        log.written(Tick(3));
        assert!(log.lists(end) && matches!(log.todo(Tick(4)), Todo::Nothing(_)));
        assert!(!log.lists(Seq::new(20)));
        assert!(log.begin_live(&ends(9), None, &mut [0; 4096]).is_some(), "that is lost");
        log.written(Tick(5));
        assert!(matches!(log.todo(Tick(6)), Todo::Nothing(_)), "no slot can list it");
        let mut log = new();
        assert!(log.lists(end), "nothing on the disk is trusted");
    }

    #[test]
    fn the_slot_that_counts_is_not_overwritten() {
        let place = SlotPlace { index: 1, generation: 4 };
        assert_eq!(place.next(), SlotPlace { index: 0, generation: 5 });
        assert_eq!(place.next().next(), SlotPlace { index: 1, generation: 6 });
        assert_eq!(place.again(), SlotPlace { index: 1, generation: 6 });
        assert!(is_stamped(1, 1) && !is_stamped(1, 2));
    }
}

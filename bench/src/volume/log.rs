//! The write-intent log of a session's volume (rule RESUME, rules.md#resume), kept as the driver
//! keeps it: `driver/src/logging.rs`, `driver/src/keeper.rs`.
//!
//! What is to be done, and which writes wait for it, the driver's own code decides ([`Tracker`],
//! [`Marks`]); the loop writes and flushes the slots. They go to a file of their own beside the
//! volume's, so that the stream can be compared with the volume; the volume's last 64 KiB stand for
//! the area, which no client may write to, and its first sector for the stamp.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use snapless_driver_logic::intent_log::{IntentLog, SlotPlace, StampRead, Timing, Todo};
use snapless_driver_logic::tracker::{Arrival, Tracker, new_log};
use snapless_engine::{Host, MemorySpan, Tick, Worker};
use snapless_tracking::marks::Marks;
use snapless_types::{Extent, Geometry, Regions, Seq};
use snapless_wire::id::{AreaId, Extents, FileTime, SessionId};
use snapless_wire::state_area::{
    self, AREA_LEN, LOG_LEN, MAP_AT, SLOT_LEN, STAMP_AT, STAMP_RANGES_MAX, SavedState, StampHash,
};

use super::state::{Loop, Tag};
use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::memory::{Buffer, Memory};
use crate::ring::{Target, Verb};
use crate::run::Run;
use crate::spec::LogSpec;

const AREA: AreaId = AreaId([1; 16]);
const SESSION: SessionId = SessionId([1; 16]);
/// Bytes of the stamp.
const STAMP: usize = 4096;

/// A volume's log.
pub struct Logging {
    tracker: Tracker,
    marks: Marks,
    geometry: Geometry,
    area: Extent,
    stamp: Extents<STAMP_RANGES_MAX>,
    file: Arc<std::fs::File>,
    place: SlotPlace,
    /// A slot; `None` while the ring has it.
    slot: Option<Buffer>,
    stage: Stage,
    /// Writes that wait, and where in the queue their payloads are.
    parked: Vec<(usize, Option<MemorySpan>)>,
    /// There may be something to do.
    is_wanted: bool,
    /// When there is, if it is not wanted before.
    due: Tick,
}

/// The operation of the ring that is under way for the log.
#[derive(Clone, Copy, Debug)]
enum Stage {
    None,
    /// The stamp is read; so many writes to it came before.
    Stamp(u64),
    /// What the disk has in its cache is made durable, before a slot lacks marks.
    FlushFirst(Option<StampRead>),
    Write,
    Flush,
}

impl Logging {
    /// A log of a volume whose session begins.
    pub fn new(spec: &LogSpec, disk: &Disk, geometry: &Geometry, now: Tick) -> Result<Self> {
        let regions = match spec.region_kib {
            0 => Regions::of(geometry),
            // Regions are blocks, if these are so long.
            kib => {
                let region = kib.checked_mul(1024).unwrap_or(0);
                let cut = Geometry::new(geometry.length(), geometry.sector_size(), region);
                Regions::of(&cut.map_err(Error::Geometry)?)
            }
        };
        let area_at = geometry.length().checked_sub(AREA_LEN as u64);
        let area = area_at.and_then(|at| Extent::new(at, AREA_LEN as u64));
        let stamp = Extent::new(0, STAMP as u64).and_then(|stamp| Extents::new(&[stamp]));
        let (area, stamp) = area.zip(stamp).ok_or_else(|| Error::Volume {
            path: disk.path().to_path_buf(),
            problem: "it has no room for a write-intent log: 128 KiB are needed".to_owned(),
        })?;
        let memory = |_| Error::Session;
        let log = new_log(regions, &area, &stamp, (Timing::DRIVER, now)).map_err(memory)?;
        let marks = Marks::new(regions).map_err(memory)?;
        let [first] = &*log;
        first.publish(&marks);
        let mut tracker = Tracker::NONE;
        if !tracker.begin_log(log, area) {
            return Err(Error::Session);
        }
        Ok(Self {
            tracker,
            marks,
            geometry: *geometry,
            area,
            stamp,
            file: make_area(spec)?,
            place: SlotPlace { index: 0, generation: 2 },
            slot: Some(Buffer::new(SLOT_LEN)?),
            stage: Stage::None,
            parked: Vec::new(),
            is_wanted: true,
            due: now,
        })
    }

    /// A write to these bytes will have a record.
    pub fn expect(&mut self, extent: &Extent) {
        if !self.marks.pass(extent) && !self.tracker.expects(extent) {
            self.is_wanted = true;
        }
    }

    /// True if a change of these bytes goes; false if it waits for a slot.
    fn goes(&mut self, extent: Extent) -> bool {
        if self.marks.pass(&extent) {
            return true;
        }
        let goes = self.tracker.writes(|| core::iter::once(extent)) == Arrival::Goes;
        self.is_wanted |= !goes || self.tracker.log().is_some_and(IntentLog::has_news);
        goes
    }

    /// True if records may leave up to this one, which ends an epoch.
    pub fn may_leave(&mut self, end: Seq) -> bool {
        let may = self.tracker.may_leave(end);
        self.is_wanted |= !may;
        may
    }

    /// When the loop has to look at it.
    pub fn due(&self) -> Option<Tick> {
        let is_idle = matches!(self.stage, Stage::None);
        is_idle.then_some(if self.is_wanted { Tick(0) } else { self.due })
    }

    fn log(&mut self, act: impl FnOnce(&mut IntentLog)) {
        if let Some(log) = self.tracker.log_mut() {
            act(log);
        }
    }

    /// Takes marks off regions that are not written to and of which the sink has all.
    fn pass(&mut self, run: &Run, now: Tick) {
        let regions = *self.marks.regions();
        for region in 0..regions.count() {
            let Some(extent) = regions.extent(region) else { continue };
            // The log is past the session.
            if extent.overlaps(&self.area) {
                continue;
            }
            let Some(unmarked) = self.tracker.unmark(region, &self.marks) else { continue };
            let blocks = self.geometry.blocks_of(&extent);
            let keeps = blocks.is_none_or(|blocks| run.session.lacks(blocks));
            self.log(|log| {
                if keeps {
                    log.remark(unmarked);
                } else {
                    log.leave_unmarked(unmarked);
                }
            });
        }
        if let Some(log) = self.tracker.log_mut() {
            log.passed(now, &self.marks);
            log.publish(&self.marks);
        }
    }

    /// Makes a live slot; `None` if it is not to be written now.
    fn seal(&mut self, run: &Run, read: Option<StampRead>) -> Option<Buffer> {
        let ends = run.session.ends();
        let status = run.session.status();
        let saved = SavedState {
            session: SESSION,
            geometry: self.geometry,
            acknowledged: Seq::new(status.acknowledged_seq),
            captured: Seq::new(status.last_seq).max(ends.last()),
            ends,
            stamp: self.stamp,
            saved_at: FileTime::new(run.session.host().clock()),
        };
        let mut buffer = self.slot.take()?;
        let slot = buffer.first_chunk_mut::<SLOT_LEN>()?;
        let hash = self.tracker.begin_live(&ends, read, slot.get_mut(MAP_AT..STAMP_AT)?);
        if let Some(log) = self.tracker.log() {
            log.publish(&self.marks);
        }
        let Some(hash) = hash else {
            self.slot = Some(buffer);
            return None;
        };
        let generation = self.place.next().generation;
        state_area::seal_live(slot, AREA, generation, (&saved, hash), None);
        Some(buffer)
    }

    /// The slot is on the disk.
    fn written(&mut self, now: Tick) {
        self.place = self.place.next();
        if let Some(log) = self.tracker.log_mut() {
            log.written(now);
            log.publish(&self.marks);
        }
    }

    /// Regions that have a mark.
    fn marked(&self) -> u64 {
        let map = self.slot.as_ref().and_then(|slot| slot.get(MAP_AT..STAMP_AT));
        map.unwrap_or_default().iter().map(|byte| u64::from(byte.count_ones())).sum()
    }
}

/// A file with an area that says nothing.
fn make_area(spec: &LogSpec) -> Result<Arc<std::fs::File>> {
    let mut area = vec![0; AREA_LEN];
    if let Some(area) = area.first_chunk_mut() {
        state_area::blank_area(area, AREA);
    }
    std::fs::write(&spec.area, area).on("write", &spec.area)?;
    let file = crate::disk::open(&spec.area)?;
    file.sync_all().on("write", &spec.area)?;
    Ok(Arc::new(file))
}

impl<const ENGINE: bool> Loop<ENGINE> {
    /// Issues a write of the session, or has it wait for the log.
    pub(super) fn send_down(&mut self, run: &Run, key: usize, payload: Option<MemorySpan>) {
        if let Some(log) = &mut self.log
            && let Some(header) = self.requests.get(key).map(|it| &it.header)
            && let Some(extent) = Extent::new(header.offset, u64::from(header.len))
            && !log.goes(extent)
        {
            log.parked.push((key, payload));
            return Self::count(&self.shared.statistics.log.waits, 1);
        }
        match payload {
            Some(span) => self.issue_from(key, Memory::Payload(Arc::clone(&run.queue), span)),
            None => self.issue(key),
        }
    }

    /// Does what is to be done for the log, until something is under way.
    pub(super) fn keep_log(&mut self, run: &Run) {
        let now = run.session.host().now();
        while let Some(log) = &mut self.log
            && log.due().is_some_and(|due| due <= now)
        {
            log.is_wanted = false;
            match log.tracker.log_mut().map(|log| log.todo(now)) {
                Some(Todo::Nothing(until)) => log.due = until,
                Some(Todo::Pass) => {
                    log.pass(run, now);
                    log.is_wanted = true;
                }
                Some(Todo::Slot) => self.begin_slot(run, None),
                Some(Todo::Stamp) => {
                    if log.tracker.log().is_some_and(IntentLog::is_new) {
                        log.pass(run, now);
                    }
                    self.begin_stamp();
                }
                Some(Todo::Void | Todo::End) | None => self.lose_log(run, "it was written over"),
            }
        }
    }

    fn begin_stamp(&mut self) {
        let Some(log) = &mut self.log else { return };
        let Some(buffer) = log.slot.take() else { return };
        let writes = log.tracker.log().map_or(0, IntentLog::stamp_writes);
        log.stage = Stage::Stamp(writes);
        let (target, range) = (Target::File(self.shared.disk.file()), 0..STAMP);
        self.ring.begin(target, &Verb::Read(0), Memory::Buffer(buffer), range, Tag::Log);
    }

    fn begin_slot(&mut self, run: &Run, read: Option<StampRead>) {
        let Some(log) = &mut self.log else { return };
        if log.tracker.log().is_some_and(IntentLog::flushes_first) {
            log.stage = Stage::FlushFirst(read);
            let target = Target::File(self.shared.disk.file());
            return self.ring.begin(target, &Verb::Sync, Memory::None, 0..0, Tag::Log);
        }
        self.write_slot(run, read);
    }

    fn write_slot(&mut self, run: &Run, read: Option<StampRead>) {
        let Some(log) = &mut self.log else { return };
        let Some(slot) = log.seal(run, read) else {
            let now = run.session.host().now();
            log.log(|log| log.put_off(now, Timing::DRIVER.settle));
            (log.stage, log.is_wanted) = (Stage::None, true);
            return;
        };
        log.stage = Stage::Write;
        let offset = log.place.next().index as u64 * SLOT_LEN as u64;
        let (target, memory) = (Target::File(Arc::clone(&log.file)), Memory::Buffer(slot));
        self.ring.begin(target, &Verb::Write(offset, false), memory, 0..LOG_LEN, Tag::Log);
    }

    /// An operation for the log is complete.
    pub(super) fn log_done(
        &mut self,
        memory: Memory,
        range: &Range<usize>,
        result: io::Result<usize>,
    ) {
        let (Some(log), Some(run)) = (&mut self.log, self.run.clone()) else { return };
        let stage = std::mem::replace(&mut log.stage, Stage::None);
        let slot = if let Memory::Buffer(slot) = memory { Some(slot) } else { log.slot.take() };
        match result {
            Ok(moved) if moved >= range.len() => {}
            Ok(_) => return self.lose_log(&run, "a part of it was not written"),
            Err(error) => return self.lose_log(&run, &error.to_string()),
        }
        match stage {
            Stage::None => log.slot = slot,
            Stage::Stamp(writes) => {
                let mut hash = StampHash::default();
                hash.update(slot.as_ref().and_then(|it| it.get(range.clone())).unwrap_or_default());
                log.slot = slot;
                self.begin_slot(&run, Some(StampRead { hash: hash.finish(), writes }));
            }
            Stage::FlushFirst(read) => {
                log.slot = slot;
                self.write_slot(&run, read);
            }
            Stage::Write => {
                (log.slot, log.stage) = (slot, Stage::Flush);
                let target = Target::File(Arc::clone(&log.file));
                self.ring.begin(target, &Verb::Sync, Memory::None, 0..0, Tag::Log);
            }
            Stage::Flush => {
                log.slot = slot;
                log.written(run.session.host().now());
                log.is_wanted = true;
                let it = &self.shared.statistics.log;
                it.marked.store(log.marked(), Relaxed);
                it.is_live.store(true, Relaxed);
                Self::count(&it.slots, 1);
                self.release_parked(&run);
                // A record that ends an epoch may have waited.
                self.shared.alarm.raise(Worker::Drain as u32);
            }
        }
    }

    /// Submits the writes again that waited.
    fn release_parked(&mut self, run: &Run) {
        let Some(log) = &mut self.log else { return };
        for (key, payload) in std::mem::take(&mut log.parked) {
            self.send_down(run, key, payload);
        }
    }

    /// The log has failed: what waited goes, and the session counts as failed.
    fn lose_log(&mut self, run: &Run, reason: &str) {
        eprintln!("error: the write-intent log has ended: {reason}");
        run.progress.fail();
        let parked = self.log.take().map(|log| log.parked).unwrap_or_default();
        for (key, payload) in parked {
            self.send_down(run, key, payload);
        }
    }
}

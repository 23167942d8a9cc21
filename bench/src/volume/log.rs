//! The write-intent log of a session's volume (rule RESUME, rules.md#resume), kept as the driver
//! keeps it: `driver/src/logging.rs`, `driver/src/keeper.rs`.
//!
//! What is to be done, and which writes wait for it, the driver's own code decides ([`Tracker`],
//! [`Marks`]); the loop writes and flushes the slots (`keep_log`). They go to a file of their own
//! beside the volume's, so that the stream can be compared with the volume; the volume's last
//! 64 KiB stand for the area, which no client may write to, and its first sector for the stamp.

use std::sync::Arc;

use snapless_driver_logic::intent_log::{IntentLog, SlotPlace, StampRead, Timing};
use snapless_driver_logic::tracker::{Arrival, Tracker, new_log};
use snapless_engine::{Host, MemorySpan, Tick};
use snapless_tracking::marks::Marks;
use snapless_types::{Extent, Geometry, Regions, Seq};
use snapless_wire::id::{AreaId, Extents, FileTime, SessionId};
use snapless_wire::state_area::{
    self, AREA_LEN, MAP_AT, SLOT_LEN, STAMP_AT, STAMP_RANGES_MAX, SavedState,
};

use crate::disk::Disk;
use crate::error::{Error, IoContext, Result};
use crate::memory::Buffer;
use crate::run::Run;
use crate::spec::LogSpec;

const AREA: AreaId = AreaId([1; 16]);
const SESSION: SessionId = SessionId([1; 16]);
/// Bytes of the stamp.
pub(super) const STAMP: usize = 4096;

/// A volume's log.
pub struct Logging {
    pub(super) tracker: Tracker,
    marks: Marks,
    geometry: Geometry,
    area: Extent,
    stamp: Extents<STAMP_RANGES_MAX>,
    pub(super) file: Arc<std::fs::File>,
    pub(super) place: SlotPlace,
    /// A slot; `None` while the ring has it.
    pub(super) slot: Option<Buffer>,
    pub(super) stage: Stage,
    /// Writes that wait, and where in the queue their payloads are.
    pub(super) parked: Vec<(usize, Option<MemorySpan>)>,
    /// There may be something to do.
    pub(super) is_wanted: bool,
    /// When there is, if it is not wanted before.
    pub(super) due: Tick,
}

/// The operation of the ring that is under way for the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
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
    pub(super) fn goes(&mut self, extent: Extent) -> bool {
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

    /// Acts on the log, if it has not ended.
    pub(super) fn log(&mut self, act: impl FnOnce(&mut IntentLog)) {
        if let Some(log) = self.tracker.log_mut() {
            act(log);
        }
    }

    /// Takes marks off regions that are not written to and of which the sink has all.
    pub(super) fn pass(&mut self, run: &Run, now: Tick) {
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
    pub(super) fn seal(&mut self, run: &Run, read: Option<StampRead>) -> Option<Buffer> {
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
    pub(super) fn written(&mut self, now: Tick) {
        self.place = self.place.next();
        if let Some(log) = self.tracker.log_mut() {
            log.written(now);
            log.publish(&self.marks);
        }
    }

    /// Regions that have a mark.
    pub(super) fn marked(&self) -> u64 {
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

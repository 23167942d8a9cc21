//! What the driver's thread does for the write-intent log, one thing at a time.

use snapless_driver_logic::intent_log::{IntentLog, SlotPlace, StampRead, Timing, Todo};
use snapless_driver_logic::tracker::{Mode, new_log};
use snapless_types::{Regions, Tick};
use snapless_wire::state_area::{self, MAP_AT, STAMP_AT};

use super::saved::{AREA, LogStage, STAMP, Saved, SlotWrite, stamp_bytes};
use super::saving::hash_of;
use super::server::extent;
use super::{Flight, World};
use crate::host::MS;

/// Times that a run of a few seconds has room for.
const TIMING: Timing = Timing { pass: 20 * MS, look: 5 * MS, settle: 2 * MS, stamp: 4 * MS };

impl World {
    /// The next thing; or power fails while a slot is on its way.
    pub(super) fn log_step(&mut self) {
        if matches!(self.saved.log, LogStage::Writing(_)) && self.rng.once_in(12) {
            self.restart();
            return;
        }
        let now = Tick(self.host.ticks());
        if self.saved.tracker.log().is_none() {
            self.begin_log(now);
            return;
        }
        match std::mem::take(&mut self.saved.log) {
            LogStage::Idle => self.begin_step(now),
            LogStage::Passing { region, unmarked: Some(unmarked), then_stamp } => {
                let extent = Regions::of(&self.geometry).extent(region);
                let blocks = extent.and_then(|extent| self.geometry.blocks_of(&extent));
                let lacks = blocks.is_none_or(|blocks| self.session.lacks(blocks));
                if let Some(log) = self.saved.tracker.log_mut() {
                    if lacks { log.remark(unmarked) } else { log.leave_unmarked(unmarked) }
                }
                let region = region + 1;
                self.saved.log = LogStage::Passing { region, unmarked: None, then_stamp };
            }
            LogStage::Passing { region, unmarked: None, then_stamp } => {
                if region < Regions::of(&self.geometry).count() {
                    let unmarked = self.saved.tracker.unmark(region, &self.saved.marks);
                    let region = region + u64::from(unmarked.is_none());
                    self.saved.log = LogStage::Passing { region, unmarked, then_stamp };
                    return;
                }
                let marks = &self.saved.marks;
                if let Some(log) = self.saved.tracker.log_mut() {
                    log.passed(now, marks);
                    log.publish(marks);
                }
                if then_stamp {
                    self.read_stamp(now);
                }
            }
            LogStage::Read(read) => self.write_live(now, Some(read)),
            LogStage::Writing(write) => self.end_write(now, &write),
        }
    }

    /// A log begins: nothing is trusted on the disk.
    fn begin_log(&mut self, now: Tick) {
        if self.saved.tracker.mode() != Mode::None || self.is_going_down || !self.rng.once_in(2) {
            return;
        }
        for _ in 0..2 {
            let used = self.saved.used(self.saved.place().next());
            self.saved.put(&used, || true);
        }
        let regions = Regions::of(&self.geometry);
        let (area, stamp) = (Saved::<Flight>::area(), Saved::<Flight>::stamp());
        let log = new_log(regions, &area, &stamp, (TIMING, now)).expect("there is memory");
        log[0].publish(&self.saved.marks);
        self.saved.log = LogStage::Idle;
        (self.saved.failures, self.saved.is_distrusted) = (0, false);
        assert!(self.saved.tracker.begin_log(log, area));
    }

    fn begin_step(&mut self, now: Tick) {
        let is_placed = self.session.is_placed();
        let Some(log) = self.saved.tracker.log_mut() else { return };
        match log.todo(now) {
            Todo::Nothing(_) => {}
            Todo::Void => {
                log.begin_void();
                let place = self.saved.place();
                // The slot that counts goes too, if the other one cannot be written.
                let place = if self.saved.failures == 1 { place.again() } else { place.next() };
                let write = self.saved.make(place, |slot| {
                    state_area::seal_void(slot, AREA, place.generation);
                });
                self.saved.log = LogStage::Writing(write);
            }
            Todo::Stamp if !is_placed => log_put_off(self, now, 10 * MS),
            Todo::Stamp if log.is_new() => {
                self.saved.log = LogStage::Passing { region: 0, unmarked: None, then_stamp: true };
            }
            Todo::Stamp => self.read_stamp(now),
            Todo::Pass => {
                self.saved.log = LogStage::Passing { region: 0, unmarked: None, then_stamp: false };
            }
            Todo::Slot => self.write_live(now, None),
            Todo::End => self.end_log(),
        }
    }

    fn read_stamp(&mut self, now: Tick) {
        let Some(log) = self.saved.tracker.log() else { return };
        let writes = log.stamp_writes();
        let is_doubtful = self.saved.tracker.sleep().is_doubtful();
        if is_doubtful || self.session.may_write(&extent(STAMP, 1)) {
            return log_put_off(self, now, TIMING.settle);
        }
        let bytes = stamp_bytes(self.disk[STAMP]);
        self.saved.tracker.copy_stamp(writes, &bytes);
        self.saved.log = LogStage::Read(StampRead { hash: hash_of(&self.disk), writes });
    }

    fn write_live(&mut self, now: Tick, read: Option<StampRead>) {
        let Some(state) = self.state() else {
            if let Some(log) = self.saved.tracker.log_mut() {
                log.lose();
            }
            return;
        };
        if self.saved.tracker.log().is_some_and(IntentLog::flushes_first) {
            self.make_disk_durable();
        }
        let mut map = [0; STAMP_AT - MAP_AT];
        let Some(hash) = self.saved.tracker.begin_live(&state.ends, read, &mut map) else {
            return log_put_off(self, now, TIMING.settle);
        };
        let place: SlotPlace = self.saved.place().next();
        let write = self.saved.make(place, |slot| {
            slot[MAP_AT..STAMP_AT].copy_from_slice(&map);
            state_area::seal_live(slot, AREA, place.generation, (&state, hash), None);
        });
        self.played.slots += 1;
        if let Some(log) = self.saved.tracker.log() {
            log.publish(&self.saved.marks);
        }
        self.saved.log = LogStage::Writing(write);
    }

    /// The disk has the slot, or fails.
    fn end_write(&mut self, now: Tick, write: &SlotWrite) {
        if self.rng.once_in(60) || self.saved.failures > 0 && self.rng.once_in(2) {
            self.tear(write);
            if let Some(log) = self.saved.tracker.log_mut() {
                let had_failed = log.has_failed();
                log.failed();
                self.saved.failures += u32::from(had_failed);
            }
            if self.saved.failures == 2 {
                // The service gets to know.
                self.saved.is_distrusted = true;
                self.end_log();
            }
            return;
        }
        self.saved.put(write, || true);
        self.make_disk_durable();
        let marks = &self.saved.marks;
        if let Some(log) = self.saved.tracker.log_mut() {
            log.written(now);
            log.publish(marks);
        }
        self.release();
    }

    /// The session is stopped: the log becomes void.
    pub(super) fn stop_log(&mut self) {
        if self.saved.tracker.log().is_none() {
            return;
        }
        self.saved.log = LogStage::Idle;
        for _ in 0..2 {
            let used = self.saved.used(self.saved.place().next());
            self.saved.put(&used, || true);
        }
        self.end_log();
    }

    fn end_log(&mut self) {
        self.saved.tracker.end_log();
        self.release();
    }
}

fn log_put_off(world: &mut World, now: Tick, ticks: u64) {
    if let Some(log) = world.saved.tracker.log_mut() {
        log.put_off(now, ticks);
    }
}

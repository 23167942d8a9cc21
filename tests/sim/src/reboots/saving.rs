//! How a state is saved, step by step while writes go on, made void if a write comes too late, and
//! used when the machine comes up.

use snapless_driver_logic::intent_log::is_stamped;
use snapless_driver_logic::tracker::{Arrival, Known, Mode, Next, Taken, Tracker};
use snapless_engine::RegionMap;
use snapless_types::{End, Ends, GapReason, Regions, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::state_area::{self, MAP_AT, STAMP_AT, SavedState, StampHash};

use super::saved::{AREA, LogStage, Saved, SlotWrite, Stage, put_stamp, stamp_of, write_bytes};
use super::server::extent;
use super::{Flight, Played, World};

/// What a state says of the records.
struct Records {
    acknowledged: Seq,
    captured: Seq,
    ends: Ends,
}

impl World {
    /// A write goes to the disk, or waits for what the disk has of the state.
    pub(super) fn issue(&mut self, flight: Flight) {
        let write = self.writes[flight.write.0 as usize];
        let change = extent(write.first, write.count);
        // As `issue_original` of the driver: the engine knows of the write.
        let is_live = self.saved.tracker.mode() == Mode::Live;
        if is_live && self.saved.marks.pass(&change) {
            self.flights.push(flight);
            return;
        }
        // What the disk transfers from the queue is known.
        let bytes = flight.memory.map(|_| write_bytes(write.content, write.count));
        match self.saved.tracker.writes_bytes(change, bytes.as_deref()) {
            Arrival::Goes => self.flights.push(flight),
            Arrival::Waits(next) => {
                self.played.waited += u64::from(next == Next::Log);
                self.saved.waiting.push(flight);
                self.saved.is_voiding |= next == Next::Void;
            }
        }
    }

    /// What waited is looked at again.
    pub(super) fn release(&mut self) {
        for flight in std::mem::take(&mut self.saved.waiting) {
            self.issue(flight);
        }
    }

    /// The next step of a save, or of what makes it void.
    pub(super) fn save(&mut self) {
        if self.saved.is_voiding {
            let place = self.saved.place().next();
            let used = self.saved.used(place);
            self.saved.put(&used, || true);
            self.go_on();
            return;
        }
        match std::mem::take(&mut self.saved.stage) {
            Stage::None => {
                // The log's slot and the sealed state are not written at the same time.
                if matches!(self.saved.log, LogStage::Idle) {
                    self.begin_save();
                }
            }
            Stage::Looking { ends, region } => {
                let regions = Regions::of(&self.geometry);
                if let Some(extent) = regions.extent(region) {
                    let blocks = self.geometry.blocks_of(&extent);
                    if blocks.is_some_and(|blocks| self.session.lacks(blocks)) {
                        self.saved.tracker.note(&extent);
                    }
                    self.saved.stage = Stage::Looking { ends, region: region + 1 };
                } else if matches!(self.saved.log, LogStage::Writing(_)) {
                    self.saved.stage = Stage::Looking { ends, region };
                } else {
                    self.seal(&ends);
                }
            }
            Stage::Writing(write) => {
                self.saved.put(&write, || true);
                self.make_disk_durable();
                self.saved.stage = Stage::Done;
                self.saved.is_voiding = self.saved.tracker.written() == Next::Void;
                if !self.saved.is_voiding {
                    self.release();
                }
            }
            Stage::Done => self.saved.stage = Stage::Done,
        }
    }

    fn begin_save(&mut self) {
        let map = RegionMap::new(Regions::of(&self.geometry)).expect("there is memory");
        if !self.saved.tracker.begin_save(map, Saved::<Flight>::area()) {
            return;
        }
        match self.records() {
            Some(Records { ends, .. }) => self.saved.stage = Stage::Looking { ends, region: 0 },
            None => self.saved.tracker.forget_known(),
        }
    }

    fn seal(&mut self, looked_at: &Ends) {
        // What the server has is not to be lost from the disk's cache.
        self.make_disk_durable();
        let place = self.saved.place().next();
        let Some(state) = self.state() else {
            self.saved.tracker.forget_known();
            return;
        };
        let state = SavedState { ends: looked_at.from(state.acknowledged), ..state };
        let tracker = &mut self.saved.tracker;
        let mut map = [0; STAMP_AT - MAP_AT];
        if !tracker.seal(&mut map) {
            tracker.forget_known();
            return;
        }
        let disk = &self.disk;
        let write = self.saved.make(place, |slot| {
            put_stamp(slot, disk);
            slot[MAP_AT..STAMP_AT].copy_from_slice(&map);
            state_area::seal_saved(slot, AREA, place.generation, &state, None);
        });
        self.saved.stage = Stage::Writing(write);
    }

    /// What a slot says of the session; `None` of one of which it cannot be known what a server
    /// lacks.
    pub(super) fn state(&self) -> Option<SavedState> {
        let Records { acknowledged, captured, ends } = self.records()?;
        Some(SavedState {
            session: self.saved.session(),
            geometry: self.geometry,
            acknowledged,
            captured,
            ends,
            stamp: Saved::<Flight>::stamp(),
            saved_at: FileTime::new(1),
        })
    }

    /// As `records` of the driver.
    fn records(&self) -> Option<Records> {
        let status = self.session.status();
        if status.resized {
            return None;
        }
        if !status.placed {
            let Taken { acknowledged, captured, ends, .. } = self.saved.taken?;
            return Some(Records { acknowledged, captured, ends });
        }
        let (acknowledged, captured) = (status.acknowledged_seq, status.last_seq);
        let (acknowledged, captured) = (Seq::new(acknowledged), Seq::new(captured));
        Some(Records { acknowledged, captured, ends: self.session.ends() })
    }

    /// The state is void: what waited goes.
    fn go_on(&mut self) {
        self.saved.is_voiding = false;
        self.saved.stage = Stage::None;
        self.saved.tracker.voided();
        self.release();
    }

    /// The machine goes down: what was on its way to the area is there, or not, or some of it.
    pub(super) fn lose_power(&mut self) {
        let mut under_way = Vec::new();
        if self.saved.is_voiding {
            under_way.push(self.saved.used(self.saved.place().next()));
        }
        if let Stage::Writing(write) = std::mem::take(&mut self.saved.stage) {
            under_way.push(write);
        }
        if let LogStage::Writing(write) = std::mem::take(&mut self.saved.log) {
            under_way.push(write);
        }
        for write in under_way {
            self.tear(&write);
        }
        (self.saved.is_voiding, self.saved.taken) = (false, None);
        self.saved.waiting.clear();
        self.saved.tracker = Tracker::UNKNOWN;
    }

    /// All, nothing, or some sectors of a write get to the disk.
    pub(super) fn tear(&mut self, write: &SlotWrite) {
        let whole = self.rng.below(3);
        let rng = &mut self.rng;
        self.saved.put(write, || match whole {
            0 => true,
            1 => false,
            _ => rng.once_in(2),
        });
    }

    /// The machine comes up and is written to before the session is there, which continues for this
    /// reason.
    pub(super) fn come_up(&mut self, reason: GapReason) {
        loop {
            let is_asked = self.saved.tracker.changes();
            assert_eq!(is_asked, Arrival::Waits(Next::Load));
            let known = self.known_state();
            if !self.use_up() {
                // Power fails again before anything was written to.
                continue;
            }
            self.saved.tracker.loaded(known, Some(Saved::<Flight>::area()));
            self.write_without_session();
            if !self.rng.once_in(4) || !self.save_again() {
                break;
            }
        }
        // A session whose log is not to be trusted is not continued for that reason.
        if reason == GapReason::Restarted && !std::mem::take(&mut self.saved.is_distrusted) {
            let session = self.saved.session();
            self.saved.taken = self.saved.tracker.claim(session, &self.geometry);
        } else {
            self.saved.tracker.forget_known();
        }
        self.write_without_session();
    }

    /// What the slot that counts says, if the volume is as it was.
    fn known_state(&self) -> Option<Known> {
        let slot = self.saved.newest()?;
        let (saved, stamp) = (slot.saved()?, stamp_of(&self.disk));
        let is_stamped = match slot.stamp_hash() {
            Some(hash) => is_stamped(hash, hash_of(&self.disk)),
            None => slot.stamp()[..4] == stamp,
        };
        let mut map = RegionMap::new(Regions::of(&saved.geometry)).expect("there is memory");
        map.mark(slot.map());
        is_stamped.then_some(Known { saved, map, is_log: slot.stamp_hash().is_some() })
    }

    /// Makes both slots void, one after the other; false if power fails meanwhile.
    fn use_up(&mut self) -> bool {
        for _ in 0..2 {
            let used = self.saved.used(self.saved.place().next());
            if self.rng.once_in(16) {
                self.tear(&used);
                return false;
            }
            self.saved.put(&used, || true);
        }
        true
    }

    /// The machine goes down again before a session is there, and comes up.
    fn save_again(&mut self) -> bool {
        let Some(state) = self.saved.tracker.begin_save_again() else { return false };
        self.write_without_session();
        self.make_disk_durable();
        let mut map = [0; STAMP_AT - MAP_AT];
        assert!(self.saved.tracker.seal(&mut map));
        let place = self.saved.place().next();
        let disk = &self.disk;
        let write = self.saved.make(place, |slot| {
            put_stamp(slot, disk);
            slot[MAP_AT..STAMP_AT].copy_from_slice(&map);
            state_area::seal_saved(slot, AREA, place.generation, &state, None);
        });
        self.saved.put(&write, || true);
        assert_eq!(self.saved.tracker.written(), Next::Nothing);
        self.saved.tracker = Tracker::UNKNOWN;
        true
    }

    fn write_without_session(&mut self) {
        for _ in 0..self.rng.below(3) {
            let first = self.rng.index(self.sectors);
            let id = self.content(first, 1);
            let write = self.writes[id.0 as usize];
            let arrival = self.saved.tracker.writes(|| [extent(first, 1)].into_iter());
            assert_eq!(arrival, Arrival::Goes);
            self.disk[first] = write.content;
        }
    }

    /// The session has every change from now on.
    pub(super) fn take(&mut self) {
        if let Some(Known { map, .. }) = self.saved.tracker.take() {
            self.session.know(&map);
        }
        // That of the session before may be saved already.
        let mode = self.saved.tracker.mode();
        let is_over = !matches!(mode, Mode::Unknown | Mode::Armed | Mode::Live);
        assert!(is_over, "nothing is noted for another session: {mode:?}");
    }

    /// As `drain_from` of the driver: true if what the session has taken is nothing for a server
    /// that has this record as its last.
    pub(super) fn is_taken_in_vain(&mut self, seq: Seq) -> Result<bool, String> {
        let Some(taken) = self.saved.taken.take() else { return Ok(false) };
        let holds = taken.holds(&End { seq, made: self.server.made() });
        let Played { rolled_back, exchanged, put_back, .. } = self.played;
        if taken.is_log && !holds && rolled_back + exchanged + put_back == 0 {
            return Err(format!("RESUME: the log does not list {seq}: {taken:?}"));
        }
        let spared = if holds { self.geometry.length() - taken.bytes } else { 0 };
        if taken.is_log {
            self.played.logged += u64::from(holds);
            self.played.log_spared += spared;
        } else {
            self.played.saved += u64::from(holds);
            self.played.spared += spared;
        }
        Ok(!holds)
    }

    /// A new session begins.
    pub(super) fn forget_saved(&mut self) {
        self.saved.session = self.saved.session.wrapping_add(1);
        self.saved.tracker.forget_known();
        self.saved.taken = None;
    }
}

/// The hash of the stamp on this disk.
pub(super) fn hash_of(disk: &[u32]) -> u64 {
    let mut hash = StampHash::default();
    hash.update(&stamp_of(disk));
    hash.finish()
}

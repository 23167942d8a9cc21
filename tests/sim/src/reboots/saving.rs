//! How a state is saved, step by step while writes go on, made void if a write comes too late, and
//! used when the machine comes up.

use snapless_driver_logic::tracker::{Arrival, Known, Mode, Next, Tracker, last_records};
use snapless_engine::RegionMap;
use snapless_types::{GapReason, Regions, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::state_area::{MAP_LEN, SavedState};

use super::saved::{Saved, Slot, Stage};
use super::server::{SECTORS, extent};
use super::{Flight, World};

impl World {
    /// A write goes to the disk, or waits until the state there is void.
    pub(super) fn issue(&mut self, flight: Flight) {
        let write = self.writes[flight.write.0 as usize];
        let change = extent(write.first, write.count);
        match self.saved.tracker.writes(|| [change].into_iter()) {
            Arrival::Goes => self.flights.push(flight),
            Arrival::Waits(next) => {
                self.saved.waiting.push(flight);
                self.saved.is_voiding |= next == Next::Void;
            }
        }
    }

    /// The next step of a save, or of what makes it void.
    pub(super) fn save(&mut self) {
        if self.saved.is_voiding {
            self.saved.disk = None;
            self.go_on();
            return;
        }
        let saved = &mut self.saved;
        match std::mem::take(&mut saved.stage) {
            Stage::None => {
                let status = self.session.status();
                let map = RegionMap::new(Regions::of(&self.geometry)).expect("there is memory");
                if status.placed && saved.tracker.begin_save(map, Saved::<Flight>::area()) {
                    let captured = Seq::new(self.session.status().last_seq);
                    saved.stage = Stage::Looking { captured, region: 0 };
                }
            }
            Stage::Looking { captured, region } => {
                let regions = Regions::of(&self.geometry);
                if let Some(extent) = regions.extent(region) {
                    let blocks = self.geometry.blocks_of(&extent);
                    if blocks.is_some_and(|blocks| self.session.lacks(blocks)) {
                        saved.tracker.note(&extent);
                    }
                    saved.stage = Stage::Looking { captured, region: region + 1 };
                } else {
                    self.seal(captured);
                }
            }
            Stage::Writing(slot) => {
                saved.disk = Some(slot);
                saved.stage = Stage::Done;
                saved.is_voiding = saved.tracker.written() == Next::Void;
            }
            Stage::Done => saved.stage = Stage::Done,
        }
    }

    fn seal(&mut self, captured: Seq) {
        let acknowledged = Seq::new(self.session.status().acknowledged_seq);
        let saved = &mut self.saved;
        let mut map = vec![0; MAP_LEN];
        let last = last_records(acknowledged, captured);
        if last.is_none() || !saved.tracker.seal(&mut map) {
            saved.tracker.forget_known();
            return;
        }
        let state = SavedState {
            session: saved.session(),
            geometry: self.geometry,
            acknowledged,
            captured,
            stamp: Saved::<Flight>::stamp(),
            saved_at: FileTime::new(1),
        };
        saved.stage = Stage::Writing(Slot { state, map });
    }

    /// The state is void: what waited goes.
    fn go_on(&mut self) {
        self.saved.is_voiding = false;
        self.saved.stage = Stage::None;
        self.saved.tracker.voided();
        for flight in std::mem::take(&mut self.saved.waiting) {
            self.issue(flight);
        }
    }

    /// The machine goes down: what was on its way to the area is there, or not.
    pub(super) fn lose_power(&mut self) {
        if self.saved.is_voiding && self.rng.once_in(2) {
            self.saved.disk = None;
        }
        if let Stage::Writing(slot) = std::mem::take(&mut self.saved.stage)
            && self.rng.once_in(2)
        {
            self.saved.disk = Some(slot);
        }
        (self.saved.is_voiding, self.saved.taken) = (false, None);
        self.saved.waiting.clear();
        self.saved.tracker = Tracker::UNKNOWN;
    }

    /// The machine comes up and is written to before the session is there, which continues for this
    /// reason; `is_foreign`: another system has written to the volume, and the stamp shows it.
    pub(super) fn come_up(&mut self, reason: GapReason, is_foreign: bool) {
        loop {
            let is_asked = self.saved.tracker.changes();
            assert_eq!(is_asked, Arrival::Waits(Next::Load));
            let slot = self.saved.disk.take().filter(|_| !is_foreign);
            let known = slot.map(|slot| {
                let regions = Regions::of(&slot.state.geometry);
                let mut map = RegionMap::new(regions).expect("there is memory");
                map.mark(&slot.map);
                Known { saved: slot.state, map }
            });
            self.saved.tracker.loaded(known, Some(Saved::<Flight>::area()));
            self.write_without_session();
            if !self.rng.once_in(4) || !self.save_again() {
                break;
            }
        }
        if reason == GapReason::Restarted {
            let session = self.saved.session();
            self.saved.taken = self.saved.tracker.claim(session, &self.geometry);
        } else {
            self.saved.tracker.forget_known();
        }
        self.write_without_session();
    }

    /// The machine goes down again before a session is there, and comes up.
    fn save_again(&mut self) -> bool {
        let Some(state) = self.saved.tracker.begin_save_again() else { return false };
        self.write_without_session();
        let mut map = vec![0; MAP_LEN];
        assert!(self.saved.tracker.seal(&mut map));
        assert_eq!(self.saved.tracker.written(), Next::Nothing);
        self.saved.disk = Some(Slot { state, map });
        self.saved.tracker = Tracker::UNKNOWN;
        true
    }

    fn write_without_session(&mut self) {
        for _ in 0..self.rng.below(3) {
            let first = self.rng.index(SECTORS);
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
        assert_eq!(self.saved.tracker.mode(), Mode::None, "nothing is noted besides");
    }

    /// As `judge` of the service: true if what the session has taken is nothing for a server that
    /// has this record as its last.
    pub(super) fn is_taken_in_vain(&mut self, last: Seq) -> bool {
        let Some(taken) = self.saved.taken.take() else { return false };
        let holds = last == taken.acknowledged;
        self.played.saved += u64::from(holds);
        self.played.spared += if holds { self.geometry.length() - taken.bytes } else { 0 };
        !holds
    }

    /// A new session begins.
    pub(super) fn forget_saved(&mut self) {
        self.saved.session = self.saved.session.wrapping_add(1);
        self.saved.tracker.forget_known();
        self.saved.taken = None;
    }
}

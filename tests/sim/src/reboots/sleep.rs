//! The machine sleeps and wakes up, with all that its driver has in memory; another system may
//! write to the disk meanwhile. Between the notices of sleep everything goes on, as shortly before
//! the machine stops and shortly after it goes on.

use snapless_driver_logic::sleep::Sleep;
use snapless_types::Tick;

use super::World;
use super::saved::{Nap, STAMP, stamp_bytes};
use super::server::SECTORS;

impl World {
    fn now(&self) -> Tick {
        Tick(self.host.ticks())
    }

    /// The system is about to sleep, or to shut down.
    pub(super) fn fall_asleep(&mut self) {
        let now = self.now();
        self.saved.tracker.falls_asleep(now);
    }

    /// The machine is about to sleep.
    pub(super) fn begin_nap(&mut self) {
        if self.nap == Nap::None && !self.is_going_down {
            self.nap = Nap::Falling;
            self.fall_asleep();
        }
    }

    /// The next step of a sleep; false if there is none.
    pub(super) fn nap_step(&mut self) -> bool {
        if self.saved.tracker.is_to_be_looked_at(self.now()) && self.look() {
            return true;
        }
        match self.nap {
            Nap::None => return false,
            Nap::Falling => {
                self.played.slept += 1;
                // A write across the sleep to all that the other system changes of the stamp would
                // hide it (docs/resume.md): here that is one sector, in an NTFS volume several.
                if self.rng.once_in(2) && !self.is_stamp_written() {
                    self.write_while_asleep();
                }
                self.nap = Nap::Waking;
            }
            Nap::Waking => {
                self.saved.tracker.wakes(true);
                self.nap = Nap::None;
            }
        }
        true
    }

    /// Another system mounts the volume.
    fn write_while_asleep(&mut self) {
        for _ in 0..self.rng.below(4) {
            let sector = self.rng.index(SECTORS);
            let id = self.content(sector, 1);
            self.disk[sector] = self.writes[id.0 as usize].content;
        }
        let id = self.content(STAMP, 1);
        self.disk[STAMP] = self.writes[id.0 as usize].content;
        self.make_disk_durable();
    }

    /// As the driver's thread looks at the volume; false if it has to wait for a write to the
    /// stamp.
    fn look(&mut self) -> bool {
        let (then, now) = (self.saved.tracker.sleep(), self.now());
        let same = self.saved.tracker.is_stamp(&stamp_bytes(self.disk[STAMP]));
        if same == Some(false) && self.is_stamp_written() {
            return false;
        }
        if then.is_to_be_looked_at(now) {
            self.look_awake(then, now, same == Some(true));
        } else {
            self.saved.tracker.looked_at_early(same);
        }
        self.saved.tracker.open_stamp(true);
        self.release();
        self.saved.tracker.open_stamp(false);
        true
    }

    /// True if a write to the stamp is on its way.
    fn is_stamp_written(&self) -> bool {
        self.flights.iter().any(|flight| {
            let write = self.writes[flight.write.0 as usize];
            (write.first..write.first + write.count).contains(&STAMP)
        })
    }

    fn look_awake(&mut self, then: Sleep, now: Tick, same: bool) {
        if same {
            self.played.woken += 1;
        } else {
            self.played.doubted += 1;
            self.session.doubt();
            self.server.cut();
            self.is_attached = false;
        }
        self.saved.tracker.looked_at(then, now, same);
    }
}

//! What the write-intent log costs, in numbers of slots and of writes that wait: random writes to a
//! tenth of a volume at several rates, for several lengths of a region, and the worst case, in
//! which each write goes to a region that has no mark. Time is simulated, and nothing is timed.

use snapless_driver_logic::intent_log::{IntentLog, StampRead, Timing, Todo};
use snapless_tracking::marks::Marks;
use snapless_types::{End, Ends, Extent, Geometry, Made, Regions, Seq, Tick};
use snapless_wire::id::Extents;

const MS: u64 = Tick::PER_MS;
const SECOND: u64 = 1_000 * MS;
const LENGTH: u64 = 2 << 30;
/// How long a slot takes: a write and a flush of a slow disk.
const SLOT: u64 = 20 * MS;
/// How long the server takes to acknowledge a write.
const ACKNOWLEDGED: u64 = SECOND;

#[derive(Default, Debug)]
struct Cost {
    writes: u64,
    waits: u64,
    slots: u64,
    marked: u64,
}

struct Model {
    log: IntentLog,
    marks: Marks,
    last_write: Vec<u64>,
    slot_at: Option<u64>,
    waiting: Vec<Extent>,
    cost: Cost,
}

impl Model {
    fn new(region: u32) -> Self {
        let geometry = Geometry::new(LENGTH, 512, region).unwrap();
        let regions = Regions::of(&geometry);
        let (area, stamp) = (Extent::new(LENGTH - 65_536, 65_536), Extent::new(0, 512));
        let stamp = Extents::new(&[stamp.unwrap()]).unwrap();
        let times = (Timing::DRIVER, Tick(0));
        let log = IntentLog::new(regions, &area.unwrap(), stamp, times).unwrap();
        let count = usize::try_from(regions.count()).unwrap();
        let marks = Marks::new(regions).unwrap();
        let (last_write, cost) = (vec![0; count], Cost::default());
        Self { log, marks, last_write, slot_at: None, waiting: Vec::new(), cost }
    }

    /// The thread's work at this instant.
    fn step(&mut self, now: u64) {
        self.log.lists(Seq::new(now / SECOND));
        if self.slot_at.is_some_and(|at| now >= at) {
            self.slot_at = None;
            self.log.written(Tick(now));
            self.log.publish(&self.marks);
            for extent in std::mem::take(&mut self.waiting) {
                self.arrive(extent);
            }
        }
        while self.slot_at.is_none() {
            match self.log.todo(Tick(now)) {
                Todo::Stamp => {
                    if self.log.is_new() {
                        self.pass(now);
                    }
                    self.slot(now, Some(StampRead { hash: 1, writes: self.log.stamp_writes() }));
                }
                Todo::Pass => self.pass(now),
                Todo::Slot => self.slot(now, None),
                Todo::Nothing(_) => return,
                Todo::Void | Todo::End => unreachable!("the disk fails nothing"),
            }
        }
    }

    fn pass(&mut self, now: u64) {
        for (region, last_write) in (0..).zip(&self.last_write) {
            let Some(unmarked) = self.log.unmark(region, &self.marks) else { continue };
            if *last_write > 0 && now - last_write < ACKNOWLEDGED {
                self.log.remark(unmarked);
            } else {
                self.log.leave_unmarked(unmarked);
            }
        }
        self.log.passed(Tick(now), &self.marks);
        self.log.publish(&self.marks);
    }

    /// An epoch ends each second.
    fn ends(now: u64) -> Ends {
        let mut ends = Ends::NONE;
        ends.add(End { seq: Seq::new(now / SECOND), made: Made::default() });
        ends
    }

    fn slot(&mut self, now: u64, read: Option<StampRead>) {
        let mut map = [0; 4096];
        assert!(self.log.begin_live(&Self::ends(now), read, &mut map).is_some());
        self.cost.slots += 1;
        self.cost.marked = map.iter().map(|byte| u64::from(byte.count_ones())).sum();
        self.log.publish(&self.marks);
        self.slot_at = Some(now + SLOT);
    }

    fn arrive(&mut self, extent: Extent) -> bool {
        let goes = self.marks.pass(&extent) || self.log.goes(|| [extent].into_iter());
        if !goes {
            self.waiting.push(extent);
        }
        goes
    }

    fn write(&mut self, now: u64, offset: u64) {
        let extent = Extent::new(offset, 4096).unwrap();
        self.cost.writes += 1;
        self.cost.waits += u64::from(!self.arrive(extent));
        for region in self.marks.regions().touched(&extent) {
            self.last_write[usize::try_from(region).unwrap()] = now;
        }
    }
}

/// Writes at `rate` a second for `seconds`, each to the page that `next` names.
fn run(region: u32, rate: u64, seconds: u64, mut next: impl FnMut() -> u64) -> Cost {
    let mut model = Model::new(region);
    for number in 0..rate * seconds {
        let now = number * (SECOND / rate) + 1;
        model.step(now);
        model.write(now, next() * 4096);
    }
    model.cost
}

/// Pages of a tenth of the volume, at random.
fn random() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % (LENGTH / 4096 / 10)
    }
}

#[test]
fn random_writes_over_a_tenth_of_a_volume_hardly_wait() {
    for region in [64 << 10, 1 << 20, 4 << 20] {
        for rate in [200, 1_000, 10_000] {
            let cost = run(region, rate, 600, random());
            println!("regions of {} KiB, {rate} writes/s, 600 s: {cost:?}", region >> 10);
            // The first write to each region waits, with others; later ones may after a pause.
            assert!(cost.waits * 100 <= cost.writes * 3, "{cost:?}");
            assert!(cost.slots <= cost.waits + 600 + 600 / 5 + 2, "{cost:?}");
        }
    }
}

#[test]
fn at_worst_each_write_waits_for_one_slot_with_all_others_that_wait() {
    // One write to each region, none of which has a mark.
    let pages_of_a_region = (64 << 10) / 4096;
    for rate in [25, 1_000] {
        let mut page = 0;
        let cost = run(64 << 10, rate, 30, || {
            page += pages_of_a_region;
            page
        });
        println!("each write to another region, {rate} writes/s: {cost:?}");
        assert!(cost.waits * 10 >= cost.writes * 9, "{cost:?}");
        // No more than the disk can write one after the other.
        assert!(cost.slots <= 30 * SECOND / SLOT + 2 && cost.slots <= cost.writes + 2, "{cost:?}");
    }
}

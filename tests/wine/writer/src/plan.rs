//! The requests of a thread. The rule: one seed gives one sequence of actions per thread (where
//! they meet on the disk depends on timing), and overlaps between threads are the rule, not luck.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::extent::{Extent, SECTOR};
use crate::regions::Regions;

/// The longest request, in bytes.
pub const REQUEST_MAX: u64 = 1 << 20;

/// Places that all threads return to again and again.
const HOT_SPOTS: u64 = 12;
/// How many of them lie where a sweep begins: a write that is under way there at t0 lands under the
/// sweep's first reads if the driver does not wait for it.
const EARLY_HOT_SPOTS: u64 = 8;
/// Bytes at the beginning of the regions in which those lie.
const EARLY_LEN: u64 = 4 << 20;
/// Bytes of a hot spot.
const HOT_SPOT_LEN: u64 = 192 << 10;
/// How many of the last writes' places are remembered for the others to land on.
const RECENT: usize = 16;

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A write of the thread's next payload.
    Write(Extent),
    /// A write of zeros.
    WriteZeros(Extent),
    /// A read, whose content is checked.
    Read(Extent),
    /// A flush.
    Flush,
}

/// Targets that all threads of a run share.
#[derive(Debug)]
pub struct Targets {
    regions: Regions,
    hot_spots: Vec<u64>,
    /// Volume offsets of the last writes. Relaxed: a stale place is as good a target.
    recent: [AtomicU64; RECENT],
    next_recent: AtomicU64,
}

impl Targets {
    /// Chooses the hot spots of the run with this seed.
    pub fn new(regions: Regions, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut spots = |count, len| (0..count).map(|_| rng.u64(..len)).collect::<Vec<_>>();
        let mut hot_spots = spots(EARLY_HOT_SPOTS, EARLY_LEN.min(regions.total()));
        hot_spots.extend(spots(HOT_SPOTS - EARLY_HOT_SPOTS, regions.total()));
        Self { regions, hot_spots, recent: Default::default(), next_recent: AtomicU64::new(0) }
    }

    fn remember(&self, extent: Extent) {
        let slot = self.next_recent.fetch_add(1, Ordering::Relaxed) % RECENT as u64;
        if let Some(recent) = usize::try_from(slot).ok().and_then(|slot| self.recent.get(slot)) {
            recent.store(extent.offset(), Ordering::Relaxed);
        }
    }
}

/// The sequence of one thread.
#[derive(Debug)]
pub struct Plan<'a> {
    targets: &'a Targets,
    rng: fastrand::Rng,
}

impl<'a> Plan<'a> {
    /// The sequence of `thread` in the run with this seed.
    pub fn new(targets: &'a Targets, seed: u64, thread: u16) -> Self {
        let seed = seed ^ u64::from(thread).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { targets, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The next request.
    pub fn next_action(&mut self) -> Action {
        let len = self.len();
        match self.rng.u8(..100) {
            0 => Action::Flush,
            1..8 => Action::Read(self.place(len)),
            kind => {
                let extent = self.place(len);
                self.targets.remember(extent);
                if kind < 12 { Action::WriteZeros(extent) } else { Action::Write(extent) }
            }
        }
    }

    /// Mostly short requests, as file systems issue them, with some up to [`REQUEST_MAX`].
    fn len(&mut self) -> u64 {
        let sectors = match self.rng.u8(..100) {
            0..35 => self.rng.u64(1..=8),
            35..75 => self.rng.u64(8..=128),
            75..94 => self.rng.u64(128..=512),
            _ => self.rng.u64(512..=REQUEST_MAX / SECTOR),
        };
        sectors * SECTOR
    }

    fn place(&mut self, len: u64) -> Extent {
        let targets = self.targets;
        match self.rng.u8(..100) {
            0..30 => {
                let spot = targets.hot_spots[self.rng.usize(..targets.hot_spots.len())];
                targets.regions.at(spot + self.rng.u64(..HOT_SPOT_LEN), len)
            }
            30..60 => {
                let recent = targets.recent[self.rng.usize(..RECENT)].load(Ordering::Relaxed);
                let near = recent + self.rng.u64(..16) * SECTOR;
                let near = targets.regions.from_volume_offset(near, len);
                near.unwrap_or_else(|| self.anywhere(len))
            }
            _ => self.anywhere(len),
        }
    }

    fn anywhere(&mut self, len: u64) -> Extent {
        self.targets.regions.at(self.rng.u64(..self.targets.regions.total()), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        let regions = vec![
            Extent::new(1 << 20, 8 << 20).unwrap(),
            Extent::new(64 << 20, (8 << 20) + SECTOR).unwrap(),
        ];
        Targets::new(Regions::new(regions).unwrap(), 1)
    }

    fn extent_of(action: Action) -> Option<Extent> {
        match action {
            Action::Write(extent) | Action::WriteZeros(extent) | Action::Read(extent) => {
                Some(extent)
            }
            Action::Flush => None,
        }
    }

    #[test]
    fn requests_stay_in_the_regions_and_below_the_longest() {
        let targets = targets();
        let mut plan = Plan::new(&targets, 1, 1);
        let extents: Vec<_> = (0..5000).filter_map(|_| extent_of(plan.next_action())).collect();
        for extent in &extents {
            assert!(extent.len() <= REQUEST_MAX);
            let inside = |region: &Extent| {
                region.offset() <= extent.offset() && extent.end() <= region.end()
            };
            assert!(targets.regions.extents().iter().any(inside), "{extent}");
        }
        assert!(extents.iter().any(|extent| extent.len() == SECTOR));
        assert!(extents.iter().any(|extent| extent.len() > REQUEST_MAX / 2));
    }

    #[test]
    fn every_kind_of_request_and_many_overlaps_occur() {
        let targets = targets();
        let mut plans = [Plan::new(&targets, 5, 1), Plan::new(&targets, 5, 2)];
        let actions: Vec<_> = (0..1000).map(|turn| plans[turn % 2].next_action()).collect();
        assert!(actions.contains(&Action::Flush));
        assert!(actions.iter().any(|action| matches!(action, Action::Read(_))));
        assert!(actions.iter().any(|action| matches!(action, Action::WriteZeros(_))));
        let extents: Vec<_> = actions.into_iter().filter_map(extent_of).collect();
        let close = extents.windows(8).filter(|near| near[1..].iter().any(|e| e.overlaps(near[0])));
        assert!(close.count() > 100);
    }

    #[test]
    fn a_seed_gives_its_sequence_again() {
        let take = |seed| {
            let targets = targets();
            let mut plan = Plan::new(&targets, seed, 1);
            (0..200).map(|_| plan.next_action()).collect::<Vec<_>>()
        };
        assert_eq!(take(3), take(3));
        assert_ne!(take(3), take(4));
    }
}

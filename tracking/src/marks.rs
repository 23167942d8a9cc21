//! The regions to which a write may go at once: a bit for each, read without a lock (rule RESUME,
//! rules.md#resume).
//!
//! A write tests its regions when the engine knows of it already. Who takes a mark off does so
//! before he asks the engine whether a write is under way to the region: either he is told of the
//! write, or the write finds the mark gone. The engine's lock, which both take in between, orders
//! it; the atomics order nothing themselves.
//!
//! Each test notes that the region was written to.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use snapless_fixed::bits::{self, PER_WORD};
use snapless_fixed::memory::{OutOfMemory, boxed_slice};
use snapless_types::{Extent, REGIONS_MAX, Regions};

use crate::regions::RegionMap;

/// A bit for each region, and another one.
#[derive(Debug)]
pub struct Marks {
    regions: Regions,
    words: Box<[Word]>,
}

#[derive(Debug, Default)]
struct Word {
    /// Writes may go.
    open: AtomicU64,
    /// It was written to.
    warm: AtomicU64,
}

impl Marks {
    /// No write may go at once.
    pub fn new(regions: Regions) -> Result<Self, OutOfMemory> {
        Ok(Self { regions, words: boxed_slice(REGIONS_MAX / PER_WORD, || Ok(Word::default()))? })
    }

    /// How the volume is cut into regions.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// True if a change may go at once; then its regions were written to.
    #[inline]
    pub fn pass(&self, extent: &Extent) -> bool {
        let touched = self.regions.touched(extent);
        bits::words(touched.start, touched.end).all(|(index, mask)| {
            let Some(word) = self.words.get(index) else { return false };
            if word.open.load(Relaxed) & mask != mask {
                return false;
            }
            // Once in an interval: the word is not written to by each write.
            if word.warm.load(Relaxed) & mask != mask {
                word.warm.fetch_or(mask, Relaxed);
            }
            true
        })
    }

    /// Lets changes of the regions go at once that one map has and the other has not, and no
    /// others.
    pub fn open(&self, map: &RegionMap, except: &RegionMap) {
        let open = map.words().iter().zip(except.words()).map(|(map, except)| map & !except);
        for (word, open) in self.words.iter().zip(open) {
            word.open.store(open, Relaxed);
        }
    }

    /// Lets no change of a region go at once.
    pub fn close(&self, region: u64) {
        if let Some((word, bit)) = self.word(region) {
            word.open.fetch_and(!bit, Relaxed);
        }
    }

    /// True if the region was written to since [`Marks::cool`].
    pub fn is_warm(&self, region: u64) -> bool {
        self.word(region).is_some_and(|(word, bit)| word.warm.load(Relaxed) & bit != 0)
    }

    /// Another interval begins: the regions that were warm are marked in `was_warm`.
    pub fn cool(&self, was_warm: &mut RegionMap) {
        for (index, word) in self.words.iter().enumerate() {
            was_warm.add_word(index, word.warm.swap(0, Relaxed));
        }
    }

    fn word(&self, region: u64) -> Option<(&Word, u64)> {
        let index = usize::try_from(region / PER_WORD).ok()?;
        Some((self.words.get(index)?, 1 << (region % PER_WORD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::Geometry;

    const REGION: u64 = 64 << 10;

    fn marks() -> Marks {
        let geometry = Geometry::new(100 * REGION, 512, 64 << 10).unwrap();
        Marks::new(Regions::of(&geometry)).unwrap()
    }

    fn extent(region: u64, count: u64) -> Extent {
        Extent::new(region * REGION, count * REGION).unwrap()
    }

    #[test]
    fn a_change_goes_if_all_its_regions_are_open_and_makes_them_warm() {
        let marks = marks();
        assert!(!marks.pass(&extent(63, 1)));
        let (mut map, mut except) =
            (RegionMap::new(*marks.regions()).unwrap(), RegionMap::new(*marks.regions()).unwrap());
        map.note(&extent(63, 3));
        map.note(&extent(0, 2));
        except.note(&extent(1, 1));
        marks.open(&map, &except);
        assert!(marks.pass(&extent(63, 3)) && !marks.pass(&extent(63, 4)));
        assert!(marks.pass(&extent(0, 1)) && !marks.pass(&extent(0, 2)));
        let warm = [0, 1, 62, 63, 64, 65, 66].map(|region| marks.is_warm(region));
        assert_eq!(warm, [true, false, false, true, true, true, false]);
        map.clear();
        marks.cool(&mut map);
        assert!(!marks.is_warm(63) && map.is_marked(63) && !map.is_marked(62));
        marks.close(64);
        assert!(marks.pass(&extent(63, 1)) && !marks.pass(&extent(63, 2)));
        assert!(marks.pass(&extent(65, 1)) && marks.is_warm(65) && !marks.is_warm(64));
    }

    #[test]
    fn what_is_past_the_end_is_in_no_region() {
        assert!(marks().pass(&Extent::new(200 * REGION, 512).unwrap()));
        marks().close(u64::MAX);
        assert!(!marks().is_warm(u64::MAX));
    }
}

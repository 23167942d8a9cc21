//! The regions of a volume that the server may lack, after a restart: one bit for each (rule
//! RESUME, rules.md#resume).
//!
//! A map may say of a region that it lacks something although it does not: the region is read and
//! compared then. What it says nothing of is as the server has it.

use alloc::boxed::Box;

use snapless_fixed::bits::{self, PER_WORD};
use snapless_fixed::memory::{OutOfMemory, boxed_slice};
use snapless_types::{Extent, REGIONS_MAX, Regions};

/// Bytes of a word.
const WORD_LEN: usize = size_of::<u64>();

/// A bit for each region.
#[derive(Debug)]
pub struct RegionMap {
    regions: Regions,
    words: Box<[u64]>,
}

impl RegionMap {
    /// A map in which no region is marked.
    pub fn new(regions: Regions) -> Result<Self, OutOfMemory> {
        Ok(Self { regions, words: boxed_slice(REGIONS_MAX / PER_WORD, || Ok(0))? })
    }

    /// Marks the regions that these bytes have: from the lowest bit of the first byte on.
    pub fn mark(&mut self, bytes: &[u8]) {
        for (word, bytes) in self.words.iter_mut().zip(bytes.as_chunks::<WORD_LEN>().0) {
            *word |= u64::from_le_bytes(*bytes);
        }
    }

    /// Writes the marks down, as [`RegionMap::mark`] reads them.
    pub fn write(&self, bytes: &mut [u8]) {
        for (word, bytes) in self.words.iter().zip(bytes.as_chunks_mut::<WORD_LEN>().0) {
            *bytes = word.to_le_bytes();
        }
    }

    /// How the volume is cut into regions.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Marks the regions of a change.
    pub fn note(&mut self, extent: &Extent) {
        if sabotaged!(WriteNotNoted) {
            return;
        }
        let touched = self.regions.touched(extent);
        for (index, mask) in bits::words(touched.start, touched.end) {
            if let Some(word) = self.words.get_mut(index) {
                *word |= mask;
            }
        }
    }

    /// Marks every region.
    pub fn mark_all(&mut self) {
        self.words.fill(0);
        for (index, mask) in bits::words(0, self.regions.count()) {
            if let Some(word) = self.words.get_mut(index) {
                *word = mask;
            }
        }
    }

    /// Marks one region, or takes its mark off; returns whether it was marked.
    pub fn set(&mut self, region: u64, is_marked: bool) -> bool {
        let before = self.is_marked(region);
        let index = usize::try_from(region / PER_WORD).unwrap_or(usize::MAX);
        if let Some(word) = self.words.get_mut(index) {
            let bit = 1 << (region % PER_WORD);
            *word = if is_marked { *word | bit } else { *word & !bit };
        }
        before
    }

    /// Takes every mark off.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Has the marks of another map of the same volume as well.
    pub fn add(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Has those marks only that another map of the same volume has too.
    pub fn retain(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Has the marks of another map of the same volume.
    pub fn copy(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word = *other);
    }

    /// Has the marks of a word of bits as well.
    pub fn add_word(&mut self, index: usize, marks: u64) {
        if let Some(word) = self.words.get_mut(index) {
            *word |= marks;
        }
    }

    /// The marks, as words of bits.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// True if every region of a change is marked.
    pub fn has(&self, extent: &Extent) -> bool {
        let touched = self.regions.touched(extent);
        bits::words(touched.start, touched.end)
            .all(|(index, mask)| self.words.get(index).is_some_and(|word| word & mask == mask))
    }

    /// True if the region is marked.
    pub fn is_marked(&self, region: u64) -> bool {
        let word = usize::try_from(region / PER_WORD).ok().and_then(|index| self.words.get(index));
        word.is_some_and(|word| word >> (region % PER_WORD) & 1 == 1)
    }

    /// Bytes of the regions that are marked.
    pub fn marked_bytes(&self) -> u64 {
        let marked: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        let last = self.regions.count() - 1;
        let short = self.regions.extent(last).map_or(0, |last| self.regions.size() - last.len());
        marked * self.regions.size() - if self.is_marked(last) { short } else { 0 }
    }

    /// The regions that are not marked.
    pub fn unmarked(&self) -> impl Iterator<Item = Extent> + '_ {
        let unmarked = (0..self.regions.count()).filter(|region| !self.is_marked(*region));
        unmarked.filter_map(|region| self.regions.extent(region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use snapless_types::Geometry;

    const REGION: u64 = 64 << 10;

    /// 100 regions, the last one short.
    fn map() -> RegionMap {
        let geometry = Geometry::new(99 * REGION + 512, 512, 64 << 10).unwrap();
        RegionMap::new(Regions::of(&geometry)).unwrap()
    }

    fn extent(offset: u64, len: u64) -> Extent {
        Extent::new(offset, len).unwrap()
    }

    fn marked(map: &RegionMap) -> Vec<u64> {
        (0..200).filter(|region| map.is_marked(*region)).collect()
    }

    #[test]
    fn a_change_marks_the_regions_of_its_bytes_whatever_it_touches() {
        for (start, end) in [(0, 1), (0, 2), (5, 9), (62, 66), (0, 99), (98, 99)] {
            let mut map = map();
            let change = extent(start * REGION + 512, (end - start - 1) * REGION + 512);
            assert!(!map.has(&change));
            map.note(&change);
            assert_eq!(marked(&map), (start..end).collect::<Vec<_>>());
            assert!(map.has(&change) && map.has(&extent(start * REGION, (end - start) * REGION)));
            assert!(!map.has(&extent(start * REGION, (end - start) * REGION + 512)));
        }
    }

    #[test]
    fn what_is_past_the_end_is_in_no_region() {
        let mut map = map();
        map.note(&extent(200 * REGION, 512));
        map.note(&extent(99 * REGION, 1 << 40));
        assert_eq!(marked(&map), [99]);
        assert_eq!((map.marked_bytes(), map.unmarked().count()), (512, 99));
    }

    #[test]
    fn marks_are_written_and_read_again() {
        let mut map = map();
        map.note(&extent(0, 512));
        map.note(&extent(65 * REGION, 512));
        let mut bytes = vec![0xff; 4096];
        map.write(&mut bytes);
        assert_eq!((bytes[0], bytes[8], bytes.iter().map(|it| it.count_ones()).sum()), (1, 2, 2));
        let mut again = self::map();
        again.note(&extent(7 * REGION, 512));
        again.mark(&bytes);
        assert_eq!(marked(&again), [0, 7, 65]);
    }

    #[test]
    fn maps_of_one_volume_are_joined_and_cut() {
        let (mut one, mut other) = (map(), map());
        one.mark_all();
        assert_eq!((marked(&one).len(), one.marked_bytes()), (100, 99 * REGION + 512));
        assert!(one.set(7, false) && !one.set(7, false) && !one.is_marked(7));
        assert!(!one.set(7, true) && one.is_marked(7));
        other.note(&extent(3 * REGION, 2 * REGION));
        one.retain(&other);
        assert_eq!(marked(&one), [3, 4]);
        other.clear();
        other.set(70, true);
        one.add(&other);
        assert_eq!(marked(&one), [3, 4, 70]);
        other.copy(&one);
        assert_eq!(other.words(), one.words());
    }

    #[test]
    fn marked_and_unmarked_regions_are_the_volume() {
        let mut map = map();
        map.note(&extent(3 * REGION, 2 * REGION));
        let unmarked: u64 = map.unmarked().map(|extent| extent.len()).sum();
        assert_eq!((map.marked_bytes(), unmarked), (2 * REGION, 97 * REGION + 512));
        assert!(map.unmarked().all(|extent| !map.has(&extent)));
    }
}

//! The regions of a volume: what a saved state has one bit for.
//!
//! A region is as long as a block or longer, so that any volume has [`REGIONS_MAX`] of them at
//! most.

use core::ops::Range;

use crate::extent::Extent;
use crate::geometry::Geometry;

/// Regions of a volume, at most.
pub const REGIONS_MAX: u64 = 32_768;

/// How a volume is cut into regions: each is a power of two of bytes, the last one may be short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Regions {
    length: u64,
    shift: u32,
}

impl Regions {
    /// The regions of a volume: as short as can be, a block at least.
    pub fn of(geometry: &Geometry) -> Self {
        let length = geometry.length();
        let mut shift = geometry.block_size().trailing_zeros();
        while (length - 1) >> shift >= REGIONS_MAX {
            shift += 1;
        }
        Self { length, shift }
    }

    /// Bytes of a whole region.
    pub fn size(&self) -> u64 {
        1 << self.shift
    }

    /// Their number, the last short one included.
    pub fn count(&self) -> u64 {
        ((self.length - 1) >> self.shift) + 1
    }

    /// The numbers of the regions that `extent` touches; what is past the end of the volume is in
    /// none.
    #[inline]
    pub fn touched(&self, extent: &Extent) -> Range<u64> {
        let last = (extent.end().min(self.length) - 1) >> self.shift;
        let first = extent.offset() >> self.shift;
        if extent.offset() < self.length { first..last + 1 } else { 0..0 }
    }

    /// The bytes of a region; `None` if there is no such region.
    pub fn extent(&self, region: u64) -> Option<Extent> {
        let start = region.checked_mul(self.size())?;
        let end = start.saturating_add(self.size()).min(self.length);
        Extent::new(start, end.checked_sub(start)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(length: u64) -> Regions {
        Regions::of(&Geometry::new(length, 512, 64 << 10).unwrap())
    }

    #[test]
    fn a_region_is_a_block_until_there_are_too_many() {
        assert_eq!((regions(512).size(), regions(512).count()), (64 << 10, 1));
        let most = REGIONS_MAX * (64 << 10);
        assert_eq!((regions(most).size(), regions(most).count()), (64 << 10, REGIONS_MAX));
        let one_more = regions(most + 512);
        assert_eq!((one_more.size(), one_more.count()), (128 << 10, REGIONS_MAX / 2 + 1));
        let longest = regions(Geometry::LENGTH_MAX & !511);
        assert_eq!((longest.size(), longest.count()), (1 << 48, REGIONS_MAX));
    }

    #[test]
    fn an_extent_touches_the_regions_of_its_bytes_and_none_past_the_end() {
        let regions = regions(3 * (64 << 10) + 512);
        let touched = |offset, len| regions.touched(&Extent::new(offset, len).unwrap());
        assert_eq!(touched(0, 512), 0..1);
        assert_eq!(touched((64 << 10) - 512, 1024), 0..2);
        assert_eq!(touched(3 * (64 << 10), 512), 3..4);
        assert_eq!(touched(2 * (64 << 10), 1 << 40), 2..4, "cut at the end");
        assert!(touched(1 << 40, 512).is_empty());
        assert!(touched(u64::MAX - 1, 1).is_empty());
    }

    #[test]
    fn regions_cover_the_volume_once() {
        let regions = regions(3 * (64 << 10) + 512);
        let mut end = 0;
        for region in 0..regions.count() {
            let extent = regions.extent(region).unwrap();
            assert_eq!((extent.offset(), regions.touched(&extent)), (end, region..region + 1));
            end = extent.end();
        }
        assert_eq!(end, 3 * (64 << 10) + 512);
        assert_eq!(regions.extent(regions.count()), None);
        assert_eq!(regions.extent(u64::MAX), None);
    }
}

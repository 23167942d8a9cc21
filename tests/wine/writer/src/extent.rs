//! A stretch of the volume in whole sectors. The rule: no extent is unaligned, empty, or wraps.

use std::fmt;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// `len` bytes at `offset`, both multiples of [`SECTOR`], not empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Extent {
    offset: u64,
    len: u64,
}

impl Extent {
    /// `None` if the stretch is empty, unaligned or past the end of 64-bit space.
    pub fn new(offset: u64, len: u64) -> Option<Self> {
        let aligned = offset.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR);
        let sane = aligned && len > 0 && offset.checked_add(len).is_some();
        sane.then_some(Self { offset, len })
    }

    /// First byte.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// Bytes.
    pub fn len(self) -> u64 {
        self.len
    }

    /// Never: an extent holds at least one sector.
    pub fn is_empty(self) -> bool {
        false
    }

    /// The first byte behind it.
    pub fn end(self) -> u64 {
        self.offset + self.len
    }

    /// Bytes, as memory counts them.
    pub fn size(self) -> usize {
        usize::try_from(self.len).expect("extents of a request fit in memory")
    }

    /// Numbers of its sectors.
    pub fn sectors(self) -> std::ops::Range<u64> {
        self.offset / SECTOR..self.end() / SECTOR
    }

    /// True if both have a sector in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.len, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sectors_make_an_extent() {
        assert!(Extent::new(512, 1024).is_some());
        for (offset, len) in [(0, 0), (1, 512), (512, 511), (u64::MAX - 511, 512)] {
            assert_eq!(Extent::new(offset, len), None, "{offset} {len}");
        }
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let a = Extent::new(512, 1024).unwrap();
        assert!(!a.overlaps(Extent::new(0, 512).unwrap()));
        assert!(!a.overlaps(Extent::new(1536, 512).unwrap()));
        assert!(a.overlaps(Extent::new(1024, 512).unwrap()));
        assert!(a.overlaps(a));
        assert_eq!(a.sectors(), 1..3);
    }
}

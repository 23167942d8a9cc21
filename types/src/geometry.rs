//! A volume's sizes, and the arithmetic between its bytes and its blocks.
//!
//! [`Geometry::new`] is the only check of a volume's length, sector size and block size: once it is
//! made, no arithmetic on it overflows. [`Geometry::blocks_of`] checks an extent against the
//! volume.

use core::fmt;

use crate::block::{BlockIndex, BlockRange};
use crate::extent::Extent;

/// A volume's size and how it is cut into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    length: u64,
    sector_size: u32,
    block_shift: u32,
}

impl Geometry {
    /// Bytes of the smallest sector.
    pub const SECTOR_SIZE_MIN: u32 = 512;
    /// Bytes of the largest sector.
    pub const SECTOR_SIZE_MAX: u32 = 64 << 10;
    /// Bytes of the smallest block.
    pub const BLOCK_SIZE_MIN: u32 = 16 << 10;
    /// Bytes of the largest block.
    pub const BLOCK_SIZE_MAX: u32 = 4 << 20;
    /// Bytes of the longest volume: offsets are signed in Windows.
    pub const LENGTH_MAX: u64 = i64::MAX.unsigned_abs();

    /// A volume of `length` bytes in blocks of `block_size` bytes; the last block may be short.
    pub fn new(length: u64, sector_size: u32, block_size: u32) -> Result<Self, GeometryError> {
        let sectors = Self::SECTOR_SIZE_MIN..=Self::SECTOR_SIZE_MAX;
        if !sector_size.is_power_of_two() || !sectors.contains(&sector_size) {
            return Err(GeometryError::SectorSize(sector_size));
        }
        let blocks = Self::BLOCK_SIZE_MIN.max(sector_size)..=Self::BLOCK_SIZE_MAX;
        if !block_size.is_power_of_two() || !blocks.contains(&block_size) {
            return Err(GeometryError::BlockSize(block_size));
        }
        let whole = length & (u64::from(sector_size) - 1) == 0;
        if length == 0 || !whole || length > Self::LENGTH_MAX {
            return Err(GeometryError::Length(length));
        }
        Ok(Self { length, sector_size, block_shift: block_size.trailing_zeros() })
    }

    /// Bytes of the volume.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of a sector.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Bytes of a whole block.
    pub fn block_size(&self) -> u32 {
        1 << self.block_shift
    }

    /// Whole sectors in so many bytes. A shift, as a sector is a power of two: no division by zero.
    pub fn sectors_in(&self, bytes: u64) -> u64 {
        bytes >> self.sector_size.trailing_zeros()
    }

    /// Number of blocks, the last short one included.
    pub fn block_count(&self) -> u64 {
        ((self.length - 1) >> self.block_shift) + 1
    }

    /// All blocks.
    pub fn all_blocks(&self) -> BlockRange {
        BlockRange::new(BlockIndex(0), BlockIndex(self.block_count()))
    }

    /// The blocks that `extent` touches; `None` if it passes the end of the volume.
    #[inline]
    pub fn blocks_of(&self, extent: &Extent) -> Option<BlockRange> {
        if extent.end() > self.length {
            return None;
        }
        let last = (extent.end() - 1) >> self.block_shift;
        Some(BlockRange::new(BlockIndex(extent.offset() >> self.block_shift), BlockIndex(last + 1)))
    }

    /// The blocks that `extent` covers whole; empty if it covers none, or passes the end of the
    /// volume.
    pub fn whole_blocks_of(&self, extent: &Extent) -> BlockRange {
        let Some(touched) = self.blocks_of(extent) else { return BlockRange::EMPTY };
        let start = touched.start.0 + u64::from(!self.is_whole_blocks(extent.offset()));
        let ends_inside = extent.end() < self.length && !self.is_whole_blocks(extent.end());
        let end = touched.end.0 - u64::from(ends_inside);
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    /// True if `extent` begins and ends on a sector.
    pub fn is_sector_aligned(&self, extent: &Extent) -> bool {
        let mask = u64::from(self.sector_size) - 1;
        (extent.offset() | extent.len()) & mask == 0
    }

    /// True if `extent` is a run of whole blocks; the last one may be short.
    pub fn is_block_aligned(&self, extent: &Extent) -> bool {
        let ends = self.is_whole_blocks(extent.end()) || extent.end() == self.length;
        self.is_whole_blocks(extent.offset()) && ends
    }

    fn is_whole_blocks(&self, bytes: u64) -> bool {
        bytes & (u64::from(self.block_size()) - 1) == 0
    }

    /// The bytes of a run of blocks, cut at the end of the volume; `None` if that leaves none.
    pub fn extent_of(&self, blocks: &BlockRange) -> Option<Extent> {
        let start = blocks.start.0.checked_mul(self.block_size().into())?;
        let end = blocks.end.0.saturating_mul(self.block_size().into()).min(self.length);
        Extent::new(start, end.checked_sub(start)?)
    }
}

/// Why a volume cannot be cut into blocks as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GeometryError {
    /// The sector size in bytes is not a power of two in range.
    SectorSize(u32),
    /// The block size in bytes is not a power of two in range, or smaller than a sector.
    BlockSize(u32),
    /// The length in bytes is 0, not whole sectors, or past [`Geometry::LENGTH_MAX`].
    Length(u64),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SectorSize(bytes) => {
                write!(f, "a sector of {bytes} bytes is not a power of two from 512 to 65536")
            }
            Self::BlockSize(bytes) => write!(
                f,
                "a block of {bytes} bytes is not a power of two from 16 KiB to 4 MiB, \
                 or smaller than a sector"
            ),
            Self::Length(bytes) => {
                write!(f, "a volume of {bytes} bytes is empty, not whole sectors, or too long")
            }
        }
    }
}

impl core::error::Error for GeometryError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        // Three whole blocks of 64 KiB and a short one of one sector.
        Geometry::new(3 * 65_536 + 512, 512, 65_536).unwrap()
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn the_last_block_is_short() {
        assert_eq!(geometry().block_count(), 4);
        let last = geometry().extent_of(&blocks(3, 4)).unwrap();
        assert_eq!((last.offset(), last.len()), (3 * 65_536, 512));
        assert_eq!(geometry().extent_of(&blocks(4, 5)), None);
        assert_eq!(geometry().extent_of(&blocks(2, 2)), None);
    }

    #[test]
    fn an_extent_covers_fewer_blocks_than_it_touches() {
        let whole = |offset, len| geometry().whole_blocks_of(&Extent::new(offset, len).unwrap());
        assert_eq!(whole(65_536 - 512, 65_536 + 1024), blocks(1, 2));
        assert!(whole(512, 512).is_empty());
        assert!(whole(512, 65_536).is_empty());
        assert_eq!(whole(0, 65_536), blocks(0, 1));
        assert_eq!(whole(2 * 65_536 + 512, 65_536), blocks(3, 4));
        assert_eq!(whole(3 * 65_536, 512), blocks(3, 4));
        assert!(whole(3 * 65_536, 1024).is_empty());
    }

    #[test]
    fn only_the_last_block_may_be_short() {
        let aligned = |offset, len| geometry().is_block_aligned(&Extent::new(offset, len).unwrap());
        assert!(aligned(0, 65_536) && aligned(65_536, 2 * 65_536 + 512));
        assert!(aligned(3 * 65_536, 512));
        assert!(!aligned(0, 512) && !aligned(512, 65_536) && !aligned(3 * 65_536, 256));
        let on_sectors =
            |offset, len| geometry().is_sector_aligned(&Extent::new(offset, len).unwrap());
        assert!(on_sectors(512, 1024) && !on_sectors(256, 512) && !on_sectors(512, 256));
    }

    #[test]
    fn impossible_volumes_are_refused() {
        assert!(Geometry::new(0, 512, 64 << 10).is_err());
        assert!(Geometry::new(513, 512, 64 << 10).is_err());
        assert!(Geometry::new(1 << 63, 512, 64 << 10).is_err());
        assert!(Geometry::new(1 << 20, 511, 64 << 10).is_err());
        assert!(Geometry::new(1 << 20, 256, 64 << 10).is_err());
        assert!(Geometry::new(1 << 20, 512, 8 << 10).is_err());
        assert!(Geometry::new(1 << 20, 512, 8192 << 10).is_err());
        assert!(Geometry::new(1 << 20, 65_536, 16 << 10).is_err());
        assert!(Geometry::new(1 << 20, 512, 65_537).is_err());
        assert!(Geometry::new(1 << 20, 65_536, 64 << 10).is_ok());
    }
}

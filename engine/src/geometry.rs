//! Volumes, extents and blocks, and the arithmetic between them.
//!
//! An [`Extent`] is checked once, when it is made: never empty, never past the end of 64-bit space.
//! [`Geometry::blocks_of`] checks it against the volume. From there on no offset can be wrong.

/// A block's number, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct BlockIndex(pub u64);

/// A half-open run of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRange {
    /// First block.
    pub start: BlockIndex,
    /// The block after the last.
    pub end: BlockIndex,
}

impl BlockRange {
    /// No blocks.
    pub(crate) const EMPTY: Self = Self { start: BlockIndex(0), end: BlockIndex(0) };

    /// The run from `start` up to, not including, `end`; empty if they are out of order.
    #[inline]
    pub fn new(start: BlockIndex, end: BlockIndex) -> Self {
        Self { start, end: end.max(start) }
    }

    /// One block.
    pub(crate) fn one(block: BlockIndex) -> Self {
        Self { start: block, end: BlockIndex(block.0.saturating_add(1)) }
    }

    /// Number of blocks.
    pub fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// True for a run of no blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every block of the run, in order.
    pub fn iter(&self) -> impl Iterator<Item = BlockIndex> + use<> {
        (self.start.0..self.end.0).map(BlockIndex)
    }

    /// True if both runs share a block.
    pub fn intersects(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The blocks of both runs.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The shortest run that covers both; an empty run adds nothing.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }
}

/// A non-empty run of bytes of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    offset: u64,
    len: u64,
}

impl Extent {
    /// `len` bytes at `offset`; `None` if there are none, or if they pass the end of 64-bit space.
    pub fn new(offset: u64, len: u64) -> Option<Self> {
        (len > 0 && offset.checked_add(len).is_some()).then_some(Self { offset, len })
    }

    /// First byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes; at least 1.
    // An extent is never empty, so there is no `is_empty`.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The byte after the last.
    pub fn end(&self) -> u64 {
        self.offset.wrapping_add(self.len)
    }

    /// True if both extents share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// A volume's size and how it is cut into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    length: u64,
    sector_size: u32,
    block_shift: u32,
}

/// Why a volume cannot be cut into blocks as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GeometryError {
    /// The sector size is not a power of two from 512 to 64 KiB, in bytes.
    SectorSize(u32),
    /// The block is smaller than a sector, or not 16 KiB to 4 MiB.
    BlockSize {
        /// Base-two logarithm of the block size asked for.
        shift: u32,
    },
    /// The volume is empty, not whole sectors, or longer than 2^63 bytes.
    Length(u64),
}

impl Geometry {
    /// Base-two logarithm of the smallest block: 16 KiB.
    pub const BLOCK_SHIFT_MIN: u32 = 14;
    /// Base-two logarithm of the largest block: 4 MiB.
    pub const BLOCK_SHIFT_MAX: u32 = 22;

    /// A volume of `length` bytes in blocks of `1 << block_shift` bytes; the last block may be short.
    pub fn new(length: u64, sector_size: u32, block_shift: u32) -> Result<Self, GeometryError> {
        if !sector_size.is_power_of_two() || !(512..=65_536).contains(&sector_size) {
            return Err(GeometryError::SectorSize(sector_size));
        }
        let range = Self::BLOCK_SHIFT_MIN..=Self::BLOCK_SHIFT_MAX;
        if !range.contains(&block_shift) || 1_u64 << block_shift < u64::from(sector_size) {
            return Err(GeometryError::BlockSize { shift: block_shift });
        }
        let whole = length & (u64::from(sector_size) - 1) == 0;
        if length == 0 || !whole || length > i64::MAX.unsigned_abs() {
            return Err(GeometryError::Length(length));
        }
        Ok(Self { length, sector_size, block_shift })
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
    pub fn block_size(&self) -> u64 {
        1 << self.block_shift
    }

    /// Whole sectors in so many bytes. A shift, as a sector is a power of two: there is no division that can fail.
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

    /// The bytes of a run of blocks, cut at the end of the volume; `None` if that leaves none.
    pub fn extent_of(&self, blocks: &BlockRange) -> Option<Extent> {
        let start = blocks.start.0.checked_mul(self.block_size())?;
        let end = blocks.end.0.saturating_mul(self.block_size()).min(self.length);
        Extent::new(start, end.checked_sub(start)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        // Three whole blocks of 64 KiB and a short one of one sector.
        Geometry::new(3 * 65_536 + 512, 512, 16).unwrap()
    }

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn extents_touch_the_blocks_that_hold_their_bytes() {
        let of = |offset, len| geometry().blocks_of(&Extent::new(offset, len).unwrap());
        assert_eq!(of(0, 1), Some(blocks(0, 1)));
        assert_eq!(of(65_535, 1), Some(blocks(0, 1)));
        assert_eq!(of(65_535, 2), Some(blocks(0, 2)));
        assert_eq!(of(65_536, 65_536), Some(blocks(1, 2)));
        assert_eq!(of(0, 3 * 65_536 + 512), Some(blocks(0, 4)));
        assert_eq!(of(0, 3 * 65_536 + 513), None);
        assert_eq!(of(u64::MAX - 1, 1), None);
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
    fn extents_are_checked_when_they_are_made() {
        assert_eq!(Extent::new(0, 0), None);
        assert_eq!(Extent::new(u64::MAX, 1), None);
        assert!(Extent::new(u64::MAX - 1, 1).is_some());
    }

    #[test]
    fn impossible_volumes_are_refused() {
        assert!(Geometry::new(0, 512, 16).is_err());
        assert!(Geometry::new(513, 512, 16).is_err());
        assert!(Geometry::new(1 << 63, 512, 16).is_err());
        assert!(Geometry::new(1 << 20, 511, 16).is_err());
        assert!(Geometry::new(1 << 20, 256, 16).is_err());
        assert!(Geometry::new(1 << 20, 512, 13).is_err());
        assert!(Geometry::new(1 << 20, 512, 23).is_err());
        assert!(Geometry::new(1 << 20, 65_536, 14).is_err());
    }

    #[test]
    fn runs_intersect_and_cover() {
        assert!(!blocks(0, 2).intersects(&blocks(2, 3)));
        assert!(blocks(0, 3).intersects(&blocks(2, 3)));
        assert_eq!(blocks(0, 3).intersection(&blocks(2, 9)), blocks(2, 3));
        assert!(blocks(0, 2).intersection(&blocks(5, 9)).is_empty());
        assert_eq!(blocks(0, 1).hull(&blocks(5, 9)), blocks(0, 9));
        assert_eq!(blocks(4, 4).hull(&blocks(5, 9)), blocks(5, 9));
    }
}

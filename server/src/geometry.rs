//! The shape of a volume: its length, its sectors and its blocks.
//!
//! A [`Geometry`] can only be made from values that passed the wire format's own checks and the
//! server's limit, so that block arithmetic below never overflows.

use std::ops::Range;

use snapless_wire::frame::Hello;
use snapless_wire::id::{SessionId, VolumeGuid};
use zerocopy::IntoBytes;

/// The most blocks of one volume: 256 TiB in blocks of 64 KiB. Bounds what one session's block sets take
/// of memory (512 MiB each).
pub const BLOCKS_MAX: u64 = 1 << 32;

/// A volume's length, sector and block size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    length: u64,
    sector_size: u32,
    block_size: u32,
}

/// The number of a block, from the volume's start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockIndex(pub u64);

/// A run of blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockRun(pub Range<u64>);

/// A run of bytes of a volume that is known to lie inside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl Geometry {
    /// Takes a geometry that the wire format allows; `None` if it does not, or if there would be more
    /// than [`BLOCKS_MAX`] blocks.
    pub fn new(length: u64, sector_size: u32, block_size: u32) -> Option<Self> {
        let hello = Hello {
            // Any identities will do: only the geometry is asked about.
            volume: VolumeGuid([1; 16]),
            session: SessionId([1; 16]),
            length: length.into(),
            sector_size: sector_size.into(),
            block_size: block_size.into(),
        };
        Hello::read(hello.as_bytes()).ok()?;
        let geometry = Self { length, sector_size, block_size };
        (geometry.block_count() <= BLOCKS_MAX).then_some(geometry)
    }

    /// The geometry that a service announced; `None` if it is past the server's limit.
    pub fn from_hello(hello: &Hello) -> Option<Self> {
        Self::new(hello.length.get(), hello.sector_size.get(), hello.block_size.get())
    }

    /// Bytes of the volume.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of a sector.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Bytes of a block; the last one may be shorter.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Blocks of the volume.
    pub fn block_count(&self) -> u64 {
        self.length.div_ceil(u64::from(self.block_size))
    }

    /// True if the bytes lie inside the volume.
    pub fn contains(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.length)
    }

    /// True if the bytes begin and end on sectors.
    pub fn is_sector_aligned(&self, offset: u64, len: u64) -> bool {
        let sector = u64::from(self.sector_size);
        offset.is_multiple_of(sector) && len.is_multiple_of(sector)
    }

    /// True if the bytes are a run of whole blocks; the volume's last block may be short.
    pub fn is_block_aligned(&self, offset: u64, len: u64) -> bool {
        let block = u64::from(self.block_size);
        offset.is_multiple_of(block)
            && (len.is_multiple_of(block) || offset + len == self.length)
            && len != 0
    }

    /// The blocks that the bytes touch.
    pub fn touched(&self, offset: u64, len: u64) -> BlockRun {
        let block = u64::from(self.block_size);
        BlockRun(offset / block..(offset + len).div_ceil(block))
    }

    /// The blocks that the bytes cover whole.
    pub fn covered(&self, offset: u64, len: u64) -> BlockRun {
        let block = u64::from(self.block_size);
        let end = offset + len;
        let last = if end == self.length { self.block_count() } else { end / block };
        let first = offset.div_ceil(block);
        BlockRun(first..last.max(first))
    }

    /// The bytes of a run of blocks.
    pub fn extent(&self, run: &BlockRun) -> Extent {
        let block = u64::from(self.block_size);
        let offset = run.0.start * block;
        let end = (run.0.end * block).min(self.length);
        Extent { offset, len: end - offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four blocks of 16 KiB and one of 512 bytes.
    fn geometry() -> Geometry {
        Geometry::new((64 << 10) + 512, 512, 16 << 10).unwrap()
    }

    #[test]
    fn a_short_last_block_counts() {
        assert_eq!(geometry().block_count(), 5);
        assert_eq!(geometry().extent(&BlockRun(4..5)), Extent { offset: 64 << 10, len: 512 });
    }

    #[test]
    fn a_write_touches_more_blocks_than_it_covers() {
        let geometry = geometry();
        assert_eq!(geometry.touched(16_384 - 512, 16_384 + 1024).0, 0..3);
        assert_eq!(geometry.covered(16_384 - 512, 16_384 + 1024).0, 1..2);
        assert!(geometry.covered(512, 512).0.is_empty());
        assert_eq!(geometry.covered(48 << 10, (16 << 10) + 512).0, 3..5);
    }

    #[test]
    fn only_the_last_block_may_be_short() {
        let geometry = geometry();
        assert!(geometry.is_block_aligned(0, 16 << 10));
        assert!(geometry.is_block_aligned(64 << 10, 512));
        assert!(!geometry.is_block_aligned(0, 512));
        assert!(!geometry.is_block_aligned(512, 16 << 10));
    }

    #[test]
    fn a_volume_past_the_limit_is_refused() {
        assert!(Geometry::new(BLOCKS_MAX << 14, 512, 16 << 10).is_some());
        assert!(Geometry::new((BLOCKS_MAX << 14) + 512, 512, 16 << 10).is_none());
        assert!(Geometry::new(1000, 512, 16 << 10).is_none());
    }
}

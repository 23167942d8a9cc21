//! The model's volume: each sector holds the name of the write that put its content there.
//!
//! That makes comparing cheap, and a wrong sector names the write whose data it has.

use std::fmt;
use std::ops::Range;

use snapless_types::{Extent, Geometry};

/// A write's number, in the order of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WriteId(pub u32);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often the application has changed the buffer of a write, of the last few times.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Edition(u8);

impl Edition {
    const BITS: u32 = 7;

    /// The one after a change.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) % (1 << Self::BITS))
    }
}

/// What a sector holds: which write put it there, with which edition of its buffer, and which
/// sector it was meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content(u64);

impl Content {
    /// What no write put there: queue memory before its first use.
    pub const NOTHING: Self = Self(u64::MAX);
    /// What a paging file has somewhere: a don't-care.
    pub const PAGED: Self = Self(u64::MAX - 1);

    /// What a file of another kind has in a sector, if no writer of the model has written there.
    pub const fn of_a_file(sector: usize) -> Self {
        Self(sector as u64)
    }

    /// The bytes are zeros.
    const CLEARED: u64 = 1 << 31;
    /// Where the edition is.
    const EDITION_SHIFT: u32 = 31 - Edition::BITS;

    /// What `write` puts into a sector; `clears`: it is a trim or a write of zeros. In the model
    /// each of these leaves content of its own; at the server all of it is zeros.
    pub fn written(write: WriteId, edition: Edition, sector: usize, clears: bool) -> Self {
        let cleared = if clears { Self::CLEARED } else { 0 };
        let edition = u64::from(edition.0) << Self::EDITION_SHIFT;
        Self((u64::from(write.0) + 1) << 32 | cleared | edition | sector as u64)
    }

    /// The same with the buffer's first edition.
    #[must_use]
    pub fn of_any_edition(self) -> Self {
        Self(self.0 & !(((1 << Edition::BITS) - 1) << Self::EDITION_SHIFT))
    }

    /// Which write put it there; `None` for initial content, for a paging file's and
    /// for none.
    pub fn writer(self) -> Option<WriteId> {
        if self == Self::NOTHING || self == Self::PAGED {
            return None;
        }
        u32::try_from(self.0 >> 32).ok()?.checked_sub(1).map(WriteId)
    }

    /// Writes its bytes into a sector of zeros.
    pub fn fill(self, sector: &mut [u8]) {
        if self.0 & Self::CLEARED == 0 {
            let bytes = (self.0 + 1).to_le_bytes();
            let end = sector.len() - bytes.len();
            sector[..bytes.len()].copy_from_slice(&bytes);
            sector[end..].copy_from_slice(&bytes);
        }
    }
}

/// A run of sectors.
pub type Sectors = Range<usize>;

/// True if two ranges have something in common.
pub fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// How large the volume is and how it is cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    /// Bytes of a sector.
    pub sector_bytes: u32,
    /// Sectors of a block.
    pub block_sectors: usize,
    /// Sectors of the volume; the last block may be short.
    pub sectors: usize,
    /// Sectors that the disk has past the end of what the session knows: the volume has grown.
    pub beyond: usize,
    /// The first of the sectors that a paging file has at the start, and the one behind them.
    pub paging: [usize; 2],
}

impl Volume {
    /// The volume as the engine sees it.
    pub fn geometry(&self) -> Geometry {
        let block_bytes = self.bytes(self.block_sectors);
        let block_size = u32::try_from(block_bytes).expect("a block is shorter than 4 GiB");
        Geometry::new(self.bytes(self.sectors), self.sector_bytes, block_size)
            .expect("a plan makes volumes that can be cut into blocks")
    }

    /// What a sector holds before the first write to it.
    pub fn initial(&self, sector: usize) -> Content {
        let [start, end] = self.paging;
        if (start..end).contains(&sector) { Content::PAGED } else { Content::of_a_file(sector) }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.sectors.div_ceil(self.block_sectors)
    }

    /// Bytes of so many sectors.
    pub fn bytes(&self, sectors: usize) -> u64 {
        sectors as u64 * u64::from(self.sector_bytes)
    }

    /// Sectors in so many bytes.
    pub fn count(&self, bytes: u64) -> usize {
        usize::try_from(bytes / u64::from(self.sector_bytes)).expect("model volumes are small")
    }

    /// A run of sectors in bytes.
    pub fn extent(&self, sectors: &Sectors) -> Extent {
        Extent::new(self.bytes(sectors.start), self.bytes(sectors.len()))
            .expect("a run of sectors is not empty")
    }

    /// A run of bytes in sectors.
    pub fn sectors_of(&self, extent: &Extent) -> Sectors {
        self.count(extent.offset())..self.count(extent.end())
    }

    /// The blocks that a run of sectors touches, inside the volume.
    pub fn blocks_of(&self, sectors: &Sectors) -> Range<usize> {
        if sectors.start >= self.sectors {
            return 0..0;
        }
        let end = sectors.end.min(self.sectors).div_ceil(self.block_sectors);
        sectors.start / self.block_sectors..end
    }

    /// The sectors of a block.
    pub fn sectors_in(&self, block: usize) -> Sectors {
        block * self.block_sectors..((block + 1) * self.block_sectors).min(self.sectors)
    }
}

//! Records with the content that they give, and with what the volume had when each was made.

use snapless_types::{EpochId, Extent, GapReason, Geometry, Made, RecordKind, Seq, Tick};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Position, RecordHeader};

use crate::bounds::BLOCKS_MAX;

/// Bytes of a block in headers.
const BLOCK: u64 = 64 << 10;
/// Bytes of a sector in headers.
const SECTOR: u32 = 512;

/// The content of each block: a number that no other write to that block has.
pub type Content = [u8; BLOCKS_MAX];

/// A record of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// Its number.
    pub seq: u8,
    /// Its epoch.
    pub epoch: u8,
    /// What it describes.
    pub kind: RecordKind,
    /// The block; 0 for a marker.
    pub block: u8,
    /// What the block has.
    pub content: u8,
    /// Why the gap began; for `GapBegin` only.
    pub reason: Option<GapReason>,
    /// When it was made, as far as it matters: how often the machine had been put back.
    pub made: u8,
    /// For the checks alone: what the volume had when the record was made.
    pub truth: Content,
}

/// Records that are sent together; only the last one ends an epoch.
pub type Frame = Vec<Record>;

impl Record {
    /// The header that driver, service and server exchange.
    pub fn header(&self) -> RecordHeader {
        let tick = u64::from(self.seq);
        let position = Position {
            seq: Seq::new(tick),
            time: FileTime::new(tick),
            monotonic: tick,
            epoch: EpochId::new(self.epoch.into()),
        };
        let extent = Extent::new(u64::from(self.block) * BLOCK, BLOCK);
        let extent = extent.filter(|_| self.kind.has_extent());
        RecordHeader::new(self.kind, position, extent, self.reason).expect("a whole block")
    }
}

/// When a record of this number was made: in the past after so many returns of the machine.
pub fn made(seq: u8, past: u8) -> Made {
    Made { time: past.into(), monotonic: Tick(seq.into()) }
}

/// The volume's shape.
pub fn geometry(blocks: u8) -> Geometry {
    let block = u32::try_from(BLOCK).expect("64 KiB");
    Geometry::new(u64::from(blocks) * BLOCK, SECTOR, block).expect("1 to 3 blocks")
}

//! What a list tells of the last verification of a copy.

use serde::Serialize;
use snapless_types::Geometry;
use snapless_wire::verified::Verified;

use crate::checks::Differing;
use crate::reader::SessionReader;
use crate::time;

/// What came of the last verification of a copy, as far as the server has compared it. The bytes
/// are those of the volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verification {
    /// When the volume was read for the last time.
    pub time: String,
    /// All of it up to this record was compared.
    pub through_seq: u64,
    /// Bytes that are the same.
    pub same_bytes: u64,
    /// Bytes that differ.
    pub differing_bytes: u64,
    /// Blocks that differ, of those that are listed.
    pub differing_blocks: u64,
    /// Bytes that differ where the copy has free space or trimmed bytes.
    pub unclear_bytes: u64,
    /// Bytes that were written to too soon to be compared.
    pub overtaken_bytes: u64,
    /// Bytes of paging, swap and hibernation files, or that the volume's disk could not read.
    pub left_out_bytes: u64,
    /// Damage has kept something from being compared.
    pub damaged: bool,
    /// Extents that differ, the first ones.
    pub differing: Vec<Differing>,
}

impl Verification {
    /// Of a volume of this shape. `None` if nothing was compared yet, or the outcome is damaged:
    /// `verify` tells that.
    pub(super) fn of(reader: &SessionReader, geometry: &Geometry) -> Option<Self> {
        let verified = reader.verified().unwrap_or_else(|why| {
            log::warn!("{why}");
            None
        });
        let verified = verified.filter(Verified::has_begun)?;
        let blocks = verified.extents.iter().filter_map(|it| geometry.blocks_of(&it.extent));
        let differing = verified.extents.iter().map(|it| Differing {
            offset: it.extent.offset(),
            len: it.extent.len(),
            seq: it.seq.get(),
        });
        Some(Self {
            time: time::to_text(verified.time),
            through_seq: verified.through.get(),
            same_bytes: verified.same,
            differing_bytes: verified.differing,
            differing_blocks: blocks.map(|run| run.len()).sum(),
            unclear_bytes: verified.unclear,
            overtaken_bytes: verified.overtaken,
            left_out_bytes: verified.left_out,
            damaged: verified.is_damaged,
            differing: differing.collect(),
        })
    }
}

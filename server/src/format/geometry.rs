//! A volume's geometry in the header of a file.

use snapless_types::Geometry;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bitmap::BLOCKS_MAX;

/// A geometry, little-endian.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(super) struct GeometryLe {
    length: U64,
    sector_size: U32,
    block_size: U32,
}

impl From<&Geometry> for GeometryLe {
    fn from(geometry: &Geometry) -> Self {
        Self {
            length: U64::new(geometry.length()),
            sector_size: U32::new(geometry.sector_size()),
            block_size: U32::new(geometry.block_size()),
        }
    }
}

impl GeometryLe {
    /// The geometry; `None` if it is none, or past the server's limit.
    pub(super) fn get(self) -> Option<Geometry> {
        let (sector_size, block_size) = (self.sector_size.get(), self.block_size.get());
        let geometry = Geometry::new(self.length.get(), sector_size, block_size);
        geometry.ok().and_then(within_limit)
    }
}

/// The geometry, unless it has more blocks than the server takes.
pub(super) fn within_limit(geometry: Geometry) -> Option<Geometry> {
    (geometry.block_count() <= BLOCKS_MAX).then_some(geometry)
}

//! The map of a session: in which state the blocks of each part of its volume are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Parts of a volume in a map.
pub const MAP_CELLS: usize = 256;
/// Blocks of a part that are looked at, at most: of a longer part a sample, spread over it.
pub const MAP_SAMPLES: u8 = 64;

/// A part of the volume: how many of the blocks that were looked at are in each state. All are 0 of
/// a volume that has fewer blocks than a map has parts.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Debug,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct MapCell {
    /// Their content at t0 is on the disk only.
    pub unsynced: u8,
    /// They are being read.
    pub reading: u8,
    /// The stream describes them.
    pub synced: u8,
    /// They changed without being captured, and are to be read again.
    pub dirty: u8,
    /// Writes to them wait, whatever state they are in: of all blocks of the part, and 255 if there
    /// are more.
    pub held: u8,
}

impl MapCell {
    /// How many of the blocks that were looked at are in which state, in the order of its fields,
    /// and how many of all are held.
    pub fn new([unsynced, reading, synced, dirty]: [u8; 4], held: u8) -> Self {
        Self { unsynced, reading, synced, dirty, held }
    }

    /// Its bytes in a reply.
    pub fn to_bytes(self) -> [u8; 5] {
        zerocopy::transmute!(self)
    }

    /// Blocks that were looked at.
    pub fn blocks(self) -> u32 {
        let Self { unsynced, reading, synced, dirty, held: _ } = self;
        [unsynced, reading, synced, dirty].into_iter().map(u32::from).sum()
    }
}

impl From<[u8; 5]> for MapCell {
    /// From its bytes.
    fn from(bytes: [u8; 5]) -> Self {
        zerocopy::transmute!(bytes)
    }
}

/// Output of [`IOCTL_MAP`](super::IOCTL_MAP).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MapReply {
    /// The parts, in the order of the volume.
    pub cells: [MapCell; MAP_CELLS],
}

const _: () = assert!(size_of::<MapReply>() == 1280);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_pinned_byte_for_byte() {
        let mut reply = MapReply { cells: [MapCell::default(); MAP_CELLS] };
        reply.cells[1] = MapCell::new([1, 2, 3, 4], 5);
        assert_eq!(reply.as_bytes()[..10], [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(MapCell::from(reply.cells[1].to_bytes()), reply.cells[1]);
        assert_eq!((reply.cells[0].blocks(), reply.cells[1].blocks()), (0, 10));
    }
}

//! What a restore asks of its target.

/// What a target must hold, and what may be done to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    /// Bytes of the volume.
    pub length: u64,
    /// Bytes of the volume's sectors; `None` if they are not known.
    pub sector_size: Option<u32>,
    /// Overwrite what is there.
    pub force: bool,
    /// Write to a device whose sectors have another size.
    pub other_sector_size: bool,
}

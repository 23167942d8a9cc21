//! What the test volume passes itself off as, and writes that it sends down its own stack.

use crate::record::{Reader, Writer};

/// The length of a [`Disguise`].
pub const DISGUISE_LENGTH: usize = 24;
/// The length of a [`TopWrite`].
pub const TOP_WRITE_LENGTH: usize = 28;
/// The length of a [`Arrived`].
pub const ARRIVED_LENGTH: usize = 16;

/// What the volume's device object says of itself. Requests are handled as before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disguise {
    /// `FILE_DEVICE_…`; 0 is what it is.
    pub device_type: u32,
    /// `FILE_…` characteristics that are added.
    pub characteristics: u32,
    /// `DO_…` flags that are set.
    pub flags: u32,
    /// `DO_…` flags that are cleared.
    pub flags_cleared: u32,
    /// What it answers as its attributes in a partition table.
    pub gpt_attributes: u64,
}

/// A write from the top of the volume's stack, as a file system makes it in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopWrite {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u32,
    /// Every byte of it.
    pub fill: u32,
    /// In how many memory descriptor lists, chained, its data are.
    pub parts: u32,
    /// `SL_…` flags of its stack location.
    pub location_flags: u32,
    /// `IRP_…` flags, with the priority hint.
    pub irp_flags: u32,
}

/// How such a write ended, and what of it reached the bottom of the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Its `NTSTATUS`.
    pub status: i32,
    /// How many bytes it reported.
    pub length: u32,
    /// `SL_…` flags as they arrived.
    pub location_flags: u32,
    /// `IRP_…` flags as they arrived.
    pub irp_flags: u32,
}

impl Disguise {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; DISGUISE_LENGTH] {
        Writer::new()
            .put(self.device_type.to_le_bytes())
            .put(self.characteristics.to_le_bytes())
            .put(self.flags.to_le_bytes())
            .put(self.flags_cleared.to_le_bytes())
            .put(self.gpt_attributes.to_le_bytes())
            .finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, DISGUISE_LENGTH)?;
        Some(Self {
            device_type: reader.u32(),
            characteristics: reader.u32(),
            flags: reader.u32(),
            flags_cleared: reader.u32(),
            gpt_attributes: reader.u64(),
        })
    }
}

impl TopWrite {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; TOP_WRITE_LENGTH] {
        Writer::new()
            .put(self.offset.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.fill.to_le_bytes())
            .put(self.parts.to_le_bytes())
            .put(self.location_flags.to_le_bytes())
            .put(self.irp_flags.to_le_bytes())
            .finish()
    }

    /// From bytes. Each part has a byte at least.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, TOP_WRITE_LENGTH)?;
        let write = Self {
            offset: reader.u64(),
            length: reader.u32(),
            fill: reader.u32(),
            parts: reader.u32(),
            location_flags: reader.u32(),
            irp_flags: reader.u32(),
        };
        (1..=write.length).contains(&write.parts).then_some(write)
    }
}

impl Arrived {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ARRIVED_LENGTH] {
        Writer::new()
            .put(self.status.to_le_bytes())
            .put(self.length.to_le_bytes())
            .put(self.location_flags.to_le_bytes())
            .put(self.irp_flags.to_le_bytes())
            .finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, ARRIVED_LENGTH)?;
        Some(Self {
            status: reader.u32().cast_signed(),
            length: reader.u32(),
            location_flags: reader.u32(),
            irp_flags: reader.u32(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrived, Disguise, TopWrite};

    #[test]
    fn records_come_back_as_they_went() {
        let disguise = Disguise {
            device_type: 1,
            characteristics: 2,
            flags: 3,
            flags_cleared: 4,
            gpt_attributes: 1 << 60,
        };
        assert_eq!(Disguise::decode(&disguise.encode()), Some(disguise));
        let write = TopWrite {
            offset: 1 << 40,
            length: 4096,
            fill: 7,
            parts: 3,
            location_flags: 5,
            irp_flags: 6,
        };
        assert_eq!(TopWrite::decode(&write.encode()), Some(write));
        let arrived = Arrived { status: -1, length: 4096, location_flags: 5, irp_flags: 6 };
        assert_eq!(Arrived::decode(&arrived.encode()), Some(arrived));
    }

    #[test]
    fn a_write_has_a_part_and_every_part_a_byte() {
        let write = TopWrite { length: 2, parts: 2, ..TopWrite::default() };
        assert!(TopWrite::decode(&write.encode()).is_some());
        assert_eq!(TopWrite::decode(&TopWrite { parts: 0, ..write }.encode()), None);
        assert_eq!(TopWrite::decode(&TopWrite { parts: 3, ..write }.encode()), None);
    }
}

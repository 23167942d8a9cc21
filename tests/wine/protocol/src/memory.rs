//! Memory that the driver under test does not get, and what it has.

use crate::record::{Reader, Writer};

/// The length of a [`Scarcity`].
pub const SCARCITY_LENGTH: usize = 12;
/// The length of a [`Memory`].
pub const MEMORY_LENGTH: usize = 24;

/// What the driver under test is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scarcity {
    /// The kinds, of the constants below; 0 is an end of all scarcity.
    pub kinds: u32,
    /// Which allocation of these kinds is refused, counted from 1 from now on; 0 is each.
    pub nth: u64,
}

/// What the driver asked for since the last [`Scarcity`], and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Memory {
    /// Allocations of the scarce kinds that it asked for.
    pub asked: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// Pool blocks, packets, memory descriptor lists and threads, of all kinds, that it has not given back.
    pub outstanding: u64,
}

impl Scarcity {
    /// Pool, packets, memory descriptor lists, threads.
    pub const KERNEL: u32 = 1;
    /// System addresses of applications' buffers.
    pub const MAPPINGS: u32 = 2;
    /// Objects that the framework makes for requests and open files.
    pub const FRAMEWORK: u32 = 4;

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SCARCITY_LENGTH] {
        Writer::new().put(self.kinds.to_le_bytes()).put(self.nth.to_le_bytes()).finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, SCARCITY_LENGTH)?;
        let scarcity = Self { kinds: reader.u32(), nth: reader.u64() };
        let all = Self::KERNEL | Self::MAPPINGS | Self::FRAMEWORK;
        (scarcity.kinds & !all == 0).then_some(scarcity)
    }
}

impl Memory {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; MEMORY_LENGTH] {
        Writer::new()
            .put(self.asked.to_le_bytes())
            .put(self.refused.to_le_bytes())
            .put(self.outstanding.to_le_bytes())
            .finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, MEMORY_LENGTH)?;
        Some(Self { asked: reader.u64(), refused: reader.u64(), outstanding: reader.u64() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Scarcity};

    #[test]
    fn records_come_back_as_they_went() {
        let scarcity = Scarcity { kinds: Scarcity::KERNEL | Scarcity::FRAMEWORK, nth: 9 };
        assert_eq!(Scarcity::decode(&scarcity.encode()), Some(scarcity));
        let memory = Memory { asked: 1, refused: 2, outstanding: 3 };
        assert_eq!(Memory::decode(&memory.encode()), Some(memory));
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(Scarcity::decode(&Scarcity { kinds: 8, nth: 0 }.encode()), None);
    }
}

//! Whether a volume can be protected, and why not.

/// Whether a volume can be protected: its number in [`VolumeEntry`](super::VolumeEntry) and
/// [`StatusReply`](super::StatusReply).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Protection {
    /// It can.
    Possible = 0,
    /// It tells neither its length nor its sector size: offline or locked.
    Silent = 1,
    /// Its medium can be taken out: what comes back need not be the same.
    Removable = 2,
    /// An optical disc.
    CdRom = 3,
    /// A RAM disk: it is gone after a restart.
    RamDisk = 4,
    /// Nobody can write to it.
    ReadOnly = 5,
    /// Files on it are mapped straight to persistent memory: stores to them never become requests.
    Dax = 6,
    /// A cluster shared volume: other machines write to it, past this driver.
    ClusterShared = 7,
    /// It is on another machine.
    Remote = 8,
    /// The driver's settings exclude it.
    Excluded = 9,
    /// The driver's settings say that it only passes requests through.
    PassThrough = 10,
    /// Its driver takes neither direct nor buffered I/O: data are reachable in their caller's address space only.
    NoDirectIo = 11,
}

impl Protection {
    /// Every value.
    pub const ALL: [Self; 12] = [
        Self::Possible,
        Self::Silent,
        Self::Removable,
        Self::CdRom,
        Self::RamDisk,
        Self::ReadOnly,
        Self::Dax,
        Self::ClusterShared,
        Self::Remote,
        Self::Excluded,
        Self::PassThrough,
        Self::NoDirectIo,
    ];

    /// The value with this number on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|protection| *protection as u32 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_places_and_come_back() {
        for (place, protection) in Protection::ALL.into_iter().enumerate() {
            assert_eq!(protection as usize, place);
            assert_eq!(Protection::from_wire(protection as u32), Some(protection));
        }
        assert_eq!(Protection::from_wire(12), None);
    }
}

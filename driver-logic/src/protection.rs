//! Which volumes can be protected.
//!
//! Rule: a volume that cannot be protected is passed through, and its entry in the list of volumes
//! says why. The device objects' fields are checked first: they need no query to the disk.

use snapless_wire::ioctl::Protection;

/// `FILE_DEVICE_CD_ROM`, `FILE_DEVICE_CD_ROM_FILE_SYSTEM`, `FILE_DEVICE_DVD`.
const TYPES_CD_ROM: [u32; 3] = [0x02, 0x03, 0x33];
/// `FILE_DEVICE_VIRTUAL_DISK`: the type of RAM disks. A mounted disk image is a disk.
const TYPE_VIRTUAL_DISK: u32 = 0x24;
/// `FILE_DEVICE_NETWORK`, `FILE_DEVICE_NETWORK_FILE_SYSTEM`, `FILE_DEVICE_NETWORK_REDIRECTOR`,
/// `FILE_DEVICE_DFS`.
const TYPES_NETWORK: [u32; 4] = [0x12, 0x14, 0x28, 0x35];

/// `FILE_REMOVABLE_MEDIA`
const REMOVABLE_MEDIA: u32 = 0x0000_0001;
/// `FILE_READ_ONLY_DEVICE`
const READ_ONLY_DEVICE: u32 = 0x0000_0002;
/// `FILE_FLOPPY_DISKETTE`
const FLOPPY_DISKETTE: u32 = 0x0000_0004;
/// `FILE_WRITE_ONCE_MEDIA`
const WRITE_ONCE_MEDIA: u32 = 0x0000_0008;
/// `FILE_REMOTE_DEVICE`
const REMOTE_DEVICE: u32 = 0x0000_0010;
/// `FILE_CHARACTERISTIC_CSV`
const CLUSTER_SHARED: u32 = 0x0001_0000;

/// `DO_BUFFERED_IO`
const DO_BUFFERED_IO: u32 = 0x0000_0004;
/// `DO_DIRECT_IO`
const DO_DIRECT_IO: u32 = 0x0000_0010;
/// `DO_DAX_VOLUME`
const DO_DAX_VOLUME: u32 = 0x1000_0000;

/// `GPT_BASIC_DATA_ATTRIBUTE_READ_ONLY`
const GPT_READ_ONLY: u64 = 1 << 60;

/// The obstacles that a device object tells of, lasting ones first.
const OF_DEVICE: [Protection; 7] = [
    Protection::Remote,
    Protection::CdRom,
    Protection::RamDisk,
    Protection::ClusterShared,
    Protection::Removable,
    Protection::Dax,
    Protection::ReadOnly,
];

/// Fields of a device object.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeviceFacts {
    /// Its `DeviceType`.
    pub device_type: u32,
    /// Its `Characteristics`.
    pub characteristics: u32,
    /// Its `Flags`.
    pub flags: u32,
}

/// What the device objects below the filter tell, down to the physical one. It is not documented
/// which of them carries a characteristic or a flag, so any of them counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StackFacts {
    /// `DO_…` flags of the device that requests go to.
    lower_flags: u32,
    /// The first of [`OF_DEVICE`] that a device tells of.
    obstacle: Option<Protection>,
}

impl StackFacts {
    /// The facts of the device that requests go to.
    pub fn of_lower(device: DeviceFacts) -> Self {
        Self { lower_flags: device.flags, obstacle: device.obstacle() }
    }

    /// Adds the facts of a device below it.
    pub fn add(&mut self, device: DeviceFacts) {
        let told = [self.obstacle, device.obstacle()];
        self.obstacle = OF_DEVICE.into_iter().find(|obstacle| told.contains(&Some(*obstacle)));
    }
}

impl DeviceFacts {
    fn obstacle(self) -> Option<Protection> {
        let is = |bits| self.characteristics & bits != 0;
        OF_DEVICE.into_iter().find(|obstacle| match obstacle {
            Protection::Remote => TYPES_NETWORK.contains(&self.device_type) || is(REMOTE_DEVICE),
            Protection::CdRom => TYPES_CD_ROM.contains(&self.device_type),
            Protection::RamDisk => self.device_type == TYPE_VIRTUAL_DISK,
            Protection::ClusterShared => is(CLUSTER_SHARED),
            Protection::Removable => is(REMOVABLE_MEDIA | FLOPPY_DISKETTE),
            Protection::Dax => self.flags & DO_DAX_VOLUME != 0,
            _ => is(READ_ONLY_DEVICE | WRITE_ONCE_MEDIA),
        })
    }
}

/// The volume's replies to queries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VolumeFacts {
    /// It replied with its length and sector size.
    pub answers: bool,
    /// `IOCTL_DISK_IS_WRITABLE` failed with `STATUS_MEDIA_WRITE_PROTECTED`.
    pub write_protected: bool,
    /// The disk's descriptor says that its medium is removable.
    pub removable_media: bool,
    /// The reply to `IOCTL_VOLUME_GET_GPT_ATTRIBUTES`; 0 if it failed.
    pub gpt_attributes: u64,
}

/// The driver's settings for the volume.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Choices {
    /// Earlier starts of the machine have failed ([`starts`](crate::starts)).
    pub starts_failed: bool,
    /// The volume is in `ExcludedVolumes`.
    pub excluded: bool,
}

/// Whether the volume can be protected, or the first reason why not, lasting ones first.
pub fn protection(devices: StackFacts, volume: VolumeFacts, choices: Choices) -> Protection {
    if choices.starts_failed {
        Protection::StartsFailed
    } else if let Some(obstacle) = devices.obstacle {
        obstacle
    } else if devices.lower_flags & (DO_BUFFERED_IO | DO_DIRECT_IO) == 0 {
        Protection::NoDirectIo
    } else if volume.removable_media {
        Protection::Removable
    } else if choices.excluded {
        Protection::Excluded
    } else if !volume.answers {
        Protection::Silent
    } else if volume.write_protected || volume.gpt_attributes & GPT_READ_ONLY != 0 {
        Protection::ReadOnly
    } else {
        Protection::Possible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume on a fixed disk.
    const DISK: DeviceFacts =
        DeviceFacts { device_type: 7, characteristics: 0x100, flags: DO_DIRECT_IO };
    const ANSWERS: VolumeFacts = VolumeFacts {
        answers: true,
        write_protected: false,
        removable_media: false,
        gpt_attributes: 0,
    };
    const NOTHING: Choices = Choices { starts_failed: false, excluded: false };

    /// A stack of one device.
    fn alone(device: DeviceFacts, volume: VolumeFacts, choices: Choices) -> Protection {
        protection(StackFacts::of_lower(device), volume, choices)
    }

    /// Devices that tell of an obstacle, and the obstacle.
    fn obstacles() -> [(DeviceFacts, Protection); 11] {
        let typed = |device_type| DeviceFacts { device_type, ..DISK };
        let with = |bits| DeviceFacts { characteristics: DISK.characteristics | bits, ..DISK };
        [
            (typed(2), Protection::CdRom),
            (typed(0x33), Protection::CdRom),
            (typed(0x24), Protection::RamDisk),
            (typed(0x14), Protection::Remote),
            (with(REMOTE_DEVICE), Protection::Remote),
            (with(REMOVABLE_MEDIA), Protection::Removable),
            (with(FLOPPY_DISKETTE), Protection::Removable),
            (with(CLUSTER_SHARED), Protection::ClusterShared),
            (with(READ_ONLY_DEVICE), Protection::ReadOnly),
            (with(WRITE_ONCE_MEDIA), Protection::ReadOnly),
            (DeviceFacts { flags: DO_DIRECT_IO | DO_DAX_VOLUME, ..DISK }, Protection::Dax),
        ]
    }

    #[test]
    fn a_volume_on_a_fixed_disk_can_be_protected() {
        assert_eq!(alone(DISK, ANSWERS, NOTHING), Protection::Possible);
        let hidden = VolumeFacts { gpt_attributes: 1 << 62, ..ANSWERS };
        assert_eq!(alone(DISK, hidden, NOTHING), Protection::Possible);
        let buffered = DeviceFacts { flags: DO_BUFFERED_IO, ..DISK };
        assert_eq!(alone(buffered, ANSWERS, NOTHING), Protection::Possible);
    }

    #[test]
    fn the_device_object_decides_before_the_replies_do() {
        let neither = (DeviceFacts { flags: 0x40, ..DISK }, Protection::NoDirectIo);
        for (device, reason) in obstacles().into_iter().chain([neither]) {
            assert_eq!(alone(device, ANSWERS, NOTHING), reason);
            assert_eq!(alone(device, VolumeFacts::default(), NOTHING), reason);
        }
    }

    #[test]
    fn an_obstacle_counts_whichever_device_of_the_stack_tells_of_it() {
        // A filter between us and the volume hands nothing on.
        let between = DeviceFacts { device_type: 7, characteristics: 0, flags: DO_DIRECT_IO };
        for (device, reason) in obstacles() {
            for below in [[device, DISK], [DISK, device]] {
                let mut stack = StackFacts::of_lower(between);
                for device in below {
                    stack.add(device);
                }
                assert_eq!(protection(stack, ANSWERS, NOTHING), reason);
            }
        }
        let mut stack = StackFacts::of_lower(DISK);
        stack.add(DeviceFacts { flags: 0, ..DISK });
        assert_eq!(protection(stack, ANSWERS, NOTHING), Protection::Possible);
    }

    #[test]
    fn no_reply_write_protection_and_settings_are_reasons() {
        let silent = VolumeFacts::default();
        assert_eq!(alone(DISK, silent, NOTHING), Protection::Silent);
        let locked = VolumeFacts { write_protected: true, ..ANSWERS };
        assert_eq!(alone(DISK, locked, NOTHING), Protection::ReadOnly);
        let marked = VolumeFacts { gpt_attributes: GPT_READ_ONLY, ..ANSWERS };
        assert_eq!(alone(DISK, marked, NOTHING), Protection::ReadOnly);
        let card = VolumeFacts { removable_media: true, ..ANSWERS };
        assert_eq!(alone(DISK, card, NOTHING), Protection::Removable);
        let excluded = Choices { excluded: true, ..NOTHING };
        assert_eq!(alone(DISK, ANSWERS, excluded), Protection::Excluded);
        let failed = Choices { starts_failed: true, ..excluded };
        assert_eq!(alone(DISK, ANSWERS, failed), Protection::StartsFailed);
    }
}

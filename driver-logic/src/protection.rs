//! Which volumes can be protected.
//!
//! Rule: a volume that cannot be protected is passed through, and its entry in the list of volumes
//! says why. The device object's fields are checked first: they need no query to the disk.

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

/// The volume's replies to queries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VolumeFacts {
    /// It replied with its length and sector size.
    pub answers: bool,
    /// `IOCTL_DISK_IS_WRITABLE` failed with `STATUS_MEDIA_WRITE_PROTECTED`.
    pub write_protected: bool,
    /// The reply to `IOCTL_VOLUME_GET_GPT_ATTRIBUTES`; 0 if it failed.
    pub gpt_attributes: u64,
}

/// The driver's settings for the volume.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Choices {
    /// `PassThrough` is set.
    pub pass_through: bool,
    /// The volume is in `ExcludedVolumes`.
    pub excluded: bool,
}

/// Whether the volume can be protected, or the first reason why not, lasting ones first.
pub fn protection(device: DeviceFacts, volume: VolumeFacts, choices: Choices) -> Protection {
    let is = |bits| device.characteristics & bits != 0;
    if choices.pass_through {
        Protection::PassThrough
    } else if TYPES_NETWORK.contains(&device.device_type) || is(REMOTE_DEVICE) {
        Protection::Remote
    } else if TYPES_CD_ROM.contains(&device.device_type) {
        Protection::CdRom
    } else if device.device_type == TYPE_VIRTUAL_DISK {
        Protection::RamDisk
    } else if is(CLUSTER_SHARED) {
        Protection::ClusterShared
    } else if is(REMOVABLE_MEDIA | FLOPPY_DISKETTE) {
        Protection::Removable
    } else if device.flags & DO_DAX_VOLUME != 0 {
        Protection::Dax
    } else if is(READ_ONLY_DEVICE | WRITE_ONCE_MEDIA) {
        Protection::ReadOnly
    } else if device.flags & (DO_BUFFERED_IO | DO_DIRECT_IO) == 0 {
        Protection::NoDirectIo
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
    const ANSWERS: VolumeFacts =
        VolumeFacts { answers: true, write_protected: false, gpt_attributes: 0 };
    const NOTHING: Choices = Choices { pass_through: false, excluded: false };

    #[test]
    fn a_volume_on_a_fixed_disk_can_be_protected() {
        assert_eq!(protection(DISK, ANSWERS, NOTHING), Protection::Possible);
        let hidden = VolumeFacts { gpt_attributes: 1 << 62, ..ANSWERS };
        assert_eq!(protection(DISK, hidden, NOTHING), Protection::Possible);
        let buffered = DeviceFacts { flags: DO_BUFFERED_IO, ..DISK };
        assert_eq!(protection(buffered, ANSWERS, NOTHING), Protection::Possible);
    }

    #[test]
    fn the_device_object_decides_before_the_replies_do() {
        let typed = |device_type| DeviceFacts { device_type, ..DISK };
        let with = |bits| DeviceFacts { characteristics: DISK.characteristics | bits, ..DISK };
        let cases = [
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
            (DeviceFacts { flags: 0x40, ..DISK }, Protection::NoDirectIo),
        ];
        for (device, reason) in cases {
            assert_eq!(protection(device, ANSWERS, NOTHING), reason);
            assert_eq!(protection(device, VolumeFacts::default(), NOTHING), reason);
        }
    }

    #[test]
    fn no_reply_write_protection_and_settings_are_reasons() {
        let silent = VolumeFacts::default();
        assert_eq!(protection(DISK, silent, NOTHING), Protection::Silent);
        let locked = VolumeFacts { write_protected: true, ..ANSWERS };
        assert_eq!(protection(DISK, locked, NOTHING), Protection::ReadOnly);
        let marked = VolumeFacts { gpt_attributes: GPT_READ_ONLY, ..ANSWERS };
        assert_eq!(protection(DISK, marked, NOTHING), Protection::ReadOnly);
        let excluded = Choices { excluded: true, ..NOTHING };
        assert_eq!(protection(DISK, ANSWERS, excluded), Protection::Excluded);
        let killed = Choices { pass_through: true, ..excluded };
        assert_eq!(protection(DISK, silent, killed), Protection::PassThrough);
    }
}

//! The cases: on which machines and volumes Windows is tested. One table; `--list` prints it.
//!
//! The release of Windows is the ISO's: the cases are run once for each of Windows Server 2019,
//! 2022 and 2025.

use crate::machine::{Bus, Firmware, Sectors};

/// The file system of the volume that is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// NTFS.
    Ntfs,
    /// `ReFS`.
    Refs,
    /// FAT32.
    Fat,
}

/// What the volume lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A partition.
    Basic,
    /// A simple volume of the Logical Disk Manager.
    Dynamic,
    /// A virtual disk of Storage Spaces.
    StorageSpaces,
    /// The same, thinly provisioned.
    ThinStorageSpaces,
}

/// Which volume is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// The one that Windows starts from.
    Boot,
    /// Another one.
    Data,
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What starts the machine.
    pub firmware: Firmware,
    /// What the boot disk is attached to.
    pub bus: Bus,
    /// What the data disk is attached to.
    pub data_bus: Bus,
    /// Which volume is protected.
    pub protected: Protected,
    /// The data volume's file system.
    pub file_system: FileSystem,
    /// What the data volume lies on.
    pub layout: Layout,
    /// The data disk's sectors.
    pub sectors: Sectors,
    /// True with `BitLocker` below the volume.
    pub bit_locker: bool,
    /// True with a shadow copy on the volume while it is protected.
    pub shadow_copy: bool,
    /// True if trims reach the disk.
    pub trim: bool,
}

/// The case that the others differ from in what they are named after.
const NTFS: Case = Case {
    name: "ntfs",
    firmware: Firmware::Uefi,
    bus: Bus::Nvme,
    data_bus: Bus::Nvme,
    protected: Protected::Data,
    file_system: FileSystem::Ntfs,
    layout: Layout::Basic,
    sectors: Sectors::Native512,
    bit_locker: false,
    shadow_copy: false,
    trim: false,
};

/// All of them.
pub const CASES: [Case; 16] = [
    NTFS,
    Case { name: "boot-volume", protected: Protected::Boot, ..NTFS },
    Case { name: "bios", firmware: Firmware::Bios, bus: Bus::Sata, data_bus: Bus::Sata, ..NTFS },
    Case {
        name: "bios-boot-volume",
        firmware: Firmware::Bios,
        bus: Bus::Sata,
        data_bus: Bus::Sata,
        protected: Protected::Boot,
        ..NTFS
    },
    Case { name: "secure-boot", firmware: Firmware::SecureBoot, ..NTFS },
    Case { name: "virtio", bus: Bus::Virtio, data_bus: Bus::Virtio, ..NTFS },
    Case { name: "pulled-out", data_bus: Bus::Usb, ..NTFS },
    Case { name: "refs", file_system: FileSystem::Refs, ..NTFS },
    Case { name: "fat", file_system: FileSystem::Fat, ..NTFS },
    Case { name: "512e", sectors: Sectors::Emulated512, ..NTFS },
    Case { name: "4kn", sectors: Sectors::Native4096, ..NTFS },
    Case { name: "dynamic", layout: Layout::Dynamic, ..NTFS },
    Case { name: "storage-spaces", layout: Layout::StorageSpaces, ..NTFS },
    Case { name: "thin", layout: Layout::ThinStorageSpaces, trim: true, ..NTFS },
    Case { name: "bitlocker", bit_locker: true, ..NTFS },
    Case { name: "shadow-copy", shadow_copy: true, trim: true, ..NTFS },
];

impl Case {
    /// True if the driver has to come signed by Microsoft: Secure Boot and test signing exclude
    /// each other.
    pub fn needs_signed_driver(&self) -> bool {
        self.firmware == Firmware::SecureBoot
    }

    /// True if Windows has to get drivers of virtio at its installation.
    pub fn needs_virtio(&self) -> bool {
        self.bus == Bus::Virtio || self.data_bus == Bus::Virtio
    }

    /// True if the volume can have a shadow copy that keeps all of a file of 3 GiB: of FAT Windows
    /// makes none, and a thin space has no room for it.
    pub fn takes_shadow_copies(&self) -> bool {
        let is_ntfs = self.protected == Protected::Boot || self.file_system == FileSystem::Ntfs;
        is_ntfs && self.layout != Layout::ThinStorageSpaces
    }

    /// The volume that is protected, by its letter.
    pub fn volume(&self) -> &'static str {
        match self.protected {
            Protected::Boot => "C:",
            Protected::Data => "E:",
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let file_system = match self.file_system {
            FileSystem::Ntfs => "NTFS",
            FileSystem::Refs => "ReFS",
            FileSystem::Fat => "FAT32",
        };
        let sectors = match self.sectors {
            Sectors::Native512 => "512",
            Sectors::Emulated512 => "512e",
            Sectors::Native4096 => "4Kn",
        };
        let mut line = format!(
            "{:17} {:?}, {:?} and {:?}, protects {}, {file_system} on {:?}, {sectors}",
            self.name,
            self.firmware,
            self.bus,
            self.data_bus,
            self.volume(),
            self.layout
        );
        let extras = [
            (self.bit_locker, "BitLocker"),
            (self.shadow_copy, "a shadow copy"),
            (self.trim, "trim"),
            (self.needs_signed_driver(), "needs --signed-driver"),
            (self.needs_virtio(), "needs --virtio"),
        ];
        for (_, extra) in extras.iter().filter(|(is_so, _)| *is_so) {
            line.push_str(", ");
            line.push_str(extra);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_value_of_each_dimension_has_a_case() {
        let has = |is_it: &dyn Fn(&Case) -> bool| CASES.iter().any(is_it);
        for firmware in [Firmware::Bios, Firmware::Uefi, Firmware::SecureBoot] {
            assert!(has(&|case| case.firmware == firmware));
        }
        for file_system in [FileSystem::Ntfs, FileSystem::Refs, FileSystem::Fat] {
            assert!(has(&|case| case.file_system == file_system));
        }
        for sectors in [Sectors::Native512, Sectors::Emulated512, Sectors::Native4096] {
            assert!(has(&|case| case.sectors == sectors));
        }
        for layout in
            [Layout::Basic, Layout::Dynamic, Layout::StorageSpaces, Layout::ThinStorageSpaces]
        {
            assert!(has(&|case| case.layout == layout));
        }
        for bus in [Bus::Nvme, Bus::Sata, Bus::Usb, Bus::Virtio] {
            assert!(has(&|case| case.data_bus == bus));
        }
        assert!(has(&|case| case.bit_locker) && has(&|case| case.shadow_copy));
        assert!(has(&|case| case.trim) && has(&|case| case.protected == Protected::Boot));
    }

    #[test]
    fn names_are_names_of_folders_and_each_is_there_once() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(names.iter().all(|name| vm_protocol::message::is_plain_name(name)));
    }
}

//! The formats of disk images.

use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

/// The format of a disk image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The volume's bytes, as a sparse file or on a block device.
    Raw,
    /// QEMU's.
    Qcow2,
    /// Hyper-V's.
    Vhdx,
    /// Hyper-V's and Virtual PC's older one, of at most 2,040 GiB.
    Vhd,
    /// A disk of `VMware`.
    #[value(help = "VMware's")]
    Vmdk,
    /// A disk of `VirtualBox`.
    #[value(help = "VirtualBox's")]
    Vdi,
}

impl DiskFormat {
    /// The format that a file's name asks for: raw unless its extension is another format's.
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "qcow2" => Self::Qcow2,
            "vhdx" => Self::Vhdx,
            "vhd" => Self::Vhd,
            "vmdk" => Self::Vmdk,
            "vdi" => Self::Vdi,
            _ => Self::Raw,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
        }
    }

    /// QEMU's name of its driver.
    pub(super) fn driver(self) -> &'static str {
        match self {
            Self::Vhd => "vpc",
            other => other.name(),
        }
    }

    /// QEMU's options for a new image of this format.
    pub(super) fn options(self) -> Option<&'static str> {
        match self {
            // The volume's length instead of a whole number of cylinders.
            Self::Vhd => Some("force_size=on"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_asks_for_a_format_in_any_case() {
        for (name, format) in [
            ("a.qcow2", DiskFormat::Qcow2),
            ("a.b.VHDX", DiskFormat::Vhdx),
            ("a.Vhd", DiskFormat::Vhd),
            ("a.vmdk", DiskFormat::Vmdk),
            ("a.vdi", DiskFormat::Vdi),
            ("a.img", DiskFormat::Raw),
            ("qcow2", DiskFormat::Raw),
            (".vhd", DiskFormat::Raw),
            ("/dev/sdx", DiskFormat::Raw),
        ] {
            assert_eq!(DiskFormat::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn a_format_has_one_name() {
        for format in DiskFormat::value_variants() {
            let of_clap = format.to_possible_value().unwrap();
            assert_eq!(of_clap.get_name(), format.name());
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }
}

//! Names of volumes: `{guid}` (as in `\\?\Volume{guid}`), `D:` or a device path.
//!
//! The driver knows device names only. Rule: text is parsed once, here; all other code handles
//! [`VolumeName`].

use std::fmt;
use std::str::FromStr;

use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};

/// A volume's name, as a user writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VolumeName {
    /// The GUID in `\\?\Volume{guid}`; it survives restarts.
    Guid(VolumeGuid),
    /// A drive letter, in upper case; it may move to another volume.
    Drive(char),
    /// A device object's name, such as `\Device\HarddiskVolume3`; it may change with a restart.
    Device(String),
}

impl VolumeName {
    /// The symbolic link in `\??\` to the device; `None` for a device path, which needs none.
    pub fn dos_name(&self) -> Option<String> {
        match self {
            Self::Guid(guid) => Some(format!("Volume{{{guid}}}")),
            Self::Drive(letter) => Some(format!("{letter}:")),
            Self::Device(_) => None,
        }
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guid(guid) => write!(f, "{{{guid}}}"),
            Self::Drive(letter) => write!(f, "{letter}:"),
            Self::Device(path) => f.write_str(path),
        }
    }
}

/// Text that names no volume.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` does not name a volume: write its GUID ({{…}}, as `mountvol` shows it), a drive letter \
     (D:) or a device path (\\Device\\HarddiskVolume3)"
)]
pub struct NotAVolumeName(pub String);

impl FromStr for VolumeName {
    type Err = NotAVolumeName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotAVolumeName(text.to_owned());
        if has_device_prefix(text) {
            let units = text.encode_utf16().count();
            let valid = units <= DEVICE_NAME_MAX && text.len() > DEVICE_PREFIX.len();
            return valid.then(|| Self::Device(text.to_owned())).ok_or_else(bad);
        }
        if let [letter, b':'] | [letter, b':', b'\\'] = text.as_bytes() {
            let drive = char::from(letter.to_ascii_uppercase());
            return drive.is_ascii_uppercase().then_some(Self::Drive(drive)).ok_or_else(bad);
        }
        VolumeGuid::parse_name(text).map(Self::Guid).ok_or_else(bad)
    }
}

const DEVICE_PREFIX: &str = r"\Device\";

fn has_device_prefix(text: &str) -> bool {
    text.get(..DEVICE_PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(DEVICE_PREFIX))
}

/// A device name as text; `None` if it is empty or its length is impossible. Unpaired surrogates
/// become U+FFFD.
pub fn device_text(name: &DeviceName) -> Option<String> {
    let units: Vec<u16> = name.units()?.collect();
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";

    #[test]
    fn a_guid_is_accepted_in_every_form_that_windows_prints() {
        for text in [
            GUID.to_owned(),
            format!("{{{}}}", GUID.to_uppercase()),
            format!(r"\\?\Volume{{{GUID}}}"),
            format!(r"\\?\Volume{{{GUID}}}\"),
            format!(r"\\?\volume{{{}}}\", GUID.to_uppercase()),
            format!("Volume{{{GUID}}}"),
        ] {
            let name: VolumeName = text.parse().unwrap();
            assert_eq!(name.to_string(), format!("{{{GUID}}}"), "{text}");
            assert_eq!(name.dos_name().unwrap(), format!("Volume{{{GUID}}}"));
        }
    }

    #[test]
    fn drive_letters_and_device_paths_are_distinguished() {
        assert_eq!("d:".parse(), Ok(VolumeName::Drive('D')));
        assert_eq!(r"E:\".parse(), Ok(VolumeName::Drive('E')));
        let device: VolumeName = r"\device\HarddiskVolume3".parse().unwrap();
        assert_eq!(device, VolumeName::Device(r"\device\HarddiskVolume3".into()));
        assert_eq!(device.dos_name(), None);
    }

    #[test]
    fn text_that_names_no_volume_is_refused() {
        let long = format!(r"\Device\{}", "x".repeat(DEVICE_NAME_MAX));
        let nil = "{00000000-0000-0000-0000-000000000000}";
        for text in ["", "D", "1:", r"\Device\", "C:\\temp", "volume1", "é:", nil, &long] {
            assert!(text.parse::<VolumeName>().is_err(), "{text}");
        }
    }
}

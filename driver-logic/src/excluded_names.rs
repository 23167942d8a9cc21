//! Names in the list of volumes that are never protected: in each form that the programs take, too
//! ([`VolumeGuid::parse_name`]), or else a volume would be protected that an administrator has
//! excluded.

use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::{DEVICE_NAME_MAX, DeviceName};

/// `Volume{…}`
const LINK_MAX: usize = 44;
/// Characters of a GUID without braces.
const GUID_LEN: usize = 36;

/// The name of a symbolic link to a volume, in the object manager's folder of such names.
#[derive(Clone, Debug)]
pub struct LinkName {
    text: [u8; LINK_MAX],
    len: usize,
}

impl LinkName {
    /// The link that an entry of the list means: `D:`, or `Volume{…}`. `None` for a device name,
    /// and for text that names no volume.
    #[inline(never)] // Its buffer is on the stack only while it is needed.
    pub fn of(entry: &DeviceName) -> Option<Self> {
        let mut text = [0; DEVICE_NAME_MAX];
        let len = entry.units()?.count();
        for (place, unit) in text.iter_mut().zip(entry.units()?) {
            *place = u8::try_from(unit).ok().filter(u8::is_ascii)?;
        }
        let text = str::from_utf8(text.get(..len)?).ok()?;
        if let [letter, b':'] | [letter, b':', b'\\'] = text.as_bytes() {
            return letter.is_ascii_alphabetic().then(|| Self::joined([&[*letter], b":", b""]))?;
        }
        VolumeGuid::parse_name(text)?;
        let brace = text.bytes().position(|byte| byte == b'{');
        let start = brace.map_or(0, |brace| brace.saturating_add(1));
        let guid = text.as_bytes().get(start..start.saturating_add(GUID_LEN))?;
        Self::joined([b"Volume{", guid, b"}"])
    }

    fn joined(parts: [&[u8]; 3]) -> Option<Self> {
        let mut name = Self { text: [0; LINK_MAX], len: 0 };
        for byte in parts.into_iter().flatten() {
            *name.text.get_mut(name.len)? = *byte;
            name.len = name.len.checked_add(1)?;
        }
        Some(name)
    }

    /// Its UTF-16 units.
    pub fn units(&self) -> impl Iterator<Item = u16> + '_ {
        self.text.iter().take(self.len).map(|byte| u16::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    const GUID: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";

    fn link(entry: &str) -> Option<String> {
        let name = DeviceName::new(entry.encode_utf16()).unwrap();
        LinkName::of(&name)
            .map(|link| char::decode_utf16(link.units()).map(Result::unwrap).collect())
    }

    #[test]
    fn a_volume_is_found_by_every_name_that_the_programs_take() {
        for text in [
            String::from(GUID),
            format!("{{{GUID}}}"),
            format!("Volume{{{GUID}}}"),
            format!(r"\\?\Volume{{{GUID}}}\"),
            format!(r"\\?\Volume{{{GUID}}}"),
            format!(r"\??\volume{{{GUID}}}"),
        ] {
            assert_eq!(link(&text), Some(format!("Volume{{{GUID}}}")), "{text}");
        }
        for text in ["D:", r"D:\"] {
            assert_eq!(link(text).as_deref(), Some("D:"), "{text}");
        }
    }

    #[test]
    fn a_device_name_and_text_that_names_no_volume_have_no_link() {
        for text in [r"\Device\HarddiskVolume3", "D", "1:", r"D:\x", "Volume", "é:", "{}"] {
            assert_eq!(link(text), None, "{text}");
        }
        assert_eq!(link(&"x".repeat(DEVICE_NAME_MAX)), None);
    }
}

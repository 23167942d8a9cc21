//! The version resource of a PE file, read from the file.
//!
//! The rule: every file that is shipped has one, with the version of this repository and the names
//! that Windows shows; a resource that cannot be read is an error, never an absent one.

use std::fmt;
use std::path::Path;

use crate::error::{Error, IoContext, Result as TaskResult};
use crate::resources;

/// `VS_FFI_SIGNATURE`
const SIGNATURE: u32 = 0xFEEF_04BD;
/// Bytes of a `VS_FIXEDFILEINFO`.
const FIXED_LEN: usize = 52;
/// What the strings have to say something about.
const STRINGS: [&str; 4] = ["FileDescription", "FileVersion", "OriginalFilename", "ProductName"];

/// What a version resource says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    file: [u16; 4],
    product: [u16; 4],
    strings: Vec<(String, String)>,
}

/// The version of this repository, as the resources have it.
pub fn own() -> [u16; 4] {
    let mut parts = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// An error unless a program that has been built has a sound version resource.
pub fn require(path: &Path) -> TaskResult<()> {
    let bytes = std::fs::read(path).on("read", path)?;
    let checked = read(&bytes).and_then(|version| version.check());
    checked.map_err(|problem| Error::Malformed { file: path.to_path_buf(), problem })
}

/// Reads the resource of an image.
pub fn read(bytes: &[u8]) -> Result<VersionInfo, String> {
    let data = resources::first(bytes, resources::VERSION).map_err(|error| error.to_string())?;
    VersionInfo::parse(data.ok_or("it has no version resource")?)
        .ok_or_else(|| "its version resource is damaged".to_owned())
}

impl VersionInfo {
    /// An error unless both versions are this repository's and every string is there.
    pub fn check(&self) -> Result<(), String> {
        if self.file != own() || self.product != own() {
            return Err(format!("its version is {self}, this repository's {}", dotted(own())));
        }
        let has =
            |name: &&str| self.strings.iter().any(|(key, value)| key == name && !value.is_empty());
        match STRINGS.iter().find(|name| !has(name)) {
            Some(name) => Err(format!("its version resource has no {name}")),
            None => Ok(()),
        }
    }

    fn parse(data: &[u8]) -> Option<Self> {
        let root = Node::parse(data)?;
        let fixed = root.value.get(..FIXED_LEN)?;
        let word = |at: usize| Some(u32::from_le_bytes(fixed.get(at..at + 4)?.try_into().ok()?));
        if root.key != "VS_VERSION_INFO" || word(0)? != SIGNATURE {
            return None;
        }
        let numbers = |at: usize| {
            let (high, low) = (word(at)?, word(at + 4)?);
            let half = |word: u32, shift: u32| u16::try_from((word >> shift) & 0xFFFF).ok();
            Some([half(high, 16)?, half(high, 0)?, half(low, 16)?, half(low, 0)?])
        };
        let mut strings = Vec::new();
        for table in root.children().filter(|node| node.key == "StringFileInfo") {
            for string in table.children().flat_map(|language| language.children()) {
                strings.push((string.key.clone(), text(string.value)));
            }
        }
        Some(Self { file: numbers(8)?, product: numbers(16)?, strings })
    }
}

impl fmt::Display for VersionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(self.file))?;
        self.strings.iter().try_for_each(|(name, value)| write!(f, ", {name} {value:?}"))
    }
}

/// A block of the resource: length, length of the value, type, key, value, children; the last two
/// begin at multiples of four bytes.
struct Node<'a> {
    key: String,
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Node<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?));
        let (len, value_len) = (usize::from(half(0)?), usize::from(half(2)?));
        // Text counts in characters, everything else in bytes.
        let value_len = if half(4)? == 1 { 2 * value_len } else { value_len };
        let data = data.get(..len)?;
        let units = data.get(6..)?.chunks_exact(2).position(|unit| unit == [0, 0])?;
        let value = aligned(6 + 2 * (units + 1));
        let rest = data.get(aligned(value + value_len)..).unwrap_or_default();
        let value = data.get(value..value + value_len).unwrap_or_default();
        Some(Self { key: text(data.get(6..6 + 2 * units)?), value, rest })
    }

    fn children(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let mut rest = self.rest;
        std::iter::from_fn(move || {
            let len = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
            let node = Node::parse(rest)?;
            rest = rest.get(aligned(len).max(4)..).unwrap_or_default();
            Some(node)
        })
    }
}

fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn dotted(numbers: [u16; 4]) -> String {
    numbers.map(|number| number.to_string()).join(".")
}

/// A resource with all strings, for images of tests.
#[cfg(test)]
pub fn sample(numbers: [u16; 4]) -> Vec<u8> {
    let block = |key: &str, is_text: bool, value: &[u8], children: &[u8]| {
        let mut data = vec![0; 6];
        data.extend(key.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        data.resize(aligned(data.len()), 0);
        data.extend(value);
        if !children.is_empty() {
            data.resize(aligned(data.len()), 0);
            data.extend(children);
        }
        let short = |len: usize| u16::try_from(len).expect("short").to_le_bytes();
        data[2..4].copy_from_slice(&short(if is_text { value.len() / 2 } else { value.len() }));
        data[4..6].copy_from_slice(&u16::from(is_text).to_le_bytes());
        let len = short(data.len());
        data[0..2].copy_from_slice(&len);
        data.resize(aligned(data.len()), 0);
        data
    };
    let units = |text: &str| -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    };
    let strings: Vec<u8> =
        STRINGS.iter().flat_map(|name| block(name, true, &units("x"), &[])).collect();
    let table = block("StringFileInfo", true, &[], &block("000004B0", true, &[], &strings));
    let words = [numbers[1], numbers[0], numbers[3], numbers[2]].map(u16::to_le_bytes);
    let mut fixed = vec![0; FIXED_LEN];
    fixed[..4].copy_from_slice(&SIGNATURE.to_le_bytes());
    fixed[8..16].copy_from_slice(words.as_flattened());
    fixed[16..24].copy_from_slice(words.as_flattened());
    block("VS_VERSION_INFO", false, &fixed, &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_read_and_one_without_a_name_is_refused() {
        let data = sample([1, 2, 3, 4]);
        let mut version = VersionInfo::parse(&data).expect("sound");
        assert_eq!((version.file, version.product), ([1, 2, 3, 4], [1, 2, 3, 4]));
        assert_eq!(version.strings.len(), STRINGS.len());
        assert!(version.check().expect_err("another version").contains("1.2.3.4"));
        (version.file, version.product) = (own(), own());
        assert_eq!(version.check(), Ok(()));
        version.strings.remove(0);
        assert!(version.check().expect_err("no name").contains("FileDescription"));
    }

    #[test]
    fn a_damaged_resource_is_an_error() {
        let data = sample(own());
        for len in 0..FIXED_LEN {
            assert_eq!(VersionInfo::parse(&data[..len]), None);
        }
        assert!(read(b"no image").is_err());
    }
}

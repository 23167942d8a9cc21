//! The resources of a PE file, as they are in the file.

use object::LittleEndian as LE;
use object::pe::ImageResourceDirectoryEntry;
use object::read::Result;
use object::read::pe::{
    PeFile64, ResourceDirectory, ResourceDirectoryEntryData, ResourceNameOrId, SectionTable,
};

/// `RT_STRING`
pub const STRINGS: u16 = 6;
/// `RT_MESSAGETABLE`
pub const MESSAGES: u16 = 11;
/// `RT_VERSION`
pub const VERSION: u16 = 16;
/// Strings of a resource of strings.
const STRINGS_IN_BLOCK: u16 = 16;

/// The first resource of a kind in an image: the first name, the first language.
pub fn first(bytes: &[u8], kind: u16) -> Result<Option<&[u8]>> {
    Ok(all(bytes, kind)?.into_iter().next().map(|(_, data)| data))
}

/// The strings in an image, with their ids.
pub fn strings(bytes: &[u8]) -> Result<Vec<(u16, String)>> {
    let mut strings = Vec::new();
    for (block, data) in all(bytes, STRINGS)? {
        strings.extend(strings_of(block, data));
    }
    Ok(strings)
}

/// The strings of a block: each has its length in front, in characters.
fn strings_of(block: u16, data: &[u8]) -> Vec<(u16, String)> {
    let half = |unit: &[u8]| u16::from_le_bytes([unit[0], unit[1]]);
    let mut units = data.chunks_exact(2).map(half);
    let first = block.wrapping_sub(1).wrapping_mul(STRINGS_IN_BLOCK);
    let mut strings = Vec::new();
    for number in 0..STRINGS_IN_BLOCK {
        let len = units.next().unwrap_or(0);
        let text: Vec<u16> = units.by_ref().take(len.into()).collect();
        if len > 0 {
            strings.push((first.wrapping_add(number), String::from_utf16_lossy(&text)));
        }
    }
    strings
}

/// The resources of a kind in an image, with their ids (0 for a name), each in its first language.
fn all(bytes: &[u8], kind: u16) -> Result<Vec<(u16, &[u8])>> {
    let file = PeFile64::parse(bytes)?;
    let sections = file.section_table();
    let Some(folder) = file.data_directories().resource_directory(bytes, &sections)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for of_kind in folder.root()?.entries {
        if id(*of_kind) != Some(kind) {
            continue;
        }
        let ResourceDirectoryEntryData::Table(names) = of_kind.data(folder)? else { continue };
        for name in names.entries {
            if let Some(data) = data(bytes, &sections, folder, *name)? {
                found.push((id(*name).unwrap_or(0), data));
            }
        }
    }
    Ok(found)
}

fn id(entry: ImageResourceDirectoryEntry) -> Option<u16> {
    match entry.name_or_id() {
        ResourceNameOrId::Id(id) => Some(id),
        ResourceNameOrId::Name(_) => None,
    }
}

/// The data below an entry, in its first language.
fn data<'a>(
    bytes: &'a [u8],
    sections: &SectionTable<'a>,
    folder: ResourceDirectory<'a>,
    mut entry: ImageResourceDirectoryEntry,
) -> Result<Option<&'a [u8]>> {
    while let ResourceDirectoryEntryData::Table(table) = entry.data(folder)? {
        let Some(first) = table.entries.first() else { return Ok(None) };
        entry = *first;
    }
    let ResourceDirectoryEntryData::Data(data) = entry.data(folder)? else { return Ok(None) };
    let found = sections.pe_data_at(bytes, data.offset_to_data.get(LE));
    Ok(found.and_then(|found| found.get(..data.size.get(LE) as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_sixteen_strings_and_the_empty_ones_are_none() {
        let mut units = vec![0_u16; 4];
        units.extend([2, u16::from(b'a'), u16::from(b'b'), 0, 1, u16::from(b'c')]);
        let data: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        assert_eq!(strings_of(7, &data), [(100, "ab".to_owned()), (102, "c".to_owned())]);
        assert_eq!(strings_of(7, &data[..3]), []);
    }
}

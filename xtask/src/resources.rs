//! The resources of a PE file, as they are in the file.

use object::LittleEndian as LE;
use object::read::Result;
use object::read::pe::{PeFile64, ResourceDirectoryEntryData, ResourceNameOrId};

/// `RT_MESSAGETABLE`
pub const MESSAGES: u16 = 11;
/// `RT_VERSION`
pub const VERSION: u16 = 16;

/// The first resource of a kind in an image: the first name, the first language.
pub fn first(bytes: &[u8], kind: u16) -> Result<Option<&[u8]>> {
    let file = PeFile64::parse(bytes)?;
    let sections = file.section_table();
    let Some(folder) = file.data_directories().resource_directory(bytes, &sections)? else {
        return Ok(None);
    };
    for entry in folder.root()?.entries {
        if !matches!(entry.name_or_id(), ResourceNameOrId::Id(id) if id == kind) {
            continue;
        }
        // Name, then language: the first of each.
        let mut entry = *entry;
        while let ResourceDirectoryEntryData::Table(table) = entry.data(folder)? {
            let Some(first) = table.entries.first() else { return Ok(None) };
            entry = *first;
        }
        let ResourceDirectoryEntryData::Data(data) = entry.data(folder)? else { return Ok(None) };
        let found = sections.pe_data_at(bytes, data.offset_to_data.get(LE));
        return Ok(found.and_then(|found| found.get(..data.size.get(LE) as usize)));
    }
    Ok(None)
}

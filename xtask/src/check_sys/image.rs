//! What the checks want to know of a Windows image, read from its headers and tables.
//!
//! The rule: a table that cannot be read is an error, never an empty table.

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_BASERELOC, IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT,
    IMAGE_FILE_RELOCS_STRIPPED, IMAGE_SCN_MEM_DISCARDABLE, IMAGE_SCN_MEM_EXECUTE,
    IMAGE_SCN_MEM_WRITE, ImageNtHeaders64,
};
use object::read::pe::{Import as RawImport, PeFile64};
use object::read::{Error, Object};

/// A name that the image takes from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The other image.
    pub image: String,
    /// The name; `#n` for an ordinal.
    pub name: String,
    /// Where its address stands once the image is loaded.
    pub slot: u32,
}

/// The facts.
#[derive(Debug)]
pub struct Image {
    pub machine: u16,
    pub subsystem: u16,
    pub dll_characteristics: u16,
    pub checksum: u32,
    /// Where the checksum is stored in the file.
    pub checksum_offset: usize,
    pub relocations_stripped: bool,
    pub relocation_bytes: usize,
    pub writable_code_sections: Vec<String>,
    /// Sections with code that Windows may page out or discard.
    pub pageable_code_sections: Vec<String>,
    /// Bytes that the image takes in memory, nonpaged but for what is discarded.
    pub memory_bytes: u32,
    /// The path of the symbol file, as stored in the image.
    pub symbol_file: Option<String>,
    /// The KMDF version that the driver asks its loader for.
    pub framework: Option<(u32, u32)>,
    pub imports: Vec<Import>,
}

/// Where the checksum is in the NT headers: after the signature (4) and the file header (20), 64
/// bytes on.
const CHECKSUM_IN_NT_HEADERS: usize = 4 + 20 + 64;

impl Image {
    /// Reads a 64-bit image.
    pub fn parse(bytes: &[u8]) -> Result<(PeFile64<'_>, Self), String> {
        let file = PeFile64::parse(bytes).map_err(|error| error.to_string())?;
        let image = Self::read(&file, bytes).map_err(|error| error.to_string())?;
        Ok((file, image))
    }

    fn read(file: &PeFile64<'_>, bytes: &[u8]) -> Result<Self, Error> {
        let headers: &ImageNtHeaders64 = file.nt_headers();
        let optional = &headers.optional_header;
        let nt_offset = file.dos_header().e_lfanew.get(LE) as usize;
        let relocation_bytes = file
            .data_directories()
            .get(IMAGE_DIRECTORY_ENTRY_BASERELOC)
            .map_or(Ok(&[][..]), |directory| directory.data(bytes, &file.section_table()))?
            .len();
        let symbol_file =
            file.pdb_info()?.map(|info| String::from_utf8_lossy(info.path()).into_owned());

        Ok(Self {
            machine: headers.file_header.machine.get(LE),
            subsystem: optional.subsystem.get(LE),
            dll_characteristics: optional.dll_characteristics.get(LE),
            checksum: optional.check_sum.get(LE),
            checksum_offset: nt_offset + CHECKSUM_IN_NT_HEADERS,
            relocations_stripped: headers.file_header.characteristics.get(LE)
                & IMAGE_FILE_RELOCS_STRIPPED
                != 0,
            relocation_bytes,
            writable_code_sections: writable_code_sections(file),
            pageable_code_sections: pageable_code_sections(file),
            memory_bytes: optional.size_of_image.get(LE),
            symbol_file,
            framework: framework(file, bytes),
            imports: imports(file)?,
        })
    }
}

fn writable_code_sections(file: &PeFile64<'_>) -> Vec<String> {
    let both = IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_EXECUTE;
    file.section_table()
        .iter()
        .filter(|section| section.characteristics.get(LE) & both == both)
        .map(|section| String::from_utf8_lossy(section.raw_name()).into_owned())
        .collect()
}

/// By their names (docs: "Making drivers pageable") or their flag.
fn pageable_code_sections(file: &PeFile64<'_>) -> Vec<String> {
    file.section_table()
        .iter()
        .filter(|section| {
            let flags = section.characteristics.get(LE);
            let name = section.raw_name();
            let pageable = name.starts_with(b"PAGE") || name.starts_with(b"INIT");
            flags & IMAGE_SCN_MEM_EXECUTE != 0
                && (pageable || flags & IMAGE_SCN_MEM_DISCARDABLE != 0)
        })
        .map(|section| String::from_utf8_lossy(section.raw_name()).into_owned())
        .collect()
}

/// The version in the bind information (`WDF_BIND_INFO`) that the entry stub hands to the
/// framework's loader: its size, the component's name by address, major and minor version.
fn framework(file: &PeFile64<'_>, bytes: &[u8]) -> Option<(u32, u32)> {
    const SIZES: [u32; 2] = [48, 88];
    const COMPONENT: &str = "KmdfLibrary\0";
    let sections = file.section_table();
    let base = file.relative_address_base();
    let is_component = |address: u64| {
        let rva = u32::try_from(address.checked_sub(base)?).ok()?;
        let found = sections.pe_data_at(bytes, rva)?.get(..2 * COMPONENT.len())?;
        Some(found.iter().copied().eq(COMPONENT.encode_utf16().flat_map(u16::to_le_bytes)))
    };
    let data = sections.iter().filter_map(|section| section.pe_data(bytes).ok());
    data.flat_map(|data| data.windows(24).step_by(8)).find_map(|window| {
        let word = |at: usize| Some(u32::from_le_bytes(window.get(at..at + 4)?.try_into().ok()?));
        let address = u64::from_le_bytes(window.get(8..16)?.try_into().ok()?);
        let found = SIZES.contains(&word(0)?) && is_component(address) == Some(true);
        found.then_some((word(16)?, word(20)?))
    })
}

fn imports(file: &PeFile64<'_>) -> Result<Vec<Import>, Error> {
    let mut imports = Vec::new();
    if file.data_directories().get(IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT).is_some() {
        imports.push(Import { image: "(delayed)".to_owned(), name: String::new(), slot: 0 });
    }
    let Some(table) = file.import_table()? else { return Ok(imports) };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let image = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).into_owned();
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        let mut slots = (descriptor.first_thunk.get(LE)..).step_by(size_of::<u64>());
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            let name = match table.import::<ImageNtHeaders64>(thunk)? {
                RawImport::Ordinal(ordinal) => format!("#{ordinal}"),
                RawImport::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
            };
            let slot = slots.next().unwrap_or_default();
            imports.push(Import { image: image.clone(), name, slot });
        }
    }
    Ok(imports)
}

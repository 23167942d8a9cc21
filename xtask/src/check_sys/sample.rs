//! A small image for the tests of the checks: one section that holds code with its unwind
//! information, an import table and relocations.
//!
//! The rule: by default it passes every check, so that a test that changes one thing sees only that
//! thing fail.

use std::collections::BTreeMap;

use super::checksum;
use super::image::Image;

use crate::version_resource;

const NT_OFFSET: usize = 0x40;
const CHECKSUM_OFFSET: usize = NT_OFFSET + 4 + 20 + 64;
const HEADER_BYTES: usize = 0x200;
const SECTION_RVA: u32 = 0x1000;
const SECTION_BYTES: usize = 0xE00;
/// Offsets in the section.
const RELOCATIONS: usize = 0x10;
const IMPORTS: usize = 0x40;
const CODE: usize = 0x400;
const FUNCTION_BYTES: usize = 0x20;
const EXCEPTIONS: usize = 0x600;
const UNWIND: usize = 0x700;
const UNWIND_BYTES: usize = 0x10;
const RESOURCES: usize = 0x800;
const RESOURCE_DATA: usize = 0x880;
const BIND_INFO: usize = 0xD00;
const COMPONENT: usize = 0xD40;

/// How to build the image.
pub struct Sample {
    pub subsystem: u16,
    pub dll_characteristics: u16,
    pub relocations: bool,
    /// Image and name.
    pub imports: Vec<(&'static str, &'static str)>,
    /// Up to [`WRITE_PATH`] of them.
    pub functions: Vec<SampleFunction>,
    /// The functions of the write path, at index [`WRITE_PATH`] and the next one.
    pub write_path: Vec<SampleFunction>,
    pub section: &'static [u8],
    /// The KMDF version that it asks for.
    pub framework: (u32, u32),
    /// The version in its resource; none for an image without one.
    pub version: Option<[u16; 4]>,
}

/// A function of the image, at [`address_of_function`].
pub struct SampleFunction {
    /// Up to 32 bytes.
    pub code: Vec<u8>,
    /// Its unwind codes, up to six slots of two bytes; none for a leaf.
    pub unwind: Vec<u8>,
}

/// The index of the first function of the write path.
pub const WRITE_PATH: usize = 12;

/// Where a function of the sample begins.
pub fn address_of_function(index: usize) -> u32 {
    rva(CODE + index * FUNCTION_BYTES)
}

/// A function that takes 40 bytes of stack and calls the one `steps` on in the image.
pub fn caller(steps: i32) -> SampleFunction {
    let distance = steps * 0x20 - 9;
    let mut code = vec![0x48, 0x83, 0xEC, 0x28, 0xE8]; // sub rsp, 28h; call
    code.extend(distance.to_le_bytes());
    code.extend([0x48, 0x83, 0xC4, 0x28, 0xC3]); // add rsp, 28h; ret
    SampleFunction { code, unwind: vec![4, 0x42] }
}

/// A function that only returns.
pub fn leaf() -> SampleFunction {
    SampleFunction { code: vec![0xC3], unwind: Vec::new() }
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            subsystem: 1,
            dll_characteristics: 0x0040 | 0x0080 | 0x0100,
            relocations: true,
            imports: vec![("ntoskrnl.exe", "DbgPrint"), ("WDFLDR.SYS", "WdfVersionBind")],
            functions: vec![caller(1), leaf()],
            write_path: vec![caller(1), caller(1), leaf()],
            section: b".text",
            framework: (1, 27),
            version: Some(version_resource::own()),
        }
    }
}

impl Sample {
    /// The image's bytes, with a right checksum.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + SECTION_BYTES];
        self.write_headers(&mut bytes);
        let (_, section) = bytes.split_at_mut(HEADER_BYTES);
        self.write_functions(section);
        // One block of relocations: page, size, two entries of nothing.
        put(section, RELOCATIONS, &SECTION_RVA.to_le_bytes());
        put(section, RELOCATIONS + 4, &12u32.to_le_bytes());
        self.write_imports(section);
        self.write_bind_info(section);
        self.write_version(section);

        let sum = checksum::compute(&bytes, CHECKSUM_OFFSET);
        put(&mut bytes, CHECKSUM_OFFSET, &sum.to_le_bytes());
        bytes
    }

    /// Where the address of an import stands.
    pub fn slot_of(&self, name: &str) -> u32 {
        let bytes = self.build();
        let (_, image) = Image::parse(&bytes).expect("an image");
        image.imports.iter().find(|import| import.name == name).expect("an import").slot
    }

    fn write_headers(&self, bytes: &mut [u8]) {
        put(bytes, 0, b"MZ");
        put(bytes, 0x3C, &as_u32(NT_OFFSET).to_le_bytes());
        put(bytes, NT_OFFSET, b"PE\0\0");
        let file_header = NT_OFFSET + 4;
        put(bytes, file_header, &0x8664u16.to_le_bytes());
        put(bytes, file_header + 2, &1u16.to_le_bytes());
        put(bytes, file_header + 16, &240u16.to_le_bytes());
        put(bytes, file_header + 18, &0x2022u16.to_le_bytes());

        let optional = file_header + 20;
        put(bytes, optional, &0x20Bu16.to_le_bytes());
        put(bytes, optional + 16, &SECTION_RVA.to_le_bytes());
        put(bytes, optional + 32, &0x1000u32.to_le_bytes());
        put(bytes, optional + 36, &0x200u32.to_le_bytes());
        put(bytes, optional + 56, &(SECTION_RVA + 0x1000).to_le_bytes());
        put(bytes, optional + 60, &as_u32(HEADER_BYTES).to_le_bytes());
        put(bytes, optional + 68, &self.subsystem.to_le_bytes());
        put(bytes, optional + 70, &self.dll_characteristics.to_le_bytes());
        put(bytes, optional + 108, &16u32.to_le_bytes());

        let directories = optional + 112;
        put(bytes, directories + 8, &rva(IMPORTS).to_le_bytes());
        put(bytes, directories + 12, &0x200u32.to_le_bytes());
        if self.relocations {
            put(bytes, directories + 5 * 8, &rva(RELOCATIONS).to_le_bytes());
            put(bytes, directories + 5 * 8 + 4, &12u32.to_le_bytes());
        }

        if self.version.is_some() {
            put(bytes, directories + 2 * 8, &rva(RESOURCES).to_le_bytes());
            put(bytes, directories + 2 * 8 + 4, &0x480u32.to_le_bytes());
        }

        let entries = self.all_functions().filter(|(_, f)| !f.unwind.is_empty()).count();
        if entries > 0 {
            put(bytes, directories + 3 * 8, &rva(EXCEPTIONS).to_le_bytes());
            put(bytes, directories + 3 * 8 + 4, &as_u32(12 * entries).to_le_bytes());
        }

        let section = directories + 16 * 8;
        put(bytes, section, self.section);
        put(bytes, section + 8, &as_u32(SECTION_BYTES).to_le_bytes());
        put(bytes, section + 12, &SECTION_RVA.to_le_bytes());
        put(bytes, section + 16, &as_u32(SECTION_BYTES).to_le_bytes());
        put(bytes, section + 20, &as_u32(HEADER_BYTES).to_le_bytes());
        put(bytes, section + 36, &0x6000_0020u32.to_le_bytes());
    }

    fn all_functions(&self) -> impl Iterator<Item = (usize, &SampleFunction)> {
        let write_path = self.write_path.iter().enumerate();
        let write_path = write_path.map(|(index, function)| (WRITE_PATH + index, function));
        self.functions.iter().enumerate().chain(write_path)
    }

    fn write_functions(&self, section: &mut [u8]) {
        let mut entry = EXCEPTIONS;
        for (index, function) in self.all_functions() {
            put(section, CODE + index * FUNCTION_BYTES, &function.code);
            if function.unwind.is_empty() {
                continue;
            }
            let begin = address_of_function(index);
            let unwind = UNWIND + index * UNWIND_BYTES;
            put(section, entry, &begin.to_le_bytes());
            put(section, entry + 4, &(begin + as_u32(function.code.len())).to_le_bytes());
            put(section, entry + 8, &rva(unwind).to_le_bytes());
            let slots = u8::try_from(function.unwind.len() / 2).expect("a few codes");
            put(section, unwind, &[1, 4, slots, 0]);
            put(section, unwind + 4, &function.unwind);
            entry += 12;
        }
    }

    fn write_imports(&self, section: &mut [u8]) {
        let mut by_image: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (image, name) in &self.imports {
            by_image.entry(image).or_default().push(name);
        }
        // Descriptors first (with an empty one at the end), then thunks and strings.
        let mut free = IMPORTS + 20 * (by_image.len() + 1);
        for (index, (image, names)) in by_image.iter().enumerate() {
            let thunks = free;
            free += 8 * (names.len() + 1);
            for (slot, name) in names.iter().enumerate() {
                put(section, thunks + 8 * slot, &u64::from(rva(free)).to_le_bytes());
                put(section, free + 2, name.as_bytes());
                free += 2 + name.len() + 1;
            }
            let descriptor = IMPORTS + 20 * index;
            put(section, descriptor, &rva(thunks).to_le_bytes());
            put(section, descriptor + 12, &rva(free).to_le_bytes());
            put(section, descriptor + 16, &rva(thunks).to_le_bytes());
            put(section, free, image.as_bytes());
            free += image.len() + 1;
        }
    }

    /// `WDF_BIND_INFO2`, up to the version.
    fn write_bind_info(&self, section: &mut [u8]) {
        let (major, minor) = self.framework;
        put(section, BIND_INFO, &88u32.to_le_bytes());
        put(section, BIND_INFO + 8, &u64::from(rva(COMPONENT)).to_le_bytes());
        put(section, BIND_INFO + 16, &major.to_le_bytes());
        put(section, BIND_INFO + 20, &minor.to_le_bytes());
        let name: Vec<u8> = "KmdfLibrary".encode_utf16().flat_map(u16::to_le_bytes).collect();
        put(section, COMPONENT, &name);
    }

    /// Three folders of one entry each (kind, name, language), and the data.
    fn write_version(&self, section: &mut [u8]) {
        let Some(numbers) = self.version else { return };
        let data = version_resource::sample(numbers);
        for (level, id) in [16u32, 1, 0].into_iter().enumerate() {
            let folder = RESOURCES + 24 * level;
            put(section, folder + 14, &1u16.to_le_bytes());
            put(section, folder + 16, &id.to_le_bytes());
            let (next, is_folder) = (as_u32(24 * (level + 1)), u32::from(level < 2) << 31);
            put(section, folder + 20, &(next | is_folder).to_le_bytes());
        }
        let entry = RESOURCES + 72;
        put(section, entry, &rva(RESOURCE_DATA).to_le_bytes());
        put(section, entry + 4, &as_u32(data.len()).to_le_bytes());
        put(section, RESOURCE_DATA, &data);
    }
}

fn rva(offset: usize) -> u32 {
    SECTION_RVA + as_u32(offset)
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).expect("a small image")
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

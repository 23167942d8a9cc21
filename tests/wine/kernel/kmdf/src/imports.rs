//! The driver's import table: names that Wine lacks, or whose use the rig checks, are pointed at
//! the rig.
//!
//! The rules: the driver's file is tested byte for byte as shipped, so this happens in memory, at
//! bind time; an import that neither Wine nor the rig implements is reported then, by name, not
//! when it is called.

use alloc::{string::String, vec::Vec};
use core::ffi::{CStr, c_char, c_void};

use nt::win32::{PAGE_READWRITE, RtlPcToFileHeader, VirtualProtect};

use crate::{checks::violation, irql_guard, redirects};

/// Where the fields of a 64-bit PE image are.
mod pe {
    pub(super) const NT_HEADERS_AT: usize = 0x3c;
    /// From the NT headers to the import directory's entry.
    pub(super) const IMPORT_DIRECTORY: usize = 24 + 112 + 8;
    pub(super) const DESCRIPTOR_LENGTH: usize = 20;
    pub(super) const DESCRIPTOR_LOOKUP_TABLE: usize = 0;
    pub(super) const DESCRIPTOR_NAME: usize = 12;
    pub(super) const DESCRIPTOR_ADDRESS_TABLE: usize = 16;
    pub(super) const ORDINAL_FLAG: u64 = 1 << 63;
    /// A hint comes before the name.
    pub(super) const HINT_LENGTH: usize = 2;
}

/// Redirects the imports of a loaded image.
///
/// # Safety
/// `base` is the base of a loaded 64-bit driver image whose import table the loader has filled in.
pub(crate) unsafe fn redirect(base: *mut c_void, image: &str) {
    let image_at = Image { base: base.cast() };
    let mut missing: Vec<String> = Vec::new();
    // SAFETY: the caller vouches for the image; so for every read below.
    let headers = unsafe { image_at.read::<u32>(pe::NT_HEADERS_AT) } as usize;
    // SAFETY: as above.
    let mut descriptor = unsafe { image_at.read::<u32>(headers + pe::IMPORT_DIRECTORY) } as usize;
    loop {
        // SAFETY: as above; the descriptors end with an empty one.
        let name = unsafe { image_at.read::<u32>(descriptor + pe::DESCRIPTOR_NAME) } as usize;
        if name == 0 {
            break;
        }
        // SAFETY: as above.
        let module = unsafe { image_at.string(name) };
        if module.eq_ignore_ascii_case("ntoskrnl.exe") {
            // SAFETY: as above.
            unsafe { redirect_module(image_at, descriptor, &mut missing) };
        }
        descriptor += pe::DESCRIPTOR_LENGTH;
    }
    if !missing.is_empty() {
        violation!(
            Import,
            "WdfVersionBind",
            "{image} imports what neither Wine's ntoskrnl.exe nor the rig has: {} (add them to redirects.rs)",
            missing.join(", ")
        );
    }
}

/// # Safety
/// As for [`redirect`]; `descriptor` is one of the image's import descriptors.
unsafe fn redirect_module(image: Image, descriptor: usize, missing: &mut Vec<String>) {
    // SAFETY: the caller vouches for the image; so for every read below.
    let lookup = unsafe { image.read::<u32>(descriptor + pe::DESCRIPTOR_LOOKUP_TABLE) } as usize;
    // SAFETY: as above.
    let addresses =
        unsafe { image.read::<u32>(descriptor + pe::DESCRIPTOR_ADDRESS_TABLE) } as usize;
    for index in 0.. {
        // SAFETY: as above; the table ends with a zero.
        let entry = unsafe { image.read::<u64>(lookup + index * 8) };
        if entry == 0 {
            return;
        }
        if entry & pe::ORDINAL_FLAG != 0 {
            continue;
        }
        // SAFETY: as above.
        let name = unsafe { image.string(entry as usize + pe::HINT_LENGTH) };
        let slot: *mut *const c_void = image.at_slot(addresses + index * 8);
        // SAFETY: as above; the loader filled the slot in.
        let present = unsafe { slot.read() };
        if let Some(replacement) = redirects::find(name) {
            // SAFETY: a slot of the image's address table, and a routine with the signature of its
            // name.
            unsafe { set_slot(slot, replacement) };
        } else if is_missing(present, name) {
            missing.push(name.into());
        } else if let Some(guarded) = irql_guard::guard(name, present) {
            // SAFETY: as above; the guard ends in the routine itself.
            unsafe { set_slot(slot, guarded) };
        }
    }
}

/// A loaded image.
#[derive(Clone, Copy)]
struct Image {
    base: *mut u8,
}

impl Image {
    fn at(self, offset: usize) -> *mut u8 {
        self.base.wrapping_add(offset)
    }

    /// An entry of an address table, which the linker aligns.
    #[allow(clippy::cast_ptr_alignment, reason = "address tables are aligned in every image")]
    fn at_slot(self, offset: usize) -> *mut *const c_void {
        self.at(offset).cast()
    }

    /// # Safety
    /// The image has a `T` at the offset.
    unsafe fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the caller says so.
        unsafe { self.at(offset).cast::<T>().read_unaligned() }
    }

    /// # Safety
    /// The image has a zero-terminated string at the offset, and stays loaded while it is used.
    unsafe fn string<'a>(self, offset: usize) -> &'a str {
        // SAFETY: the caller says so.
        unsafe { CStr::from_ptr(self.at(offset).cast::<c_char>()) }.to_str().unwrap_or_default()
    }
}

/// # Safety
/// `slot` is an entry of a loaded image's import address table.
unsafe fn set_slot(slot: *mut *const c_void, target: *const c_void) {
    let mut old = 0;
    // SAFETY: the slot's page is part of a loaded image.
    unsafe {
        VirtualProtect(slot.cast(), size_of::<*const c_void>(), PAGE_READWRITE, &raw mut old)
    };
    // SAFETY: writable now; nothing runs in the driver before it is bound.
    unsafe { slot.write(target) };
    // SAFETY: as above.
    unsafe { VirtualProtect(slot.cast(), size_of::<*const c_void>(), old, &raw mut old) };
}

/// How Wine's unimplemented exports begin: `sub rsp, 0x28; lea rcx, [module name]; lea rdx,
/// [function name]; call …`
mod stub {
    pub(super) const PROLOGUE: [u8; 7] = [0x48, 0x83, 0xec, 0x28, 0x48, 0x8d, 0x0d];
    pub(super) const SECOND_LEA: [u8; 3] = [0x48, 0x8d, 0x15];
    pub(super) const LENGTH: usize = 18;
}

/// Whether an import is one that Wine does not have: its loader then makes a stub outside any
/// image, and its own unimplemented exports are stubs that name themselves and raise an exception.
fn is_missing(target: *const c_void, name: &str) -> bool {
    let mut base = core::ptr::null_mut();
    // SAFETY: looks an address up.
    if unsafe { RtlPcToFileHeader(target, &raw mut base) }.is_null() {
        return true;
    }
    // SAFETY: the address is in a loaded image; a data export is followed by more of the image,
    // too.
    let code = unsafe { core::slice::from_raw_parts(target.cast::<u8>(), stub::LENGTH) };
    if code[..7] != stub::PROLOGUE || code[11..14] != stub::SECOND_LEA {
        return false;
    }
    let displacement = i32::from_le_bytes([code[14], code[15], code[16], code[17]]);
    let text =
        target.cast::<u8>().wrapping_add(stub::LENGTH).wrapping_offset(displacement as isize);
    // SAFETY: the instruction's operand is in the same image; it ends in a zero byte in a stub, and
    // a comparison that stops at the first difference reads no further than the name is long.
    name.bytes()
        .chain([0])
        .enumerate()
        .all(|(index, byte)| unsafe { text.wrapping_add(index).read() } == byte)
}

//! Memory descriptor lists: the system address of a request's buffer.
//!
//! The rule: a slice of a buffer is as long as its MDL says, never as long as a request claims.

use wdk_sys::{MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL};

/// The buffer that an MDL describes.
#[derive(Clone, Copy)]
pub struct Buffer {
    /// Where it begins in the system's address space.
    pub start: *mut u8,
    /// How many bytes it has.
    pub length: usize,
}

/// The system address of a mapped MDL's buffer; `None` for a null MDL.
///
/// On Wine every process memory is the kernel's, so an MDL without a mapping is read through its
/// virtual address.
///
/// # Safety
/// `mdl` is null or a live MDL.
pub unsafe fn system_buffer(mdl: *mut MDL) -> Option<Buffer> {
    // SAFETY: the caller says so.
    let mdl = unsafe { mdl.as_ref() }?;
    let mapped = i32::from(mdl.MdlFlags)
        & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL).cast_signed()
        != 0;
    let start = if mapped { mdl.MappedSystemVa.cast::<u8>() } else { virtual_address(mdl) };
    (!start.is_null()).then_some(Buffer { start, length: mdl.ByteCount as usize })
}

/// `MmGetMdlVirtualAddress`
pub fn virtual_address(mdl: &MDL) -> *mut u8 {
    mdl.StartVa.cast::<u8>().wrapping_add(mdl.ByteOffset as usize)
}

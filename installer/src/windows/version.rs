//! The version in a file's version resource.

use std::path::Path;
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Win32::Storage::FileSystem::{
    GetFileVersionInfoSizeW, GetFileVersionInfoW, VS_FIXEDFILEINFO, VerQueryValueW,
};
use windows_sys::core::w;

use crate::version::Version;

/// The longest resource that is read, in bytes.
const LEN_MAX: u32 = 1 << 20;

/// The file's version; `None` if it has none.
pub(super) fn of(file: &Path) -> Option<Version> {
    let path = HSTRING::from(file);
    // SAFETY: the path is NUL-terminated; the handle is not used.
    let len = unsafe { GetFileVersionInfoSizeW(path.as_ptr(), ptr::null_mut()) };
    if len == 0 || len > LEN_MAX {
        return None;
    }
    // As aligned as the structure in it.
    let mut block = vec![0_u64; (len as usize).div_ceil(size_of::<u64>())];
    // SAFETY: the path is NUL-terminated, and the block has `len` bytes.
    let read = unsafe { GetFileVersionInfoW(path.as_ptr(), 0, len, block.as_mut_ptr().cast()) };
    if read == 0 {
        return None;
    }
    let (mut found, mut found_len) = (ptr::null_mut(), 0);
    // SAFETY: the block is a version resource; the places are valid.
    let has = unsafe {
        VerQueryValueW(block.as_ptr().cast(), w!("\\"), &raw mut found, &raw mut found_len)
    };
    if has == 0 || found.is_null() || (found_len as usize) < size_of::<VS_FIXEDFILEINFO>() {
        return None;
    }
    // SAFETY: Windows says that this much is at the place, which is in the block.
    let info = unsafe { found.cast::<VS_FIXEDFILEINFO>().read_unaligned() };
    Some(Version::from_halves(info.dwFileVersionMS, info.dwFileVersionLS))
}

//! Text in the form that Windows' `…W` functions take.

use std::os::windows::ffi::OsStrExt;
use std::path::Path;

/// UTF-16 units with a final zero.
pub(super) fn with_nul(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The same for a path.
pub(super) fn path_with_nul(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

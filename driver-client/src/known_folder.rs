//! Asking Windows where its well-known folders are.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::UI::Shell::{
    FOLDERID_ProgramData, FOLDERID_ProgramFiles, FOLDERID_System, SHGetKnownFolderPath,
};

use crate::folder::Folder;

/// Where `folder` is on this machine; `None` if Windows does not say.
pub(crate) fn path(folder: Folder) -> Option<PathBuf> {
    let identity = match folder {
        Folder::ProgramData => &FOLDERID_ProgramData,
        Folder::ProgramFiles => &FOLDERID_ProgramFiles,
        Folder::System => &FOLDERID_System,
    };
    let mut text = TaskString(ptr::null_mut());
    // SAFETY: the identity and the place for the answer are valid; no flags, the calling user.
    let result = unsafe { SHGetKnownFolderPath(identity, 0, ptr::null_mut(), &raw mut text.0) };
    (result == 0 && !text.0.is_null()).then(|| text.to_path())
}

/// A zero-terminated text that the shell allocated, or null.
struct TaskString(*mut u16);

impl TaskString {
    /// The text. It must not be null.
    fn to_path(&self) -> PathBuf {
        let mut units = Vec::new();
        loop {
            // SAFETY: all units before this one were none of them the final zero.
            let at = unsafe { self.0.add(units.len()) };
            // SAFETY: the unit belongs to the text, being at most its final zero.
            let unit = unsafe { at.read() };
            if unit == 0 {
                return OsString::from_wide(&units).into();
            }
            units.push(unit);
        }
    }
}

impl Drop for TaskString {
    fn drop(&mut self) {
        // SAFETY: the shell allocated the text for us to free; null is allowed.
        unsafe { CoTaskMemFree(self.0.cast()) };
    }
}

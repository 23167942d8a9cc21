//! Folders that Windows knows by an identity.
//!
//! Rule: the folder's place comes from the shell, never from an environment variable, because a
//! service's environment may differ from a user's.

use std::path::PathBuf;

/// A folder that Windows knows by an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KnownFolder {
    /// Data of programs that all users share.
    ProgramData,
    /// 64-bit programs.
    ProgramFiles,
    /// Windows' own programs and libraries.
    System,
}

impl KnownFolder {
    /// Where the folder is on this machine; its default place if Windows does not say.
    #[cfg(windows)]
    pub(crate) fn path(self) -> PathBuf {
        shell::path(self.identity()).unwrap_or_else(|| self.default_path().into())
    }

    /// The default place: on another system, paths are only printed.
    #[cfg(not(windows))]
    pub(crate) fn path(self) -> PathBuf {
        self.default_path().into()
    }

    fn default_path(self) -> &'static str {
        match self {
            Self::ProgramData => r"C:\ProgramData",
            Self::ProgramFiles => r"C:\Program Files",
            Self::System => r"C:\Windows\System32",
        }
    }

    #[cfg(windows)]
    fn identity(self) -> &'static windows_sys::core::GUID {
        use windows_sys::Win32::UI::Shell;

        match self {
            Self::ProgramData => &Shell::FOLDERID_ProgramData,
            Self::ProgramFiles => &Shell::FOLDERID_ProgramFiles,
            Self::System => &Shell::FOLDERID_System,
        }
    }
}

#[cfg(windows)]
mod shell {
    use std::path::PathBuf;
    use std::ptr;

    use windows_strings::PCWSTR;
    use windows_sys::Win32::System::Com::CoTaskMemFree;
    use windows_sys::Win32::UI::Shell::SHGetKnownFolderPath;
    use windows_sys::core::GUID;

    /// The place of the folder; `None` if the shell does not know it.
    pub(super) fn path(identity: &GUID) -> Option<PathBuf> {
        let mut text = TaskString(ptr::null_mut());
        // SAFETY: the identity and the place for the answer are valid; no flags, the calling user.
        let result = unsafe { SHGetKnownFolderPath(identity, 0, ptr::null_mut(), &raw mut text.0) };
        (result == 0 && !text.0.is_null()).then(|| text.to_path())
    }

    /// A text that the shell allocated, or null.
    struct TaskString(*mut u16);

    impl TaskString {
        /// The text. It must not be null.
        fn to_path(&self) -> PathBuf {
            // SAFETY: the shell's text ends with a zero and lives as long as `self`.
            let text = unsafe { PCWSTR(self.0).to_hstring() };
            text.to_os_string().into()
        }
    }

    impl Drop for TaskString {
        fn drop(&mut self) {
            // SAFETY: the shell allocated the text for the caller to free; null is allowed.
            unsafe { CoTaskMemFree(self.0.cast()) };
        }
    }
}

//! Where Snapless keeps its files on a Windows machine.
//!
//! Rule: all that Snapless writes lives under one folder, `%ProgramData%\Snapless`; nothing here
//! touches the disk.

use std::path::PathBuf;

use crate::folder::Folder;

/// `%ProgramData%\Snapless`.
pub fn root() -> PathBuf {
    Folder::ProgramData.path().join("Snapless")
}

/// The service's configuration.
pub fn config_file() -> PathBuf {
    root().join("service.toml")
}

/// What the service remembers across restarts, and its reports.
pub fn state_dir() -> PathBuf {
    root().join("state")
}

/// The service's log.
pub fn log_dir() -> PathBuf {
    root().join("logs")
}

/// The programs: `%ProgramFiles%\Snapless`.
pub fn program_dir() -> PathBuf {
    Folder::ProgramFiles.path().join("Snapless")
}

/// The driver's file: `%SystemRoot%\System32\drivers\snapless.sys`.
pub fn driver_file() -> PathBuf {
    Folder::System.path().join("drivers").join("snapless.sys")
}

impl Folder {
    #[cfg(windows)]
    fn path(self) -> PathBuf {
        crate::known_folder::path(self).unwrap_or_else(|| self.usual().into())
    }

    /// Elsewhere paths are only shown.
    #[cfg(not(windows))]
    fn path(self) -> PathBuf {
        self.usual().into()
    }

    /// Where it is on all but a few machines.
    fn usual(self) -> &'static str {
        match self {
            Self::ProgramData => r"C:\ProgramData",
            Self::ProgramFiles => r"C:\Program Files",
            Self::System => r"C:\Windows\System32",
        }
    }
}

//! Paths of Snapless's files on a Windows machine.
//!
//! Rule: Snapless writes below one folder only, `%ProgramData%\Snapless`. The functions here do not
//! touch the disk.

use std::path::PathBuf;

use crate::known_folder::KnownFolder;

/// `%ProgramData%\Snapless`.
pub fn root() -> PathBuf {
    KnownFolder::ProgramData.path().join("Snapless")
}

/// The service's configuration.
pub fn config_file() -> PathBuf {
    root().join("service.toml")
}

/// The service's state, which outlives a restart, and its reports.
pub fn state_dir() -> PathBuf {
    root().join("state")
}

/// The service's log.
pub fn log_dir() -> PathBuf {
    root().join("logs")
}

/// The programs: `%ProgramFiles%\Snapless`.
pub fn program_dir() -> PathBuf {
    KnownFolder::ProgramFiles.path().join("Snapless")
}

/// The folder of Windows.
pub fn windows_dir() -> PathBuf {
    let mut folder = KnownFolder::System.path();
    folder.pop();
    folder
}

/// The driver's file: `%SystemRoot%\System32\drivers\snapless.sys`.
pub fn driver_file() -> PathBuf {
    KnownFolder::System.path().join("drivers").join("snapless.sys")
}

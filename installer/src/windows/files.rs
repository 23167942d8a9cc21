//! Copying files, and deleting them now or at the next restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION};
use windows_sys::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};

use crate::error::SetupError;
use crate::system::Deleted;

/// Copies `file` into `folder`, which is created if necessary; returns the copy's path.
pub(super) fn copy_into(file: &Path, folder: &Path) -> Result<PathBuf, SetupError> {
    fs::create_dir_all(folder).map_err(SetupError::file("create", folder))?;
    let to = folder.join(file.file_name().unwrap_or_default());
    // The setup may run from the folder itself.
    if to != *file {
        fs::copy(file, &to).map_err(SetupError::file("copy a program to", &to))?;
    }
    Ok(to)
}

/// Deletes `file`, at the next restart if `at_restart` or if the file is in use.
pub(super) fn delete(file: &Path, at_restart: bool) -> Result<Deleted, SetupError> {
    if !file.exists() {
        return Ok(Deleted::Absent);
    }
    if !at_restart {
        match fs::remove_file(file) {
            Ok(()) => return Ok(Deleted::Now),
            Err(error) if is_in_use(&error) => {}
            Err(error) => return Err(SetupError::file("delete", file)(error)),
        }
    }
    delete_at_restart(file).map_err(SetupError::file("schedule the deletion of", file))?;
    Ok(Deleted::AtRestart)
}

fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION))
}

fn delete_at_restart(file: &Path) -> io::Result<()> {
    let file = HSTRING::from(file);
    // SAFETY: the path is NUL-terminated; a null new name means deletion.
    let scheduled = unsafe { MoveFileExW(file.as_ptr(), ptr::null(), MOVEFILE_DELAY_UNTIL_REBOOT) };
    if scheduled == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

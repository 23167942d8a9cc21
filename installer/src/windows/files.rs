//! Putting files in place, and taking them away now or with the next restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION};
use windows_sys::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};

use super::wide::path_with_nul;
use crate::error::SetupError;
use crate::system::Deleted;

/// Copies `file` into `folder`, which is made if it is not there; returns its place there.
pub(super) fn copy_into(file: &Path, folder: &Path) -> Result<PathBuf, SetupError> {
    fs::create_dir_all(folder).map_err(SetupError::file("make", folder))?;
    let to = folder.join(file.file_name().unwrap_or_default());
    // Running the setup that was installed: the programs are in place.
    if to != *file {
        fs::copy(file, &to).map_err(SetupError::file("copy a program to", &to))?;
    }
    Ok(to)
}

/// Deletes `file`; at the next restart if that is asked for, or if it is in use.
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
    delete_at_restart(file).map_err(SetupError::file("delete at the restart", file))?;
    Ok(Deleted::AtRestart)
}

fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION))
}

fn delete_at_restart(file: &Path) -> io::Result<()> {
    let file = path_with_nul(file);
    // SAFETY: the path ends with a zero; no new name means that the file is to be deleted.
    let noted = unsafe { MoveFileExW(file.as_ptr(), ptr::null(), MOVEFILE_DELAY_UNTIL_REBOOT) };
    if noted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

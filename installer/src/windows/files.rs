//! Reading and copying files, and deleting them now or at the next restart.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path};
use std::ptr;

use windows_strings::HSTRING;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE,
};
use windows_sys::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};

use crate::error::SetupError;
use crate::system::Deleted;

/// Files of a name that wait for the restart at most.
const ASIDE_MAX: usize = 100;

/// The content of a file; `None` if there is none.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, SetupError> {
    match fs::read(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SetupError::file("read", file)(error)),
    }
}

/// Copies `file` into `folder`, which is created if necessary.
pub(super) fn copy_into(file: &Path, folder: &Path) -> Result<(), SetupError> {
    fs::create_dir_all(folder).map_err(SetupError::file("create", folder))?;
    copy(file, &folder.join(file.file_name().unwrap_or_default()))
}

/// Copies `file` to `to`: there is the old file or the whole new one, whenever the power is cut; or
/// none, for an instant, if another program has the old one open.
pub(super) fn copy(file: &Path, to: &Path) -> Result<(), SetupError> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = to.with_file_name(name);
    let written = fs::copy(file, &beside)
        .and_then(|_| OpenOptions::new().write(true).open(&beside)?.sync_all());
    written.map_err(SetupError::file("write", &beside))?;
    let replaced = match fs::rename(&beside, to) {
        // Event Viewer keeps open what it takes messages from. Its name can be taken from it.
        Err(error) if is_in_use(&error) => {
            set_aside(to).and_then(|()| fs::rename(&beside, to)).map_err(|_| error)
        }
        renamed => renamed,
    };
    replaced.map_err(SetupError::file("replace", to))
}

/// Gives a file that is in use another name, until the restart deletes it.
fn set_aside(file: &Path) -> io::Result<()> {
    let free = (0..ASIDE_MAX).find_map(|number| {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}.old"));
        Some(file.with_file_name(name)).filter(|aside| !aside.exists())
    });
    let aside = free.ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(file, &aside)?;
    // If this fails, a file stays that nothing uses.
    let _stays = delete_at_restart(&aside);
    Ok(())
}

/// Writes a file: there is the old one or the whole new one, whenever the power is cut.
pub(super) fn write(to: &Path, content: &[u8]) -> Result<(), SetupError> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = to.with_file_name(name);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(SetupError::file("write", &beside))?;
    fs::rename(&beside, to).map_err(SetupError::file("replace", to))
}

/// Writes a file's content to the disk.
pub(super) fn flush(file: &Path) -> Result<(), SetupError> {
    let flushed = OpenOptions::new().write(true).open(file).and_then(|file| file.sync_all());
    match flushed {
        // A driver that is loaded cannot be opened for writing: all of its volume is flushed.
        Err(error) if is_in_use(&error) => flush_volume(file),
        flushed => flushed,
    }
    .map_err(SetupError::file("flush", file))
}

fn flush_volume(file: &Path) -> io::Result<()> {
    let Some(Component::Prefix(prefix)) = file.components().next() else {
        return Err(io::Error::other("its path has no drive"));
    };
    let mut volume = OsString::from(r"\\.\");
    volume.push(prefix.as_os_str());
    OpenOptions::new().read(true).write(true).open(volume)?.sync_all()
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
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION | ERROR_USER_MAPPED_FILE))
}

fn delete_at_restart(file: &Path) -> io::Result<()> {
    let file = HSTRING::from(file);
    // SAFETY: the path is NUL-terminated; a null new name means deletion.
    let scheduled = unsafe { MoveFileExW(file.as_ptr(), ptr::null(), MOVEFILE_DELAY_UNTIL_REBOOT) };
    if scheduled == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

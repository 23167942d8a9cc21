//! The files of unfinished images: names that cannot be foreseen, and what killed restores leave.
//!
//! Such a file is `.snapless-SYSTEM-RANDOM.partial` beside the target, however long the target's
//! own name is. SYSTEM stands for this run of this machine's kernel, which containers share. The
//! file is locked for as long as its restore lives. So one of this system that can be locked is a
//! dead restore's, and is removed. One of another system may be at work on another machine: it is
//! only named.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

const PREFIX: &str = ".snapless-";
const SUFFIX: &str = ".partial";
/// Characters of a name that are random.
const RANDOM_LEN: usize = 12;
/// How often a file is made again if a clean-up has taken it.
const ATTEMPTS: usize = 16;

/// What was found of restores that did not end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeftOver {
    /// Files of dead restores, which were removed.
    pub removed: Vec<PathBuf>,
    /// Files of restores that may still be alive, on another machine or under another account.
    pub doubtful: Vec<PathBuf>,
}

/// Makes a file in a folder: exclusively, so that no link is followed and no two restores meet,
/// locked, and its owner's alone.
pub(super) fn create(folder: &Path) -> io::Result<NamedTempFile> {
    let prefix = format!("{PREFIX}{}-", system());
    for _ in 0..ATTEMPTS {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM_LEN);
        let partial = builder.tempfile_in(folder)?;
        match FileExt::try_lock(partial.as_file()) {
            // A clean-up holds it, and is about to remove it.
            Err(fs4::TryLockError::WouldBlock) => continue,
            // A file system without locks: a clean-up finds that out as well.
            Err(fs4::TryLockError::Error(_)) => return Ok(partial),
            Ok(()) => {}
        }
        // Between making and locking it a clean-up may have removed it.
        if is_named(partial.as_file(), partial.path()) {
            return Ok(partial);
        }
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Looks beside a target for what restores that were killed have left.
///
/// # Errors
/// The folder cannot be listed.
pub fn clean_up(target: &Path) -> Result<LeftOver> {
    let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let folder = snapless_trust::folders::of(&target);
    let mut found = LeftOver::default();
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let entry = entry.map_err(Error::file("list", folder))?;
        let Some(system_of_it) = system_in(&entry) else { continue };
        let path = entry.path();
        if system_of_it != system() {
            found.doubtful.push(path);
            continue;
        }
        match remove_if_dead(&path) {
            Ok(true) => found.removed.push(path),
            Ok(false) => {}
            Err(_) => found.doubtful.push(path),
        }
    }
    found.removed.sort_unstable();
    found.doubtful.sort_unstable();
    Ok(found)
}

/// Removes the file if no restore has its lock; false if one has, or if the file is gone.
fn remove_if_dead(path: &Path) -> io::Result<bool> {
    let file = match open_quietly(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => return Ok(false),
        Err(fs4::TryLockError::Error(error)) => return Err(error),
    }
    // Its restore may have ended meanwhile, and given it the target's name.
    if !is_named(&file, path) {
        return Ok(false);
    }
    fs::remove_file(path)?;
    Ok(true)
}

/// True if the path still stands for the file.
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    let opened = file.try_clone().and_then(same_file::Handle::from_file);
    let named = same_file::Handle::from_path(path);
    matches!((opened, named), (Ok(opened), Ok(named)) if opened == named)
}

/// The SYSTEM of an unfinished image; `None` for any other file, or what is no file.
fn system_in(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let rest = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (system, random) = rest.split_once('-')?;
    let is_ours = random.len() == RANDOM_LEN && entry.file_type().ok()?.is_file();
    is_ours.then(|| system.to_owned())
}

/// This run of this machine's kernel, in eight hexadecimal digits; `any` where nothing tells: there
/// the server of a shared folder keeps the locks.
fn system() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = id.get(..8).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    id.unwrap_or("any").to_owned()
}

/// Opens a file that another account may have put there, without following a link or waiting.
#[cfg(target_os = "linux")]
fn open_quietly(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_quietly(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_restores_file_is_removed_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("image");
        let live = create(dir.path()).unwrap();
        let (file, dead) = create(dir.path()).unwrap().keep().unwrap();
        assert_eq!(clean_up(&target).unwrap(), LeftOver::default());
        drop(file);
        let other = dir.path().join(".snapless-0badcafe-abcdefghijkl.partial");
        for name in [&other, &dir.path().join(".snapless-x.partial"), &target] {
            fs::write(name, "x").unwrap();
        }
        let found = clean_up(&target).unwrap();
        assert_eq!(found, LeftOver { removed: vec![dead], doubtful: vec![other.clone()] });
        assert!(live.path().exists() && other.exists() && target.exists());
        live.close().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn no_two_files_meet() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..100).map(|_| create(dir.path()).unwrap()).collect();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), files.len());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_with_such_a_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "x").unwrap();
        let link = dir.path().join(format!("{PREFIX}{}-abcdefghijkl{SUFFIX}", system()));
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        assert_eq!(clean_up(&dir.path().join("image")).unwrap(), LeftOver::default());
        assert_eq!(fs::read(&precious).unwrap(), b"x");
    }
}

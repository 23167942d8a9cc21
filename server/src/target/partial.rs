//! The files of unfinished images: names that cannot be foreseen, and what killed restores leave.
//!
//! Such a file is `.snapless-SYSTEM-RANDOM.partial` beside the target, however long the target's
//! own name is. SYSTEM stands for this run of this machine's kernel, which containers share. The
//! file is locked for as long as its restore lives. So one of this system that can be locked is a
//! dead restore's, and is removed. One of another system may be at work on another machine: it is
//! only named.
//!
//! One with a checkpoint ([`crate::format::unfinished`], behind the image) stays, whichever system
//! it is of: the next restore of the same image to the same name goes on with it. Should two do so
//! at once, on a file system that does not tell them of each other's lock, they write the same
//! bytes to the same places. It must be this account's own, and no other's to write, or its bytes
//! would be whatever somebody else put there.

use std::fs::{self, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use fs4::FileExt;
use snapless_trust::{folders, regular};
use tempfile::NamedTempFile;

use super::control::{self, CONTROL_LEN};
use crate::error::{Error, Result};
use crate::format::slots::SLOT_STRIDE;
use crate::format::unfinished::Unfinished;

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
    /// Unfinished images of other targets, with which a restore can go on.
    pub kept: Vec<(PathBuf, Unfinished)>,
}

/// An unfinished image with a checkpoint, whose restore is dead. Locked.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) unfinished: Unfinished,
}

impl Left {
    /// Removes it.
    pub(super) fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::file("remove", &self.path))
    }
}

/// Where the slots stand in the file of an image of so many bytes; `None` if no file is so long.
pub(super) fn control_at(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(SLOT_STRIDE as u64)
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
    let mut found = LeftOver::default();
    for (path, system_of_it) in list(&target)? {
        match look(&path) {
            Ok(Found::Alive) => {}
            Ok(Found::Left(left)) if left.unfinished.name == name_of(&target) => {}
            Ok(Found::Left(left)) => found.kept.push((path, left.unfinished)),
            Ok(Found::Dead(_file)) if system_of_it == system() => match fs::remove_file(&path) {
                Ok(()) => found.removed.push(path),
                Err(_) => found.doubtful.push(path),
            },
            Ok(Found::Dead(_)) | Err(_) => found.doubtful.push(path),
        }
    }
    found.removed.sort_unstable();
    found.doubtful.sort_unstable();
    found.kept.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The unfinished images of a target, with which a restore can go on.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn left_for(target: &Path) -> Result<Vec<Left>> {
    let name = name_of(target);
    let left = list(target)?.into_iter().filter_map(|(path, _)| match look(&path) {
        Ok(Found::Left(left)) if left.unfinished.name == name => Some(left),
        _ => None,
    });
    Ok(left.collect())
}

/// A target's name, as the slots of its unfinished image have it.
pub(super) fn name_of(target: &Path) -> &[u8] {
    target.file_name().map_or(&[], |name| name.as_encoded_bytes())
}

/// The unfinished images beside a target, each with its SYSTEM.
fn list(target: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = folders::of(target);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let entry = entry.map_err(Error::file("list", folder))?;
        if let Some(system) = system_in(&entry) {
            found.push((entry.path(), system));
        }
    }
    Ok(found)
}

/// What a file of an unfinished image is. What is not alive is locked.
enum Found {
    /// A restore has its lock, or it is gone.
    Alive,
    /// It can be gone on with.
    Left(Left),
    /// It is of no use.
    Dead(File),
}

fn look(path: &Path) -> io::Result<Found> {
    let file = match regular::open(OpenOptions::new().read(true).write(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Alive),
        Err(error) => return Err(error),
    };
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => return Ok(Found::Alive),
        Err(fs4::TryLockError::Error(error)) => return Err(error),
    }
    // Its restore may have ended meanwhile, and given it the target's name.
    if !is_named(&file, path) {
        return Ok(Found::Alive);
    }
    let metadata = file.metadata()?;
    let at = metadata.len().checked_sub(CONTROL_LEN as u64).filter(|_| is_private(&metadata));
    let slots = at.map_or(Ok(None), |at| control::read(&file, at))?;
    let is_whole = |it: &Unfinished| it.done > 0 && control_at(it.image.geometry.length()) == at;
    Ok(match slots.filter(is_whole) {
        Some(unfinished) => Found::Left(Left { file, path: path.to_owned(), unfinished }),
        None => Found::Dead(file),
    })
}

/// True if no other account can have written to the file.
#[cfg(target_os = "linux")]
fn is_private(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    is_own && metadata.mode() & 0o022 == 0 && metadata.nlink() == 1
}

/// Elsewhere the folder's access list says who may write.
#[cfg(not(target_os = "linux"))]
fn is_private(_: &Metadata) -> bool {
    true
}

/// True if the path still stands for the file.
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    regular::is_named(file, path).unwrap_or(false)
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
        let doubtful = vec![other.clone()];
        assert_eq!(found, LeftOver { removed: vec![dead], doubtful, ..LeftOver::default() });
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

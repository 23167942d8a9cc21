//! What a target's name stands for.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf, is_separator};

use snapless_trust::folders;

use super::in_use;
use crate::error::{Error, Result};

/// What a target's name stands for, links followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nothing yet.
    New(PathBuf),
    /// A file.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
}

/// Refuses a target in a repository, whatever path leads there: it might replace what is stored.
///
/// # Errors
/// [`Error::TargetInRepository`].
pub fn keep_out(path: &Path, repository: &Path) -> Result<()> {
    let found = fs::canonicalize(path).or_else(|_| fs::canonicalize(folders::of(path)));
    match (found, fs::canonicalize(repository)) {
        (Ok(found), Ok(repository))
            if found.starts_with(&repository) || is_bound_to(&found, &repository) =>
        {
            Err(Error::TargetInRepository(path.to_owned()))
        }
        // What cannot be found here is found wrong when it is opened.
        _ => Ok(()),
    }
}

/// True if a folder above `found` is one of the repository's under another name, as a bind mount
/// gives it.
#[cfg(unix)]
fn is_bound_to(found: &Path, repository: &Path) -> bool {
    use std::collections::HashSet;
    use std::os::unix::fs::MetadataExt;
    /// Folders below the repository down to those of sessions, which have none.
    const DEPTH: usize = 3;

    let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let mut known: HashSet<_> = identity(repository).into_iter().collect();
    let mut level = vec![repository.to_owned()];
    for _ in 0..DEPTH {
        let entries = level.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        level = entries.flatten().filter(is_folder).map(|entry| entry.path()).collect();
        known.extend(level.iter().filter_map(|folder| identity(folder)));
    }
    found.ancestors().filter_map(identity).any(|it| known.contains(&it))
}

#[cfg(not(unix))]
fn is_bound_to(_: &Path, _: &Path) -> bool {
    false
}

/// Why a target that is there is not overwritten without being told to.
pub(super) fn is_there(path: &Path) -> Error {
    match names_of(path) {
        Some(names @ 2..) => Error::TargetLinked { path: path.to_owned(), names },
        _ => Error::TargetExists(path.to_owned()),
    }
}

/// The names that a file has, links followed; `None` if it is none, or the system does not tell.
#[cfg(unix)]
pub(super) fn names_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().filter(Metadata::is_file).map(|found| found.nlink())
}

#[cfg(not(unix))]
pub(super) fn names_of(_: &Path) -> Option<u64> {
    None
}

impl Place {
    /// Looks at the name.
    ///
    /// # Errors
    /// [`Error::TargetKind`] for anything else, or a name that no file can have;
    /// [`Error::TargetNowhere`] for a link that leads to nothing; [`Error::TargetInUse`].
    pub(super) fn find(path: &Path) -> Result<Self> {
        let text = path.as_os_str().to_string_lossy();
        let text =
            text.strip_suffix('.').filter(|text| text.ends_with(is_separator)).unwrap_or(&text);
        let is_folders_name = text.ends_with(is_separator);
        if path.file_name().is_none() || is_folders_name {
            return Err(Error::TargetKind(path.to_owned()));
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => Self::behind_link(path),
            Ok(metadata) => Self::of(path, path.to_owned(), &metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::New(path.to_owned())),
            Err(error) => Err(Error::file("look at", path)(error)),
        }
    }

    /// A chain of links ends at what is written: none of them is replaced.
    fn behind_link(path: &Path) -> Result<Self> {
        let found = match fs::canonicalize(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let leads_to = fs::read_link(path).map_err(Error::file("look at", path))?;
                return Err(Error::TargetNowhere { path: path.to_owned(), leads_to });
            }
            Err(error) => return Err(Error::file("follow the link", path)(error)),
        };
        let metadata = fs::symlink_metadata(&found).map_err(Error::file("look at", &found))?;
        Self::of(path, found, &metadata)
    }

    fn of(asked: &Path, found: PathBuf, metadata: &Metadata) -> Result<Self> {
        if is_block_device(metadata) {
            Ok(Self::Device(found))
        } else if metadata.is_file() {
            in_use::check(asked, metadata)?;
            Ok(Self::File(found))
        } else {
            Err(Error::TargetKind(asked.to_owned()))
        }
    }
}

#[cfg(unix)]
fn is_block_device(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_block_device(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_nothing_a_file_or_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(Place::find(&file).unwrap(), Place::File(file.clone()));
        let new = dir.path().join("new");
        assert_eq!(Place::find(&new).unwrap(), Place::New(new));
        for other in ["", "new/", "new/.", "new/..", "new/./", "file/", "."] {
            let refused = Place::find(&dir.path().join(other));
            assert!(matches!(refused, Err(Error::TargetKind(_))), "{other:?}: {refused:?}");
        }
        for other in ["..", "", ".", "/", "/dev/full", "/dev/null"] {
            let refused = Place::find(other.as_ref());
            let is_refused = matches!(refused, Err(Error::TargetKind(_)));
            assert!(is_refused || !cfg!(unix), "{other:?}: {refused:?}");
        }
        for odd in ["new.", ".new", "..."] {
            assert!(matches!(Place::find(&dir.path().join(odd)), Ok(Place::New(_))), "{odd:?}");
        }
    }

    #[test]
    fn a_target_in_the_repository_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repository");
        fs::create_dir_all(repository.join("volumes")).unwrap();
        fs::write(repository.join("volumes/segment"), "x").unwrap();
        for inside in ["volumes/segment", "new", "volumes/new", "volumes/../new"] {
            let refused = keep_out(&repository.join(inside), &repository);
            assert!(matches!(refused, Err(Error::TargetInRepository(_))), "{inside}");
        }
        for beside in ["image", "repository.img", "missing/image"] {
            keep_out(&dir.path().join(beside), &repository).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_chain_of_links_ends_at_what_it_leads_to() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(dir.path()).unwrap().join(name);
        fs::create_dir(at("sub")).unwrap();
        symlink("../second", at("sub/first")).unwrap();
        symlink(at("file"), at("second")).unwrap();
        let refused = Place::find(&at("sub/first")).unwrap_err().to_string();
        assert!(refused.contains("../second"), "{refused}");
        fs::write(at("file"), "x").unwrap();
        assert_eq!(Place::find(&at("sub/first")).unwrap(), Place::File(at("file")));
        for (name, to) in [("null", "/dev/null"), ("folder", "sub"), ("round", "round")] {
            symlink(to, at(name)).unwrap();
            let refused = Place::find(&at(name));
            assert!(matches!(refused, Err(Error::TargetKind(_) | Error::File { .. })), "{name}");
        }
    }
}

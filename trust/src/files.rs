//! Files that only their owner reads, created at once with the right permissions, and durable.
//!
//! Rule: a file is created exclusively or replaced as a whole; a reader never sees a part of it.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TrustError;
use crate::{folders, hex, private, regular, text};

/// The longest file that is read whole, in bytes.
const READ_MAX: u64 = 1 << 20;

/// Makes a folder that only its owner opens. Folders above it must be there.
///
/// # Errors
/// [`TrustError::File`]; a folder that is there already is one.
pub fn create_folder(folder: &Path) -> Result<(), TrustError> {
    private::create_folder(folder).map_err(TrustError::file("create", folder))?;
    sync_parent(folder)
}

/// Creates a file that only its owner reads, with this content, durably.
///
/// # Errors
/// [`TrustError::File`], with [`ErrorKind::AlreadyExists`] if there is one.
pub fn create(path: &Path, content: &[u8]) -> Result<(), TrustError> {
    write_new(path, content)?;
    sync_parent(path)
}

/// Replaces a file, or creates it: readers see the old content or the new one.
///
/// # Errors
/// [`TrustError::File`]; the old content stays.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), TrustError> {
    let new = beside(path)?;
    write_new(&new, content)?;
    fs::rename(&new, path).map_err(|error| {
        // The old file is in force; a left-over has no effect.
        drop(fs::remove_file(&new));
        TrustError::file("replace", path)(error)
    })?;
    sync_parent(path)
}

/// Reads a file of reasonable size; `None` if there is none.
///
/// # Errors
/// [`TrustError::File`], [`TrustError::Damaged`] past 1 MiB.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, TrustError> {
    let file = match regular::open_to_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TrustError::file("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(READ_MAX + 1).read_to_end(&mut bytes).map_err(TrustError::file("read", path))?;
    if bytes.len() as u64 > READ_MAX {
        return Err(TrustError::damaged(path, "it is longer than 1 MiB"));
    }
    Ok(Some(bytes))
}

/// Reads a file of text; `None` if there is none.
///
/// # Errors
/// As [`read`], and [`TrustError::Damaged`] for bytes that are no text.
pub fn read_text(path: &Path) -> Result<Option<String>, TrustError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let text = text::decode(&bytes).map_err(|why| TrustError::damaged(path, why))?;
    Ok(Some(text.as_str().to_owned()))
}

/// Reads a JSON document; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TrustError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|why| TrustError::damaged(path, why))
}

/// The text of a JSON document.
pub(crate) fn to_json<T: Serialize>(document: &T) -> Result<Vec<u8>, TrustError> {
    let mut text = serde_json::to_vec_pretty(document)
        .map_err(|why| TrustError::Cryptography(format!("a record cannot be written: {why}")))?;
    text.push(b'\n');
    Ok(text)
}

/// The names in a folder, sorted; names that are no text are left out.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, TrustError> {
    let listed = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().into_string().ok()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names: Vec<_> =
        listed.map_err(TrustError::file("list", folder))?.into_iter().flatten().collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes the names beside this one durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), TrustError> {
    let folder = folders::of(path);
    folders::sync(folder).map_err(TrustError::file("sync", folder))
}

/// A new name beside `path`.
pub(crate) fn beside(path: &Path) -> Result<PathBuf, TrustError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", hex::encode(&random::<8>()?)));
    Ok(path.with_file_name(name))
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], TrustError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| TrustError::Cryptography("the system gives no random numbers".into()))?;
    Ok(bytes)
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), TrustError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private::only_owner(&mut options);
    let mut file = options.open(path).map_err(TrustError::file("create", path))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // A part of a file would stand in the way of the next try.
        drop(fs::remove_file(path));
        TrustError::file("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create(&path, b"one").unwrap();
        assert!(create(&path, b"two").is_err());
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read_text(&path).unwrap().unwrap(), "three");
        assert_eq!(names(dir.path()).unwrap(), ["a"]);
        assert!(read(&dir.path().join("b")).unwrap().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn files_and_folders_are_their_owners_alone_whatever_the_mask() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        create_folder(&folder).unwrap();
        create(&folder.join("key"), b"secret").unwrap();
        replace(&folder.join("other"), b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("key")), 0o600);
        assert_eq!(mode(&folder.join("other")), 0o600);
    }

    #[test]
    fn a_file_without_end_is_not_read_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&path), Err(TrustError::Damaged { .. })));
    }
}

//! The service's own small files: read without following links, replaced as a whole, and their
//! owner's alone.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use snapless_trust::regular::{self, NotAFile};
use snapless_trust::{folders, private};

/// The longest file that is read, in bytes.
const LEN_MAX: u64 = 1 << 20;

/// Why a file cannot be read.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The system refuses.
    System(io::Error),
    /// It is nothing that the service has written.
    Other(String),
}

/// The content of a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match regular::open_to_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(match NotAFile::in_error(&error) {
                Some(why) => FileError::Other(why.to_string()),
                None => FileError::System(error),
            });
        }
    };
    let mut bytes = Vec::new();
    file.take(LEN_MAX + 1).read_to_end(&mut bytes).map_err(FileError::System)?;
    if bytes.len() as u64 > LEN_MAX {
        return Err(FileError::Other("it is longer than 1 MiB".to_owned()));
    }
    Ok(Some(bytes))
}

/// Whether a file must be durable before it replaces the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// It must.
    Synced,
    /// It need not: the next one follows soon.
    BestEffort,
}

/// Replaces the content of `path` as a whole: writes a new file next to it and renames that.
pub(crate) fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private::only_owner(&mut options);
    let mut file = match options.open(&beside) {
        // Left by a crash, or put there by another program.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(&beside)?;
            options.open(&beside)?
        }
        opened => opened?,
    };
    file.write_all(content)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&beside, path)?;
    if durability == Durability::Synced {
        folders::sync(folders::of(path))?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_whatever_the_mask_and_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for durability in [Durability::Synced, Durability::BestEffort] {
            fs::write(dir.path().join("file.new"), "torn").unwrap();
            replace(&path, b"whole", durability).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), b"whole");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&path), Err(FileError::Other(_))));
    }
}

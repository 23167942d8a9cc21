//! What a point is restored to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::RestoreError;
use crate::place::{read_exact_at, write_all_at};

/// A disk, or a file as one. Reads and writes are of whole sectors of the volume, by several
/// threads at once, and of different places.
pub trait Disk: Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// True if all of it is zeros: there is nothing to be read, and zeros need not be written.
    fn is_blank(&self) -> bool;

    /// Reads.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is durable.
    fn sync(&self) -> io::Result<()>;

    /// Takes off what the target has behind the point's end, where it can: once all but the ends is
    /// written, as until the disk says that it is half restored it may be wanted as it was.
    fn cut(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn is_blank(&self) -> bool {
        (**self).is_blank()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }

    fn cut(&self) -> io::Result<()> {
        (**self).cut()
    }
}

/// A raw image in a file, sparse where it is new.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    name: String,
    length: u64,
    is_blank: bool,
}

impl FileDisk {
    /// Makes a file of this length; with `force` it opens one that is there, and overwrites what
    /// differs.
    ///
    /// # Errors
    /// [`RestoreError::Exists`] without `force`, [`RestoreError::Unfit`] for what is no file, or
    /// the system's error.
    pub fn open(path: &Path, length: u64, force: bool) -> Result<Self, RestoreError> {
        let name = path.display().to_string();
        let disk = |action| RestoreError::disk(action, &name);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let (file, is_blank) = match options.clone().create_new(true).open(path) {
            Ok(file) => {
                sparse(&file).map_err(disk("make sparse"))?;
                (file, true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !path.is_file() {
                    let why = "it is neither a file nor a volume".to_owned();
                    return Err(RestoreError::Unfit { target: name, why });
                }
                if !force {
                    return Err(RestoreError::Exists(name));
                }
                (options.open(path).map_err(disk("open"))?, false)
            }
            Err(error) => return Err(disk("create")(error)),
        };
        let have = file.metadata().map_err(disk("size"))?.len();
        if have < length {
            file.set_len(length).map_err(disk("size"))?;
        }
        Ok(Self { file, name, length, is_blank })
    }
}

impl Disk for FileDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_blank(&self) -> bool {
        self.is_blank
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn cut(&self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.length {
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// Has zeros that are not written take no space.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "on Windows it can fail")]
fn sparse(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(windows)]
fn sparse(file: &File) -> io::Result<()> {
    use windows_sys::Win32::Foundation::{ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED};
    use windows_sys::Win32::System::Ioctl::FSCTL_SET_SPARSE;
    let refused = |code: u32| i32::try_from(code).ok();
    match crate::device::control(file, FSCTL_SET_SPARSE) {
        // A file system without holes: zeros take space.
        Err(error)
            if [ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED]
                .into_iter()
                .map(refused)
                .any(|code| code == error.raw_os_error()) =>
        {
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_overwritten_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume.img");
        let made = FileDisk::open(&path, 8192, false).unwrap();
        assert!(made.is_blank());
        made.write(4096, &[7; 512]).unwrap();
        drop(made);
        let refused = FileDisk::open(&path, 4096, false).unwrap_err().to_string();
        assert!(refused.contains("--force"), "{refused}");
        let there = FileDisk::open(&path, 16384, true).unwrap();
        assert!(!there.is_blank());
        let mut bytes = [1; 1024];
        there.read(4096, &mut bytes).unwrap();
        assert!(bytes[..512] == [7; 512] && bytes[512..] == [0; 512]);
        drop(there);
        // What is longer is so until the end: another target may have been meant.
        let longer = FileDisk::open(&path, 8192, true).unwrap();
        assert_eq!(longer.file.metadata().unwrap().len(), 16384);
        longer.cut().unwrap();
        assert_eq!(longer.file.metadata().unwrap().len(), 8192);
        let refused = FileDisk::open(dir.path(), 4096, true).unwrap_err().to_string();
        assert!(refused.contains("neither a file"), "{refused}");
    }
}

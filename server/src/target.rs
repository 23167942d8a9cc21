//! Where a restored image goes: a new file, a block device, or memory.
//!
//! A file is written beside the target under another name and takes the target's name only when it
//! is complete and durable; until then the old file stays. Zeros become holes. A device is written
//! in place, zeros included, since it has other content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::local::{sync_dir_of, write_all_at};

/// Zeros are searched in pieces of this many bytes, the unit in which file systems allocate.
const PIECE: usize = 4 << 10;
/// Zeros are written from a buffer of this many bytes.
const ZEROS: usize = 1 << 20;

/// An image that is being written.
pub trait Target {
    /// Writes content.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes zeros.
    fn zero(&mut self, offset: u64, len: u64) -> Result<()>;

    /// Writes content where nothing has been written yet.
    fn write_first(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write(offset, bytes)
    }

    /// Makes zeros where nothing has been written yet.
    fn zero_first(&mut self, offset: u64, len: u64) -> Result<()> {
        self.zero(offset, len)
    }
}

/// An image in memory, as long as the volume.
impl Target for Vec<u8> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self[start..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
        self[index(offset)..][..index(len)].fill(0);
        Ok(())
    }
}

/// An image in a file or on a block device.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    path: PathBuf,
    kind: Kind,
    written: u64,
}

#[derive(Debug)]
enum Kind {
    /// Has this name until the image is finished. Dropped before, it removes the file.
    File(Temporary),
    Device,
}

#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl FileTarget {
    /// Opens a target for an image of `length` bytes.
    ///
    /// # Errors
    /// [`Error::TargetExists`] without `force`, [`Error::TargetKind`], [`Error::TargetTooShort`].
    pub fn open(path: &Path, length: u64, force: bool) -> Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if is_block_device(&metadata) => {
                if !force {
                    return Err(Error::TargetExists(path.to_owned()));
                }
                Self::open_device(path, length)
            }
            Ok(metadata) if !metadata.is_file() => Err(Error::TargetKind(path.to_owned())),
            Ok(_) if !force => Err(Error::TargetExists(path.to_owned())),
            Ok(_) => Self::open_file(path, length),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::open_file(path, length),
            Err(error) => Err(Error::file("look at", path)(error)),
        }
    }

    /// Bytes written so far; holes do not count.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the image durable and gives it its name.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(Error::file("sync", &self.path))?;
        drop(self.file);
        if let Kind::File(mut temporary) = self.kind {
            fs::rename(&temporary.path, &self.path).map_err(Error::file("name", &self.path))?;
            temporary.keep = true;
            sync_dir_of(&self.path)?;
        }
        Ok(())
    }

    fn open_file(path: &Path, length: u64) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::TargetKind(path.to_owned()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".partial-{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(&temporary);
        let file = file.map_err(Error::file("create", &temporary))?;
        let temporary = Temporary { path: temporary, keep: false };
        file.set_len(length).map_err(Error::file("size", path))?;
        Ok(Self { file, path: path.to_owned(), kind: Kind::File(temporary), written: 0 })
    }

    fn open_device(path: &Path, need: u64) -> Result<Self> {
        let mut file = open_unused(path).map_err(Error::file("open", path))?;
        let have = file.seek(SeekFrom::End(0)).map_err(Error::file("size", path))?;
        if have < need {
            return Err(Error::TargetTooShort { path: path.to_owned(), have, need });
        }
        Ok(Self { file, path: path.to_owned(), kind: Kind::Device, written: 0 })
    }

    fn write_zeros(&mut self, mut offset: u64, mut len: u64) -> Result<()> {
        let zeros = vec![0; ZEROS.min(usize::try_from(len).unwrap_or(ZEROS))];
        while len > 0 {
            let step = len.min(zeros.len() as u64);
            let part = &zeros[..usize::try_from(step).unwrap_or(zeros.len())];
            self.write(offset, part)?;
            offset += step;
            len -= step;
        }
        Ok(())
    }
}

impl Target for FileTarget {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(&self.file, bytes, offset).map_err(Error::file("write", &self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        let punched = matches!(self.kind, Kind::File(_)) && punch(&self.file, offset, len);
        if punched { Ok(()) } else { self.write_zeros(offset, len) }
    }

    fn write_first(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if matches!(self.kind, Kind::Device) {
            return self.write(offset, bytes);
        }
        for run in content_runs(bytes) {
            self.write(offset + run.start as u64, &bytes[run])?;
        }
        Ok(())
    }

    fn zero_first(&mut self, offset: u64, len: u64) -> Result<()> {
        match self.kind {
            Kind::File(_) => Ok(()),
            Kind::Device => self.write_zeros(offset, len),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}; remove it by hand", self.path.display());
        }
    }
}

/// The runs of whole pieces that hold a byte other than zero.
fn content_runs(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (piece, index) in bytes.chunks(PIECE).zip(0..) {
        if is_zero(piece) {
            continue;
        }
        let start = index * PIECE;
        let end = start + piece.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// True if all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    // In words, which the compiler turns into vectors.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().fold(0, |all, &word| all | u64::from_ne_bytes(word)) == 0
        && rest.iter().all(|&byte| byte == 0)
}

#[cfg(unix)]
fn is_block_device(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_block_device(_: &fs::Metadata) -> bool {
    false
}

/// Opens a device that is not mounted: Linux refuses to open a mounted one exclusively.
#[cfg(target_os = "linux")]
fn open_unused(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0);
    OpenOptions::new().write(true).custom_flags(exclusive).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_unused(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Makes a hole; false if the file system cannot.
#[cfg(target_os = "linux")]
fn punch(file: &File, offset: u64, len: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: u64, _: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_image_leaves_nothing_and_the_old_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        assert!(matches!(FileTarget::open(&path, 4096, false), Err(Error::TargetExists(_))));
        let mut target = FileTarget::open(&path, 4096, true).unwrap();
        target.write(0, &[1; 512]).unwrap();
        drop(target);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_finished_image_replaces_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        let mut target = FileTarget::open(&path, 16_384, true).unwrap();
        target.write_first(0, &[1; 4096]).unwrap();
        target.write(8192, &[2; 8192]).unwrap();
        target.zero(8192, 4096).unwrap();
        target.zero_first(4096, 4096).unwrap();
        target.finish().unwrap();
        let image = fs::read(&path).unwrap();
        assert_eq!(image, [[1; 4096], [0; 4096], [0; 4096], [2; 4096]].concat());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_no_target() {
        let dir = tempfile::tempdir().unwrap();
        let refused = FileTarget::open(dir.path(), 512, true);
        assert!(matches!(refused, Err(Error::TargetKind(_))));
    }

    #[test]
    fn zeros_inside_a_block_are_left_out() {
        let mut bytes = vec![0; 5 * PIECE + 100];
        bytes[PIECE] = 1;
        bytes[3 * PIECE - 1] = 1;
        bytes[5 * PIECE + 99] = 1;
        assert_eq!(content_runs(&bytes), [PIECE..3 * PIECE, 5 * PIECE..5 * PIECE + 100]);
        assert!(content_runs(&[0; 12_345]).is_empty());
    }
}

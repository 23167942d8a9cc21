//! A volume's file or block device, opened past the page cache where the file system supports it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, SeekFrom, seek};
use snapless_types::{BlockIndex, BlockRange, Geometry};

use crate::error::{Error, IoContext, Result};

/// An open volume.
#[derive(Clone, Debug)]
pub struct Disk {
    name: String,
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    sector: u32,
}

impl Disk {
    /// Opens `path` as a volume with sectors of `sector` bytes.
    pub fn open(name: &str, path: &Path, sector: u32) -> Result<Self> {
        let file = open(path)?;
        let kind = file.metadata().on("examine", path)?.file_type();
        let problem =
            |problem: &str| Error::Volume { path: path.to_path_buf(), problem: problem.to_owned() };
        if !kind.is_file() && !kind.is_block_device() {
            return Err(problem("a volume is a file or a block device"));
        }
        let length = seek(&file, SeekFrom::End(0)).map_err(std::io::Error::from);
        let length = length.on("find the end of", path)?;
        if length == 0 || length % u64::from(sector) != 0 {
            return Err(problem("the length is not a whole number of sectors, and at least one"));
        }
        let (name, path) = (name.to_owned(), path.to_path_buf());
        Ok(Self { name, path, file: Arc::new(file), length, sector })
    }

    /// The volume's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The sector size in bytes.
    pub fn sector(&self) -> u32 {
        self.sector
    }

    /// Opens the file once more.
    pub fn reopen(&self) -> Result<File> {
        open(&self.path)
    }

    /// The runs of whole blocks that are holes of the file.
    pub fn holes(&self, geometry: &Geometry) -> Result<Vec<BlockRange>> {
        let block = u64::from(geometry.block_size());
        let mut holes = Vec::new();
        let mut at = 0;
        while at < self.length {
            let data = match seek(&*self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => self.length,
                Err(error) => return Err(error.into()).on("find the data of", &self.path),
            };
            let end = if data == self.length { geometry.block_count() } else { data / block };
            let run = BlockRange::new(BlockIndex(at.div_ceil(block)), BlockIndex(end));
            if !run.is_empty() {
                holes.push(run);
            }
            if data >= self.length {
                break;
            }
            let hole = seek(&*self.file, SeekFrom::Hole(data)).map_err(std::io::Error::from);
            at = hole.on("find the holes of", &self.path)?;
        }
        Ok(holes)
    }
}

/// Opens a file past the page cache where the file system supports it.
pub fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    match options.custom_flags(flags).open(path) {
        // The file system does not support `O_DIRECT`.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            options.custom_flags(0).open(path).on("open", path)
        }
        opened => opened.on("open", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_whole_blocks_without_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let block = 64_u64 << 10;
        file.as_file().set_len(8 * block).unwrap();
        file.as_file().write_all_at(&[1; 4096], 2 * block + 4096).unwrap();
        file.as_file().write_all_at(&[1; 4096], 5 * block).unwrap();
        let disk = Disk::open("v", file.path(), 512).unwrap();
        let geometry = Geometry::new(8 * block, 512, 64 << 10).unwrap();
        let holes = disk.holes(&geometry).unwrap();
        let holes: Vec<_> = holes.iter().map(|run| (run.start.0, run.end.0)).collect();
        assert_eq!(holes, [(0, 2), (3, 5), (6, 8)]);
    }

    #[test]
    fn a_file_without_whole_sectors_is_not_a_volume() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Disk::open("v", file.path(), 512).is_err());
        file.as_file().set_len(513).unwrap();
        assert!(Disk::open("v", file.path(), 512).is_err());
        assert!(Disk::open("v", Path::new("/"), 512).is_err());
    }
}

//! FAT volumes on disks without partitions: the medium that the guest gets its programs from, and
//! the result disk. Windows has a driver for both before it is installed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fatfs::{Dir, FileSystem, FormatVolumeOptions, FsOptions};
use vm_protocol::message::is_plain_name;
use vm_protocol::results::{FILES, Kept, LABEL, MARK, OUTCOMES, kept};

use crate::error::VmError;

const MIB: u64 = 1 << 20;
/// What a file system takes for itself, and room for the file sizes' last clusters.
const SPARE: u64 = 64 * MIB;
/// The label of the medium.
const MEDIUM: [u8; 11] = *b"SNAPLESSE2E";

/// A file of a medium: its name, and its content.
#[derive(Clone, Debug)]
pub struct Content {
    /// The name in the root.
    pub name: String,
    /// What is in it.
    pub source: Source,
}

/// Where a content comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file of the host.
    File(PathBuf),
    /// A text.
    Text(String),
}

impl Content {
    /// A file of the host, under its own name.
    pub fn file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, source: Source::File(path.to_path_buf()) }
    }

    /// A text.
    pub fn text(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), source: Source::Text(text.into()) }
    }

    fn size(&self) -> io::Result<u64> {
        match &self.source {
            Source::File(path) => Ok(fs::metadata(path)?.len()),
            Source::Text(text) => Ok(text.len() as u64),
        }
    }
}

/// Makes an empty image, which takes no space yet.
pub fn empty_disk(image: &Path, bytes: u64) -> Result<(), VmError> {
    let made = File::create(image).and_then(|file| file.set_len(bytes));
    made.map_err(VmError::file("create", image))
}

/// Makes a medium with these files.
pub fn make(image: &Path, contents: &[Content]) -> Result<(), VmError> {
    let size: io::Result<u64> = contents.iter().map(Content::size).sum();
    let size = size.map_err(VmError::file("read the files for", image))?;
    let made = format(image, size + SPARE, MEDIUM).and_then(|volume| {
        for content in contents {
            let mut file = volume.root_dir().create_file(&content.name)?;
            match &content.source {
                Source::File(path) => drop(io::copy(&mut File::open(path)?, &mut file)?),
                Source::Text(text) => file.write_all(text.as_bytes())?,
            }
            file.flush()?;
        }
        volume.unmount()
    });
    made.map_err(VmError::file("make", image))
}

/// Makes an empty result disk.
pub fn make_results(image: &Path, bytes: u64) -> Result<(), VmError> {
    let made = format(image, bytes, LABEL).and_then(|volume| {
        volume.root_dir().create_file(MARK)?.flush()?;
        volume.unmount()
    });
    made.map_err(VmError::file("make", image))
}

/// What a result disk has: the outcomes that the guest has kept. Files go into `folder`. A disk
/// that cannot be read has none: the machine may have stopped at any instant.
pub fn read_results(image: &Path, folder: &Path) -> Result<Vec<Kept>, VmError> {
    let disk = File::open(image).map_err(VmError::file("open", image))?;
    let Ok(volume) = FileSystem::new(ReadOnly(disk), FsOptions::new()) else { return Ok(vec![]) };
    let root = volume.root_dir();
    let mut outcomes = Vec::new();
    if let Ok(mut file) = root.open_file(OUTCOMES) {
        // What was read before an error counts.
        let _ = io::copy(&mut file, &mut outcomes);
    }
    if let Ok(files) = root.open_dir(FILES) {
        fs::create_dir_all(folder).map_err(VmError::file("create", folder))?;
        copy_out(&files, folder)?;
    }
    Ok(kept(&String::from_utf8_lossy(&outcomes)))
}

fn copy_out(files: &Dir<'_, ReadOnly>, folder: &Path) -> Result<(), VmError> {
    for entry in files.iter().map_while(Result::ok).filter(fatfs::DirEntry::is_file) {
        let name = entry.file_name();
        if !is_plain_name(&name) {
            continue;
        }
        let path = folder.join(name);
        let mut target = File::create(&path).map_err(VmError::file("create", &path))?;
        // A file that ends in a damaged chain is kept up to there.
        let _ = io::copy(&mut entry.to_file(), &mut target);
    }
    Ok(())
}

fn format(image: &Path, bytes: u64, label: [u8; 11]) -> io::Result<FileSystem<File>> {
    let disk = File::options().read(true).write(true).create(true).truncate(true).open(image)?;
    disk.set_len(bytes.next_multiple_of(MIB))?;
    let options = FormatVolumeOptions::new().volume_label(label);
    let mut volume = disk.try_clone()?;
    fatfs::format_volume(&mut volume, options)?;
    FileSystem::new(disk, FsOptions::new().update_accessed_date(false))
}

/// A disk that is only looked at; the crate marks a volume as in use otherwise.
struct ReadOnly(File);

impl io::Read for ReadOnly {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for ReadOnly {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for ReadOnly {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_protocol::message::Outcome;

    #[test]
    fn what_the_guest_leaves_on_the_result_disk_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("results.img");
        make_results(&image, 40 * MIB).unwrap();
        let disk = File::options().read(true).write(true).open(&image).unwrap();
        let volume = FileSystem::new(disk, FsOptions::new()).unwrap();
        {
            let root = volume.root_dir();
            assert!(root.open_file(MARK).is_ok());
            let mut file = root.create_file(OUTCOMES).unwrap();
            file.write_all(b"{\"step\":0,\"outcome\":\"Passed\"}\n{\"st").unwrap();
            let mut file = root.create_dir(FILES).unwrap().create_file("MEMORY.DMP").unwrap();
            file.write_all(&vec![7; 3 << 20]).unwrap();
        }
        volume.unmount().unwrap();

        let folder = dir.path().join("files");
        let kept = read_results(&image, &folder).unwrap();
        assert_eq!(kept, [Kept { step: 0, outcome: Outcome::Passed }]);
        assert_eq!(fs::read(folder.join("MEMORY.DMP")).unwrap(), vec![7; 3 << 20]);
    }

    #[test]
    fn a_result_disk_that_is_no_file_system_any_more_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("results.img");
        fs::write(&image, vec![0xA5; 1 << 20]).unwrap();
        assert_eq!(read_results(&image, &dir.path().join("files")).unwrap(), []);
    }
}

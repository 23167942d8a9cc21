//! The volume under test: an NTFS image with real files, and with scratch files whose clusters the
//! writer may overwrite without hurting the file system.
//!
//! The rule: the writer's regions are clusters of the scratch files and clusters that no file owns;
//! they lie from the very beginning of the volume to its end, so that the sweep meets writers
//! before and behind it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapless_driver_client::state_place::{STATE_FILE, blank_area};
use snapless_wire::id::AreaId;
use snapless_writer::extent::{Extent, SECTOR};
use snapless_writer::payload::{Payload, WriteId};
use snapless_writer::regions::Regions;

use crate::error::{E2eError, ensure};
use crate::ntfs::{self, FileHash};
use crate::process;

/// The volume is this much longer than whole mebibytes: its last block is short.
pub const ODD_TAIL: u64 = 5 * SECTOR;
/// The smallest volume, in MiB, that holds an NTFS with all that is put on it.
pub const SIZE_MIN_MIB: u64 = 64;

/// Scratch files, in hundredths of the volume each.
const SCRATCH_SHARE: u64 = 29;
/// Scratch files' names: the first is copied before the real files, the second after them.
const SCRATCH_EARLY: &str = "scratch-early.bin";
const SCRATCH_LATE: &str = "scratch-late.bin";
/// Free clusters are used where there are this many bytes of them together.
const FREE_MIN: u64 = 256 << 10;
/// Real files, in hundredths of the volume.
const FILES_SHARE: u64 = 12;
/// At most this many real files are copied: each is one call of `ntfscp`.
const FILES_MAX: usize = 120;
/// Where real files are taken from.
const FILES_FROM: [&str; 3] = ["/usr/share/common-licenses", "/usr/share/doc", "/usr/bin"];
/// Bytes of scratch content made at a time; one chunk in eight stays all zeros.
const CHUNK: u64 = 256 << 10;

/// A made image.
#[derive(Debug)]
pub struct Image {
    /// The image before any write of the run.
    pub pristine: PathBuf,
    /// Bytes.
    pub len: u64,
    /// What the writer may overwrite.
    pub regions: Regions,
    /// The real files.
    pub files: Vec<FileHash>,
    /// The driver's own bytes: an image may have anything there.
    pub state_area: Range<u64>,
}

impl Image {
    /// Makes an image of `size_mib` MiB (and [`ODD_TAIL`]) in `dir`.
    pub fn make(dir: &Path, size_mib: u64, seed: u64) -> Result<Self, E2eError> {
        Self::make_with(dir, size_mib, seed, &[SCRATCH_EARLY, SCRATCH_LATE])
    }

    /// The same with more free space, which has content, as of files that were deleted.
    pub fn make_half_empty(dir: &Path, size_mib: u64, seed: u64) -> Result<Self, E2eError> {
        let image = Self::make_with(dir, size_mib, seed, &[SCRATCH_EARLY])?;
        let free = ntfs::free_extents(&image.pristine, FREE_MIN)?;
        fill_scratch(&image.pristine, &free, Payload::new(seed + 1))?;
        Ok(image)
    }

    fn make_with(dir: &Path, size_mib: u64, seed: u64, scratch: &[&str]) -> Result<Self, E2eError> {
        assert!(size_mib >= SIZE_MIN_MIB, "the caller checked the size");
        let pristine = dir.join("pristine.img");
        let len = (size_mib << 20) + ODD_TAIL;
        let file = File::create(&pristine).map_err(E2eError::file("create", &pristine))?;
        file.set_len(len).map_err(E2eError::file("extend", &pristine))?;
        drop(file);
        let mut format = Command::new("mkntfs");
        format.args(["-F", "-Q", "-q", "-s", "512", "-c", "4096", "-L", "Snapless"]);
        process::run(format.arg(&pristine))?;

        let scratch_len = len * SCRATCH_SHARE / 100 / 4096 * 4096;
        copy_scratch(dir, &pristine, scratch[0], scratch_len)?;
        let copied = copy_real_files(&pristine, len * FILES_SHARE / 100)?;
        copy_state_file(dir, &pristine, seed)?;
        for late in &scratch[1..] {
            copy_scratch(dir, &pristine, late, scratch_len)?;
        }

        let mut extents = Vec::new();
        for name in scratch {
            extents.extend(ntfs::data_extents(&pristine, name)?);
        }
        fill_scratch(&pristine, &extents, Payload::new(seed))?;
        extents.extend(ntfs::free_extents(&pristine, FREE_MIN)?);
        extents.sort_unstable();
        let regions = Regions::new(extents).expect("two files of many clusters have extents");
        let files = ntfs::hashes(&pristine, is_real)?;
        compare(&pristine, &copied, &files)?;
        let state_area = state_area(&pristine)?;
        Ok(Self { pristine, len, regions, files, state_area })
    }

    /// Checks that `restored` is a sound NTFS with the same real files. Returns how many there are.
    pub fn check_restored(&self, restored: &Path) -> Result<usize, E2eError> {
        process::run(Command::new("ntfsfix").arg("-n").arg(restored))?;
        compare(restored, &self.files, &ntfs::hashes(restored, is_real)?)?;
        Ok(self.files.len())
    }
}

fn is_real(name: &str) -> bool {
    ![SCRATCH_EARLY, SCRATCH_LATE, STATE_FILE].contains(&name)
}

/// The state file, as the service makes it where a file system opens files.
fn copy_state_file(dir: &Path, image: &Path, seed: u64) -> Result<(), E2eError> {
    let source = dir.join(STATE_FILE);
    let area = blank_area(AreaId(u128::from(seed + 1).to_le_bytes()));
    std::fs::write(&source, area).map_err(E2eError::file("write", &source))?;
    copy_in(image, &source, STATE_FILE)?;
    std::fs::remove_file(&source).map_err(E2eError::file("remove", &source))
}

fn state_area(image: &Path) -> Result<Range<u64>, E2eError> {
    let extents = ntfs::data_extents(image, STATE_FILE)?;
    ensure!(extents.len() == 1, NotExercised, "the state file is in {} pieces", extents.len());
    Ok(extents[0].offset()..extents[0].end())
}

fn copy_scratch(dir: &Path, image: &Path, name: &str, len: u64) -> Result<(), E2eError> {
    let source = dir.join(name);
    let file = File::create(&source).map_err(E2eError::file("create", &source))?;
    file.set_len(len).map_err(E2eError::file("extend", &source))?;
    copy_in(image, &source, name)?;
    std::fs::remove_file(&source).map_err(E2eError::file("remove", &source))
}

fn copy_in(image: &Path, source: &Path, name: &str) -> Result<(), E2eError> {
    process::run(Command::new("ntfscp").args(["-f", "-q"]).arg(image).arg(source).arg(name))
}

/// Copies files of this machine, the same ones each time, up to `budget` bytes.
fn copy_real_files(image: &Path, budget: u64) -> Result<Vec<FileHash>, E2eError> {
    let mut copied: Vec<FileHash> = Vec::new();
    let mut used = 0;
    for folder in FILES_FROM {
        let mut sources = Vec::new();
        collect_files(Path::new(folder), &mut sources)?;
        sources.sort();
        let mut left = FILES_MAX / FILES_FROM.len();
        for source in sources {
            let len = source.metadata().map_err(E2eError::file("examine", &source))?.len();
            let name = flat_name(&source);
            let new = !copied.iter().any(|file| file.name.eq_ignore_ascii_case(&name));
            if left > 0 && len > 0 && used + len <= budget && new {
                copy_in(image, &source, &name)?;
                copied.push(FileHash::of_file(&source, name)?);
                used += len;
                left -= 1;
            }
        }
    }
    if copied.is_empty() {
        return Err(E2eError::Rule(format!("no file to copy was found in {FILES_FROM:?}")));
    }
    copied.sort();
    Ok(copied)
}

/// Ordinary files below `folder`; links are left out.
fn collect_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), E2eError> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(E2eError::file("list", folder))? {
        let entry = entry.map_err(E2eError::file("list", folder))?;
        let kind = entry.file_type().map_err(E2eError::file("examine", &entry.path()))?;
        if kind.is_dir() {
            collect_files(&entry.path(), into)?;
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
    Ok(())
}

/// A path as one name that NTFS takes.
fn flat_name(path: &Path) -> String {
    let path = path.to_string_lossy();
    let name = path.trim_start_matches("/usr/");
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect()
}

/// Gives the scratch clusters content that the writer's reads recognise, with stretches of zeros.
fn fill_scratch(image: &Path, extents: &[Extent], payload: Payload) -> Result<(), E2eError> {
    let file = File::options().write(true).open(image).map_err(E2eError::file("open", image))?;
    for extent in extents {
        let mut offset = extent.offset();
        while offset < extent.end() {
            let len = CHUNK.min(extent.end() - offset);
            if offset / CHUNK % 8 != 7 {
                let mut bytes = vec![0; usize::try_from(len).expect("a chunk fits in memory")];
                payload.fill(WriteId::PRISTINE, offset, &mut bytes);
                file.write_all_at(&bytes, offset).map_err(E2eError::file("write", image))?;
            }
            offset += len;
        }
    }
    Ok(())
}

/// Both lists must name the same files with the same content.
fn compare(image: &Path, want: &[FileHash], found: &[FileHash]) -> Result<(), E2eError> {
    let wrong = |file: &FileHash, why| {
        Err(E2eError::Damaged(image.into(), format!("file {} {why}", file.name)))
    };
    let named = |files: &[FileHash], name: &str| files.iter().any(|file| file.name == name);
    if let Some(file) = want.iter().find(|file| !found.contains(file)) {
        let there = named(found, &file.name);
        return wrong(file, if there { "has other content" } else { "is missing" });
    }
    match found.iter().find(|file| !named(want, &file.name)) {
        Some(extra) => wrong(extra, "was not there before"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_files_regions_at_both_ends_and_passes_its_own_check() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image::make(dir.path(), SIZE_MIN_MIB, 9).unwrap();
        assert_eq!(image.pristine.metadata().unwrap().len(), image.len);
        assert!(image.files.len() > 10, "{} files", image.files.len());
        assert!(image.regions.total() > image.len / 2);
        let (first, last) =
            (image.regions.extents().first().unwrap(), image.regions.extents().last().unwrap());
        assert!(first.offset() < image.len / 50, "{first}");
        assert!(last.end() > image.len * 9 / 10, "{last}");
        assert_eq!(image.check_restored(&image.pristine).unwrap(), image.files.len());
    }

    #[test]
    fn overwritten_regions_leave_the_files_whole_and_a_damaged_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image::make(dir.path(), SIZE_MIN_MIB, 9).unwrap();
        let file = File::options().write(true).open(&image.pristine).unwrap();
        for extent in image.regions.extents() {
            file.write_all_at(&vec![0xaa; extent.size()], extent.offset()).unwrap();
        }
        image.check_restored(&image.pristine).unwrap();
        let victim = image.files.iter().max_by_key(|file| file.len).unwrap();
        let extent = ntfs::data_extents(&image.pristine, &victim.name).unwrap()[0];
        file.write_all_at(&[0xaa; 512], extent.offset()).unwrap();
        let error = image.check_restored(&image.pristine).unwrap_err().to_string();
        assert!(error.contains(&victim.name) && error.contains("other content"), "{error}");
    }
}

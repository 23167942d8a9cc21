//! Free space on the disk of `target/`.
//!
//! The rule: a long task refuses to begin where it would fill the disk, and a run that fails on a
//! full disk says so first. Programs that meet a full disk fail in a hundred ways, most of which do
//! not name it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// MiB of the volume of a scenario, unless the user says otherwise.
const USUAL_MIB: u64 = 128;
/// With less than this a program may have met a full disk a moment ago.
const NEARLY_FULL: u64 = GIB;

/// What a task takes of the disk, in bytes: builds stay for the next run, files of runs do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    builds: u64,
    runs: u64,
}

impl Need {
    /// All tests: every build, and end-to-end scenarios side by side, with volumes of so many MiB.
    #[must_use]
    pub const fn of_tests(size_mib: u64) -> Self {
        Self { builds: 14 * GIB, runs: of_volumes(6 * GIB, size_mib) }
    }

    /// The same of a part of them, with one scenario at a time.
    #[must_use]
    pub const fn of_some_tests(size_mib: u64) -> Self {
        Self { builds: 9 * GIB, runs: of_volumes(3 * GIB, size_mib) }
    }

    /// The demo with a volume of so many MiB, which is there up to five times.
    #[must_use]
    pub const fn of_demo(size_mib: u64) -> Self {
        Self { builds: 7 * GIB, runs: GIB + size_mib * 5 * MIB }
    }

    /// The free space that it needs where `built` bytes are in `target/` already.
    const fn beside(self, built: u64) -> u64 {
        self.builds.saturating_sub(built) + self.runs
    }
}

/// What scenarios take whose volumes have another size than the usual one.
const fn of_volumes(usual: u64, size_mib: u64) -> u64 {
    if size_mib > USUAL_MIB { usual / USUAL_MIB * size_mib } else { usual }
}

/// Refuses a task that the disk has no space for.
pub fn require(layout: &Layout, need: Need) -> Result<()> {
    let folder = existing(layout.target());
    let free = free(&folder)?;
    // Most often there is plenty, and nothing has to be counted.
    if free >= need.beside(0) {
        return Ok(());
    }
    let needed = need.beside(used(layout.target()));
    if free >= needed {
        return Ok(());
    }
    Err(Error::Space { folder, free: size(free), needed: size(needed) })
}

/// Puts a full disk in front of an error that it may be the cause of.
pub fn explain(folder: &Path, error: Error) -> Error {
    let folder = existing(folder);
    match free(&folder) {
        Ok(free) if free < NEARLY_FULL => {
            Error::FullDisk { folder, free: size(free), source: Box::new(error) }
        }
        _ => error,
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    let (whole, tenth) = (bytes / GIB, bytes % GIB * 10 / GIB);
    if bytes < GIB { format!("{} MiB", bytes / MIB) } else { format!("{whole}.{tenth} GiB") }
}

/// The folder, or the next one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

/// Bytes that a program may still write, whoever runs it.
fn free(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from);
    let disk = disk.on("ask for the free space of", folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that the files below a folder take. What goes away meanwhile does not count.
fn used(folder: &Path) -> u64 {
    let entries = WalkDir::new(folder).into_iter().flatten();
    let blocks = entries.filter_map(|entry| fs::symlink_metadata(entry.path()).ok());
    blocks.map(|data| data.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_already_is_not_needed_again_and_runs_always_need_theirs() {
        let need = Need { builds: 14 * GIB, runs: 6 * GIB };
        assert_eq!(need.beside(0), 20 * GIB);
        assert_eq!(need.beside(10 * GIB), 10 * GIB);
        assert_eq!(need.beside(14 * GIB), 6 * GIB);
        assert_eq!(need.beside(100 * GIB), 6 * GIB);
    }

    #[test]
    fn larger_volumes_take_more() {
        assert_eq!(Need::of_tests(64), Need::of_tests(128));
        assert_eq!(Need::of_tests(256).beside(u64::MAX), 12 * GIB);
        assert_eq!(Need::of_some_tests(128).beside(u64::MAX), 3 * GIB);
    }

    #[test]
    fn a_task_begins_only_where_there_is_space_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(dir.path().to_path_buf());
        require(&layout, Need { builds: 0, runs: 1 }).expect("one byte is there");
        let refused = require(&layout, Need { builds: 1, runs: u64::MAX / 2 });
        let said = refused.expect_err("nobody has that").to_string();
        let names_it = said.contains(dir.path().to_str().expect("its name is text"));
        assert!(names_it && said.contains("cargo clean"), "{said}");
    }

    #[test]
    fn files_count_with_the_space_that_they_take() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("deep/er");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("file"), vec![1; 1 << 20]).expect("a file");
        assert!((MIB..2 * MIB).contains(&used(dir.path())), "{}", used(dir.path()));
        assert_eq!(used(&dir.path().join("missing")), 0);
    }

    #[test]
    fn an_error_on_a_full_disk_begins_with_the_disk() {
        let source = Box::new(Error::Tests { failed: 1 });
        let full = Error::FullDisk { folder: "/target".into(), free: size(5 * MIB), source };
        let said = full.to_string();
        assert!(said.starts_with("the disk of /target is full: 5 MiB are free"), "{said}");
        assert!(said.ends_with("1 tests failed"), "{said}");
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(
            [0, 512 * MIB, GIB, 20 * GIB].map(size),
            ["0 MiB", "512 MiB", "1.0 GiB", "20.0 GiB"]
        );
        assert_eq!(size(GIB * 3 / 2), "1.5 GiB");
    }
}

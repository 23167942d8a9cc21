//! Files that the kernel has in use: behind a loop device, or as swap space.
//!
//! A restored image takes the name of the file that was there. The kernel would go on with the old
//! file, which then has no name: a file system that is mounted through a loop device would look as
//! if nothing had been restored, and what is written to it would be lost.

use std::fs::Metadata;
use std::path::Path;

use crate::error::{Error, Result};

/// Refuses a file that the kernel has in use.
///
/// # Errors
/// [`Error::TargetInUse`].
pub(super) fn check(path: &Path, found: &Metadata) -> Result<()> {
    match system::user_of(found) {
        Some(by) => Err(Error::TargetInUse { path: path.to_owned(), by }),
        None => Ok(()),
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::OsString;
    use std::fs::{self, Metadata};
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    /// What uses a file, in words. What cannot be read is not known to use it.
    pub(super) fn user_of(found: &Metadata) -> Option<String> {
        let is_it = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (found.dev(), found.ino()))
        };
        if swaps(&fs::read("/proc/swaps").unwrap_or_default()).iter().any(is_it) {
            return Some("is swap space: end that with `swapoff`".to_owned());
        }
        let device = loops().into_iter().find(|(_, file)| is_it(file))?.0;
        Some(format!("is behind /dev/{device}: unmount that, and detach it with `losetup -d`"))
    }

    /// The loop devices, and the files behind them.
    fn loops() -> Vec<(String, PathBuf)> {
        let Ok(devices) = fs::read_dir("/sys/block") else { return Vec::new() };
        let backing = |device: fs::DirEntry| {
            let name = device.file_name().into_string().ok()?;
            let mut file = fs::read(device.path().join("loop/backing_file")).ok()?;
            file.pop_if(|last| *last == b'\n');
            Some((name, OsString::from_vec(file).into()))
        };
        devices.flatten().filter_map(backing).collect()
    }

    /// The first column of each line but the heading. Blanks in a name stand as `\040`.
    pub(super) fn swaps(text: &[u8]) -> Vec<PathBuf> {
        let lines = text.split(|byte| *byte == b'\n').skip(1);
        let first = lines.filter_map(|line| line.split(u8::is_ascii_whitespace).next());
        let files = first.filter(|name| !name.is_empty());
        files.map(|name| OsString::from_vec(unescaped(name)).into()).collect()
    }

    fn unescaped(mut name: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while let Some((&first, rest)) = name.split_first() {
            let digits = rest.get(..3).and_then(|digits| str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
                Some(byte) if first == b'\\' => {
                    plain.push(byte);
                    name = &rest[3..];
                }
                _ => {
                    plain.push(first);
                    name = rest;
                }
            }
        }
        plain
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::Metadata;

    pub(super) fn user_of(_: &Metadata) -> Option<String> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn swap_files_are_found_whatever_their_names() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/sda2                               partition\t8388604\t\t0\t\t-2\n\
            /swap\\040file\\134x\\012                        file\t\t1024\t\t0\t\t-3\n";
        let want = ["/dev/sda2", "/swap file\\x\n"].map(PathBuf::from);
        assert_eq!(system::swaps(text), want);
        for damaged in [&b""[..], b"\n", b"x", b"Filename\n\\04", b"Filename\n \n\n\\999"] {
            system::swaps(damaged);
        }
    }

    #[test]
    fn a_plain_file_is_in_no_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        check(file.path(), &fs::metadata(file.path()).unwrap()).unwrap();
    }
}

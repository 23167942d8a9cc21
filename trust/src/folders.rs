//! Names in a folder that survive a crash: a file that was made, renamed or removed.
//!
//! Some file systems, most of them on a network, cannot sync a folder. That is no failure of a
//! disk: it is said once in the log, and the names are as durable as that file system makes them.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Once;

/// What file systems without such a call answer, where `ErrorKind` has no name for it: EBADF and
/// ENOTTY, which have these numbers on every Unix.
const OTHER_REFUSALS: [i32; 2] = [9, 25];

/// The folder that holds the path's name.
pub fn of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable, as far as its file system can.
///
/// # Errors
/// The system's, if the disk failed or the folder is gone.
pub fn sync(folder: &Path) -> io::Result<()> {
    as_far_as_possible(folder, try_sync(folder))
}

/// The outcome of a folder's sync: that the file system cannot do it is logged once, and no error.
///
/// # Errors
/// Those of `outcome` that say that the sync failed.
pub fn as_far_as_possible(folder: &Path, outcome: io::Result<()>) -> io::Result<()> {
    static SAID: Once = Once::new();
    let Err(error) = &outcome else { return outcome };
    if !is_refusal(error) {
        return outcome;
    }
    SAID.call_once(|| {
        log::warn!(
            "the file system of {} does not sync folders ({error}): whether the name of a new file \
             survives a power loss is up to it",
            folder.display()
        );
    });
    Ok(())
}

/// True if the file system has no such call, or does not let this account make it.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied];
    // Only what a system answered: an error without a number is a program's own.
    error.raw_os_error().is_some_and(|number| {
        refusals.contains(&error.kind()) || (cfg!(unix) && OTHER_REFUSALS.contains(&number))
    })
}

/// Makes the names in a folder durable, or tells that its file system cannot.
///
/// # Errors
/// The system's.
#[cfg(unix)]
pub fn try_sync(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// NTFS logs the change of a name with the file's own flush; a program cannot sync a folder.
#[cfg(not(unix))]
pub fn try_sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_cannot_sync_a_folder_is_no_failure_and_a_failing_disk_is() {
        // On Linux: EINVAL, EOPNOTSUPP, ENOSYS, EACCES, EPERM, ENOTTY, EBADF.
        let numbers: &[i32] =
            if cfg!(target_os = "linux") { &[22, 95, 38, 13, 1, 25, 9] } else { &[22, 13, 25, 9] };
        let outcome = |error| as_far_as_possible(Path::new("/x"), Err(error));
        for number in numbers {
            let error = io::Error::from_raw_os_error(*number);
            assert!(outcome(error).is_ok(), "{number}");
        }
        // EIO, ENOENT, ENOSPC, and one that no system answered.
        for number in [5, 2, 28] {
            assert!(outcome(io::Error::from_raw_os_error(number)).is_err(), "{number}");
        }
        assert!(outcome(ErrorKind::InvalidInput.into()).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_of_proc_cannot_be_synced_and_that_is_no_failure() {
        let refused = try_sync(Path::new("/proc")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        sync(Path::new("/proc")).unwrap();
        assert!(sync(Path::new("/proc/missing")).is_err());
    }

    #[test]
    fn the_folder_of_a_bare_name_is_the_present_one() {
        assert_eq!(of(Path::new("image")), Path::new("."));
        assert_eq!(of(Path::new("a/image")), Path::new("a"));
    }
}

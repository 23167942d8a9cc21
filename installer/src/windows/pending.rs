//! What waits for the next restart: file deletions (docs: `MoveFileEx`,
//! `PendingFileRenameOperations`), and a note that one is needed, in a key which the restart
//! removes.
//!
//! The value is a list of pairs, old name and new name; an empty new name means deletion. Old names
//! start with `\??\`.

use std::path::Path;

use windows_registry::LOCAL_MACHINE;

use super::class_filters::{NOT_THERE, refused};
use crate::error::SetupError;

const KEY: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager";
const VALUE: &str = "PendingFileRenameOperations";
/// The prefix of the names.
const NAMESPACE: &str = r"\??\";

/// A volatile key: it exists until the machine restarts.
const NOTE: &str = r"SOFTWARE\Snapless Restart Needed";

/// True if a restart is noted.
pub(super) fn is_restart_noted() -> bool {
    LOCAL_MACHINE.open(NOTE).is_ok()
}

/// Notes that a restart is needed.
pub(super) fn note_restart() -> Result<(), SetupError> {
    let made = LOCAL_MACHINE.options().read().write().create().volatile().open(NOTE);
    made.map(|_| ()).map_err(refused("write", "the note of a restart"))
}

/// True if the next restart deletes `file`.
pub(super) fn is_deleted_at_restart(file: &Path) -> Result<bool, SetupError> {
    let value = LOCAL_MACHINE.open(KEY).and_then(|key| key.get_value(VALUE));
    match value {
        Ok(value) => Ok(is_deleted(value.as_wide(), file)),
        Err(error) if error.code().0.cast_unsigned() == NOT_THERE => Ok(false),
        Err(error) => Err(refused("read", VALUE)(error)),
    }
}

fn is_deleted(units: &[u16], file: &Path) -> bool {
    let wanted = file.to_string_lossy();
    let names: Vec<String> = units.split(|unit| *unit == 0).map(String::from_utf16_lossy).collect();
    names.chunks_exact(2).any(|pair| {
        let old = pair[0].strip_prefix(NAMESPACE).unwrap_or(&pair[0]);
        old.eq_ignore_ascii_case(&wanted) && pair[1].is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_deletion_of_the_same_file_counts() {
        let units: Vec<u16> =
            "\\??\\C:\\a.sys\0\0\\??\\C:\\b.sys\0!\\??\\C:\\c.sys\0\0".encode_utf16().collect();
        assert!(is_deleted(&units, Path::new(r"c:\A.SYS")));
        assert!(!is_deleted(&units, Path::new(r"C:\b.sys")), "it is moved");
        assert!(!is_deleted(&units, Path::new(r"C:\c.sys")), "it is a new name");
        assert!(!is_deleted(&[], Path::new(r"C:\a.sys")));
    }
}

//! The source of the service's events in the application log.
//!
//! `EventCreate.exe` is on every Windows, and its messages 1 to 1000 consist of the event's own
//! text.

use windows_registry::LOCAL_MACHINE;

use super::class_filters::refused;
use crate::error::SetupError;

const KEY: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application\SnaplessService";
const WHAT: &str = "the event source";
const FILE_VALUE: &str = "EventMessageFile";
const FILE: &str = r"%SystemRoot%\System32\EventCreate.exe";
const TYPES_VALUE: &str = "TypesSupported";
/// Error, warning, information.
const TYPES: u32 = 7;

/// True if the source is registered.
pub(super) fn are_registered() -> bool {
    let found = LOCAL_MACHINE.open(KEY).and_then(|key| {
        // Read as it is written: not expanded.
        Ok((key.get_value(FILE_VALUE)?, key.get_u32(TYPES_VALUE)?))
    });
    found.is_ok_and(|(file, types)| {
        let text = String::from_utf16_lossy(file.as_wide());
        types == TYPES && text.trim_end_matches('\0') == FILE
    })
}

/// Registers the source.
pub(super) fn register() -> Result<(), SetupError> {
    let written = LOCAL_MACHINE.create(KEY).and_then(|key| {
        key.set_expand_string(FILE_VALUE, FILE)?;
        key.set_u32(TYPES_VALUE, TYPES)
    });
    written.map_err(refused("register", WHAT))
}

/// Removes it.
pub(super) fn remove() -> Result<(), SetupError> {
    match LOCAL_MACHINE.remove_tree(KEY) {
        Ok(()) => Ok(()),
        // It does not exist.
        Err(_) if LOCAL_MACHINE.open(KEY).is_err() => Ok(()),
        Err(error) => Err(refused("remove", WHAT)(error)),
    }
}

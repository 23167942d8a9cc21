//! The source of the service's events in the application log (docs: "Event Sources").

use std::path::{Path, PathBuf};

use windows_registry::LOCAL_MACHINE;
use windows_strings::HSTRING;

use super::class_filters::refused;
use crate::error::SetupError;
use crate::system::EventSource;

const KEY: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application\SnaplessService";
const WHAT: &str = "the event source";
const FILE_VALUE: &str = "EventMessageFile";
const TYPES_VALUE: &str = "TypesSupported";
/// Error, warning, information.
const TYPES: u32 = 7;

/// How the source is registered.
pub(super) fn source() -> EventSource {
    let Ok(key) = LOCAL_MACHINE.open(KEY) else { return EventSource::Absent };
    // Read as it is written: not expanded.
    match (key.get_value(FILE_VALUE), key.get_u32(TYPES_VALUE)) {
        (Ok(file), Ok(TYPES)) => {
            let text = String::from_utf16_lossy(file.as_wide());
            EventSource::Messages(PathBuf::from(text.trim_end_matches('\0')))
        }
        _ => EventSource::Other,
    }
}

/// Registers the source, whose messages are in this file.
pub(super) fn register(messages: &Path) -> Result<(), SetupError> {
    let written = LOCAL_MACHINE.create(KEY).and_then(|key| {
        key.set_expand_hstring(FILE_VALUE, &HSTRING::from(messages))?;
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

//! The driver's count of starts that no program reached (`snapless-driver-logic`, `starts`).

use snapless_driver_logic::starts::{STARTS_MAX, VALUE};
use windows_registry::LOCAL_MACHINE;

use super::class_filters::refused;
use crate::error::SetupError;

/// The driver's settings.
const KEY: &str = r"SYSTEM\CurrentControlSet\Services\snapless\Parameters";

/// True if the driver passes everything through for that.
pub(super) fn have_failed() -> bool {
    let count = LOCAL_MACHINE.open(KEY).and_then(|key| key.get_u32(VALUE));
    count.is_ok_and(|count| count >= STARTS_MAX)
}

/// Deletes the count.
pub(super) fn forget() -> Result<(), SetupError> {
    let Ok(key) = LOCAL_MACHINE.options().read().write().open(KEY) else { return Ok(()) };
    match key.remove_value(VALUE) {
        Ok(()) => Ok(()),
        // It is not there.
        Err(_) if key.get_value(VALUE).is_err() => Ok(()),
        Err(error) => Err(refused("remove", VALUE)(error)),
    }
}

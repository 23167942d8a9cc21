//! What a person must know: logged, and told to Windows' event log under its number.
//!
//! Rule: one notice per change of state, not per attempt: an event log is read by people. Below that, use `log`
//! directly.

use crate::event::{Event, Severity};
#[cfg(windows)]
use crate::event_log;

/// Tells of an event; `text` says of which volume, and why.
pub fn tell(event: Event, text: &str) {
    let line = format!("{text} (event {})", event.number());
    match event.severity() {
        Severity::Information => log::info!("{line}"),
        Severity::Warning => log::warn!("{line}"),
        Severity::Error => log::error!("{line}"),
    }
    #[cfg(windows)]
    event_log::report(event, text);
}

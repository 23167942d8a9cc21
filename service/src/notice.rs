//! Reports an event: to the service's log and to Windows' event log.
//!
//! Rule: one event per change of state, not per attempt. Anything less important goes to `log`
//! only.

use crate::event::{Event, Severity};
#[cfg(windows)]
use crate::event_log;

/// Reports `event`; `text` names the volume and the reason.
pub fn report(event: Event, text: &str) {
    let line = format!("{text} (event {})", event.number());
    match event.severity() {
        Severity::Information => log::info!("{line}"),
        Severity::Warning => log::warn!("{line}"),
        Severity::Error => log::error!("{line}"),
    }
    #[cfg(windows)]
    event_log::report(event, text);
}
